"""The customary points of a Brillouin zone, and the path between them.

QPath: the wave vectors of a band structure, segment by segment.

Bands: the frequencies of a crystal along a path through its Brillouin zone.

Bands as text: CSV, records for JSON, and the ``band.yaml`` that phonopy's viewers open.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import pi
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from debye.crystals.lattice.dynamical_matrix import Progress, solved
from debye.crystals.lattice.elastic import group_velocities
from debye.crystals.lattice.force_constants import ForceConstants, frequencies
from debye.crystals.structure.crystal import Crystal
from debye.errors import InputError
from debye.units import frequency_factor

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
    runs = [
        ["G" if label.upper() in ("Γ", "GAMMA") else label for label in run.split()]
        for run in re.split(r"[|,]", text)
    ]
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
        if path != "auto":
            runs = parse_path(path, known)
        if points < 2:
            raise InputError(
                f"cannot draw bands through {points} points",
                why="a segment has two ends",
                fix="ask for 2 or more",
            )
        return _along(cell, known, runs, points)

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


IMAGINARY = 0.5
"""cm⁻¹; modes further below zero are imaginary, nearer ones are zero but for rounding."""


@dataclass(frozen=True, eq=False)
class Bands:
    """Frequencies along a path, the branches sorted by frequency at each point."""

    crystal: Crystal
    path: QPath
    frequency: Tensor
    """(Q, 3n) cm⁻¹ ascending, imaginary modes as negative numbers."""
    velocity: Tensor | None = None
    """(Q, 3n, 3) group velocities, km/s; see `group_velocities`."""
    range: tuple[Tensor, Tensor] | None = None
    """(Q, 3n) lowest and highest frequency of each branch among several sets of force constants."""

    @classmethod
    def of(
        cls,
        crystal: Crystal,
        force_constants: ForceConstants,
        path: QPath,
        *,
        members: Sequence[ForceConstants] = (),
        velocities: bool = False,
        progress: Progress | None = None,
    ) -> Bands:
        """The bands of force constants.

        Args:
            crystal: Primitive; its cell is what ``path`` and ``force_constants`` are in units of.
            force_constants: Its force constants.
            path: Where.
            members: Other estimates of the force constants, whose spread becomes ``range``.
            velocities: Whether to find group velocities too.
            progress: Is told how many wave vectors are newly done; each counts for the force
                constants, for every member, and for its velocities.

        Raises:
            InputError: The force constants are of several crystals.
            ComputationError: See `solved`.
        """
        frequency, velocity = _frequencies(force_constants, path, progress), None
        others = [_frequencies(member, path, progress) for member in members]
        low_high = torch.stack(others).aminmax(dim=0) if others else None
        if velocities:
            cell = torch.tensor(crystal.cell)
            velocity = group_velocities(force_constants, cell, path.q, path.direction, progress)
        between = (low_high.min, low_high.max) if low_high else None
        return cls(crystal, path, frequency, velocity, between)

    @property
    def imaginary(self) -> bool:
        """Whether some mode on the path is imaginary."""
        return bool(self.frequency.min() < -IMAGINARY)

    def at(self, label: str) -> Tensor:
        """Frequencies at a labelled point, (3n,), cm⁻¹."""
        return self.frequency[self.path.labels.index(label)]


def _frequencies(force_constants: ForceConstants, path: QPath, progress: Progress | None) -> Tensor:
    return torch.cat(
        [frequencies(square) for _, square, _ in solved(force_constants, path.q, progress)]
    )


NOT_TRAINED = (
    "the bands follow from what was learned of densities of states alone: no branch, wave vector "
    "or velocity was ever trained on"
)
NO_FIELD = "polar crystals lack the splitting of LO and TO modes near Γ"


def bands_record(bands: Bands, unit: str = "cm-1") -> dict[str, Any]:
    """Bands as numbers and text for JSON, units in the names of the keys."""
    factor = frequency_factor("cm-1", unit)
    path, crystal = bands.path, bands.crystal
    record: dict[str, Any] = {
        "source": crystal.source,
        "formula": crystal.formula,
        "n_sites": crystal.n_sites,
        "cell_angstrom": crystal.cell.tolist(),
        "segments": [list(pair) for pair in path.ends],
        "segment_points": list(path.lengths),
        "q": path.q.tolist(),
        "distance_1/angstrom": path.distance.tolist(),
        "label": list(path.labels),
        f"frequency_{unit}": (bands.frequency * factor).tolist(),
        "imaginary": bands.imaginary,
    }
    if bands.range is not None:
        low, high = bands.range
        record[f"lowest_{unit}"], record[f"highest_{unit}"] = (
            (edge * factor).tolist() for edge in (low, high)
        )
    if bands.velocity is not None:
        record["group_velocity_km/s"] = bands.velocity.tolist()
    return record


def bands_csv(bands: Bands, unit: str = "cm-1") -> str:
    """A row for each point: the way, q, label, frequencies, and their slopes along the path."""
    count = bands.frequency.shape[1]
    header = ["distance_1/angstrom", "q1", "q2", "q3", "label"]
    header += [f"frequency_{j}_{unit}" for j in range(1, count + 1)]
    columns = [bands.frequency * frequency_factor("cm-1", unit)]
    if bands.velocity is not None:
        header += [f"velocity_{j}_km/s" for j in range(1, count + 1)]
        columns.append(slopes(bands, bands.velocity))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    for distance, q, label, row in zip(
        bands.path.distance.tolist(),
        bands.path.q.tolist(),
        bands.path.labels,
        torch.cat(columns, dim=1).tolist(),
        strict=True,
    ):
        numbers = ["" if x != x else f"{x:.6f}" for x in row]  # noqa: PLR0124 - NaN
        writer.writerow([f"{distance:.6f}", *(f"{x:.6f}" for x in q), label, *numbers])
    return stream.getvalue()


def slopes(bands: Bands, velocity: Tensor) -> Tensor:
    """Group velocity along the path of each mode, (Q, 3n), km/s."""
    return torch.einsum("qjx,qx->qj", velocity, bands.path.direction)


def band_yaml(bands: Bands) -> str:
    """The bands as phonopy's ``band.yaml``: THz, distances and reciprocal vectors without 2π.

    Velocities are in Å THz, ten to a km/s.
    """
    return "".join(f"{line}\n" for line in _yaml_lines(bands))


def _yaml_lines(bands: Bands) -> Iterator[str]:
    crystal, path = bands.crystal, bands.path
    yield f"nqpoint: {len(path.q)}"
    yield f"npath: {len(path.lengths)}"
    yield "segment_nqpoint:"
    yield from (f"- {count}" for count in path.lengths)
    yield "labels:"
    yield from (f"- [ '{first}', '{last}' ]" for first, last in path.ends)
    yield "reciprocal_lattice:"
    yield from (f"- {_row(row)}" for row in np.linalg.inv(crystal.cell).T)
    yield f"natom: {crystal.n_sites}"
    yield "lattice:"
    yield from (f"- {_row(row)}" for row in crystal.cell)
    yield "points:"
    places = zip(crystal.species, crystal.fractional, crystal.masses, strict=True)
    for site, place, mass in places:
        yield f"- symbol: {max(site, key=site.__getitem__)}"
        yield f"  coordinates: {_row(place)}"
        yield f"  mass: {mass:.6f}"
    yield ""
    yield "phonon:"
    yield from _phonon_lines(bands)


def _phonon_lines(bands: Bands) -> Iterator[str]:
    path = bands.path
    frequency = bands.frequency * frequency_factor("cm-1", "THz")
    for i, (q, distance) in enumerate(
        zip(path.q.tolist(), (path.distance / (2 * pi)).tolist(), strict=True)
    ):
        yield f"- q-position: {_row(q)}"
        yield f"  distance: {distance:.7f}"
        if path.labels[i]:
            yield f"  label: '{path.labels[i]}'"
        yield "  band:"
        for j, omega in enumerate(frequency[i].tolist()):
            yield f"  - # {j + 1}"
            yield f"    frequency: {omega:.10f}"
            if bands.velocity is not None:
                yield f"    group_velocity: {_row((10 * bands.velocity[i, j]).tolist())}"


def _row(numbers: object) -> str:
    values = ", ".join(f"{x:.8f}" for x in np.asarray(numbers))
    return f"[ {values.replace('nan', '.nan')} ]"
