"""The customary points of a Brillouin zone, and the path of a band structure through them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import pi

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from debye.crystals.structure.crystal import Crystal
from debye.errors import ComputationError, InputError

Points = Mapping[str, NDArray[np.float64]]
Runs = list[list[str]]


def special_points(cell: NDArray[np.float64]) -> tuple[Points, Runs]:
    """Points of high symmetry of a lattice, and the standard path through them.

    The lattice is recognised in whatever cell it is given, left-handed ones included; the points
    are those of W. Setyawan and S. Curtarolo, *Comput. Mater. Sci.* 49, 299 (2010), as in ASE.

    Args:
        cell: Lattice vectors as rows, Å, (3, 3), of a primitive cell.

    Returns:
        Each point's coordinates in units of the reciprocal lattice vectors, by its label; and the
        path as runs of labels, with a jump between one run and the next.

    Raises:
        InputError: The lattice cannot be recognised.

    Example:
        >>> points, runs = special_points(2.0 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]))
        >>> points["L"].tolist(), "-".join(runs[1])
        ([0.5, 0.5, 0.5], 'U-X')
    """
    from ase.cell import Cell
    from ase.dft.kpoints import parse_path_string

    # Inverting the cell inverts q, which leaves frequencies alone, and makes it right-handed.
    right = cell if np.linalg.det(cell) > 0 else -cell
    try:
        path = Cell(right).bandpath(npoints=0)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise InputError(
            "cannot find the standard path of this lattice",
            why=str(error) or type(error).__name__,
            fix="give the structure in its conventional or its primitive cell",
        ) from error
    return path.special_points, parse_path_string(path.path)


def space_group_points(crystal: Crystal) -> tuple[Points, Runs]:
    """Points of high symmetry of a crystal's space group, and the path through them, by seekpath.

    Where the atoms have less symmetry than their lattice, more of its points differ than
    `special_points` knows. Y. Hinuma et al., *Comput. Mater. Sci.* 128, 140 (2017).

    Args:
        crystal: Primitive.

    Returns:
        As of `special_points`, in units of the reciprocal lattice vectors of the given cell.

    Raises:
        InputError: seekpath is not installed.
        ComputationError: It finds no symmetry.
    """
    try:
        import seekpath
    except ImportError as error:
        raise InputError(
            "cannot find the path of the space group",
            why="seekpath is not installed",
            fix="pip install 'debye[phonopy]', or take the path of the lattice, auto",
        ) from error
    kinds = {site: i for i, site in enumerate(dict.fromkeys(map(_kind, crystal.species)), 1)}
    numbers = [kinds[_kind(site)] for site in crystal.species]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # spglib's, of how seekpath calls it
        try:
            found = seekpath.get_path_orig_cell((crystal.cell, crystal.fractional, numbers))
        except Exception as error:
            raise ComputationError(
                "cannot find the path of the space group",
                why=str(error) or type(error).__name__,
                fix="take the path of the lattice, auto",
            ) from error
    points = {_label(name): np.array(at) for name, at in found["point_coords"].items()}
    runs: Runs = []
    for first, last in found["path"]:
        if runs and runs[-1][-1] == _label(first):
            runs[-1].append(_label(last))
        else:
            runs.append([_label(first), _label(last)])
    return points, runs


def _kind(site: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(site.items()))


def _label(name: str) -> str:
    return "G" if name.upper() in ("Γ", "GAMMA") else name


def parse_path(text: str, points: Points) -> Runs:
    """Runs of labels of a path such as ``G X W | L G``.

    Args:
        text: Labels with spaces between; ``|`` where the path jumps. Γ may be written G or Γ.
        points: The labels that the lattice has.

    Raises:
        InputError: A label is not a point of the lattice, or a run has fewer than two.

    Example:
        >>> parse_path("Γ X | L G", {"G": np.zeros(3), "X": np.zeros(3), "L": np.zeros(3)})
        [['G', 'X'], ['L', 'G']]
    """
    runs = [[_label(label) for label in run.split()] for run in re.split(r"[|,]", text)]
    unknown = [label for run in runs for label in run if label not in points]
    if unknown or any(len(run) < 2 for run in runs):
        raise InputError(
            f"cannot follow the path {text!r}",
            why=f"this lattice has no point {unknown[0]}"
            if unknown
            else "a path needs two points or more",
            fix=f"use {' '.join(points)} with spaces between, and | where the path jumps",
        )
    return runs


@dataclass(frozen=True, eq=False)
class QPath:
    """Straight segments between labelled points; a point shared by two segments stands twice."""

    q: Tensor
    """(Q, 3) wave vectors in units of the reciprocal lattice vectors."""
    wave_vector: Tensor
    """(Q, 3) the same in Cartesian coordinates, Å⁻¹, 2π included."""
    lengths: tuple[int, ...]
    """Points of each segment; they sum to Q."""
    ends: tuple[tuple[str, str], ...]
    """Labels of both ends of each segment."""

    @classmethod
    def of(cls, cell: NDArray[np.float64], path: str = "auto", points: int = 300) -> QPath:
        """The path of a lattice.

        Args:
            cell: Lattice vectors as rows, Å, of a primitive cell.
            path: ``auto`` for the standard path, or labels such as ``G X W | L G``.
            points: About how many, shared out by length; each segment has at least two.

        Raises:
            InputError: The lattice has no such point, or the points are too few.

        Example:
            >>> path = QPath.of(2.0 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), "G X W", 30)
            >>> path.ends, path.q[-1].tolist()
            ((('G', 'X'), ('X', 'W')), [0.5, 0.25, 0.75])
        """
        known, runs = special_points(cell)
        return _along(cell, known, runs if path == "auto" else parse_path(path, known), points)

    @classmethod
    def of_crystal(cls, crystal: Crystal, path: str = "auto", points: int = 300) -> QPath:
        """The path of a crystal: of its lattice, as of `of`, or of its space group.

        Args:
            crystal: Primitive.
            path: As of `of`; or ``seekpath`` for the path of `space_group_points`.
            points: As of `of`.

        Raises:
            InputError: The lattice has no such point, the points are too few, or seekpath is
                asked for and not installed.
            ComputationError: seekpath finds no symmetry.
        """
        if path != "seekpath":
            return cls.of(crystal.cell, path, points)
        return _along(crystal.cell, *space_group_points(crystal), points)

    @cached_property
    def segment(self) -> Tensor:
        """(Q,) which segment a point belongs to."""
        return torch.repeat_interleave(torch.tensor(self.lengths))

    @cached_property
    def distance(self) -> Tensor:
        """(Q,) way along the path, Å⁻¹; a jump takes no way."""
        steps = (self.wave_vector[1:] - self.wave_vector[:-1]).norm(dim=-1)
        within = self.segment[1:] == self.segment[:-1]
        return torch.cat([steps.new_zeros(1), (steps * within).cumsum(0)])

    @cached_property
    def direction(self) -> Tensor:
        """(Q, 3) Cartesian unit vector of the segment of each point."""
        rows = []
        for part in self.wave_vector.split(self.lengths):
            ahead = part[-1] - part[0]
            rows.append((ahead / ahead.norm()).expand(len(part), 3))
        return torch.cat(rows)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """A label for each point, empty between the ends of segments."""
        names = [""] * len(self.q)
        start = 0
        for (first, last), count in zip(self.ends, self.lengths, strict=True):
            names[start], names[start + count - 1] = first, last
            start += count
        return tuple(names)

    @cached_property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Distance and label of each end; where the path jumps, both labels: ``U|K``."""
        found: dict[float, list[str]] = {}
        for distance, label in zip(self.distance.tolist(), self.labels, strict=True):
            if label and label not in (names := found.setdefault(round(distance, 9), [])):
                names.append(label)
        return tuple((distance, "|".join(names)) for distance, names in found.items())


def _along(cell: NDArray[np.float64], known: Points, runs: Runs, points: int) -> QPath:
    """Share points out to segments by their lengths."""
    if points < 2:
        raise InputError(
            f"cannot draw bands through {points} points",
            why="a segment has two ends",
            fix="ask for 2 or more",
        )
    reciprocal = 2 * pi * np.linalg.inv(cell).T
    ends = [pair for run in runs for pair in pairwise(run)]
    way = np.array([np.linalg.norm((known[b] - known[a]) @ reciprocal) for a, b in ends])
    if not way.all():
        label = ends[int(way.argmin())][0]
        why = f"two of its points in a row are both {label}"
        raise InputError("cannot draw bands along this path", why=why, fix="name each point once")
    counts = np.maximum(2, np.round(points * way / way.sum()).astype(int))
    q = np.concatenate(
        [np.linspace(known[a], known[b], count) for (a, b), count in zip(ends, counts, strict=True)]
    )
    return QPath(
        torch.from_numpy(q),
        torch.from_numpy(q @ reciprocal),
        tuple(counts.tolist()),
        tuple(ends),
    )
