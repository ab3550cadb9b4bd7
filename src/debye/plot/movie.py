"""A study as a moving picture: truth and prediction, in real space and on the detector."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch import Tensor

from debye.core.files import atomic_write
from debye.errors import InputError
from debye.plot import new_figure, style
from debye.plot.speckle import BEYOND, TRAINED, draw_panel
from debye.speckle.panels import Image
from debye.speckle.studies.page import decades
from debye.speckle.studies.study import Report


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
