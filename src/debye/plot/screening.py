"""Figures of a screening: every crystal a point, the best by name, and what they are made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from debye.errors import InputError
from debye.plot import DARK, GREY, PAGE, PALETTE, new_figure, style
from debye.plot.text import formula_text
from debye.units import R

MOST_NAMED = 12
"""Crystals that are labelled."""
MOST_ELEMENTS = 16
"""Elements that are shown."""
FEWEST = 5
"""Crystals of which an element needs as many to be shown."""


def screening_figure(
    mass: ArrayLike,
    value: ArrayLike,
    elements: Sequence[Sequence[str]],
    *,
    label: str,
    best: Sequence[tuple[str, float, float]] = (),
    classical: bool = False,
    lowest: bool = False,
    width: float = PAGE,
) -> Figure:
    """A quantity of many crystals, against their mean atomic mass and by element.

    Args:
        mass: Mean atomic mass of each, u, (M,).
        value: The quantity, (M,).
        elements: Of each.
        label: Of the quantity, with its unit.
        best: Formula, mass and value of the crystals to name.
        classical: Draw the limit of Dulong and Petit, 3R / mass, in J/K/kg.
        lowest: Whether small values are the sought ones.
        width: Inches.

    Raises:
        InputError: There are no crystals.

    Example:
        >>> figure = screening_figure([20, 30], [900, 700], [["Li"], ["Na"]], label="C (J/K/kg)")
        >>> figure.axes[0].get_ylabel()
        'C (J/K/kg)'
    """
    masses, values = np.asarray(mass, dtype=float), np.asarray(value, dtype=float)
    if not len(masses):
        why = "it holds no crystals that fit"
        raise InputError("cannot draw the screening", why=why, fix="ask for less, or screen more")
    with style():
        figure = new_figure(width, 0.46 * width)
        left, right = figure.subplots(1, 2, width_ratios=[1.5, 1], sharey=True)
        draw_against_mass(left, masses, values, best, classical=classical)
        left.set_ylabel(label)
        draw_by_element(right, values, elements, lowest=lowest)
        figure.suptitle(f"{len(masses):,} crystals", x=0.01, ha="left")
    return figure


def draw_against_mass(
    ax: Axes,
    mass: NDArray[np.float64],
    value: NDArray[np.float64],
    best: Sequence[tuple[str, float, float]],
    *,
    classical: bool = False,
) -> None:
    """Every crystal against its mean atomic mass; the best are named.

    Args:
        ax: Where.
        mass: u, (M,).
        value: (M,).
        best: Formula, mass and value of those to name.
        classical: Draw 3R / mass too.
    """
    size = float(np.clip(3e4 / len(mass), 0.5, 12))
    shade = float(np.clip(3e3 / len(mass), 0.08, 0.6))
    ax.scatter(mass, value, s=size, color=PALETTE[0], alpha=shade, linewidths=0, rasterized=True)
    if classical:
        m = np.linspace(mass.min(), mass.max(), 400)
        limit = 3e3 * R / m
        seen = limit < 1.15 * value.max()
        ax.plot(m[seen], limit[seen], color=GREY, lw=0.8, label="Dulong–Petit, 3R / m")
        ax.legend(loc="upper right")
    _name(ax, best)
    ax.set_xlabel("Mean atomic mass (u)")
    ax.set_xlim(left=0)


def _name(ax: Axes, best: Sequence[tuple[str, float, float]]) -> None:
    """Name the best beside a column of leaders, each formula once, so that no names overlap."""
    named: dict[str, tuple[float, float]] = {}
    for formula, mass, value in best:
        named.setdefault(formula, (mass, value))
    chosen = dict(list(named.items())[:MOST_NAMED])
    if not chosen:
        return
    x, y = zip(*chosen.values(), strict=True)
    ax.scatter(x, y, s=10, color=PALETTE[4], linewidths=0, zorder=3)
    for i, (formula, place) in enumerate(sorted(chosen.items(), key=lambda item: -item[1][1])):
        ax.annotate(
            formula_text(formula, 20),
            place,
            xytext=(0.36, 0.95 - 0.07 * i),
            textcoords="axes fraction",
            fontsize=6,
            color=DARK,
            va="center",
            arrowprops={"arrowstyle": "-", "color": PALETTE[4], "lw": 0.4, "shrinkB": 2},
        )


def draw_by_element(
    ax: Axes,
    value: NDArray[np.float64],
    elements: Sequence[Sequence[str]],
    *,
    lowest: bool = False,
) -> None:
    """The median and the range of 5 to 95 % of the crystals that hold an element.

    The elements with the highest medians are shown, or with the lowest.

    Args:
        ax: Where.
        value: (M,).
        elements: Of each crystal.
        lowest: Which end is sought.
    """
    holders: dict[str, list[int]] = defaultdict(list)
    for i, symbols in enumerate(elements):
        for symbol in symbols:
            holders[symbol].append(i)
    enough = {s: value[rows] for s, rows in holders.items() if len(rows) >= FEWEST}
    spread = {s: np.quantile(v, [0.05, 0.5, 0.95]) for s, v in (enough or {}).items()}
    order = sorted(spread, key=lambda s: spread[s][1], reverse=not lowest)[:MOST_ELEMENTS]
    for i, symbol in enumerate(order):
        low, middle, high = spread[symbol]
        ax.plot([i, i], [low, high], color=PALETTE[0], lw=2.5, alpha=0.35)
        ax.plot(i, middle, "o", ms=3, color=PALETTE[0])
    ax.set_xticks(range(len(order)), order)
    ax.set_xlabel("Crystals that hold the element: median, 5 to 95 %")
