"""First states that are known roughly are fitted with the law, and nothing else is disturbed."""

from dataclasses import replace

import pytest
import torch

from debye.errors import InputError
from debye.speckle.data.frames import Window, simulate
from debye.speckle.dynamics.known import MexicanHat, SwarmForce
from debye.speckle.dynamics.learnable import Flow, RadialSpline
from debye.speckle.dynamics.particles import Particles, Yukawa
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import Drift, Kuramoto, RigidMotion, Swarm
from debye.speckle.fitting.arrow import Block
from debye.speckle.fitting.carried import MOST, check_start, start_slopes
from debye.speckle.fitting.experiment import Experiment
from debye.speckle.fitting.fit import prepare
from debye.speckle.fitting.fitted import FittedSystem, fit
from debye.speckle.fitting.instrument import Instrument
from debye.speckle.fitting.plan import Plan, Stage
from debye.speckle.scattering.models import Cloud, Lattice, RigidCloud
from debye.speckle.scattering.optics import Detector, GaussianProbe

SOLVER = Solver("rk4", step=0.25)
DETECTOR, PROBE = Detector(12, 0.5, 2.0, 0.04), GaussianProbe(0.25, 2.0)
RIGID = RigidCloud(DETECTOR, PROBE, R=0.07)
generator = torch.Generator().manual_seed(0)
POINTS = 0.8 * torch.rand(2, 30, 2, generator=generator, dtype=torch.float64) - 0.4


def turning(x):
    return torch.stack([x[..., 1], -x[..., 0]], -1)


def spread(*shape):
    return torch.rand(*shape, generator=generator, dtype=torch.float64) - 0.5


CASES = {
    "drift": (Drift(turning), RIGID, spread(2, 2)),
    "rigid motion": (RigidMotion(turning, lambda x: 1 + x[..., 0]), RIGID, spread(2, 3)),
    "swarm": (Swarm(SwarmForce(), table=0), Cloud(DETECTOR, PROBE, R=0.07), spread(2, 9, 2)),
    "walls": (
        Particles(Yukawa(0.01), field=turning, wall=Yukawa(0.01), L=2.0, table=0),
        Cloud(DETECTOR, PROBE, R=0.07, illumination="centres"),
        spread(2, 9, 2),
    ),
    "phases": (Kuramoto(MexicanHat(), K=1.0), Lattice(DETECTOR, PROBE, 20), 6 * spread(2, 20, 20)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dusty", [False, True])
def test_slopes_by_first_states_are_those_of_finite_differences(name, dusty):
    system, model, start = CASES[name]
    values = {"centre": [0.3, 0.1], "incoherence": [0.2], "gain": [0.1], "background": [1.0]}
    specimen = POINTS if model is RIGID else None
    frames = torch.zeros(2, 3, 24, 24, dtype=torch.float64)
    window = Window(start, torch.tensor([0.0, 0.3, 0.5]).double(), frames, specimen)
    made = Experiment(
        system, model, SOLVER, 2.0, Instrument(values=values) if dusty else None,
        dict(zip(window.names, start.clone(), strict=True)),
    )  # fmt: skip
    found = torch.stack(list(start_slopes(made, window)), 2)  # [number, run, time, qy, qx]
    direction = spread(start[0].numel())
    seen = []
    for step in (1e-5, -1e-5):
        moved = start + step * direction.view_as(start[0])
        other = replace(window, start=moved)
        made.starts.clear()
        seen.append(made.counts(made.path(other).detach(), specimen).detach())
    expected = (seen[0] - seen[1]) / 2e-5
    along = torch.einsum("n,nr...->r...", direction, found)
    torch.testing.assert_close(along, expected, rtol=0, atol=2e-6 * float(expected.abs().max()))


def test_eliminated_unknowns_leave_what_a_whole_inverse_leaves():
    J = torch.randn(12, 40, generator=generator, dtype=torch.float64)  # 3 shared, 4 and 5 of runs
    J[3:7, 20:], J[7:, :20] = 0.0, 0.0  # each run's frames depend on its own alone
    r = torch.randn(40, generator=generator, dtype=torch.float64)
    A = J @ J.T + torch.diag(torch.tensor([0.0] * 3 + [2.0] * 9)).double()
    H, g = J[:3] @ J[:3].T, J[:3] @ r
    runs = []
    for own, pixels in ((slice(3, 7), slice(20)), (slice(7, 12), slice(20, 40))):
        block = Block.zeros(own.stop - own.start, 3)
        block.add(J[own, pixels], J[:3, pixels], r[pixels])
        block.H += 2.0 * torch.eye(len(block.H)).double()
        runs.append(block.eliminated())
        H, g = runs[-1].from_shared(H, g)
    covariance = torch.linalg.inv(A)
    step = -covariance @ (J @ r)
    torch.testing.assert_close(torch.linalg.inv(H), covariance[:3, :3])
    torch.testing.assert_close(-torch.linalg.solve(H, g), step[:3])
    torch.testing.assert_close(torch.cat([run.step(step[:3]) for run in runs]), step[3:])
    variance = torch.cat([run.variance(covariance[:3, :3]) for run in runs])
    torch.testing.assert_close(variance, covariance.diagonal()[3:])
    white = runs[0].whitened(J[3:7, :20])
    reduced = runs[0].reduced(J[:3, :20], white)
    hat = white.square().sum(0) + ((covariance[:3, :3] @ reduced) * reduced).sum(0)
    J0 = J[:, :20]
    torch.testing.assert_close(hat, ((covariance @ J0) * J0).sum(0))


def recorded(seed, system, model, start, specimen=None, photons=1000.0):
    times = 0.25 * torch.arange(6).double()
    return simulate(
        system, model, start, times, solver=SOLVER, photons=photons, specimen=specimen, seed=seed
    )


def rough(frames, error, seed=1):
    """The same frames, whose states are known roughly."""
    noise = torch.randn(frames.states.shape, generator=torch.Generator().manual_seed(seed))
    return replace(frames, states=frames.states + error * noise)


PLAN = Plan((Stage(3, 2, 1, 12), Stage(6, 2, 1, 12)), start_error=0.03)


@pytest.mark.parametrize("unknown", [False, True])
def test_a_rigid_object_whose_start_is_known_roughly(tmp_path, unknown):
    exact = recorded(0, Drift(turning), RIGID, spread(2, 2), POINTS)
    frames = rough(exact, 0.03)
    plain = fit(Drift(Flow(1)), frames, replace(PLAN, start_error=0.0), solver=SOLVER)
    assert plain.goodness.fits is False
    made = fit(Drift(Flow(1)), frames, PLAN, solver=SOLVER, instrument=unknown)
    assert made.goodness.fits
    x = torch.tensor([0.2, 0.1], dtype=torch.float64)
    assert made.system.term(x).tolist() == pytest.approx([0.1, -0.2], abs=0.02)
    for run, (name, state) in enumerate(made.starts.items()):
        assert name == f"frame 0 run {run}"
        z = (state - exact.states[run, 0]) / made.start_errors[name]
        assert z.abs().max() < 4.5
        assert made.start_errors[name].max() < 0.01
    assert "first states: fitted, and now known to" in "\n".join(made.lines())
    made.save(tmp_path / "fit")
    assert FittedSystem.load(tmp_path / "fit") == made


def test_particles_whose_starts_are_known_roughly():
    system, model = Swarm(SwarmForce()), Cloud(DETECTOR, PROBE, R=0.07)
    exact = recorded(3, system, model, 1.2 * spread(2, 9, 2), photons=3000.0)
    made = fit(
        Swarm(RadialSpline(6, 0.95)), rough(exact, 0.02), replace(PLAN, start_error=0.02),
        solver=SOLVER, instrument=False,
    )  # fmt: skip
    assert made.goodness.fits
    moved = torch.stack(list(made.starts.values())) - exact.states[:, 0]
    assert float(moved.square().mean().sqrt()) < 0.006


def test_starts_that_contradict_their_error_are_told():
    frames = rough(recorded(0, Drift(turning), RIGID, spread(2, 2), POINTS), 0.04)
    made = fit(Drift(Flow(1)), frames, replace(PLAN, start_error=1e-3), solver=SOLVER)
    assert "times as far from where they were given" in "\n".join(made.goodness.lines())


def test_what_cannot_be_fitted_is_refused():
    frames = recorded(0, Drift(turning), RIGID, spread(2, 2), POINTS)
    with pytest.raises(InputError, match="cannot fit first states by adam"):
        prepare(Drift(Flow(1)), frames, replace(PLAN, method="adam"), solver=SOLVER)
    with pytest.raises(InputError, match=f"of {MOST + 1} numbers"):
        check_start(torch.zeros(MOST + 1))
