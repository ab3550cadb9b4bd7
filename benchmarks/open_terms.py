"""Terms of any smooth form: flows and pair forces outside every small basis, and their names.

    python benchmarks/open_terms.py flows|pairs|names [SEEDS [NAMES…]]

Flows: counts of a rigid cloud of 50 spheres that a flow carries, 4 runs of 9 frames; errors are
those of the velocity along orbits that start where the frames did. Pair forces: 100 particles that
push and pull each other, 2 runs of 6 frames; errors are those of the force at the distances that
pairs had. 1,000 photons in the brightest pixel.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from debye.speckle import (
    Cloud,
    Detector,
    Drift,
    GaussianProbe,
    LennardJones,
    LotkaVolterra,
    Morse,
    PairSpline,
    Particles,
    Plan,
    RigidCloud,
    Solver,
    SplineFlow,
    Stage,
    Yukawa,
    find_formula,
    fit,
    simulate,
)
from debye.speckle.data.frames import Frames
from debye.speckle.fitting.fitted import FittedSystem
from debye.speckle.fitting.gauss_newton import set_vector, to_vector

CAREFUL = Solver("tsit5", rtol=1e-9, atol=1e-10)


def cycle(x: Tensor) -> Tensor:
    """An exponential, a hyperbolic tangent and a cubic: a limit cycle."""
    u, v = x.unbind(-1)
    return torch.stack([torch.tanh(2 * v), 1 - torch.exp(2 * u) + v * (1 - 6 * v**2)], -1)


def oscillator(x: Tensor) -> Tensor:
    """Van der Pol's, with a spring that saturates."""
    u, v = x.unbind(-1)
    return torch.stack([v, (1 - 8 * u**2) * v - torch.tanh(2 * u)], -1)


def pendulum(x: Tensor) -> Tensor:
    """−sin 6x."""
    return torch.stack([x[..., 1], -torch.sin(6 * x[..., 0])], -1)


class Measured:
    """A fit, and how far it is from a curve that is known."""

    def __init__(self, fitted: FittedSystem, at: Tensor, truth: Tensor, seconds: float) -> None:
        self.fitted = fitted
        with torch.no_grad():
            self.error = (fitted.system.term(at) - truth).flatten()
        bars = fitted.error_of(lambda: fitted.system.term(at).flatten())
        self.z, self.size, self.seconds = self.error / bars, float(truth.norm()), seconds
        self.even = expected(fitted, at, bars)

    @property
    def relative(self) -> float:
        """‖error‖ / ‖curve‖."""
        return float(self.error.norm()) / self.size

    def __str__(self) -> str:
        covered = float((self.z.abs() < 1.645).double().mean())
        p = self.fitted.goodness.p if self.fitted.goodness else None
        return (
            f"error {self.relative:.4f}  "
            f"|z| {float(self.z.square().mean().sqrt()):.2f}  (even {self.even:.2f})  "
            f"covered {covered:.2f}  p {p:.2g}  "
            f"{self.seconds:.0f} s"
        )


def expected(fitted: FittedSystem, at: Tensor, bars: Tensor) -> float:
    """The median of |z|, a root mean square along a curve, if the errors are those that are told.

    Errors at neighbouring points are nearly one: of few that are independent the root mean square
    is more often below 1 than above. The terms here are linear in their coefficients.
    """
    here = to_vector(fitted.system)
    root = torch.linalg.cholesky(
        fitted.covariance + 1e-10 * fitted.covariance.diagonal().mean() * torch.eye(len(here))
    )
    random, sizes = torch.Generator().manual_seed(0), []
    with torch.no_grad():
        middle = fitted.system.term(at).flatten()
        for _ in range(201):
            away = root @ torch.randn(len(here), generator=random).double()
            set_vector(fitted.system, here + away)
            off = (fitted.system.term(at).flatten() - middle) / bars
            sizes.append(off.square().mean().sqrt())
        set_vector(fitted.system, here)
    return float(torch.stack(sizes).median())


FLOWS: dict[str, Callable[[Tensor], Tensor]] = {
    "pendulum": pendulum,
    "Lotka-Volterra": LotkaVolterra(L=2.0),
    "van-der-Pol": oscillator,
    "cycle": cycle,
}
FLOW_SOLVER = Solver("tsit5", step=0.125)  # fixed, so that the likelihood is smooth


def flow_frames(flow: Callable[[Tensor], Tensor], seed: int, *, swings: bool = False) -> Frames:
    """Counts, with the states at the starts alone of use."""
    generator = torch.Generator().manual_seed(seed)
    seen = RigidCloud(Detector(24, 0.75, 2.0, 0.05), GaussianProbe(0.25, 2.0), R=0.07)
    cloud = 0.6 * torch.rand(4, 50, 2, generator=generator) - 0.3
    starts = 0.6 * torch.rand(4, 2, generator=generator).double() - 0.3
    if swings:  # beyond 0.26, where −sin 6x turns back: short of it, it is any function that bends
        starts[0] = torch.tensor([0.33, 0.0])
    times = 0.5 * torch.arange(9).double()
    how = {"specimen": cloud, "photons": 1000, "seed": seed}
    return simulate(Drift(flow), seen, starts, times, solver=CAREFUL, **how)


def flows(name: str, seed: int, *, swings: bool = False) -> tuple[Measured, Frames]:
    """A flow, fitted."""
    flow, began = FLOWS[name], time.process_time()
    frames = flow_frames(flow, seed, swings=swings)
    fitted = fit(Drift(SplineFlow()), frames, solver=FLOW_SOLVER, instrument=False)
    seconds = time.process_time() - began
    times = torch.linspace(0, 4, 21).double()
    path = CAREFUL.solve(lambda t, x: flow(x), frames.known_states()[:, 0], times)
    at = path.states.flatten(0, 1)
    return Measured(fitted, at, flow(at), seconds), frames


PAIRS = {
    "Yukawa": (Yukawa(0.1, 6.0, 1.4), 0.14, 1.2),
    "Morse-shallow": (Morse(D=0.003, a=9.0, r_0=0.3, cutoff=1.2), 0.2, 1.5),
    "Morse-deep": (Morse(D=0.01, a=9.0, r_0=0.3, cutoff=1.2), 0.22, 1.6),
    "Lennard-Jones": (LennardJones(0.005, 0.22, 0.9), 0.23, 1.7),
}
"""Forces, how near two particles may start, and the radius of the disc that they start in: not so
narrow that they would fill half of it, beyond which random places find no room."""
PAIR_SOLVER = Solver("tsit5", step=0.05)
PAIR_PLAN = Plan(
    (Stage(2, 2, 1, 6, q=0.3), Stage(2, 2, 1, 6, q=0.6), Stage(3, 2, 1, 8), Stage(6, 2, 1, 12))
)


def disc(count: int, radius: float, least: float, generator: torch.Generator) -> Tensor:
    """(count, 2) places in a disc, no two nearer than ``least``."""
    found = torch.zeros(0, 2, dtype=torch.float64)
    while len(found) < count:
        place = radius * (2 * torch.rand(1, 2, generator=generator, dtype=torch.float64) - 1)
        apart = torch.cdist(place, found).min() if len(found) else torch.tensor(1.0)
        if float(place.norm()) < radius and float(apart) > least:
            found = torch.cat([found, place])
    return found


def pairs(name: str, seed: int) -> tuple[Measured, Frames]:
    """A pair force, fitted; looked at where pairs were, short of the cutoff."""
    (force, least, radius), generator = PAIRS[name], torch.Generator().manual_seed(seed)
    starts = torch.stack([disc(100, radius, least, generator) for _ in range(2)])
    how = {"illumination": "centres", "aperture": False}
    seen = Cloud(Detector(24, 0.75, 3.0, 0.05), GaussianProbe(0.3, 3.0), R=0.06, **how)
    times, truth = 0.2 * torch.arange(6).double(), Particles(force, table=0)
    frames = simulate(truth, seen, starts, times, solver=CAREFUL, photons=1000, seed=seed)
    began = time.process_time()
    system = Particles(PairSpline(force.cutoff, 40))
    fitted = fit(system, frames, PAIR_PLAN, solver=PAIR_SOLVER, instrument=False)
    seconds = time.process_time() - began
    r = torch.cat([torch.pdist(x) for x in frames.known_states().flatten(0, 1)])
    r = r[r < 0.85 * force.cutoff]
    at = r[torch.randperm(len(r), generator=generator)[:400]]
    return Measured(fitted, at, force(at), seconds), frames


NAMED = ("Lotka-Volterra", "pendulum", "Yukawa")
"""Laws that stand in the library of named functions."""


def either(name: str, seed: int) -> tuple[Measured, Frames]:
    """A flow or a pair force, fitted."""
    if name in FLOWS:
        return flows(name, seed, swings=name == "pendulum")
    return pairs(name, seed)


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = sys.argv[1:]
    which, count, chosen = (*given[:2], *("flows", "5")[len(given) :], given[2:])[:3]
    every = {"flows": FLOWS, "pairs": PAIRS, "names": NAMED}[which]
    for seed in range(int(count)):
        for name in chosen or every:
            found, frames = either(name, seed)
            print(f"{name:16} seed {seed}  {found}", flush=True)
            if which == "names":
                named = find_formula(found.fitted, replace(frames, system=None))
                print(f"    {named.verdict}", flush=True)
