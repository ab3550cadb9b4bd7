"""What frames do not tell is named, and so is what contradicts what was said beforehand."""

from dataclasses import replace

import pytest
import torch

from debye.errors import InputError
from debye.speckle.data.frames import simulate
from debye.speckle.dynamics.learnable import Flow, RadialSpline, RoundFlow
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import Drift, Swarm
from debye.speckle.fitting.described import RICH, filled
from debye.speckle.fitting.fit import prepare
from debye.speckle.fitting.instrument import UNKNOWNS, Instrument
from debye.speckle.fitting.plan import Plan, Stage
from debye.speckle.fitting.prior import Prior
from debye.speckle.scattering.models import ILLUMINATIONS, Cloud, Lattice, RigidCloud
from debye.speckle.scattering.optics import Detector, GaussianProbe
from debye.speckle.scattering.rigid import RigidLattice
from debye.speckle.scattering.scan import Scan

L = 2.0
SOLVER = Solver("rk4", step=0.2)
FEW = Detector(4, 0.5, L)
"""64 pixels."""
PROBE = GaussianProbe(0.25, L)
PLAN = Plan((Stage(2, 1),), smooth=False)
generator = torch.Generator().manual_seed(0)


def random(*shape):
    return torch.rand(shape, generator=generator, dtype=torch.float64)


CLOUD = Cloud(FEW, PROBE, R=0.07)
RIGID = RigidCloud(FEW, PROBE, R=0.07)
POINTS = 0.8 * random(1, 20, 2) - 0.4
STARTS = {
    "Drift": (RIGID, 0.2 * random(1, 2)),
    "RigidMotion": (RIGID, 0.2 * random(1, 3)),
    "Particles": (CLOUD, random(1, 5, 2) - 0.5),
    "Swarm": (CLOUD, random(1, 5, 2) - 0.5),
    "Swarmalator": (Cloud(FEW, PROBE, R=0.07, magnetic=1.0), random(1, 5, 3) - 0.5),
    "Kuramoto": (Lattice(FEW, PROBE, 12), 6 * random(1, 12, 12)),
    "ReactionDiffusion": (
        Lattice(FEW, PROBE, 8, form="density", weights=[1, 1]),
        random(1, 2, 8, 8),
    ),
}
MORE = {"ReactionDiffusion": {"diffusion": [1e-3, 1e-3]}}
SYSTEMS = {k.__name__: lambda k=k: filled(k, CLOUD, MORE.get(k.__name__)) for k in RICH} | {
    "Drift of degree 5": lambda: Drift(Flow(5)),
    "Drift about a centre": lambda: Drift(RoundFlow()),
    "Swarm of a radial spline": lambda: Swarm(RadialSpline(16, 0.95)),
}


def one_step(name):
    """A system, and one frame after the first of it at rest."""
    system = SYSTEMS[name]()
    model, start = STARTS[name.split()[0]]
    specimen = POINTS if model is RIGID else None
    return system, simulate(
        system, model, start, [0.0, 0.2], solver=SOLVER, specimen=specimen, photons=1000
    )


@pytest.mark.parametrize("name", SYSTEMS)
def test_what_one_frame_does_not_tell_is_named(name):
    system, frames = one_step(name)
    goodness = prepare(system, frames, PLAN, solver=SOLVER, instrument=False).examine().goodness
    assert goodness.unseen
    assert all(any(p in words for p, _ in system.named_parameters()) for words in goodness.unseen)
    assert "the frames do not tell" in "\n".join(goodness.lines())


def turning(x):
    return torch.stack([x[..., 1], -x[..., 0]], -1)


@pytest.fixture(scope="module")
def seen():
    """Frames that tell all of a linear flow."""
    model = RigidCloud(Detector(12, 0.5, L, 0.04), PROBE, R=0.07)
    start, times = 0.4 * random(3, 2) - 0.2, 0.25 * torch.arange(5).double()
    return simulate(
        Drift(turning), model, start, times, solver=SOLVER, specimen=POINTS.expand(3, -1, -1),
        photons=1000,
    )  # fmt: skip


def examined(frames, instrument=False, prior=None):
    fitting = prepare(
        Drift(Flow(1)), frames, Plan((Stage(5, 3),)), solver=SOLVER, instrument=instrument
    )
    fitting.prior = prior
    return fitting.examine().goodness


def test_where_frames_tell_all_nothing_is_named(seen):
    goodness = examined(seen)
    assert goodness.unseen == goodness.against == ()


@pytest.mark.parametrize("name", UNKNOWNS)
def test_a_value_of_the_instrument_beyond_its_prior_is_told(seen, name):
    one = UNKNOWNS[name]
    unit = float(seen.data[..., seen.mask].double().mean()) if one.unit.startswith("c") else 1.0
    value = min(5 * one.sigma * unit, one.most)
    said = examined(seen, Instrument((name,), {name: [value] * one.size})).against
    told = [line.startswith(f"{one.words} is {value:.3g} {one.unit}, far beyond") for line in said]
    assert told == [True] * (one.size if value > 4 * one.sigma * unit else 0)


@pytest.mark.parametrize(("mean", "told"), [(0.0, False), (0.1, True)])
def test_a_law_far_from_its_prior_is_told(seen, mean, told):
    prior = Prior(1e4 * torch.eye(6).double(), torch.full((6,), mean).double())
    said = "\n".join(examined(seen, prior=prior).lines())
    assert ("the coefficients lie 10 times as far from their prior" in said) is told


OBJECT = torch.polar(random(40, 40), 6 * random(40, 40)).to(torch.complex64)
SEERS = {
    **{how: Cloud(FEW, PROBE, R=0.07, illumination=how) for how in ILLUMINATIONS},
    "rigid cloud": RIGID,
    "rigid lattice": RigidLattice(FEW, PROBE, 8),
}


@pytest.mark.parametrize("name", SEERS)
def test_states_outside_the_probe_are_refused(name):
    model = SEERS[name]
    system, start, specimen = Drift(Flow(1)), torch.zeros(1, 2).double(), POINTS
    if isinstance(model, RigidLattice):
        specimen = random(1, 8, 8) * (model.sites.norm(dim=-1) < 0.5)
    elif model is not RIGID:
        system, start, specimen = Swarm(RadialSpline(8, 0.9)), random(1, 5, 2) - 0.5, None
    frames = simulate(
        system, model, start, [0.0, 0.2], solver=SOLVER, specimen=specimen, photons=1000
    )
    far = replace(frames, states=frames.states + 40.0)
    with pytest.raises(InputError, match="of run 0 lie outside the probe"):
        prepare(system, far, PLAN, solver=SOLVER)


def test_a_scan_beyond_its_object_is_refused():
    scan = Scan(OBJECT, torch.ones(1, 16, 16, dtype=torch.complex64))
    frames = simulate(
        Drift(Flow(1)), scan, torch.zeros(1, 2).double(), [0.0, 0.2], solver=SOLVER, photons=1000
    )
    far = replace(frames, states=frames.states + 40.0)
    with pytest.raises(InputError, match="off its object"):
        prepare(Drift(Flow(1)), far, PLAN, solver=SOLVER)
