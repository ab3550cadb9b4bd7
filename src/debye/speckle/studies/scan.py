"""The ptychographic study: planar motion from diffraction, against fitting every position.

Object and probe are known, as in the published proof of concept; the stage reports positions with
an error. From them the law takes its first guess, and the free fit its starting points. The law
then sees only the first half of the scan.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import jvp

from debye.core.training import Step
from debye.speckle.data.frames import Frames
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import System
from debye.speckle.fitting.fit import Fitting, Plan, prepare
from debye.speckle.fitting.gauss_newton import GaussNewton
from debye.speckle.scattering.models import Scattering
from debye.speckle.scattering.noise import SQUARES, Likelihood
from debye.speckle.studies.cases import Study
from debye.speckle.studies.making import make_frames

JITTER = 1.0
"""Standard deviation of the recorded positions along each axis, pixels."""


def conduct_scan(
    study: Study, plan: Plan, photons: float, seed: int, watch: Callable[[Step], None]
) -> tuple[Frames, Fitting, list[Step], dict[str, float], dict[str, Any]]:
    """Simulate a scan, learn its motion from the first half, and fit all positions freely."""
    assert study.model is not None  # noqa: S101 - the caller saw to it
    began = time.perf_counter()
    whole = make_frames(study, runs=1, photons=photons, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    assert whole.states is not None and whole.scattering is not None  # noqa: S101, PT018
    recorded = (
        whole.states[0] + JITTER * torch.randn(whole.states[0].shape, generator=generator).double()
    )
    recorded[0] = whole.states[0, 0]  # the start of the scan is known, as in the published study
    half = study.train_frames or len(whole.times)
    data = replace(
        whole, data=whole.data[:, :half], times=whole.times[:half], states=whole.states[:, :half]
    )
    simulated = time.perf_counter()
    learning = prepare(study.model(), data, plan, solver=study.solver)
    first_guess(learning.experiment.system, recorded[:half], data.times, study.solver)
    steps = []
    for step in learning.run():
        watch(step)
        steps.append(step)
    learned = time.perf_counter()
    free = free_positions(
        whole.scattering,
        whole.data[0].float(),
        recorded.float(),
        learning.experiment.gain,
        learning.judge,
        whole.mask,
    )
    seconds = {
        "simulate": simulated - began,
        "learn": learned - simulated,
        "free fit": time.perf_counter() - learned,
    }
    return data, learning, steps, seconds, {"free": free, "recorded": recorded, "whole": whole}


class Path(NamedTuple):
    """Recorded positions, and where they start."""

    start: Tensor  # [start, xy]
    times: Tensor  # [time]
    recorded: Tensor  # [time, start, xy] after the first time


class Paths(nn.Module):
    """Where a law leads from many starts at once, in one time each."""

    def __init__(self, system: System, solver: Solver) -> None:
        super().__init__()
        self.system, self.solver = system, solver

    def forward(self, path: Path) -> Tensor:
        """Positions (time, start, 2) after the first."""
        return self.solver.solve(self.system.vector_field(), path.start, path.times).states[1:]


def first_guess(system: System, positions: Tensor, times: Tensor, solver: Solver) -> None:
    """Fit a law to recorded positions: from each one to the next, then along the whole path.

    Args:
        system: Its coefficients are set.
        positions: (time, 2) as recorded, the first one exact.
        times: (time,) evenly spaced.
        solver: How to integrate.
    """
    short = Path(positions[:-1], times[:2], positions[None, 1:])
    whole = Path(positions[:1], times, positions[1:, None])
    for path in (short, whole):
        fit: GaussNewton[Path] = GaussNewton(
            Paths(system, solver), lambda path: path.recorded, torch.ones(1), SQUARES, ridge=1e-6
        )
        for _ in fit.run([path], 30):
            pass


@torch.no_grad()
def free_positions(
    scattering: Scattering,
    frames: Tensor,
    guess: Tensor,
    gain: float,
    judge: Likelihood,
    mask: Tensor,
    iterations: int = 12,
) -> Tensor:
    """The position that fits each frame best, frame by frame: the baseline to beat.

    Args:
        scattering: Positions (time, 2) to intensity.
        frames: (time, qy, qx) counts.
        guess: (time, 2) where to start.
        gain: Counts per unit of intensity.
        judge: How counts are compared.
        mask: (qy, qx) open pixels.
        iterations: Damped Gauss–Newton steps, each of at most one pixel.

    Returns:
        (time, 2).
    """
    x, damping = guess.clone(), torch.full((len(guess),), 1e-2, dtype=guess.dtype)
    loss = per_frame(judge, gain * scattering(x), frames, mask)
    for _ in range(iterations):
        rate = gain * scattering(x)
        slopes = [gain * jvp(scattering, (x,), (e.expand_as(x),))[1] for e in torch.eye(2).to(x)]
        w = judge.weight(rate, frames) * mask
        J = torch.stack([(s * w).flatten(1) for s in slopes], dim=-1)  # [time, pixel, xy]
        r = (judge.residual(rate, frames) * mask).flatten(1)
        H, g = J.mT @ J, (J.mT @ r[..., None])[..., 0]
        eye = torch.diag_embed(H.diagonal(dim1=-2, dim2=-1)) * damping[:, None, None]
        step = torch.linalg.solve(H + eye, -g)
        step = step / step.norm(dim=-1, keepdim=True).clamp(min=1)
        new = per_frame(judge, gain * scattering(x + step), frames, mask)
        better = new < loss
        x = torch.where(better[:, None], x + step, x)
        loss = torch.where(better, new, loss)
        damping = torch.where(better, damping / 5, damping * 5)
    return x


def per_frame(judge: Likelihood, rate: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
    """(time,) loss of each frame."""
    return (judge.loss(rate, frames) * mask).flatten(1).sum(1)
