"""Fit an instrument to first frames, whose states are known: before any law, low q first.

A beam centre or a scale of q that is off moves the speckle. Far from the middle it is moved by
more than its size, and leads nowhere; near the middle it leads home.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from debye.speckle.data.frames import Window
from debye.speckle.fitting.experiment import Experiment
from debye.speckle.fitting.gauss_newton import GaussNewton
from debye.speckle.fitting.instrument import Instrument
from debye.speckle.scattering.noise import Likelihood

PARTS = (0.2, 0.35, 1.0)
"""Distances from the middle, in sides of the detector, up to which pixels count in turn."""


class Still(nn.Module):
    """First frames, whose states are known, seen by an instrument that is not."""

    def __init__(self, experiment: Experiment, instrument: Instrument) -> None:
        super().__init__()
        self.instrument = instrument
        self.known = [experiment]  # in a list, so that its law is not fitted

    def forward(self, window: Window) -> Tensor:
        """Expected counts (run, 1, qy, qx) of the first frames."""
        made = self.known[0]
        start = made.start(window)[:, None]
        return self.instrument.counts(made.scattering, start, window.specimen, made.gain)


def settle(
    experiment: Experiment,
    windows: Sequence[Window],
    mask: Tensor,
    likelihood: Likelihood,
    mean_count: float,
    parts: Sequence[float] = PARTS,
) -> None:
    """Fit what is free of an experiment's instrument to the first frames of windows.

    Args:
        experiment: Its instrument is fitted in place.
        windows: Those whose first frame was recorded.
        mask: (qy, qx) open pixels.
        likelihood: How counts are compared.
        mean_count: Of an open pixel.
        parts: How far from the middle pixels count, in turn.

    Raises:
        ComputationError: The frames tell nothing of the instrument.
    """
    instrument = experiment.instrument
    if not windows or instrument is None:
        return
    rows, columns = mask.shape
    y, x = (torch.arange(n, device=mask.device) - n // 2 for n in (rows, columns))
    rho = torch.hypot(y[:, None].double(), x.double()) / max(rows, columns)
    for part in parts:
        fit: GaussNewton[Window] = GaussNewton(
            Still(experiment, instrument),
            lambda w: w.frames[:, :1],
            mask & (rho <= part),
            likelihood,
            prior=instrument.prior(mean_count),
            resolution=0.05,
        )
        for _ in fit.run(windows, 20):
            pass
