"""How every predicted count changes with every unknown of an experiment, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import NamedTuple

import torch
from torch import Tensor

from debye.speckle.data.frames import Window
from debye.speckle.fitting.carried import start_slopes
from debye.speckle.fitting.experiment import Experiment
from debye.speckle.fitting.gauss_newton import to_vector


class FrameSlopes(NamedTuple):
    """Of one time of a window, what is expected and how it changes.

    Attributes:
        rate: (run, qy, qx) expected counts λ.
        counts: (run, qy, qx) what was recorded.
        shared: (unknown, run, qy, qx) slopes of λ by what all windows share: law and instrument.
        own: (n, run, qy, qx) slopes of λ by the n numbers of each run's first state, if fitted.
    """

    rate: Tensor
    counts: Tensor
    shared: Tensor
    own: Tensor | None = None


@torch.no_grad()
def frame_slopes(experiment: Experiment, window: Window, chunk: int = 32) -> Iterator[FrameSlopes]:
    """Slopes of the frames of a window that are compared, one time after the other.

    Args:
        experiment: Its parameters are the unknowns, in the order of `to_vector`.
        window: The frames.
        chunk: Unknowns differentiated together; smaller takes less memory.

    Raises:
        ComputationError: The system does not last through the window.
    """
    rate, counts = experiment(window), experiment.compared(window)
    slopes = experiment.slopes(to_vector(experiment), window, chunk)
    starts = start_slopes(experiment, window) if experiment.fits_start(window) else repeat(None)
    for t, own in zip(range(rate.shape[1]), starts, strict=False):
        yield FrameSlopes(rate[:, t].double(), counts[:, t].double(), slopes[:, :, t].double(), own)
