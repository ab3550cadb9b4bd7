"""Figures of photon correlation: g2 with errors and fits, relaxation times, two-time, stability."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from debye.errors import InputError
from debye.plot import DARK, GREY, PAGE, PALETTE, new_figure, style
from debye.plot.saxs import (
    coarse,
    colour_at,
    colour_bar,
    draw_saxs,
    draw_saxs_1d,
    q_colours,
    short_log,
)
from debye.speckle.xpcs.correlation import Correlation
from debye.speckle.xpcs.diffusion import power_law
from debye.speckle.xpcs.fit import Fit
from debye.speckle.xpcs.models import MODELS
from debye.speckle.xpcs.twotime import TwoTime

MOST = 9
"""Bins that are told apart by a legend; more by a colour bar."""
SHORT = 2.0
"""Decades of a logarithmic axis below which more than the powers of ten are told."""
SHOWN_TIMES = 1000
"""Points of a series in time beyond which neighbours are averaged."""
G2 = "$g_2$(τ) − 1"
POINTS: dict[str, Any] = {"ms": 2.2, "lw": 0.6, "elinewidth": 0.6}


def correlation_figure(found: Correlation, unit: str = "s", fitted: Fit | None = None) -> Figure:
    """A page: g2 of each bin, the mean frame with the q-map over it, SAXS, and what may drift.

    Args:
        found: What to draw.
        unit: Of its delays.
        fitted: Whose curves are drawn over g2.

    Raises:
        InputError: The fit is of a model that is not debye's.
    """
    with style():
        figure = new_figure(PAGE, 0.7 * PAGE)
        (first, second), (third, fourth) = (
            part.subplots(1, 2, width_ratios=[1.3, 1])
            for part in np.asarray(figure.subfigures(2, 1)).flat
        )
        draw_correlation(first, found, unit, fitted)
        draw_saxs(second, found)
        if found.slices:
            draw_stability(third, found, unit)
        else:
            draw_intensity(third, found, unit)
        draw_saxs_1d(fourth, found)
    return figure


def fit_figure(fitted: Fit, found: Correlation | None = None, unit: str = "s") -> Figure:
    """g2 with the curves that were fitted, and relaxation times against q.

    Args:
        fitted: The fits.
        found: To what; relaxation times alone without it.
        unit: Of delays.

    Raises:
        InputError: The fit is of a model that is not debye's, or has no τ.
    """
    with style():
        if found is None:
            figure = new_figure()
            draw_relaxation(figure.subplots(), fitted, unit)
            return figure
        figure = new_figure(PAGE, 0.36 * PAGE)
        first, second = figure.subplots(1, 2, width_ratios=[1.35, 1])
        draw_correlation(first, found, unit, fitted)
        draw_relaxation(second, fitted, unit)
    return figure


def two_time_figure(found: TwoTime, most: int = 3, unit: str = "s") -> Figure:
    """Two-time maps side by side.

    Args:
        found: The maps.
        most: How many are drawn, from the first.
        unit: Of times.

    Raises:
        InputError: There is none.
    """
    shown = max(1, min(most, len(found.maps)))
    with style():
        figure = new_figure(PAGE * max(shown, 1.5) / 3, 2.5)
        for number, ax in enumerate(figure.subplots(1, shown, squeeze=False)[0]):
            draw_map(ax, found, number, unit)
    return figure


def draw_correlation(
    ax: Axes, found: Correlation, unit: str = "s", fitted: Fit | None = None
) -> None:
    """g2 − 1 of each bin against delay, with error bars; bins are coloured by q.

    Args:
        ax: Where.
        found: What.
        unit: Of its delays.
        fitted: Whose curves are drawn over the points.

    Raises:
        InputError: The fit is of a model that is not debye's.
    """
    qmap = found.qmap
    colours = q_colours(qmap.q.numpy())
    time, error = found.time.numpy(), found.error.numpy()
    for k, g2 in enumerate(found.g2.numpy()):
        ax.errorbar(
            time,
            g2 - 1,
            error[k],
            fmt="o" if fitted is not None else "o-",
            color=colour_at(colours, float(qmap.q[k])),
            label=_name(found, k) if len(qmap) <= MOST else None,
            **POINTS,
        )
    if fitted is not None:
        _draw_curves(ax, found, fitted, colours)
    ax.axhline(0, color="0.7", lw=0.5, zorder=0)
    ax.set(xscale="log", xlabel=f"delay τ / {unit}", ylabel=G2)
    _limit(ax, found.g2.numpy() - 1, error)
    _tell_q(ax, colours, len(qmap), qmap.unit)


def _name(found: Correlation, k: int) -> str:
    """What a legend calls a bin."""
    parted = len(found.qmap.dynamic.phi) > 1
    at = f", {float(found.qmap.dynamic.phi_of[k]):.0f}°" if parted else ""
    return f"{float(found.qmap.q[k]):.3g}{at}"


def _tell_q(ax: Axes, colours: ScalarMappable, bins: int, unit: str) -> None:
    """Say which colour is which q."""
    if bins <= MOST:
        beside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
        ax.legend(title=f"q / {unit}", title_fontsize="small", handletextpad=0.3, **beside)
    else:
        ax.figure.colorbar(colours, ax=ax, label=f"q / {unit}")


def _limit(ax: Axes, values: np.ndarray, error: np.ndarray) -> None:
    """Show what is known: points whose errors are larger than all there is to see set no limits."""
    known = np.isfinite(values) & np.isfinite(error)
    if not known.any():
        return
    span = np.percentile(values[known], 99) - min(0.0, np.percentile(values[known], 1))
    clear = known & (error <= max(0.5 * span, np.percentile(error[known], 50)))
    low, high = (values - error)[clear].min(), (values + error)[clear].max()
    edge = 0.05 * (high - min(low, 0.0)) or 0.05
    ax.set_ylim(min(low, 0.0) - edge, max(high, 0.0) + edge)


def _draw_curves(ax: Axes, found: Correlation, fitted: Fit, colours: ScalarMappable) -> None:
    """The model of each bin over its points."""
    if fitted.model not in MODELS:
        raise InputError(
            f"cannot draw the fit of {fitted.model!r}",
            why="debye has no model of that name",
            fix=f"draw it yourself, or fit one of {', '.join(MODELS)}",
        )
    fine = np.geomspace(float(found.time[0]), float(found.time[-1]), 300)
    for q, values in zip(fitted.q.tolist(), fitted.values.numpy(), strict=True):
        curve = MODELS[fitted.model].value(fine, *values) - 1
        ax.plot(fine, curve, lw=0.9, color=colour_at(colours, q), zorder=3)


def draw_relaxation(ax: Axes, found: Fit, unit: str = "s") -> None:
    """Relaxation time against q on logarithmic axes, with its errors and the power law of it.

    The band is one standard error of the law.

    Args:
        ax: Where.
        found: A fit.
        unit: Of τ.

    Raises:
        InputError: The model has no τ.
    """
    q, tau = found.q.numpy(), found.tau.numpy()
    error = found.error[:, found.names.index("tau")].numpy()
    # A bar that reached 0 would have no end on these axes.
    bars = np.stack([np.minimum(error, 0.9 * tau), error])
    ax.errorbar(q, tau, bars, fmt="o", ms=3, lw=0.8, capsize=1.5, color=PALETTE[0], zorder=3)
    if len(np.unique(q)) > 1:
        law = power_law(found)
        fine = np.geomspace(q.min(), q.max(), 50)
        line, spread = (x.numpy() for x in law.at(torch.from_numpy(fine)))
        spread = np.exp(spread)
        label = f"τ ∝ $q^{{-n}}$, n = {law.power:.2f} ± {law.power_error:.2f}"
        ax.fill_between(fine, line / spread, line * spread, color=GREY, alpha=0.3, lw=0)
        ax.plot(fine, line, lw=0.8, color=DARK, label=label)
        ax.legend()
    ax.set(xscale="log", yscale="log", xlabel=f"q / {found.unit}", ylabel=f"τ / {unit}")
    for axis in (ax.xaxis, ax.yaxis):
        if np.ptp(np.log10(axis.get_view_interval())) < SHORT:
            short_log(axis)


def draw_map(ax: Axes, found: TwoTime, number: int = 0, unit: str = "s") -> None:
    """A two-time map in seconds, square; its colours leave out the diagonal.

    Args:
        ax: Where.
        found: The maps.
        number: Which, from 0.
        unit: Of times.

    Raises:
        InputError: There is no map of that number.
    """
    if not 0 <= number < len(found.maps):
        raise InputError(
            f"there is no two-time map {number}", why=f"there are {len(found.maps)}", fix="from 0"
        )
    rows = found.maps.shape[1]
    values = coarse(found.maps[number].numpy())
    apart = values[~np.eye(len(values), dtype=bool)]
    low, high = np.nanpercentile(apart, (1, 99)) if np.isfinite(apart).any() else (0, 1)
    extent = found.frame_time * rows
    image = ax.imshow(
        values,
        origin="lower",
        extent=(0.0, extent, 0.0, extent),
        vmin=low,
        vmax=high,
        interpolation="nearest",
    )
    q = float(found.correlation.qmap.q[number])
    ax.set(xlabel=f"t₁ / {unit}", ylabel=f"t₂ / {unit}", aspect="equal")
    ax.set_title(f"q = {q:.3g} {found.correlation.qmap.unit}")
    ax.spines[:].set_visible(True)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4))
    colour_bar(ax, image, "c(t₁, t₂)")


def draw_intensity(ax: Axes, found: Correlation, unit: str = "s") -> None:
    """Mean intensity in the bins against time, over its mean: 1 where the beam is steady.

    Args:
        ax: Where.
        found: Of which frames.
        unit: Of time.
    """
    time = (found.numbers - found.numbers[0]).numpy() * found.frame_time
    values = found.intensity.numpy() / float(found.intensity.mean())
    size = -(-len(time) // SHOWN_TIMES)
    if size > 1:
        even = len(time) // size * size
        time, values = (x[:even].reshape(-1, size).mean(1) for x in (time, values))
    ax.plot(time, values, lw=0.6, color=PALETTE[0])
    ax.axhline(1, color="0.7", lw=0.5, zorder=0)
    ax.set(xlabel=f"time / {unit}", ylabel="intensity / its mean", xlim=(0, max(time[-1], 1e-12)))


def draw_stability(
    ax: Axes, found: Correlation, unit: str = "s", number: int | None = None
) -> None:
    """g2 − 1 of one bin in each slice of time, coloured by time, and of all frames in black.

    Args:
        ax: Where.
        found: A correlation that has slices.
        unit: Of delays.
        number: Of the bin, from 0; the middle one by default.

    Raises:
        InputError: There are no slices, or no such bin.
    """
    number = len(found.qmap) // 2 if number is None else number
    if not found.slices or not 0 <= number < len(found.qmap):
        raise InputError(
            f"cannot draw bin {number} by slices of time",
            why=f"there are {len(found.slices)} slices of {len(found.qmap)} bins",
            fix="correlate with slice_frames, and count bins from 0",
        )
    begin = np.array([int(part.numbers[0]) for part in found.slices]) * found.frame_time
    parts = bool((np.diff(begin) > 0).all())  # else they are runs, each with a time of its own
    order = begin - begin[0] if parts else np.arange(1.0, len(begin) + 1)
    norm = Normalize(order[0], max(order[-1], order[0] + 1e-12))
    colours = ScalarMappable(norm, ListedColormap(colormaps["plasma"](np.linspace(0, 0.9, 256))))
    values, errors = [], []
    for place, part in zip(order, found.slices, strict=True):
        g2, error = part.g2[number].numpy() - 1, part.error[number].numpy()
        ax.errorbar(
            part.time.numpy(), g2, error, fmt="o-", color=colour_at(colours, place), **POINTS
        )
        values.append(g2)
        errors.append(error)
    ax.plot(found.time.numpy(), found.g2[number].numpy() - 1, lw=0.9, color=DARK, label="all")
    ax.set(xscale="log", xlabel=f"delay τ / {unit}", ylabel=G2)
    ax.set_title(f"q = {float(found.qmap.q[number]):.3g} {found.qmap.unit}")
    _limit(ax, np.concatenate(values), np.concatenate(errors))
    ax.legend()
    ax.figure.colorbar(colours, ax=ax, label=f"begin of the slice / {unit}" if parts else "run")
