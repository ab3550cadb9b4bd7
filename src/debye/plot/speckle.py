"""Draw motion and its frames: the panels of studies, their movie, correlations."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, MaxNLocator
from torch import Tensor

from debye.core.files import atomic_write
from debye.errors import InputError
from debye.plot import DARK, GREY, PAGE, PALETTE, WARNING, new_figure, style
from debye.speckle.panels import Arrows, Curve, Curves, Image, Panel, Points, Role, Strip
from debye.speckle.studies.page import decades, titled
from debye.speckle.studies.study import Report

TRAINED, BEYOND = PALETTE[0], PALETTE[3]
"""Colours of the trained window and of what lies beyond it."""
COLOURS: dict[Role, str] = {
    "true": DARK,
    "fitted": PALETTE[4],
    "trained": TRAINED,
    "beyond": BEYOND,
    "other": GREY,
}
MAPS = {
    "intensity": "viridis",
    "difference": "magma",
    "phase": "twilight",
    "signed": "RdBu_r",
    "grey": "gray",
}
"""Perceptually uniform maps: of intensities and of their differences, of angles, of signs."""
MARKS: dict[str, dict[str, Any]] = {
    "-": {},
    "=": {"linewidth": 2.2, "alpha": 0.5},
    "--": {"linestyle": "--"},
    "step": {"drawstyle": "steps-mid"},
    "o-": {"marker": "o", "markersize": 2.5},
    ".": {"linestyle": "", "marker": ".", "markersize": 2},
    "o": {"linestyle": "", "marker": "o", "markersize": 3.4, "mfc": "none", "mew": 0.5},
    "+": {"linestyle": "", "marker": "+", "markersize": 3.5, "mew": 0.5},
}
FADED = 0.08
"""Opacity of an arrow where nothing was ever seen."""


def array(x: Tensor) -> np.ndarray:
    """A tensor as matplotlib wants it."""
    return x.detach().cpu().numpy()


@singledispatch
def draw_panel(panel: Panel, ax: Axes) -> ScalarMappable | None:
    """Draw a panel; what has colours to explain comes back."""
    raise NotImplementedError(type(panel).__name__)


@draw_panel.register
def _(panel: Curves, ax: Axes) -> None:
    draw_spans(ax, panel)
    for k, curve in enumerate(panel.curves):
        draw_curve(ax, curve, COLOURS.get(curve.role, PALETTE[k % len(PALETTE)]), log=panel.log)
    for x in panel.marks:
        ax.axvline(x, color=GREY, lw=0.8, ls=":")
    ax.set(xlabel=panel.x, ylabel=panel.y, title=panel.title)
    if panel.limits:
        ax.set_ylim(panel.limits)
    if panel.equal:
        ax.set_aspect("equal")
    if panel.log and any(bool((c.y > 0).any()) for c in panel.curves):
        ax.set_yscale("log")
        ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        ax.yaxis.set_minor_formatter(LogFormatterSciNotation(minor_thresholds=(2, 2)))
    if not any(
        curve.y.is_floating_point() and curve.x.is_floating_point() for curve in panel.curves
    ):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if panel.legend != "none" and any(curve.label for curve in panel.curves):
        beside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
        ax.legend(**(beside if panel.legend == "beside" else {}))


def draw_spans(ax: Axes, panel: Curves) -> None:
    """Shade what was trained on, hatch what was not reached, and name both above the axes."""
    if panel.trained:
        ax.axvspan(*panel.trained, color=TRAINED, alpha=0.12, lw=0)
        ax.set_title("trained", color=TRAINED, loc="left")
        if any(curve.role == "beyond" and len(curve.x) for curve in panel.curves):
            ax.set_title("extrapolated", color=BEYOND, loc="right")
        ends = [float(curve.x.max()) for curve in panel.curves if len(curve.x)]
        last = max([panel.trained[1], *ends, *(panel.lost or ())])
        if last > panel.trained[0]:
            ax.set_xlim(panel.trained[0], last)
    if panel.lost:
        ax.axvspan(*panel.lost, facecolor="none", edgecolor=GREY, hatch="////", lw=0)
        ax.set_title("not reached", color=GREY, loc="right")


def draw_curve(ax: Axes, curve: Curve, color: str, *, log: bool = False) -> None:
    """One curve with its band of two standard errors; on a log scale only what is above 0."""
    x, y = array(curve.x), array(curve.y)
    if log:
        y = np.where(y > 0, y, np.nan)
    if curve.error is not None:
        error = 2 * array(curve.error)
        ax.fill_between(x, y - error, y + error, color=color, alpha=0.25, lw=0)
    look = {"linewidth": 1.0, **MARKS[curve.mark]}
    ax.plot(x, y, color=color, label=curve.label or None, **look)


@draw_panel.register
def _(panel: Image, ax: Axes) -> ScalarMappable:
    values, norm = array(panel.values), norm_of(panel)
    if panel.scale == "phase":
        values = np.mod(values, 2 * np.pi)
    shown = np.clip(values, norm.vmin, norm.vmax)
    if panel.mask is not None:
        shown = np.ma.array(shown, mask=~array(panel.mask))
    bare(ax)
    ax.set(title=panel.title, ylabel=panel.label)
    cmap = MAPS[panel.scale]
    return ax.imshow(shown, cmap=cmap, norm=norm, origin="lower", interpolation="nearest")


def norm_of(panel: Image) -> Normalize:
    """How the values of an image become colours."""
    values = panel.values if panel.mask is None else panel.values[panel.mask]
    low, high = panel.limits or (float(values.min()), float(values.max()))
    if panel.scale == "phase":
        return Normalize(0, 2 * np.pi)
    if panel.scale in ("intensity", "difference"):
        return LogNorm(low, high if high > low else 10 * low)
    return Normalize(low, high)


def bare(ax: Axes) -> None:
    """A panel without ticks, framed all around."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(True)


@draw_panel.register
def _(panel: Points, ax: Axes) -> None:
    x, y = array(panel.points).T[:2]
    ax.scatter(x, y, s=1.2, c=DARK, linewidths=0)
    for curve in panel.curves:
        draw_curve(ax, curve, COLOURS[curve.role])
    ax.set(xlim=(-panel.half, panel.half), ylim=(-panel.half, panel.half), aspect="equal")
    ticks = MaxNLocator(4, symmetric=True, steps=[1, 2, 5, 10]).tick_values(-panel.half, panel.half)
    inside = [t for t in ticks if abs(t) < panel.half]
    ax.set(xticks=inside, yticks=inside, title=panel.title)
    ax.set(xlabel=f"x ({panel.unit})" if panel.unit else "", ylabel=panel.label)
    ax.spines[:].set_visible(True)


@draw_panel.register
def _(panel: Arrows, ax: Axes) -> ScalarMappable:
    speed = array(panel.velocity.norm(dim=-1))
    fastest = panel.fastest or float(speed.max()) or 1.0
    colours = ScalarMappable(Normalize(0, fastest), MAPS["intensity"])
    colours.set_array(speed)
    shades = colours.to_rgba(speed.ravel())
    shades[:, 3] = FADED + (1 - FADED) * array(panel.known).ravel()
    u, v = array(panel.velocity).transpose(2, 0, 1)
    scale = len(panel.x) * fastest  # the fastest is as long as two arrows are apart, nearly
    ax.quiver(array(panel.x), array(panel.y), u, v, color=shades, scale=scale, width=0.006)
    for curve in panel.curves:
        draw_curve(ax, curve, COLOURS[curve.role])
    ax.set(title=panel.title, xlabel="x", ylabel="y", aspect="equal")
    return colours


def draw_strip(figure: SubFigure, strip: Strip) -> None:
    """Draw the panels of a strip, with a colour bar for those that ask for one."""
    columns = max(len(row) for row in strip.rows)
    widths = strip.widths or [1.0] * columns
    axes = figure.subplots(len(strip.rows), columns, squeeze=False, width_ratios=widths)
    for row, line in zip(strip.rows, axes, strict=True):
        without: list[Axes] = []
        for panel, ax in zip(row, line, strict=True):
            colours = draw_panel(panel, ax)
            if isinstance(panel, Points) and columns > 1:
                ax.label_outer()
            bar = panel.bar if isinstance(panel, Image | Arrows) else ""
            without.append(ax)
            if colours is not None and bar:
                figure.colorbar(colours, ax=without, label=bar, shrink=0.8, pad=0.01)
                without = []
    if strip.title:
        figure.suptitle(strip.title)


def study_figure(report: Report) -> Figure:
    """The page that a study describes, one strip below the other.

    Raises:
        InputError: What the study's own page refuses.
    """
    strips = report.study.page(report)
    heights = [strip.height for strip in strips]
    with style():
        figure = new_figure(PAGE, sum(heights) + 0.3)
        parts = figure.subfigures(len(strips), 1, height_ratios=heights)
        for part, strip in zip(np.asarray(parts).flat, strips, strict=True):
            draw_strip(part, strip)
        figure.suptitle(titled(report), fontweight="bold")
        if report.stopped:
            figure.supxlabel(report.stopped, color=WARNING, fontsize="medium")
    return figure


def movie(report: Report, path: str | os.PathLike[str], frames: int = 60, fps: int = 12) -> Path:
    """Write a GIF: truth beside prediction, real space above speckle.

    The frame around the pictures is blue within the trained window and pink beyond it.

    Args:
        report: A study.
        path: A name that ends in ``.gif``.
        frames: Pictures at most, spread over the times followed.
        fps: Pictures a second.

    Raises:
        InputError: The name ends in something else, or the file cannot be written.
        ComputationError: The disk is full.
    """
    if Path(path).suffix.lower() != ".gif":
        raise InputError(
            f"cannot write the movie {path}",
            why="its name does not end in .gif",
            fix="end it in .gif",
        )
    from PIL import Image

    last = int((report.times <= report.study.movie_until).sum())
    shown = torch.linspace(0, last - 1, min(frames, last)).round().long().tolist()
    images = [
        Image.open(io.BytesIO(picture(report, i))).convert("P", palette=Image.Palette.ADAPTIVE)
        for i in shown
    ]
    stream = io.BytesIO()
    images[0].save(
        stream, "GIF", save_all=True, append_images=images[1:], duration=1000 // fps, loop=0
    )
    return atomic_write(path, stream.getvalue())


def picture(report: Report, i: int) -> bytes:
    """One picture of the movie, as PNG."""
    true = report.counts(report.true, i)
    limits, t = decades(true, report.data.mask), float(report.times[i])
    beyond = t > report.until
    color = BEYOND if beyond else TRAINED
    with style():
        figure = new_figure(3.4, 3.7)
        axes = figure.subplots(2, 2)
        for column, (name, states) in zip(axes.T, sides(report), strict=True):
            frame = report.counts(states, i)
            draw_panel(replace(report.study.scene(report, states, i), title=name), column[0])
            draw_panel(Image(frame, "intensity", mask=report.data.mask, limits=limits), column[1])
        for ax in axes.flat:
            ax.spines[:].set(color=color, linewidth=1.5)
        figure.suptitle(f"t = {t:.4g}, {'extrapolated' if beyond else 'trained'}", color=color)
        stream = io.BytesIO()
        FigureCanvasAgg(figure).print_png(stream, metadata=None)
    return stream.getvalue()


def sides(report: Report) -> tuple[tuple[str, Tensor], tuple[str, Tensor]]:
    """What stands beside each other: name and states (run, time, …)."""
    return (("truth", report.true), ("prediction", report.predicted))
