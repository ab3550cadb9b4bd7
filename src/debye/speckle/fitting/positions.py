"""Fits to positions and of positions: a first guess of a flow, and a position for every frame."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import jvp

from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import System
from debye.speckle.fitting.gauss_newton import GaussNewton, check_size, quiet_torch
from debye.speckle.fitting.prior import ridge
from debye.speckle.scattering.models import Scattering
from debye.speckle.scattering.noise import SQUARES, Likelihood


class Path(NamedTuple):
    """Recorded positions, and where they start."""

    start: Tensor  # [start, xy]
    times: Tensor  # [time]
    recorded: Tensor  # [time, start, xy] after the first time


class Paths(nn.Module):
    """Where a system leads from many starts at once, in one time each."""

    def __init__(self, system: System, solver: Solver) -> None:
        super().__init__()
        self.system, self.solver = system, solver

    def forward(self, path: Path) -> Tensor:
        """Positions (time, start, 2) after the first."""
        return self.solver.solve(self.system.vector_field(), path.start, path.times).states[1:]


def fit_positions(system: System, positions: Tensor, times: Tensor, solver: Solver) -> None:
    """Fit a system to recorded positions: from each one to the next, then along the whole path.

    A first guess, good enough for the frames to do the rest.

    Args:
        system: Its coefficients are set.
        positions: (time, 2) as recorded, the first one exact.
        times: (time,) evenly spaced.
        solver: How to integrate.

    Raises:
        InputError: The system has no parameters, or too many.
        ComputationError: It blows up on the way.

    Example:
        >>> from debye.speckle.dynamics.learnable import Flow
        >>> from debye.speckle.dynamics.systems import Drift
        >>> t = torch.arange(6.0).double()
        >>> system = Drift(Flow(degree=1))
        >>> fit_positions(system, torch.stack([0.1 * t, 0 * t], -1), t, Solver())
        >>> system(0.0, torch.zeros(2).double()).detach().round(decimals=3).abs()
        tensor([0.1000, 0.0000], dtype=torch.float64)
    """
    short = Path(positions[:-1], times[:2], positions[None, 1:])
    whole = Path(positions[:1], times, positions[1:, None])
    model = Paths(system, solver)
    weak = ridge(1e-6, check_size(model))
    for path in (short, whole):
        fit: GaussNewton[Path] = GaussNewton(
            model, lambda path: path.recorded, torch.ones(1), SQUARES, prior=weak
        )
        for _ in fit.run([path], 30):
            pass


@torch.no_grad()
def free_positions(
    scattering: Scattering,
    frames: Tensor,
    guess: Tensor,
    gain: float,
    likelihood: Likelihood,
    mask: Tensor,
    iterations: int = 12,
) -> Tensor:
    """The position that fits each frame best, frame by frame: the baseline to beat.

    Args:
        scattering: Positions (time, 2) to intensity.
        frames: (time, qy, qx) counts.
        guess: (time, 2) where to start.
        gain: Counts per unit of intensity.
        likelihood: How counts are compared.
        mask: (qy, qx) open pixels.
        iterations: Damped Gauss–Newton steps, each of at most one pixel.

    Returns:
        (time, 2).
    """
    x, damping = guess.clone(), torch.full((len(guess),), 1e-2, dtype=guess.dtype)
    loss = per_frame(likelihood, gain * scattering(x), frames, mask)
    for _ in range(iterations):
        rate = gain * scattering(x)
        axes = [e.expand_as(x) for e in torch.eye(2).to(x)]
        with quiet_torch():
            slopes = [gain * jvp(scattering, (x,), (e,))[1] for e in axes]
        w = likelihood.weight(rate, frames) * mask
        J = torch.stack([(s * w).flatten(1) for s in slopes], dim=-1)  # [time, pixel, xy]
        r = (likelihood.residual(rate, frames) * mask).flatten(1)
        H, g = J.mT @ J, (J.mT @ r[..., None])[..., 0]
        ridge = torch.diag_embed(H.diagonal(dim1=-2, dim2=-1)) * damping[:, None, None]
        step = torch.linalg.solve(H + ridge, -g)
        step = step / step.norm(dim=-1, keepdim=True).clamp(min=1)
        new = per_frame(likelihood, gain * scattering(x + step), frames, mask)
        better = new < loss
        x = torch.where(better[:, None], x + step, x)
        loss = torch.where(better, new, loss)
        damping = torch.where(better, damping / 5, damping * 5)
    return x


def per_frame(likelihood: Likelihood, rate: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
    """(time,) loss of each frame."""
    return (likelihood.loss(rate, frames) * mask).flatten(1).sum(1)
