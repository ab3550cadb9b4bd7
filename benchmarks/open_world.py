"""Laws learned where instrument, first states or form are not known; one command a table.

    python benchmarks/open_world.py goodness
    python benchmarks/open_world.py instrument
    python benchmarks/open_world.py starts

Medians over seeds, one thread. The small swarm: 300 particles as dense as the published ones, 2
runs of 6 frames, 1,000 photons in the brightest pixel, states given at the first frames alone.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from debye.speckle.data.frames import Frames, simulate
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import Swarm
from debye.speckle.fitting.fitted import FittedSystem
from debye.speckle.fitting.instrument import Instrument
from debye.speckle.fitting.plan import Plan, Stage
from debye.speckle.studies.study import relative
from debye.speckle.studies.swarm import SWARM, pair_force

SOLVER = Solver("tsit5", rtol=1e-5, atol=1e-6)
TIMES = 0.2 * torch.arange(6).double()
PLAN = Plan((Stage(3, 2, 1, 8, 1), Stage(6, 2, 1, 12, 1)))
DISTANCES = torch.linspace(0.1, 0.8, 141, dtype=torch.float64)


def disc(runs: int, particles: int, seed: int) -> Tensor:
    """Particles spread over a disc as densely as those of the study."""
    generator = torch.Generator().manual_seed(seed)
    r, phi = torch.rand(2, runs, particles, generator=generator, dtype=torch.float64)
    r = 2.5 * math.sqrt(particles / 500) * r.sqrt()
    return torch.stack([r * (2 * math.pi * phi).cos(), r * (2 * math.pi * phi).sin()], -1)


def swarm_frames(
    seed: int,
    *,
    photons: float = 1000.0,
    known: Swarm | None = None,
    **values: list[float],
) -> Frames:
    """Counts of the small swarm, seen by an instrument that is set otherwise than written."""
    model, system = SWARM.scattering(), known or SWARM.known()
    clean = simulate(
        system, model, disc(2, 300, seed), TIMES, solver=SWARM.careful, photons=photons
    )
    seen = Instrument(values=values).counts(model, clean.states, gain=clean.gain)
    counts = torch.poisson(seen.detach(), torch.Generator().manual_seed(seed + 7))
    return replace(clean, data=counts, system=None)


def force_error(fitted: FittedSystem) -> tuple[float, float]:
    """Relative error of the pair force, and the root mean square of z by its own error bars."""
    h, h0 = fitted.system.term, SWARM.known().term
    found, true = pair_force(h, DISTANCES).detach(), pair_force(h0, DISTANCES)
    bars = fitted.error_of(lambda: pair_force(h, DISTANCES))
    return relative(found, true), float(((found - true) / bars).square().mean().sqrt())
