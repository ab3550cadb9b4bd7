"""Figures of photon correlation: g2 with errors, relaxation times by q, two-time maps."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from debye.errors import InputError
from debye.plot import DARK, PALETTE
from debye.speckle.xpcs.correlation import Correlation
from debye.speckle.xpcs.diffusion import power_law
from debye.speckle.xpcs.fit import Fit
from debye.speckle.xpcs.twotime import TwoTime


def draw_correlation(ax: Axes, found: Correlation, bins: int = 6) -> None:
    """G2 − 1 against delay with its errors, of at most so many bins between the first and last."""
    every = np.unique(np.linspace(0, len(found.qmap) - 1, bins).round().astype(int))
    time, g2, error = found.time.numpy(), found.g2.numpy(), found.error.numpy()
    for k, n in enumerate(every):
        label = f"{float(found.qmap.q[n]):.3g}"
        color = PALETTE[k % len(PALETTE)]
        ax.errorbar(time, g2[n] - 1, error[n], fmt="o", ms=2, lw=0.8, color=color, label=label)
    ax.axhline(0, lw=0.6, color=DARK)
    ax.set(xscale="log", xlabel="delay τ / s", ylabel="g2(τ) − 1")
    ax.legend(title=f"q, {found.qmap.unit}", title_fontsize="small")


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
