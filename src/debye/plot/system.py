"""Draw a fitted system's coefficients, and the first of many frames."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from numpy.typing import NDArray

from debye.plot import GREY, PALETTE
from debye.plot.dos import array
from debye.speckle.data.frames import Frames
from debye.speckle.fitting.fitted import FittedSystem

Coefficients = tuple[list[str], NDArray[np.float64], NDArray[np.float64] | None]


def coefficients(fitted: FittedSystem) -> Coefficients:
    """Names, values (P,) and standard errors (P,) of what was fitted; None if they are not known.

    The names are those of the parameters, numbered where one holds several.
    """
    names, values = list[str](), list[torch.Tensor]()
    for name, parameter in fitted.system.named_parameters():
        last = name.rsplit(".", 1)[-1]
        count = parameter.numel()
        names += [last] if count == 1 else [f"{last} {k + 1}" for k in range(count)]
        values.append(parameter.detach().flatten())
    found = array(torch.cat(values)) if values else np.zeros(0)
    if fitted.covariance is None:
        return names, found, None
    return names, found, np.sqrt(np.clip(array(fitted.covariance.diagonal()), 0, None))


def draw_coefficients(ax: Axes, fitted: FittedSystem) -> None:
    """Draw the coefficients of a fitted term in order, with their standard errors."""
    names, values, errors = coefficients(fitted)
    places = np.arange(len(values))
    ax.axhline(0.0, color=GREY, linewidth=0.6)
    ax.errorbar(places, values, errors, fmt="o", markersize=3.5, color=PALETTE[0], linewidth=1.0)
    if len(names) <= 12:
        ax.set_xticks(places, names, rotation=45, ha="right")
    else:
        ax.set_xlabel("Coefficient")
    ax.set_ylabel(f"{type(fitted.system.term).__name__}, value ± standard error")


def draw_first_frame(ax: Axes, frames: Frames, run: int = 0, index: int = 0) -> None:
    """Draw a frame on a logarithmic scale; masked pixels stay white.

    Args:
        ax: Where to draw.
        frames: Of which one is drawn.
        run: Which run.
        index: Which of its frames.
    """
    frame = np.ma.array(array(frames.data[run, index]), mask=~frames.mask.numpy(force=True))
    top = float(frame.max()) or 1.0
    seen = frame.compressed()
    low = max(1e-4 * top, float(seen[seen > 0].min(initial=top)))
    norm = LogNorm(min(low, 0.5 * top), top)
    shown = np.ma.clip(frame, norm.vmin, None)
    image = ax.imshow(shown, cmap="viridis", norm=norm, origin="lower", interpolation="nearest")
    ax.figure.colorbar(image, ax=ax, label="Counts" if frames.photons else "Intensity")
    ax.set(xlabel="q$_x$ (pixels)", ylabel="q$_y$ (pixels)")
    ax.set_title(f"t = {float(frames.times[index]):g}", loc="left")
