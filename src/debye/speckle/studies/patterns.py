"""Two patterns that form by reaction and diffusion: simulated and seen, with nothing to fit."""

from __future__ import annotations

import torch
from torch import Tensor

from debye.speckle.dynamics.known import GrayScott, Turing
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import ReactionDiffusion
from debye.speckle.scattering.models import Lattice
from debye.speckle.scattering.optics import Detector, GaussianProbe
from debye.speckle.studies.study import Case


def scattering() -> Lattice:
    """The second chemical on 100 × 100 points scatters."""
    return Lattice(
        Detector(42, 0.5, 2.0, 0.06), GaussianProbe(0.25, 2.0), points=100, form="second"
    )


def gray_scott() -> ReactionDiffusion:
    """The published rates."""
    return ReactionDiffusion(GrayScott(), diffusion=(1e-5, 5e-6))


def turing() -> ReactionDiffusion:
    """The published rates, behind walls."""
    return ReactionDiffusion(Turing(), diffusion=(2e-5, 1e-3), periodic=False)


def gray_scott_blobs(runs: int, generator: torch.Generator) -> tuple[Tensor, None]:
    """A fed lattice of 100 × 100 with square drops of the second chemical."""
    state = torch.stack([torch.ones(runs, 100, 100), torch.zeros(runs, 100, 100)], dim=1)
    for run in range(runs):
        for y, x in torch.randint(0, 90, (12, 2), generator=generator).tolist():
            state[run, 0, y : y + 10, x : x + 10] = 0.5
            state[run, 1, y : y + 10, x : x + 10] = 0.25
    return state, None


def turing_noise(runs: int, generator: torch.Generator) -> tuple[Tensor, None]:
    """A lattice of 100 × 100 near the uniform state, with noise."""
    noise = torch.rand(runs, 2, 100, 100, generator=generator)
    return 0.5 + 0.1 * noise, None


GRAY_SCOTT = Case(
    name="gray-scott",
    title="Gray–Scott reaction and diffusion",
    known=gray_scott,
    scattering=scattering,
    starts=gray_scott_blobs,
    runs=4,
    times=(0.0, 1000.0, 20.0),
    solver=Solver("rk4", step=2.0),
    careful=Solver("rk4", step=1.0),
)

TURING = Case(
    name="turing",
    title="Turing pattern",
    known=turing,
    scattering=scattering,
    starts=turing_noise,
    runs=4,
    times=(0.0, 60.0, 2.0),
    solver=Solver("tsit5", rtol=1e-5, atol=1e-6),
    careful=Solver("tsit5", rtol=1e-7, atol=1e-8),
)
