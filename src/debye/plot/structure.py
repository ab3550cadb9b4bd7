"""Draw a crystal, seen from a little above."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from debye.crystals.structure.crystal import Crystal
from debye.plot import DARK, GREY
from debye.plot.element_colours import ELEMENT_COLOURS, element_colour

MOST_ATOMS = 64
"""Atoms that are drawn; more would be one blot."""
NEAR = 1e-3
"""An atom so near a face of the cell, in units of it, is drawn on the opposite face too."""


class Projection(NamedTuple):
    """A crystal on paper: what is nearest comes last."""

    atoms: NDArray[np.float64]
    """(A, 2) Å."""
    elements: tuple[str, ...]
    """The main element of each, (A,)."""
    edges: NDArray[np.float64]
    """(12, 2, 2) ends of the edges of the cell, Å."""
    left_out: int
    """Atoms that are not drawn."""


def projected(crystal: Crystal, turn: float = 20.0, tilt: float = 14.0) -> Projection:
    """The cell and its atoms, those on its faces on all of them, seen from the front.

    Args:
        crystal: Any.
        turn: Of the first lattice vector out of the plane of the paper, degrees.
        tilt: Of the view from above, degrees.

    Example:
        >>> cube = Crystal(["Po"], [[0, 0, 0]], 3.3 * np.eye(3))
        >>> len(projected(cube).atoms)
        8
    """
    fractional, species = _with_faces(crystal)
    kept = fractional[:MOST_ATOMS]
    frame = _standing(crystal.cell) @ _view(np.radians(turn), np.radians(tilt))
    corners = np.array(list(product((0.0, 1.0), repeat=3)))
    ends = [
        (i, j) for i in range(8) for j in range(i, 8) if np.abs(corners[i] - corners[j]).sum() == 1
    ]
    seen = kept @ frame
    order = np.argsort(seen[:, 2], kind="stable")
    return Projection(
        seen[order, :2],
        tuple(species[i] for i in order),
        (corners @ frame)[np.array(ends)][..., :2],
        len(fractional) - len(kept),
    )


def _with_faces(crystal: Crystal) -> tuple[NDArray[np.float64], list[str]]:
    """Fractional coordinates of the atoms in the cell and on its far faces, and their elements."""
    inside = crystal.fractional % 1.0
    inside[inside > 1 - NEAR] = 0.0
    found, elements = [], []
    for place, site in zip(inside, crystal.species, strict=True):
        for shift in product(*((0.0, 1.0) if x < NEAR else (0.0,) for x in place)):
            found.append(place + shift)
            elements.append(max(site, key=site.__getitem__))
    return np.array(found), elements


def _standing(cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cell turned so that a lies along x and c stands up as nearly as it can."""
    a, b, _ = cell
    x = a / np.linalg.norm(a)
    z = np.cross(a, b)
    z /= np.linalg.norm(z)
    return np.asarray(cell @ np.stack([x, np.cross(z, x), z], axis=1))


def _view(turn: float, tilt: float) -> NDArray[np.float64]:
    """Columns: rightwards, upwards and towards the reader."""
    c, s, u, d = np.cos(turn), np.sin(turn), np.cos(tilt), np.sin(tilt)
    return np.array([[c, -s * d, s * u], [s, c * d, -c * u], [0.0, u, d]])


def draw_crystal(ax: Axes, crystal: Crystal) -> None:
    """Draw the cell of a crystal and its atoms in the colours of their elements.

    Args:
        ax: Where to draw.
        crystal: Of its atoms the first 64 are drawn.

    Example:
        >>> from debye.plot import new_figure
        >>> ax = new_figure().subplots()
        >>> draw_crystal(ax, Crystal(["Po"], [[0, 0, 0]], 3.3 * np.eye(3)))
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['Po']
    """
    seen = projected(crystal)
    for edge in seen.edges:
        ax.plot(*edge.T, color=GREY, linewidth=0.6, zorder=1)
    for order, (place, element) in enumerate(zip(seen.atoms, seen.elements, strict=True)):
        ax.plot(
            *place,
            "o",
            markersize=9,
            color=element_colour(element),
            markeredgecolor=DARK,
            markeredgewidth=0.4,
            zorder=2 + order / len(seen.atoms),
        )
    for element in dict.fromkeys(e for e in crystal.elements if e in ELEMENT_COLOURS):
        ax.plot([], [], "o", color=element_colour(element), label=element)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    ax.set_aspect("equal")
    ax.set_axis_off()
