"""Laws learned where instrument, first states or form are not known; one command a table.

    python benchmarks/open_world.py instrument
    python benchmarks/open_world.py alarms
    python benchmarks/open_world.py starts
    python benchmarks/open_world.py cases
    python benchmarks/open_world.py chosen

Five seeds, one thread; --seeds N takes fewer. The small swarm: 300 particles as dense as the
published ones, 2 runs of 6 frames, 1,000 photons in the brightest pixel, states given at the first
frames alone.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import torch
from open_terms import FLOWS, Measured, flow_frames, flows
from torch import Tensor

from debye.errors import ComputationError, DebyeError
from debye.speckle.conclusions.next_measurement import Candidate, rank_measurements
from debye.speckle.data.frames import Frames, simulate
from debye.speckle.dynamics.couplings import Kernel
from debye.speckle.dynamics.known import MexicanHat
from debye.speckle.dynamics.learnable import Flow, RadialSpline
from debye.speckle.dynamics.particles import Morse, Particles
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import Drift, Kuramoto, Swarm, System
from debye.speckle.fitting.fit import prepare
from debye.speckle.fitting.fitted import FittedSystem, fit
from debye.speckle.fitting.gauss_newton import to_vector
from debye.speckle.fitting.instrument import Instrument
from debye.speckle.fitting.plan import LAST, Plan, Stage
from debye.speckle.fitting.prior import Prior
from debye.speckle.scattering.models import RigidCloud
from debye.speckle.scattering.optics import Detector, GaussianProbe
from debye.speckle.studies.kuramoto import KURAMOTO, random_phases
from debye.speckle.studies.study import relative
from debye.speckle.studies.swarm import SWARM, pair_force

SOLVER = Solver("tsit5", rtol=1e-5, atol=1e-6)
TIMES = 0.2 * torch.arange(6).double()
PLAN = Plan((Stage(3, 2, 1, 8, 1), Stage(6, 2, 1, 12, 1)))
SEEDS = range(1, 6)
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
    known: System | None = None,
    **values: list[float],
) -> Frames:
    """Counts of the small swarm, seen by an instrument that is set otherwise than written."""
    model, system = SWARM.scattering(), known or SWARM.known()
    clean = simulate(
        system, model, disc(2, 300, seed), TIMES, solver=SWARM.careful, photons=photons
    )
    seen = Instrument(values=values).counts(model, clean.states, gain=clean.gain)
    counts = torch.poisson(seen.detach(), torch.Generator().manual_seed(1_000_003 * seed))
    return replace(clean, data=counts, system=None)


def force_error(fitted: FittedSystem) -> tuple[float, float]:
    """Relative error of the pair force, and the root mean square of z by its own error bars."""
    h, h0 = fitted.system.term, SWARM.known().term
    found, true = pair_force(h, DISTANCES).detach(), pair_force(h0, DISTANCES)
    bars = fitted.error_of(lambda: pair_force(h, DISTANCES))
    within = bars > 0  # beyond its own cutoff a spline is 0, whatever the frames say
    z = ((found - true) / bars)[within]
    return relative(found, true), float(z.square().mean().sqrt())


ALL = {
    "centre": [0.5, 0.0],
    "background": [1.0],
    "q_scale": [0.05],
    "width": [0.05],
    "incoherence": [0.5],
}
"""Everything that is wrong with the instrument of the table ``instrument``."""


def swarm_fit(frames: Frames, **how: object) -> FittedSystem:
    """A spline for a force, fitted to frames of the small swarm."""
    return fit(Swarm(RadialSpline(16, 0.95)), frames, PLAN, solver=SOLVER, **how)


def row(*cells: object) -> None:
    """Print one row of a table."""
    made = (f"{c:.3g}" if isinstance(c, float) else str(c) for c in cells)
    print("| " + " | ".join(made) + " |", flush=True)


def head(*cells: str) -> None:
    """Print the head of a table."""
    row(*cells)
    row(*["---"] * len(cells))


def instrument() -> None:
    """Five errors of the instrument at once: unknown, given, and against none at all."""
    head("instrument", "seed", "force error", "rms z", "p", "centre found", "q found", "seconds")
    errors: dict[str, list[float]] = {}
    for seed in SEEDS:
        for name, values, how in (
            ("nothing off", {}, False),
            ("off, and known", ALL, Instrument((), ALL)),
            ("off, and unknown", ALL, True),
        ):
            began = time.process_time()
            fitted = swarm_fit(swarm_frames(seed, **values), instrument=how)
            spent = time.process_time() - began
            error, z = force_error(fitted)
            errors.setdefault(name, []).append(error)
            made = fitted.instrument if how is True else None
            found = (made.centre.tolist()[0], made.q_scale.tolist()[0]) if made else ("", "")
            row(name, seed, error, z, fitted.goodness.p, *found, spent)
    for name, some in errors.items():
        row(name, "median", median(some), "", "", "", "", "")


def alarms() -> None:
    """How often good fits are called bad."""
    head("photons in the brightest pixel", "fits", "p < 0.01", "p < 0.05", "p < 0.5", "seconds")
    solver, times = Solver("rk4", step=0.25), 0.25 * torch.arange(8).double()
    plan = Plan((Stage(3, 2, 1, 12), Stage(5, 2, 1, 12), Stage(8, 2, 1, LAST)))
    for photons in (10.0, 1000.0):
        began, p = time.process_time(), []
        for seed in range(100):
            generator = torch.Generator().manual_seed(seed)
            cloud = 0.8 * torch.rand(2, 40, 2, generator=generator, dtype=torch.float64) - 0.4
            start = 0.5 * torch.rand(2, 2, generator=generator, dtype=torch.float64) - 0.25
            turning = Drift(lambda x: torch.stack([x[..., 1], -x[..., 0]], -1))
            frames = simulate(
                turning, SMALL, start, times, solver=solver, photons=photons, specimen=cloud,
                seed=seed + 1_000_003,
            )  # fmt: skip
            p.append(fit(Drift(Flow(degree=1)), frames, plan, solver=solver).goodness.p)
        counts = [sum(one < limit for one in p) for limit in (0.01, 0.05, 0.5)]
        row(f"{photons:g}", len(p), *counts, time.process_time() - began)


SPACING = 2.5 * math.sqrt(math.pi / 500)
"""Distance of neighbours in the disc, the root of the area that each particle has."""


def displaced(frames: Frames, error: float, seed: int) -> Frames:
    """The same frames, whose states are known to ``error`` alone."""
    generator = torch.Generator().manual_seed(77 + seed)
    states = frames.known_states()
    noise = torch.randn(states.shape, generator=generator, dtype=states.dtype)
    return replace(frames, states=states + error * noise)


def starts() -> None:
    """First positions that are off, fitted with the force."""
    head(
        "off by, of the spacing", "seed", "force error", "rms z", "p", "positions found", "seconds"
    )
    for part in (0.02, 0.1):
        errors = []
        for seed in SEEDS:
            true, sigma = swarm_frames(seed), part * SPACING
            plan, began = replace(PLAN, start_error=sigma), time.process_time()
            fitted = fit(
                Swarm(RadialSpline(16, 0.95)), displaced(true, sigma, seed), plan, solver=SOLVER,
                instrument=False,
            )  # fmt: skip
            off = torch.stack(list(fitted.starts.values())) - true.known_states()[:, 0]
            left = float(off.square().mean().sqrt()) / sigma
            error, z = force_error(fitted)
            errors.append(error)
            row(f"{part:.0%}", seed, error, z, fitted.goodness.p, left, time.process_time() - began)
        row(f"{part:.0%}", "median", median(errors), "", "", "", "")


def case_row(
    name: str,
    frames: Frames,
    make: Callable[[], System],
    plan: Plan = PLAN,
    start_error: float = 0.0,
    opened: bool | None = None,
    rich: Callable[[], Measured] | None = None,
) -> None:
    """One case: fitted as if all were known, and with what is not known fitted too."""
    began = time.process_time()
    try:
        plain = fit(make(), frames, plan, solver=SOLVER, instrument=False).goodness
        told, cured = f"{plain.p:.1g}" if plain else "", ["", ""]
    except DebyeError as error:
        told, cured = str(error).split("\n")[0], ["", ""]
    if opened is not None:
        how = replace(plan, start_error=start_error)
        fitted = fit(make(), frames, how, solver=SOLVER, instrument=opened)
        cured = [f"{force_error(fitted)[0]:.3g}", f"{fitted.goodness.p:.3g}"]
    if rich is not None:
        found = rich()
        cured = [f"{found.relative:.3g}", f"{found.fitted.goodness.p:.3g}"]
    row(name, told, *cured, time.process_time() - began)


def spline() -> Swarm:
    """A spline for a force."""
    return Swarm(RadialSpline(16, 0.95))


def cases() -> None:
    """What is wrong in each case, told by a plain fit, and cured where it can be."""
    head("what is otherwise", "p of a plain fit", "force error, opened", "p, opened", "seconds")
    seed = 1
    off = {
        "q 0.5 %": {"q_scale": [0.005]},
        "q 5 %": {"q_scale": [0.05]},
        "centre 0.5 pixels": {"centre": [0.5, 0.0]},
        "background 1": {"background": [1.0]},
        "contrast 50 %": {"incoherence": [0.5]},
    }
    for name, values in off.items():
        case_row(name, swarm_frames(seed, **values), spline, opened=True)
    hot = swarm_frames(seed)
    hot.data[:, :, 40, 21] = 5 * hot.data.max()
    case_row("one hot pixel", hot, spline)
    weak = Particles(Morse(D=0.02, a=6.0, r_0=0.3, cutoff=1.5))
    case_row("Morse in h(1 − h)", swarm_frames(seed, known=weak), spline)
    for name, system in {
        "phase lag 0.2": Kuramoto(MexicanHat(), harmonics=lag),
        "ω = 0.3": Kuramoto(MexicanHat(), omega=0.3),
        "random ω": Kuramoto(MexicanHat(), omega=random_omega),
    }.items():
        case_row(f"Kuramoto, {name}", phases(system, seed), lambda: Kuramoto(Kernel(11)), PHASES)
    for name, degree in (("pendulum", 3), ("cycle", 5)):
        frames = flow_frames(FLOWS[name], seed)
        case_row(
            f"{name} in degree {degree}",
            frames,
            lambda d=degree: Drift(Flow(d)),
            FLOW,
            rich=lambda n=name: flows(n, seed)[0],
        )
    for part in (0.02, 0.1):
        error = part * SPACING
        frames = displaced(swarm_frames(seed), error, seed)
        case_row(f"positions {part:.0%}", frames, spline, PLAN, error, opened=False)


PHASES = Plan((Stage(3, 2, 1, 10), Stage(6, 2, 1, 10)))
FLOW = Plan(tuple(Stage(n, 4, 1, 20) for n in (3, 5, 9)), ridge=1e-4)


def lag() -> Tensor:
    """sin(Δ + 0.2)."""
    return torch.tensor([[math.cos(0.2), math.sin(0.2)]], dtype=torch.float64)


def random_omega() -> Tensor:
    """A frequency for each site."""
    return 0.3 * torch.randn(80, 80, generator=torch.Generator().manual_seed(5)).double()


def phases(system: Kuramoto, seed: int) -> Frames:
    """Counts of coupled phases."""
    first, _ = random_phases(2, torch.Generator().manual_seed(seed))
    times = 5 + 0.5 * torch.arange(6).double()
    return simulate(
        system, KURAMOTO.scattering(), first.double(), times, solver=SOLVER, photons=1000, seed=seed
    )


SMALL = RigidCloud(Detector(16, 0.5, 2.0, 0.04), GaussianProbe(0.25, 2.0), R=0.07)
"""What the fits of ``alarms`` and ``chosen`` see."""
AROUND = torch.cartesian_prod(*[torch.linspace(-0.4, 0.4, 7).double()] * 2)
"""Where a flow is wanted."""


def oscillator(x: Tensor) -> Tensor:
    """Van der Pol's, a cubic."""
    u, v = x.unbind(-1)
    return torch.stack([v, (1 - 8 * u**2) * v - 2 * u], -1)


def taken(candidate: Candidate, gain: float, seed: int) -> Frames:
    """Counts of a measurement that was made."""
    start, cloud = candidate.start[None], candidate.specimen[None]
    clean = simulate(
        Drift(oscillator), SMALL, start, candidate.times, solver=Solver(rtol=1e-8, atol=1e-9),
        photons=1.0, specimen=cloud,
    )  # fmt: skip
    gain = gain * candidate.exposure
    rate = gain * SMALL(clean.states, cloud)
    counts = torch.poisson(rate, torch.Generator().manual_seed(seed))
    return replace(clean, data=counts, gain=gain, system=None)


def learned(fitted: FittedSystem, frames: Frames) -> FittedSystem:
    """What a fitted system becomes when a run is added to what it was fitted to."""
    system = copy.deepcopy(fitted.system)
    runs = len(frames.data)
    stages = [Stage(n, runs) for n in (2, 3, 5) if n < frames.count]
    plan = Plan((*stages, Stage(frames.count, runs, 1, LAST)), ridge=0.01)
    fitting = prepare(system, frames, plan, solver=fitted.solver, instrument=False)
    if fitted.covariance is not None:
        fitting.prior = Prior(torch.linalg.inv(fitted.covariance), to_vector(system))
    for _ in fitting.run():
        pass
    return FittedSystem.of(fitting)


def drawn(generator: torch.Generator, cloud: Tensor) -> dict[str, Candidate]:
    """Twelve measurements that could be made, of as many photons each."""
    found = {}
    for k in range(12):
        start = 0.8 * torch.rand(2, generator=generator, dtype=torch.float64) - 0.4
        frames, step = (3, 6, 12)[k % 3], (0.1, 0.15, 0.2, 0.3)[k % 4]
        times = step * torch.arange(frames + 1).double()
        found[f"{k}"] = Candidate(start, times, cloud, exposure=6 / frames)
    return found


def chosen() -> None:
    """A measurement that was chosen, against one drawn at random from the same candidates."""
    head("trial", "rough", "with the best", "with one at random", "its standard deviation")
    truth, errors = oscillator(AROUND), []

    def error(fitted: FittedSystem) -> float:
        return relative(fitted.system.term(AROUND).detach(), truth)

    for trial in range(10):
        generator = torch.Generator().manual_seed(trial)
        cloud = 0.8 * torch.rand(40, 2, generator=generator, dtype=torch.float64) - 0.4
        start = 0.8 * torch.rand(5, 2, generator=generator, dtype=torch.float64) - 0.4
        frames = simulate(
            Drift(oscillator), SMALL, start, 0.2 * torch.arange(7).double(),
            solver=Solver(rtol=1e-8, atol=1e-9), photons=1000.0, specimen=cloud.expand(5, -1, -1),
            seed=trial,
        )  # fmt: skip
        bare = FittedSystem(Drift(Flow(degree=3)), SMALL, Solver("rk4", step=0.1))
        rough = learned(bare, replace(frames, system=None))
        candidates = drawn(generator, cloud)
        ranked = [
            gain.name
            for gain in rank_measurements(
                rough, candidates, lambda law=rough: law.system.term(AROUND).flatten()
            )
        ]  # what the rough law cannot follow to its end is not among them
        others = [ranked[k] for k in torch.randperm(len(ranked), generator=generator)[:4]]
        after = []
        for name in (ranked[0], *others):
            frames = taken(candidates[name], rough.gain, 100 * trial + int(name))
            try:
                after.append(error(learned(rough, frames)))
            except ComputationError:  # it blows up on the way: nothing was learned
                after.append(error(rough))
        errors.append((after[0], sum(after[1:]) / len(others)))
        row(trial, error(rough), *errors[-1], float(torch.tensor(after[1:]).std()))
    means = [sum(some) / len(some) for some in zip(*errors, strict=True)]
    row("mean", "", *means, f"{means[0] / means[1]:.3g} ×")


TABLES = {
    "alarms": alarms,
    "cases": cases,
    "chosen": chosen,
    "instrument": instrument,
    "starts": starts,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--seeds", type=int, default=5)
    torch.set_num_threads(1)
    given = parser.parse_args()
    SEEDS = range(1, given.seeds + 1)
    TABLES[given.table]()
