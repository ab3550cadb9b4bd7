"""Figures of a screening: every crystal a point, the best by name, and what they are made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

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
"""Crystals that an element needs to be shown, unless none has so many."""
MOST_AVOIDED = 2000
"""Crystals that names are kept off, picked at random from more."""
NAME = 6.0
"""Size of a name, points."""


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
    some = np.random.default_rng(0).permutation(len(mass))[:MOST_AVOIDED]
    drawn = [np.stack([mass[some], value[some]], axis=1)]
    if classical:
        m = np.linspace(mass.min(), mass.max(), 400)
        limit = 3e3 * R / m
        seen = limit < 1.15 * value.max()
        ax.plot(m[seen], limit[seen], color=GREY, lw=0.8, label="Dulong–Petit, 3R / m")
        ax.legend(loc="upper right")
        drawn.append(np.stack([m[seen], limit[seen]], axis=1))
    ax.set_xlabel("Mean atomic mass (u)")
    ax.set_xlim(left=0)
    _name(ax, best, np.concatenate(drawn))


def _name(ax: Axes, best: Sequence[tuple[str, float, float]], drawn: NDArray[np.float64]) -> None:
    """Name the best beside their points, each formula once, where there is most room."""
    named: dict[str, tuple[float, float]] = {}
    for formula, x, y in best:
        named.setdefault(formula, (x, y))
    chosen = dict(list(named.items())[:MOST_NAMED])
    if not chosen:
        return
    points = np.array(list(chosen.values()))
    ax.scatter(points[:, 0], points[:, 1], s=10, color=PALETTE[4], linewidths=0, zorder=3)
    widths = [NAME * (0.62 * len(formula) + 0.3) for formula in chosen]
    point = 72 / ax.figure.dpi
    at, avoided = (point * ax.transData.transform(x) for x in (points, [*points, *drawn]))
    shifts = _shifts(at, avoided, widths, point * ax.bbox.get_points())
    leader = {"arrowstyle": "-", "color": PALETTE[4], "lw": 0.4, "shrinkA": 1, "shrinkB": 2}
    look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": NAME, "color": DARK}
    for (formula, place), shift in zip(chosen.items(), shifts, strict=True):
        text = formula_text(formula, 40)
        where: dict[str, Any] = {"xytext": shift, "textcoords": "offset points"}
        ax.annotate(text, place, **where, **look, arrowprops=leader)


def _shifts(
    points: NDArray[np.float64],
    there: NDArray[np.float64],
    widths: Sequence[float],
    corners: NDArray[np.float64],
) -> list[tuple[float, float]]:
    """How far from its point the middle of each name stands, so that it covers least.

    Args:
        points: Where the named points are, (n, 2), points of the page as all here.
        there: What is better not covered, (m, 2).
        widths: Of the names.
        corners: Of the axes, (2, 2).
    """
    covered = [*there]
    shifts = []
    for point, width in zip(points, widths, strict=True):
        half = np.array([width / 2, 0.6 * NAME])
        tried = [
            np.array([np.cos(angle), np.sin(angle)]) * (half + 5 + far)
            for far in (0.0, 8.0, 18.0, 32.0, 50.0)
            for angle in np.arange(0, 2 * np.pi, np.pi / 8)
        ]
        costs = []
        for shift in tried:
            low, high = point + shift - half, point + shift + half
            dots = np.array(covered)
            inside = ((dots > low - 1) & (dots < high + 1)).all(1).sum()
            outside = np.clip(corners[0] - low, 0, None) + np.clip(high - corners[1], 0, None)
            costs.append(3 * inside + 10 * outside.sum() + 0.1 * np.hypot(*shift))
        best = tried[int(np.argmin(costs))]
        shifts.append((float(best[0]), float(best[1])))
        # A name is a grid of points that no other name may cover.
        x, y = (np.linspace(-h, h, k) for h, k in zip(half, (9, 3), strict=True))
        covered += [point + best + np.array([a, b]) for a in x for b in y] * 4
    return shifts


def draw_by_element(
    ax: Axes,
    value: NDArray[np.float64],
    elements: Sequence[Sequence[str]],
    *,
    lowest: bool = False,
) -> None:
    """The median and the range of 5 to 95 % of the crystals that hold an element.

    The elements with the highest medians are shown, or with the lowest; where no element is held
    by five crystals, all of them are, and each crystal is a point.

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
    few = not enough
    found = {s: value[rows] for s, rows in holders.items()} if few else enough
    spread = {s: np.quantile(v, [0.05, 0.5, 0.95]) for s, v in found.items()}
    order = sorted(spread, key=lambda s: spread[s][1], reverse=not lowest)[:MOST_ELEMENTS]
    for i, symbol in enumerate(order):
        low, middle, high = spread[symbol]
        if few:
            each = found[symbol]
            ax.plot(np.full(len(each), i), each, "o", ms=3, color=PALETTE[0], alpha=0.5, mew=0)
            continue
        ax.plot([i, i], [low, high], color=PALETTE[0], lw=2.5, alpha=0.35)
        ax.plot(i, middle, "o", ms=3, color=PALETTE[0])
    ax.set_xticks(range(len(order)), order)
    ax.set_xlim(-0.7, max(len(order), 4) - 0.3)
    meaning = "" if few else ": median, 5 to 95 %"
    ax.set_xlabel(f"Crystals that hold the element{meaning}")
