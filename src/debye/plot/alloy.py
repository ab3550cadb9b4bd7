"""Draw the spectra of an alloy series as a waterfall."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from debye.crystals.dos.spectrum import Spectrum
from debye.errors import InputError
from debye.plot import COLUMN, DARK, new_figure, style
from debye.plot.dos import Array, alike, array, frequency_limits, numbers, tint
from debye.plot.text import FREQUENCY_LABELS, UNIT_NAMES, formula_text


def draw_waterfall(
    ax: Axes,
    spectra: Spectrum,
    fractions: Tensor | ArrayLike,
    label: str = "Fraction x",
    *,
    unit: str = "cm-1",
    reference: Spectrum | None = None,
    reference_at: float | None = None,
    reference_name: str = "reference",
    overlap: float = 2.2,
) -> None:
    """Draw the spectra of an alloy series, each standing on its own fraction.

    The vertical axis is the fraction; a bar gives the scale of the densities, which is per atom
    and the same for all.

    Args:
        ax: Where to draw.
        spectra: (K, F).
        fractions: x of each, (K,).
        label: What x is, ready for matplotlib.
        unit: Of the frequency.
        reference: A spectrum to compare with, (F',).
        reference_at: Its fraction.
        reference_name: What to call it.
        overlap: Height of the highest peak in steps of the fraction.

    Raises:
        InputError: There is not one fraction per spectrum, or a reference without its fraction.

    Example:
        >>> series = Spectrum([0, 100, 200], [[0, 0.03, 0], [0, 0.03, 0]])
        >>> ax = new_figure().subplots()
        >>> draw_waterfall(ax, series, [0.0, 1.0], "Bi fraction x")
        >>> ax.get_ylabel(), ax.get_yticks().tolist()
        ('Bi fraction x', [0.0, 1.0])
    """
    x = array(fractions)
    _check_series(spectra, x, reference, reference_at)
    omega, density = numbers(spectra.to("3"), unit)
    steps = np.diff(np.unique(x))
    step = float(np.median(steps)) if steps.size else 1.0
    scale = overlap * step / density.max()
    curves = [(omega, density)]
    for k in np.argsort(-x):  # from the back to the front
        _ridge(ax, omega, x[k], scale * density[k], _along(x, x[k]))
    top = float((x[:, None] + scale * density).max())
    if reference is not None and reference_at is not None:
        curves.append(numbers(alike(reference, spectra[0].to("3")), unit))
        height = reference_at + scale * curves[1][1]
        (line,) = ax.plot(curves[1][0], height, color=DARK, linewidth=0.9, zorder=3)
        line.set(dashes=(3, 1.2), label=reference_name)
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1.0), borderaxespad=0.1, borderpad=0)
        top = max(top, float(height.max()))
    ax.set_xlim(*frequency_limits(curves))
    ax.set_ylim(x.min() - 0.15 * step, top + 0.15 * step)
    ax.set_yticks(np.sort(x)[:: max(1, len(x) // 11)])
    ax.set_xlabel(FREQUENCY_LABELS[unit])
    ax.set_ylabel(label)
    _scale_bar(ax, scale, step, unit)


def waterfall_figure(
    spectra: Spectrum,
    fractions: Tensor | ArrayLike,
    label: str = "Fraction x",
    *,
    title: str = "",
    unit: str = "cm-1",
    reference: Spectrum | None = None,
    reference_at: float | None = None,
    reference_name: str = "reference",
    width: float = COLUMN,
) -> Figure:
    """An alloy's waterfall at a column's width; arguments as of `draw_waterfall`.

    Raises:
        InputError: As of `draw_waterfall`.

    Example:
        >>> series = Spectrum([0, 100, 200], [[0, 0.03, 0], [0, 0.03, 0]])
        >>> figure = waterfall_figure(series, [0.0, 1.0], title="Mg3Bi2")
    """
    with style():
        figure = new_figure(width, 1.25 * width)
        ax = figure.subplots()
        draw_waterfall(
            ax,
            spectra,
            fractions,
            label,
            unit=unit,
            reference=reference,
            reference_at=reference_at,
            reference_name=reference_name,
        )
        ax.set_title(" ".join(map(formula_text, title.split())), loc="left")
    return figure


def _check_series(
    spectra: Spectrum, x: Array, reference: Spectrum | None, at: float | None
) -> None:
    what = "cannot draw the waterfall"
    if tuple(spectra.shape) != x.shape or not x.size:
        why = f"spectra of shape {tuple(spectra.shape)} and fractions of shape {x.shape}"
        raise InputError(what, why=why, fix="give one fraction per spectrum")
    if reference is not None and at is None:
        why = "its reference has no fraction"
        raise InputError(what, why=why, fix="give reference_at")


def _along(x: Array, value: float) -> tuple[float, ...]:
    """Colour of a fraction: perceptually uniform, short of the yellow that white swallows."""
    fraction = (value - x.min()) / (np.ptp(x) or 1.0)
    return matplotlib.colormaps["viridis"](0.88 * fraction)[:3]


def _ridge(
    ax: Axes,
    omega: Array,
    base: float,
    height: Array,
    colour: tuple[float, ...],
) -> None:
    """One spectrum on its base line, hiding what stands behind it."""
    ax.fill_between(
        omega, base, base + height, facecolor=tint(colour, 0.4), edgecolor="none", zorder=2
    )
    ax.plot(omega, base + height, color=colour, linewidth=0.9, zorder=2)


def _scale_bar(ax: Axes, scale: float, step: float, unit: str) -> None:
    """A bar above the curves that tells the density a height stands for."""
    raw = step / scale
    digit = 10 ** np.floor(np.log10(raw))
    size = max(n * digit for n in (1, 2, 5) if n * digit <= raw)
    low, high = ax.get_ylim()
    top = high + 1.1 * size * scale
    ax.set_ylim(low, top)
    across = ax.get_yaxis_transform()
    ax.plot([0.97, 0.97], [top - size * scale, top], transform=across, color=DARK, clip_on=False)
    text = f"{size:g} states / {UNIT_NAMES[unit]} / atom"
    ax.text(0.95, top - size * scale / 2, text, transform=across, ha="right", va="center")
