"""Figures of correlation: g2 against delay, two-time maps."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from debye.plot import PAGE, PALETTE, new_figure, style

if TYPE_CHECKING:
    from debye.speckle.data.correlate import Correlated


def xpcs_figure(found: Correlated, maps: int = 3) -> Figure:
    """g2 − 1 of every ring with error bars, and the two-time maps of the first rings.

    The colours of a map leave out its diagonal, where counts correlate with themselves.
    """
    shown = min(maps, len(found.maps))
    c, extent = found.correlation, found.maps.shape[-1] * found.interval
    names = [f"|Q| {a:.3g} to {b:.3g}" for a, b in itertools.pairwise(found.edges.tolist())]
    with style():
        figure = new_figure(PAGE, 2.2)
        axes = figure.subplots(1, shown + 1, width_ratios=[1.3] + [1.0] * shown)
        delay = (c.delay * found.interval).numpy()
        for k, (value, error) in enumerate(zip(c.g2.numpy(), c.error.numpy(), strict=True)):
            color = PALETTE[k % len(PALETTE)]
            axes[0].errorbar(delay, value - 1, error, fmt="o-", ms=2, lw=0.8, color=color)
            axes[0].annotate(
                names[k], (0.03, 0.04 + 0.08 * k), xycoords="axes fraction", color=color
            )
        axes[0].set(xscale="log", xlabel="delay τ", ylabel="g2(τ) − 1")
        for k in range(shown):
            values = found.maps[k].numpy()
            apart = values[~np.eye(len(values), dtype=bool)]
            low, high = np.percentile(apart, (1, 99))
            image = axes[k + 1].imshow(
                values,
                origin="lower",
                cmap="viridis",
                extent=(0, extent, 0, extent),
                vmin=low,
                vmax=high,
            )
            axes[k + 1].set(xlabel="t₁", title=f"c(t₁, t₂), {names[k]}")
            figure.colorbar(image, ax=axes[k + 1], location="bottom", shrink=0.9)
        axes[1].set_ylabel("t₂")
    return figure
