"""A study as a moving picture: truth and prediction, in real space and on the detector."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch import Tensor

from debye.core.files import atomic_write
from debye.errors import InputError
from debye.plot import GREY, new_figure, style
from debye.plot.speckle import (
    BEYOND,
    TRAINED,
    TRUE,
    draw_frame,
    draw_particles,
    draw_phases,
    frame_limits,
)

if TYPE_CHECKING:
    from debye.speckle.studies.report import Report


def draw_state(ax: Axes, report: Report, states: Tensor, i: int) -> None:
    """What moves, at the time of index ``i``, of the first unseen run."""
    name, y = report.study.name, states[0, i]
    if name == "kuramoto":
        draw_phases(ax, y)
    elif name == "swarm":
        draw_particles(ax, y, 2.6, TRUE)
    elif name == "drift":
        assert report.specimen is not None  # noqa: S101 - a drift has its cloud
        draw_particles(ax, report.specimen[0] + y, 1.5, TRUE)
        window = 0.5 * report.study.scattering().detector.L  # type: ignore[union-attr, operator]
        turn = np.linspace(0, 2 * np.pi, 100)
        ax.plot(window * np.cos(turn), window * np.sin(turn), color=GREY, lw=0.6)
        ax.plot(*y.numpy(), "+", color=BEYOND, ms=7)
    else:
        draw_particles(ax, states[0, : i + 1], 70, GREY)
        ax.plot(*y.numpy(), "o", color=BEYOND, ms=4)


def movie(report: Report, path: str | os.PathLike[str], frames: int = 60, fps: int = 12) -> Path:
    """Write a GIF: truth beside prediction, real space above speckle.

    The frame around the pictures is blue within the trained window and pink beyond it.

    Args:
        report: A study.
        path: A name that ends in ``.gif``.
        frames: Pictures at most, spread over the times judged.
        fps: Pictures a second.

    Raises:
        InputError: The name ends in something else, or the file cannot be written.
    """
    if Path(path).suffix.lower() != ".gif":
        raise InputError(
            f"cannot write the movie {path}",
            why="its name does not end in .gif",
            fix="end it in .gif",
        )
    from PIL import Image

    # A drift goes round for hundreds of time units: three turns tell the story.
    last = int((report.times <= 50).sum()) if report.study.name == "drift" else len(report.times)
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
    specimen = None if report.specimen is None else report.specimen[:1]
    mask, t = report.data.mask, float(report.times[i])
    light = [
        report.law.frames(x[:1, i : i + 1], specimen)[0, 0] for x in (report.truth, report.found)
    ]
    limits = frame_limits(light[0], mask)
    with style():
        figure = new_figure(3.4, 3.7)
        axes = figure.subplots(2, 2)
        for k, (name, states) in enumerate((("truth", report.truth), ("prediction", report.found))):
            draw_state(axes[0, k], report, states, i)
            axes[0, k].set_title(name)
            draw_frame(axes[1, k], light[k], mask, limits)
        beyond = t > report.until
        figure.suptitle(
            f"t = {t:.4g}, {'extrapolated' if beyond else 'trained'}",
            color=BEYOND if beyond else TRAINED,
        )
        for ax in axes.flat:
            ax.spines[:].set_color(BEYOND if beyond else TRAINED)
            ax.spines[:].set_linewidth(1.5)
        stream = io.BytesIO()
        FigureCanvasAgg(figure).print_png(stream, metadata=None)
    return stream.getvalue()
