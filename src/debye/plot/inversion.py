"""Draw measured spectra, what was fitted to them, and what is left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from debye.crystals.inversion.design import Proposal, Target
from debye.crystals.inversion.likelihood import Observation
from debye.crystals.inversion.rank import Ranking
from debye.crystals.inversion.refine import Refined
from debye.plot import DARK, GREY, PAGE, PALETTE, WARNING, new_figure, style
from debye.plot.dos import array, frequency_limits, numbers
from debye.plot.text import FREQUENCY_LABELS, density_label, formula_text, plain_text, write_notes
from debye.units import frequency_factor

LONGEST = 48
"""Characters of a formula, which is not cut before."""


def draw_fit(
    ax: Axes,
    below: Axes,
    observed: Observation,
    curve: Tensor,
    *,
    unit: str = "cm-1",
    title: str = "",
    colour: str = PALETTE[0],
) -> None:
    """Draw a measured spectrum with a fitted curve, and what is left below.

    Args:
        ax: For the spectrum, scaled to a maximum of 1.
        below: For the residuals, in the same unit.
        observed: On the points of comparison.
        curve: What was fitted, (n,).
        unit: Of the frequency.
        title: Above the spectrum, ready for matplotlib.
        colour: Of the curve.

    Raises:
        InputError: The unit is unknown.
    """
    omega = array(observed.frequency) * frequency_factor("cm-1", unit)
    top = array(observed.intensity).max()
    y, fitted = array(observed.intensity) / top, array(curve) / top
    margin = 0.02 * float(omega[-1] - omega[0])
    error = None
    if observed.covariance is not None:
        error = np.sqrt(array(observed.covariance.diagonal())) / top
    for axes, values in ((ax, y), (below, y - fitted)):
        axes.errorbar(
            omega, values, error, fmt=".", markersize=2.5, linewidth=0.6, color=DARK, zorder=3
        )
        axes.set_xlim(omega[0] - margin, omega[-1] + margin)
    ax.plot(omega, fitted, color=colour)
    below.axhline(0.0, color=colour, linewidth=0.8)
    ax.tick_params(labelbottom=False)
    ax.set_title(title, loc="left")
    limit = 1.1 * max(0.1, float(np.abs(y - fitted).max()))
    below.set_ylim(-limit, limit)
    below.set_xlabel(FREQUENCY_LABELS[unit])


def ranking_figure(
    ranking: Ranking, *, most: int = 4, unit: str = "cm-1", width: float = PAGE
) -> Figure:
    """The best candidates on the measured spectrum with their residuals, and all probabilities.

    Args:
        ranking: Of the candidates.
        most: How many are drawn.
        unit: Of the frequency.
        width: Inches.

    Raises:
        InputError: The unit is unknown.
    """
    n = min(most, len(ranking.order))
    with style():
        figure = new_figure(width, 0.42 * width)
        panels = figure.subplots(
            2, n + 1, height_ratios=[2.6, 1], width_ratios=[1.0] * n + [0.55], squeeze=False
        )
        grid = panels[0, n].get_gridspec()
        for ax in panels[:, n]:
            ax.remove()
        for k, (ax, below) in enumerate(panels.T[:n]):
            ax.sharey(panels[0, 0])
            below.sharey(panels[1, 0])
            label = formula_text(ranking.candidates.labels[ranking.order[k]], 16)
            chance = percent(float(ranking.probability[k]))
            look = {"title": f"{k + 1}. {label}, {chance}", "colour": PALETTE[k % len(PALETTE)]}
            draw_fit(ax, below, ranking.observed, ranking.fits.curve[k], unit=unit, **look)
            for each in (ax, below):
                each.tick_params(labelleft=k == 0)
        panels[0, 0].set_ylabel("Intensity / maximum")
        panels[1, 0].set_ylabel("Residual")
        _limit_residuals(ranking, panels[1, 0], n)
        _draw_probabilities(figure.add_subplot(grid[:, n]), ranking)
        write_notes(figure, ranking.notes)
    return figure


def refined_figure(
    found: Refined, *, unit: str = "cm-1", level: float = 0.9, width: float = PAGE
) -> Figure:
    """The spectrum before and after a refinement, and how much was learned of each parameter.

    Args:
        found: The refinement.
        unit: Of the frequency.
        level: Of the intervals.
        width: Inches.

    Raises:
        InputError: The unit is unknown, or the level is out of range.
    """
    with style():
        figure = new_figure(width, 0.5 * width)
        grid = figure.add_gridspec(2, 2, height_ratios=[2.6, 1], width_ratios=[1.4, 1])
        ax = figure.add_subplot(grid[0, 0])
        below = figure.add_subplot(grid[1, 0])
        draw_fit(ax, below, found.observed, found.fits.curve[0], unit=unit)
        top = array(found.observed.intensity).max()
        omega = array(found.observed.frequency) * frequency_factor("cm-1", unit)
        (start,) = ax.plot(omega, array(found.before.curve[0]) / top, color=GREY, dashes=(3, 1.5))
        ax.legend([ax.lines[1], start], ["refined", "at the start"])
        ax.set_ylabel("Intensity / maximum")
        below.set_ylabel("Residual")
        _draw_parameters(figure.add_subplot(grid[:, 1]), found, level)
        write_notes(figure, found.notes)
    return figure


def _draw_parameters(ax: Axes, found: Refined, level: float) -> None:
    """Each parameter with its interval, in widths of its prior, which is the grey band."""
    rows = np.arange(len(found.values))
    widths = np.array([p.width for p in found.free_parameters.parameters])
    interval = found.interval(level)
    ax.axvspan(-1, 1, color=GREY, alpha=0.2, linewidth=0)
    ax.errorbar(
        array(found.values) / widths,
        rows,
        xerr=array(interval.half) / widths,
        fmt="o",
        markersize=3.5,
        color=PALETTE[0],
        linewidth=1.2,
    )
    labels = [
        f"{plain_text(p.name)}\n{float(x) + p.offset:.3f} ± {float(e):.3f}".replace("-", "−")
        for p, x, e in zip(
            found.free_parameters.parameters, found.values, interval.half, strict=True
        )
    ]
    ax.set_yticks(rows, labels)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(f"Change / width of the prior (grey), ± {100 * level:g} %")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def design_figure(
    proposals: Sequence[Proposal],
    target: Target,
    *,
    level: float = 0.9,
    most: int = 12,
    width: float = PAGE,
) -> Figure:
    """Proposals with their uncertainty against the goal, and the spectra of the best.

    Args:
        proposals: The nearest to the goal first.
        target: What was wanted.
        level: Of the proposals' intervals.
        most: How many are drawn.
        width: Inches.
    """
    shown = proposals[:most]
    with style():
        figure = new_figure(width, 0.45 * width)
        ax, spectra = figure.subplots(1, 2, width_ratios=[1, 1.2])
        _draw_proposals(ax, shown, target, level)
        for k, p in enumerate(shown[:3]):
            omega, density = numbers(p.prediction.total.to("3"), "cm-1")
            label = formula_text(p.crystal.formula, LONGEST)
            spectra.plot(omega, density, color=PALETTE[k], label=label)
        spectra.set_xlim(
            *frequency_limits([numbers(p.prediction.total, "cm-1") for p in shown[:3]])
        )
        spectra.set_ylim(0, None)
        spectra.set_xlabel(FREQUENCY_LABELS["cm-1"])
        spectra.set_ylabel(density_label("3", "cm-1"))
        spectra.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
        unseen = sorted({e for p in shown for e in p.prediction.elements_unseen})
        if unseen:
            write_notes(figure, [f"orange: no training structure contained {', '.join(unseen)}"])
    return figure


def _draw_proposals(ax: Axes, shown: Sequence[Proposal], target: Target, level: float) -> None:
    """The value of each proposal with its uncertainty, beside the goal."""
    ax.axvline(target.goal, color=DARK, linewidth=0.8, dashes=(3, 1.5))
    for k, p in enumerate(shown):
        colour = WARNING if p.prediction.elements_unseen else PALETTE[0]
        ends = [[max(p.value - p.lower, 0.0)], [max(p.upper - p.value, 0.0)]]
        ax.errorbar(p.value, k, xerr=ends, fmt="o", markersize=3.5, color=colour)
    ax.set_yticks(range(len(shown)), [formula_text(p.crystal.formula, LONGEST) for p in shown])
    ax.invert_yaxis()
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.set_xlabel(f"{target.axis}, ± {100 * level:g} %")
    ax.tick_params(axis="y", length=0)


def percent(probability: float) -> str:
    """A probability for reading: no false 0 % or 100 %.

    Example:
        >>> percent(0.5), percent(0.0003), percent(0.9999)
        ('50 %', '< 0.1 %', '> 99.9 %')
    """
    if probability < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if probability > 0.999 else f"{100 * probability:.3g} %"


def _limit_residuals(ranking: Ranking, below: Axes, n: int) -> None:
    """One scale for the residuals of all candidates."""
    rest = array(ranking.observed.intensity - ranking.fits.curve[:n])
    limit = 1.15 * max(0.1, float(np.abs(rest).max()) / array(ranking.observed.intensity).max())
    below.set_ylim(-limit, limit)


def _draw_probabilities(ax: Axes, ranking: Ranking, most: int = 10) -> None:
    shown = array(ranking.probability)[:most]
    rows = np.arange(len(shown))
    colours = [PALETTE[k % len(PALETTE)] if k < 4 else GREY for k in rows]
    ax.barh(rows, shown, color=colours, height=0.7)
    names = [formula_text(ranking.candidates.labels[i], 14) for i in ranking.order[:most]]
    ax.set_yticks(rows, names)
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.set_xlabel("Probability")
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
