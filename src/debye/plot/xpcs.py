"""Figures of correlation: g2 against delay, two-time maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from debye.plot import PAGE, PALETTE, new_figure, style

if TYPE_CHECKING:
    from debye.speckle.data.correlate import Correlated


def xpcs_figure(found: Correlated, maps: int = 3) -> Figure:
    """g2 − 1 of every ring with error bars, and the two-time maps of the first rings."""
    shown = min(maps, len(found.maps))
    c, extent = found.correlation, found.maps.shape[-1] * found.interval
    with style():
        figure = new_figure(PAGE, 2.3)
        axes = figure.subplots(1, shown + 1)
        delay = (c.delay * found.interval).numpy()
        for k, (value, error) in enumerate(zip(c.g2.numpy(), c.error.numpy(), strict=True)):
            label = f"{float(found.edges[k]):.3g} to {float(found.edges[k + 1]):.3g}"
            axes[0].errorbar(
                delay,
                value - 1,
                error,
                fmt="o-",
                ms=2.5,
                color=PALETTE[k % len(PALETTE)],
                label=label,
            )
        axes[0].set(xscale="log", xlabel="delay τ", ylabel="g2(τ) − 1", title="by |Q|")
        axes[0].legend()
        for k in range(shown):
            image = axes[k + 1].imshow(
                found.maps[k].numpy(), origin="lower", cmap="viridis", extent=(0, extent, 0, extent)
            )
            low, high = float(found.edges[k]), float(found.edges[k + 1])
            axes[k + 1].set(xlabel="t₁", title=f"c(t₁, t₂), |Q| {low:.3g} to {high:.3g}")
            figure.colorbar(image, ax=axes[k + 1], shrink=0.75)
        axes[1].set_ylabel("t₂")
    return figure
