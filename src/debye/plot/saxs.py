"""Figures of the mean frame of XPCS: SAXS in 2-D with the q-map over it, in 1-D with its bins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.patches import Ellipse
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, MaxNLocator, NullFormatter

from debye.plot import DARK, PALETTE
from debye.speckle.xpcs.correlation import Correlation
from debye.speckle.xpcs.qmap import QMap

SHOWN = 1024
"""Pixels a side of an image beyond which it is averaged: a page shows no more."""
EDGE = "white"


def q_colours(q: np.ndarray) -> ScalarMappable:
    """The colours of bins by q, without the pale end of the map, which is hard to see on paper."""
    low, high = float(q.min()), float(q.max())
    norm = Normalize(low, high if high > low else low + abs(low) * 1e-6 + 1e-12)
    return ScalarMappable(norm, ListedColormap(colormaps["viridis"](np.linspace(0, 0.9, 256))))


def colour_at(colours: ScalarMappable, value: float) -> tuple[float, ...]:
    """The colour (red, green, blue, opacity) of a value."""
    return tuple(colours.to_rgba(np.array([value]))[0])


def colour_bar(ax: Axes, colours: ScalarMappable, label: str) -> None:
    """A bar as high as the picture beside it, whatever its aspect."""
    ax.figure.colorbar(colours, cax=ax.inset_axes((1.04, 0.0, 0.05, 1.0)), label=label)


def short_log(axis: Axis) -> None:
    """Ticks of a short logarithmic axis at 1, 2 and 5, so that their labels do not run together."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(LogFormatterSciNotation(minor_thresholds=(np.inf, np.inf)))
    axis.set_minor_formatter(NullFormatter())


def coarse(values: np.ndarray, most: int = SHOWN) -> np.ndarray:
    """An image averaged over square blocks until it is small enough; NaN where all of a block is.

    Example:
        >>> coarse(np.array([[1.0, 3.0, np.nan], [5.0, np.nan, np.nan]]), most=2).tolist()
        [[3.0, nan]]
    """
    step = -(-max(values.shape) // most)
    if step == 1:
        return values
    tall, wide = (-(-n // step) * step for n in values.shape)
    whole = np.full((tall, wide), np.nan, dtype=values.dtype)
    whole[: values.shape[0], : values.shape[1]] = values
    blocks = whole.reshape(tall // step, step, wide // step, step)
    known = np.isfinite(blocks)
    count = known.sum((1, 3))
    total = np.where(known, blocks, 0).sum((1, 3))
    return np.asarray(np.divide(total, count, np.full(count.shape, np.nan), where=count > 0))


def draw_saxs(ax: Axes, found: Correlation) -> None:
    """Mean intensity of each pixel on logarithmic colours, with the q-map over it.

    Masked pixels are grey, edges of the bins white, the beam's centre is a cross.

    Args:
        ax: Where.
        found: Whose mean frame.
    """
    qmap = found.qmap
    tall, wide = qmap.shape
    mean = np.where(qmap.mask.numpy(), found.saxs_2d.numpy(), np.nan)
    seen = coarse(np.where(mean > 0, mean, np.nan))
    lit = seen[np.isfinite(seen)]
    low, high = np.percentile(lit, (1, 99.9)) if len(lit) else (0.1, 1.0)
    ax.set_facecolor("0.75")
    step = -(-max(tall, wide) // SHOWN)
    box = (-0.5, seen.shape[1] * step - 0.5, -0.5, seen.shape[0] * step - 0.5)
    image = ax.imshow(
        np.ma.masked_invalid(seen),
        origin="lower",
        extent=box,
        norm=LogNorm(low, max(high, low * 1.01)),
        cmap="magma",
        interpolation="nearest",
    )
    _draw_edges(ax, qmap)
    geometry = qmap.geometry
    ax.plot(geometry.x, geometry.y, "+", ms=6, mew=0.8, color=PALETTE[5])
    ax.set(
        xlim=(-0.5, wide - 0.5), ylim=(-0.5, tall - 0.5), xlabel="x / pixels", ylabel="y / pixels"
    )
    ax.spines[:].set_visible(True)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4, integer=True))
    unit = "photons" if found.counts else "intensity"
    colour_bar(ax, image, f"mean {unit} / pixel / frame")


def _draw_edges(ax: Axes, qmap: QMap) -> None:
    """Rings at the edges in q, and lines at those in azimuth where there are several bins."""
    geometry = qmap.geometry
    tall, wide = geometry.sides
    reach = int(np.hypot(*qmap.shape)) + int(np.hypot(geometry.x, geometry.y)) + 2
    line = replace(geometry, x=0.0, y=0.0).modulus((1, reach))[0].numpy()
    radius = np.interp(qmap.q_edges.numpy(), line, np.arange(reach))
    for r in radius[radius > 0]:
        size = (2 * r, 2 * r * wide / tall)
        ring = Ellipse((geometry.x, geometry.y), *size, fill=False, ec=EDGE, lw=0.5, clip_on=True)
        ax.add_patch(ring)
    if len(qmap.phi_edges) <= 2 and np.ptp(qmap.phi_edges.numpy()) >= 360 - 1e-9:
        return
    for phi in np.radians(qmap.phi_edges.numpy()):
        ends = radius[[0, -1]]
        x, y = geometry.x + ends * np.cos(phi), geometry.y + ends * np.sin(phi) * wide / tall
        ax.plot(x, y, color=EDGE, lw=0.5)


def draw_saxs_1d(ax: Axes, found: Correlation) -> None:
    """Mean intensity of the static shells against q, the rings shaded in the colours of their q.

    Args:
        ax: Where.
        found: Whose mean frame.
    """
    static, colours = found.qmap.static, q_colours(found.qmap.q.numpy())
    ring = (static.index // len(static.phi)).numpy()
    pixels = static.counts.numpy().astype(float)
    total = np.bincount(ring, found.saxs_1d.numpy() * pixels)
    count = np.bincount(ring, pixels)
    there = np.flatnonzero(count)
    edges, dynamic = found.qmap.q_edges.numpy(), found.qmap.dynamic
    for i in np.unique((dynamic.index // len(dynamic.phi)).numpy()):
        shade = colour_at(colours, float(dynamic.q[i]))
        ax.axvspan(edges[i], edges[i + 1], color=shade, alpha=0.35, lw=0)
    ax.plot(static.q.numpy()[there], total[there] / count[there], "o-", ms=1.5, lw=0.8, color=DARK)
    ax.set(xlabel=f"q / {found.qmap.unit}", ylabel="mean intensity / pixel")
    seen = (total / count.clip(1))[there]
    if seen.min() > 0 and seen.max() > 5 * seen.min():
        ax.set_yscale("log")
    if edges[0] > 0 and np.ptp(np.diff(np.log(edges))) < 1e-6:  # rings of equal ratio
        ax.set_xscale("log")
        short_log(ax.xaxis)
    ax.set_xlim(edges[0], edges[-1])
