"""Fit what is not the law before the law is known: from first frames, low q first.

A beam centre or a scale of q that is off moves the speckle, and so does a particle that is not
where it was said to be. Far from the middle it is moved by more than its size, and leads nowhere;
near the middle it leads home.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from torch import Tensor, nn

from debye.speckle.data.frames import Window
from debye.speckle.fitting.experiment import Experiment
from debye.speckle.fitting.gauss_newton import GaussNewton
from debye.speckle.fitting.plan import low_q

PARTS = (0.4, 0.7, 1.0)
"""Fractions of the largest |q| up to which pixels count in turn."""


@contextmanager
def held(module: nn.Module) -> Iterator[None]:
    """Keep the parameters of a module as they are meanwhile."""
    free = [p for p in module.parameters() if p.requires_grad]
    for p in free:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in free:
            p.requires_grad_(True)


def settle(
    experiment: Experiment,
    windows: Sequence[Window],
    mask: Tensor,
    minimiser: Callable[[Tensor], GaussNewton[Window]],
) -> None:
    """Fit all that is free but the law to the first frames of windows, in place.

    Args:
        experiment: Holds what is fitted.
        windows: Only those count whose first frame was recorded.
        mask: (qy, qx) open pixels.
        minimiser: Makes the steps that compare some of them.

    Raises:
        ComputationError: The frames tell nothing of it.
    """
    first = [replace(w, times=w.times[:1], frames=w.frames[:, :1]) for w in windows if w.first]
    if not first:
        return
    with held(experiment.system):
        for part in PARTS:
            for _ in minimiser(low_q(mask, part)).run(first, 20):
                pass
