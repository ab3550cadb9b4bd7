"""The published case studies, as data: parameters, not code.

Andrejevic et al., npj Comput. Mater. 10, 225 (2024). Where this study differs on purpose (what
fills the term, how it is learned, that unseen initial states are truly unseen) the plan says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.dynamics.known import (
    GrayScott,
    LotkaVolterra,
    MexicanHat,
    Spiral,
    SwarmForce,
    Turing,
)
from debye.speckle.dynamics.learnable import Flow, Kernel, RadialSpline, RoundFlow
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import Drift, Kuramoto, ReactionDiffusion, Swarm, System
from debye.speckle.fitting.fit import Plan, Stage
from debye.speckle.scattering.models import Cloud, Lattice, RigidCloud, Scattering
from debye.speckle.scattering.optics import Detector, GaussianProbe
from debye.speckle.scattering.ptychography import Scan, fermat_spiral

Starts = Callable[[int, torch.Generator], tuple[Tensor, Tensor | None]]
"""Number of runs and a generator → initial states (run, …), and the specimen if there is one."""


@dataclass(frozen=True)
class Study:
    """One case: a law, how it is seen, and how it is to be learned.

    Attributes:
        name: What it is called on the command line.
        title: What it is about.
        truth: Makes the law that generates the frames.
        model: Makes the same law with something learnable in its term; None if there is no study.
        scattering: Makes the scattering model.
        starts: Draws initial states.
        runs: Initial states of the published data set.
        times: (first, last, step) of the frames.
        solver: How to integrate, for data and law alike unless ``careful`` is asked for.
        careful: How the truth is integrated where it is the yardstick.
        plan: How to learn.
        quick: A shortened plan, for a demonstration.
        unseen: Initial states it is judged on, drawn from another seed.
        horizon: How far it extrapolates.
        since: Time of the initial states, before the first frame or at it.
        train_frames: How many of the frames the law may see; None for all.
    """

    name: str
    title: str
    truth: Callable[[], System]
    scattering: Callable[[], Scattering]
    starts: Starts
    runs: int
    times: tuple[float, float, float]
    solver: Solver
    careful: Solver
    model: Callable[[], System] | None = None
    plan: Plan | None = None
    quick: Plan | None = None
    unseen: int = 5
    horizon: float = 0.0
    since: float = 0.0
    train_frames: int | None = None
    about: dict[str, str] = field(default_factory=dict)

    def grid(self, until: float | None = None) -> Tensor:
        """(time,) the times of the frames, to ``until`` if that is later or earlier; float64."""
        first, last, step = self.times
        count = round(((last if until is None else until) - first) / step) + 1
        return first + step * torch.arange(count, dtype=torch.float64)


def disc_of_particles(runs: int, generator: torch.Generator) -> tuple[Tensor, None]:
    """500 particles spread evenly over a disc of radius L/2 = 2.5."""
    r = 2.5 * torch.rand(runs, 500, generator=generator).sqrt()
    phi = 2 * math.pi * torch.rand(runs, 500, generator=generator)
    return torch.stack([r * phi.cos(), r * phi.sin()], dim=-1), None


def random_phases(runs: int, generator: torch.Generator) -> tuple[Tensor, None]:
    """Independent phases on an 80 × 80 lattice."""
    return 2 * math.pi * torch.rand(runs, 80, 80, generator=generator), None


def random_clouds(runs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Clouds of 400 spheres in the box; the state is their centre, the specimen the rest."""
    points = 2 * torch.rand(runs, 400, 2, generator=generator) - 1
    centre = points.mean(dim=1)
    return centre.double(), points - centre[:, None]


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


def grain_object(side: int, seed: int) -> Tensor:
    """A complex object of random grains: smooth noise turned into amplitude and phase."""
    generator = torch.Generator().manual_seed(seed)
    k = torch.fft.fftfreq(side, dtype=torch.float64)
    falloff = torch.exp(-((k[:, None] ** 2 + k[None, :] ** 2) / (2 * 0.03**2)))
    noise = torch.randn(2, side, side, generator=generator, dtype=torch.float64)
    grains = torch.fft.ifft2(torch.fft.fft2(noise) * falloff).real
    grains = grains / grains.std(dim=(1, 2), keepdim=True)
    return torch.polar(torch.sigmoid(1 + grains[0]), 0.8 * grains[1]).to(torch.complex64)


def two_modes(side: int) -> Tensor:
    """A zone plate's probe: an annular pupil out of focus, in two incoherent modes.

    The second mode is the first times a gradient across it and holds a tenth of the light.
    """
    k = torch.arange(side, dtype=torch.float64) - side // 2
    ky, kx = torch.meshgrid(k, k, indexing="ij")
    radius = torch.hypot(kx, ky) * 128 / side
    ring = torch.sigmoid(radius - 12) * torch.sigmoid(30 - radius)
    pupil = torch.polar(ring, torch.pi * 0.009 * radius**2)
    main = torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(pupil)))
    tilted = main * kx
    tilted = tilted * (0.1 * main.abs().square().sum() / tilted.abs().square().sum()).sqrt()
    modes = torch.stack([main, tilted])
    return (modes / modes.abs().square().sum().sqrt() * side).to(torch.complex64)


def spiral_start(runs: int, generator: torch.Generator) -> tuple[Tensor, None]:
    """The first point of a Fermat spiral; there is one scan only."""
    return fermat_spiral(1, *SPIRAL).expand(runs, 2).clone(), None


SPIRAL = (4.6, 4.0)
"""Growth in pixels per √frame and turning in radians per √frame; published: w = 4."""

SWARM = Study(
    name="swarm",
    title="Self-organising particles",
    truth=lambda: Swarm(SwarmForce()),
    model=lambda: Swarm(RadialSpline(size=16, start=0.95)),
    scattering=lambda: Cloud(Detector(48, 0.75, 5.0, 0.05), GaussianProbe(0.25, 5.0), R=0.15),
    starts=disc_of_particles,
    runs=50,
    times=(0.0, 10.0, 0.1),
    solver=Solver("tsit5", rtol=1e-5, atol=1e-6),
    careful=Solver("tsit5", rtol=1e-6, atol=1e-7),
    plan=Plan((Stage(6, 2, 1, 5), Stage(21, 8, 1, 4))),
    quick=Plan((Stage(6, 1, 1, 5, 1),)),
    unseen=4,
    horizon=50.0,
)

KURAMOTO = Study(
    name="kuramoto",
    title="Locally coupled moments",
    truth=lambda: Kuramoto(MexicanHat()),
    model=lambda: Kuramoto(Kernel(11)),
    scattering=lambda: Lattice(Detector(42, 0.5, 2.0, 0.06), GaussianProbe(0.25, 2.0), points=80),
    starts=random_phases,
    runs=100,
    times=(5.0, 55.0, 0.5),
    solver=Solver("tsit5", rtol=1e-4, atol=1e-4),
    careful=Solver("tsit5", rtol=1e-6, atol=1e-6),
    plan=Plan((Stage(3, 1, 1, 5, 1), Stage(6, 4, 2, 3, 1))),
    quick=Plan((Stage(3, 1, 1, 5, 1),)),
    unseen=4,
    horizon=250.0,
)

DRIFT = Study(
    name="drift",
    title="Fluctuating source",
    truth=lambda: Drift(LotkaVolterra()),
    model=lambda: Drift(Flow(degree=5)),
    scattering=lambda: RigidCloud(Detector(42, 0.75, 2.0, 0.05), GaussianProbe(0.25, 2.0), R=0.07),
    starts=random_clouds,
    runs=100,
    times=(0.0, 16.0, 2.0),
    solver=Solver("tsit5", rtol=1e-6, atol=1e-7),
    careful=Solver("tsit5", rtol=1e-9, atol=1e-10),
    plan=Plan((Stage(2, 4, 8, 10, 4), Stage(9, 8, 1, 5, 4)), ridge=1e-6),
    quick=Plan((Stage(2, 3, 8, 9, 3),), ridge=1e-6),
    unseen=8,
    horizon=500.0,
)

SCAN = Study(
    name="scan",
    title="Ptychographic scan",
    truth=lambda: Drift(Spiral(*SPIRAL)),
    model=lambda: Drift(RoundFlow(powers=(-1, 0, 1), scale=20.0)),
    scattering=lambda: Scan(grain_object(256, seed=7), two_modes(128), stop=8.0),
    starts=spiral_start,
    runs=1,
    times=(1.0, 163.0, 1.0),
    solver=Solver("tsit5", rtol=1e-6, atol=1e-5, max_steps=3000),
    careful=Solver("tsit5", rtol=1e-9, atol=1e-9),
    plan=Plan(tuple(Stage(n, 1, 1, 8, 1) for n in (4, 8, 16, 32, 81))),
    quick=Plan(tuple(Stage(n, 1, 1, 6, 1) for n in (4, 12, 40))),
    unseen=1,
    horizon=163.0,
    since=1.0,
    train_frames=81,
)

GRAY_SCOTT = Study(
    name="gray-scott",
    title="Gray–Scott reaction and diffusion",
    truth=lambda: ReactionDiffusion(GrayScott(), diffusion=(1e-5, 5e-6)),
    scattering=lambda: Lattice(
        Detector(42, 0.5, 2.0, 0.06), GaussianProbe(0.25, 2.0), points=100, form="second"
    ),
    starts=gray_scott_blobs,
    runs=4,
    times=(0.0, 1000.0, 20.0),
    solver=Solver("rk4", step=2.0),
    careful=Solver("rk4", step=1.0),
)

TURING = Study(
    name="turing",
    title="Turing pattern",
    truth=lambda: ReactionDiffusion(Turing(), diffusion=(2e-5, 1e-3), periodic=False),
    scattering=lambda: Lattice(
        Detector(42, 0.5, 2.0, 0.06), GaussianProbe(0.25, 2.0), points=100, form="second"
    ),
    starts=turing_noise,
    runs=4,
    times=(0.0, 60.0, 2.0),
    solver=Solver("tsit5", rtol=1e-5, atol=1e-6),
    careful=Solver("tsit5", rtol=1e-7, atol=1e-8),
)

STUDIES = {s.name: s for s in (SWARM, KURAMOTO, DRIFT, SCAN, GRAY_SCOTT, TURING)}
"""Every case by its name."""


def study(name: str) -> Study:
    """The case of that name.

    Raises:
        InputError: There is none.

    Example:
        >>> study("drift").runs
        100
    """
    if name not in STUDIES:
        raise InputError(
            f"unknown system {name!r}",
            why=f"there are {', '.join(STUDIES)}",
            fix="use one of them, or describe your own with debye.speckle.dynamics.systems",
        )
    return STUDIES[name]
