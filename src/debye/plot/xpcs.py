"""Figures of photon correlation: g2 with errors, relaxation times by q, two-time maps."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from debye.errors import InputError
from debye.plot import DARK, PAGE, PALETTE, new_figure, style
from debye.speckle.xpcs.correlation import Correlation
from debye.speckle.xpcs.diffusion import power_law
from debye.speckle.xpcs.fit import Fit
from debye.speckle.xpcs.twotime import TwoTime

MOST = 9
"""Bins that are told apart by a legend; more by a colour bar."""


def g2_figure(found: Correlation, unit: str = "s") -> Figure:
    """g2 − 1 of each bin against delay, with error bars; bins are coloured by q.

    Args:
        found: What to draw.
        unit: Of its delays.
    """
    with style():
        figure = new_figure(0.6 * PAGE)
        ax = figure.subplots()
        draw_correlation(ax, found, unit)
    return figure


def draw_correlation(ax: Axes, found: Correlation, unit: str = "s") -> None:
    """The same on given axes."""
    qmap = found.qmap
    q, phi = qmap.q.numpy(), qmap.dynamic.phi_of.numpy()
    norm = Normalize(float(q.min()), float(max(q.max(), q.min() * (1 + 1e-9))))
    # Without its pale end, which is hard to see on paper.
    colours = ListedColormap(colormaps["viridis"](np.linspace(0, 0.9, 256)))
    parted = len(np.unique(phi)) > 1
    for k, (g2, error) in enumerate(zip(found.g2.numpy(), found.error.numpy(), strict=True)):
        label = f"{q[k]:.3g}" + (f", {phi[k]:.0f}°" if parted else "")
        ax.errorbar(
            found.time.numpy(),
            g2 - 1,
            error,
            fmt="o-",
            ms=2,
            lw=0.8,
            elinewidth=0.6,
            color=colours(norm(q[k])),
            label=label if len(qmap) <= MOST else None,
        )
    ax.axhline(0, color="0.7", lw=0.5, zorder=0)
    ax.set(xscale="log", xlabel=f"delay τ / {unit}", ylabel="g2(τ) − 1")
    if len(qmap) <= MOST:
        ax.legend(
            title=f"q / {qmap.unit}",
            title_fontsize="small",
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
        )
        return
    bar = ax.figure.colorbar(ScalarMappable(norm, colours), ax=ax)
    bar.set_label(f"q / {qmap.unit}")


def draw_relaxation(ax: Axes, found: Fit) -> None:
    """Relaxation time against q on logarithmic axes, with its errors and the power law of it.

    Raises:
        InputError: The model has no τ.
    """
    q, tau = found.q.numpy(), found.tau.numpy()
    error = found.error[:, found.names.index("tau")].numpy()
    ax.errorbar(q, tau, error, fmt="o", ms=3, lw=0.8, color=PALETTE[0])
    if len(np.unique(q)) > 1:
        law = power_law(found)
        fine = np.geomspace(q.min(), q.max(), 50)
        label = f"q$^{{-n}}$, n = {law.power:.2f} ± {law.power_error:.2f}"
        ax.plot(fine, law.tau * (fine / law.q) ** -law.power, lw=0.8, color=DARK, label=label)
        ax.legend()
    ax.set(xscale="log", yscale="log", xlabel=f"q / {found.unit}", ylabel="τ / s")


def draw_map(ax: Axes, found: TwoTime, number: int = 0) -> None:
    """A two-time map in seconds, square; its colours leave out the diagonal.

    Raises:
        InputError: There is no map of that number.
    """
    if not 0 <= number < len(found.maps):
        raise InputError(
            f"there is no two-time map {number}", why=f"there are {len(found.maps)}", fix="from 0"
        )
    values = found.maps[number].numpy()
    low, high = np.nanpercentile(values[~np.eye(len(values), dtype=bool)], (1, 99))
    extent = found.frame_time * len(values)
    ax.imshow(values, origin="lower", extent=(0.0, extent, 0.0, extent), vmin=low, vmax=high)
    q = float(found.correlation.qmap.q[number])
    ax.set(xlabel="t₁ / s", ylabel="t₂ / s", aspect="equal")
    ax.set_title(f"q = {q:.3g} {found.correlation.qmap.unit}")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4))
