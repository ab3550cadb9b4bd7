"""How every predicted count changes with every unknown of an experiment, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from debye.speckle.data.frames import Window
from debye.speckle.fitting.experiment import Experiment
from debye.speckle.fitting.gauss_newton import from_vector, to_vector


class FrameSlopes(NamedTuple):
    """Of one time of a window, what is expected and how it changes.

    Attributes:
        rate: (run, qy, qx) expected counts λ.
        counts: (run, qy, qx) what was recorded.
        shared: (unknown, run, qy, qx) slopes of λ by what all windows share: law and instrument.
    """

    rate: Tensor
    counts: Tensor
    shared: Tensor


@torch.no_grad()
def frame_slopes(experiment: Experiment, window: Window, chunk: int = 32) -> Iterator[FrameSlopes]:
    """Slopes of the frames of a window that are compared, one time after the other.

    Args:
        experiment: Its parameters are the unknowns, in the order of `to_vector`.
        window: The frames.
        chunk: Unknowns differentiated together; smaller takes less memory.
    """
    vector = to_vector(experiment)

    def predict(v: Tensor) -> Tensor:
        return torch.func.functional_call(experiment, from_vector(experiment, v), (window,))

    rate, slopes = predict(vector), experiment.slopes(vector, window, chunk)
    counts = experiment.compared(window)
    for t in range(rate.shape[1]):
        yield FrameSlopes(*(x.double() for x in (rate[:, t], counts[:, t], slopes[:, :, t])))
