"""Draw correlations: g2 against delay, two-time maps."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from debye.plot import PAGE, PALETTE, new_figure, style
from debye.speckle.data.correlate import Correlated


def draw_g2(ax: Axes, found: Correlated) -> None:
    """G2 − 1 of every region against delay, with error bars."""
    c, delay = found.correlation, found.delay.numpy()
    for k, (value, error) in enumerate(zip(c.g2.numpy(), c.error.numpy(), strict=True)):
        color, name = PALETTE[k % len(PALETTE)], span(found, k)
        ax.errorbar(delay, value - 1, error, fmt="o-", ms=2, lw=0.8, color=color, label=name)
    ax.set(xscale="log", xlabel="delay τ", ylabel="g2(τ) − 1")
    ax.legend(title=f"|Q|, {found.qmap.unit}", title_fontsize="small")


def span(found: Correlated, k: int) -> str:
    """The borders of a region."""
    low, high = found.qmap.spans[k]
    return f"{low:.3g} to {high:.3g}"


def draw_two_time(ax: Axes, c: Tensor, extent: float) -> ScalarMappable:
    """A two-time map (time, time); its colours leave out the diagonal, which shot noise is on."""
    values = c.numpy()
    apart = values[~np.eye(len(values), dtype=bool)]
    low, high = np.percentile(apart, (1, 99))
    box = (0.0, extent, 0.0, extent)
    ax.set(xlabel="t₁", ylabel="t₂")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(3))
    return ax.imshow(values, origin="lower", extent=box, vmin=low, vmax=high)


def xpcs_figure(found: Correlated, maps: int = 3) -> Figure:
    """g2 − 1 of every region, and the two-time maps of the first ones."""
    shown = min(maps, len(found.two_time))
    with style():
        figure = new_figure(PAGE, 2.2)
        first, *rest = figure.subplots(1, shown + 1, width_ratios=[1.4] + [1.0] * shown)
        draw_g2(first, found)
        for k, ax in enumerate(rest):
            image = draw_two_time(ax, found.two_time[k], found.interval * found.contrast.shape[1])
            ax.set_title(f"c(t₁, t₂), |Q| {span(found, k)}")
            if k:
                ax.set_ylabel("")
                ax.tick_params(labelleft=False)
            bar = figure.colorbar(image, ax=ax, location="bottom", shrink=0.9)
            bar.locator = MaxNLocator(3)
    return figure
