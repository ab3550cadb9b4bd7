"""The customary points of a Brillouin zone, and the path between them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from debye.errors import Refusal

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
        Refusal: The lattice cannot be recognised.

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
        raise Refusal(
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
        Refusal: A label is not a point of the lattice, or a run has fewer than two.

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
        raise Refusal(
            f"cannot follow the path {text!r}",
            why=f"this lattice has no point {unknown[0]}"
            if unknown
            else "a path needs two points or more",
            fix=f"use {' '.join(points)} with spaces between, and | where the path jumps",
        )
    return runs
