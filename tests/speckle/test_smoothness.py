"""Smoothness priors: their evidence is the marginal likelihood, and the frames choose them."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from debye.speckle.data.frames import simulate
from debye.speckle.dynamics.couplings import Kernel
from debye.speckle.dynamics.known import MexicanHat
from debye.speckle.dynamics.learnable import Constant
from debye.speckle.dynamics.particles import LennardJones, Morse, Particles, Yukawa
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.splines import PairSpline, SplineFlow
from debye.speckle.dynamics.systems import Drift, Kuramoto, RigidMotion
from debye.speckle.fitting.experiment import Experiment
from debye.speckle.fitting.fit import prepare
from debye.speckle.fitting.fitted import FittedSystem, fit, load, resume, save
from debye.speckle.fitting.gauss_newton import forward_slopes, from_vector, to_vector
from debye.speckle.fitting.plan import Plan, Stage, default_plan
from debye.speckle.fitting.prior import ridge
from debye.speckle.fitting.smoothness import (
    Smoother,
    blocks_of,
    marginal_likelihood,
    most_probable,
    reduced,
)
from debye.speckle.scattering.models import Cloud, Lattice, RigidCloud
from debye.speckle.scattering.optics import Detector, GaussianProbe

SOLVER = Solver("tsit5", rtol=1e-4, atol=1e-6)


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def observed(block, strength, length, count=400, noise=0.1, seed=0):
    """Noisy values of a force drawn from its prior: H and b of its coefficients, and the values."""
    term = block.term
    c = strength * block.root(length) @ normal(len(block.at), seed=seed)
    r = 0.1 + 0.8 * term.cutoff * torch.rand(
        count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    B = forward_slopes(
        lambda v: torch.func.functional_call(term, from_vector(term, v), (r,)), to_vector(term), 64
    )
    y = c @ B + noise * normal(count, seed=seed + 1)
    return B @ B.T / noise**2, B @ y / noise**2, B, y


def test_the_evidence_is_the_marginal_likelihood_of_what_was_observed():
    """Against the density of the values themselves, N(0, BᵀKB + noise²); up to a constant."""
    (block,) = blocks_of(PairSpline(2.0, 20))
    H, b, B, y = observed(block, 0.7, 0.3, count=30)
    told, wanted = [], []
    for length in (0.2, 0.5):
        found = marginal_likelihood(block, length, H, b)
        root = found.strength * block.root(length)
        spread = B.T @ root @ root.T @ B + 0.01 * torch.eye(30).double()
        wanted.append(float(MultivariateNormal(torch.zeros(30).double(), spread).log_prob(y)))
        told.append(found.log_marginal)
    assert told[0] - told[1] == pytest.approx(wanted[0] - wanted[1], rel=1e-6)


def test_strength_and_length_are_found():
    (block,) = blocks_of(PairSpline(2.0, 30, crowding=0.0))
    ratios = []
    for seed in range(12):
        H, b, *_ = observed(block, 0.7, 0.3, noise=0.01, seed=seed)
        found = most_probable(block, H, b)
        ratios.append([math.log(found.strength / 0.7), math.log(found.length / 0.3)])
    assert torch.tensor(ratios).mean(0).abs().max() < 0.4


@pytest.mark.parametrize(
    "force",
    [
        Yukawa(0.1, 6.0, 1.4),
        Morse(D=0.01, a=9.0, r_0=0.3, cutoff=1.2),
        LennardJones(0.005, 0.22, 0.9),
        lambda r: torch.tanh(8 * (r - 0.4)) * (1 - r).clamp(min=0) ** 3,
    ],
)
@pytest.mark.parametrize("noise", [0.3, 0.03])
def test_bands_cover_forces_that_no_prior_drew(force, noise):
    """Seen directly, with noise, many times over; the evidence chooses strength and length."""
    cutoff = getattr(force, "cutoff", 1.0)
    (block,) = blocks_of(PairSpline(cutoff, 40))
    r = torch.linspace(0.25, 0.95 * cutoff, 300, dtype=torch.float64)
    B = forward_slopes(
        lambda v: torch.func.functional_call(block.term, from_vector(block.term, v), (r,)),
        to_vector(block.term),
        64,
    )
    true = force(r)
    sigma, pulls = noise * float(true.square().mean().sqrt()), []
    for seed in range(20):
        H, b = B @ B.T / sigma**2, B @ (true + sigma * normal(300, seed=seed)) / sigma**2
        C = torch.linalg.inv(H + block.precision(most_probable(block, H, b)))
        pulls.append(((C @ b) @ B - true) / ((B.T @ C) * B.T).sum(-1).sqrt())
    z = torch.stack(pulls)
    assert 0.75 < float(z.square().mean().sqrt()) < 1.25
    assert 0.83 < float((z.abs() < 1.645).double().mean()) < 0.97


def test_what_was_not_seen_has_the_smallest_strength_and_no_certainty():
    (block,) = blocks_of(PairSpline(2.0, 12))
    found = most_probable(block, torch.zeros(12, 12).double(), torch.zeros(12).double())
    assert found.log_marginal == 0
    assert found.strength < 1e-3


def test_the_rest_is_marginalised():
    """The marginal of a joint Gaussian of five, worked out through its covariance."""
    J = normal(9, 5)
    H, b, own = J.T @ J, normal(5, seed=1), torch.tensor([1, 3])
    prior = ridge(2.0, 5)
    rest = torch.ones(5).double().index_fill(0, own, 0.0)
    joint = torch.linalg.inv(H + (2 * rest).diag())
    mean = joint @ b
    H_own, b_own = reduced(H, b, own, prior.precision, prior.mean)
    torch.testing.assert_close(torch.linalg.inv(H_own), joint[own[:, None], own])
    torch.testing.assert_close(torch.linalg.solve(H_own, b_own), mean[own])


def test_parts_have_priors_of_their_own():
    """One component straight, the other wavy: the frames know which."""
    flow = SplineFlow(knots=9)
    x = 2 * torch.rand(300, 2, generator=torch.Generator().manual_seed(0)).double() - 1
    wanted = torch.stack([x[:, 1], torch.sin(4 * x[:, 0])], -1) + 0.02 * normal(300, 2)
    B = forward_slopes(
        lambda v: torch.func.functional_call(flow, from_vector(flow, v), (x,)), to_vector(flow), 64
    ).flatten(1)
    smoother = Smoother(flow, ridge(0.0, 162))
    prior = smoother(to_vector(flow), B @ B.T / 4e-4, -B @ wanted.flatten() / 4e-4, 0.5)
    straight, wavy = smoother.chosen.values()
    assert straight.length > 2 * wavy.length
    c = torch.linalg.solve(B @ B.T / 4e-4 + prior.precision, B @ wanted.flatten() / 4e-4)
    assert float((c @ B - wanted.flatten()).square().mean().sqrt()) < 0.025
    again = Smoother(flow, ridge(0.0, 162))
    again.restore(smoother.as_json())
    torch.testing.assert_close(again.prior().precision, prior.precision)


@pytest.fixture(scope="module")
def swing():
    """A pendulum's speckle: 3 runs of 5 frames, 500 photons."""
    generator = torch.Generator().manual_seed(0)
    seen = RigidCloud(Detector(18, 0.75, 2.0), GaussianProbe(0.25, 2.0), R=0.07)
    cloud = 0.6 * torch.rand(3, 30, 2, generator=generator) - 0.3
    start = 0.6 * torch.rand(3, 2, generator=generator).double() - 0.3
    truth = Drift(lambda x: torch.stack([x[..., 1], -torch.sin(4 * x[..., 0])], -1))
    times = 0.4 * torch.arange(5).double()
    return truth, simulate(
        truth, seen, start, times, solver=SOLVER, specimen=cloud, photons=500, seed=0
    )


def test_any_flow_is_learned_from_counts_with_errors_that_cover(swing, tmp_path):
    truth, frames = swing
    system = Drift(SplineFlow((-0.6, -0.8), (0.6, 0.8), 8))
    walk = [(2, 0.2), (2, 0.4), (3, 0.4), (5, 1.0)]
    plan = Plan(tuple(Stage(n, 3, 1, 8, 3, q=q) for n, q in walk))
    fitted = fit(system, frames, plan, solver=SOLVER)
    x = frames.states.flatten(0, 1)
    with torch.no_grad():
        error = system(0.0, x) - truth(0.0, x)
    assert error.norm() / truth(0.0, x).norm() < 0.1
    bars = fitted.error_of(lambda: system(0.0, x).flatten())
    assert 0.5 < float((error.flatten() / bars).square().mean().sqrt()) < 1.6
    assert fitted.goodness.p > 0.01
    fitted.save(tmp_path / "flow.safetensors")
    assert load(tmp_path / "flow.safetensors").card["smoothness"] == fitted.card["smoothness"]


def test_a_smooth_fit_goes_on_where_it_stopped(swing, tmp_path):
    _, frames = swing
    plan = Plan((Stage(2, 2, iterations=2, q=0.5), Stage(3, 2, iterations=2)))

    def fresh():
        return prepare(Drift(SplineFlow((-0.6, -0.8), (0.6, 0.8), 5)), frames, plan, solver=SOLVER)

    whole, part, again = fresh(), fresh(), fresh()
    list(whole.run())
    for step in part.run():
        if step.epoch == 1:
            break
    save(tmp_path / "part", part)
    resume(tmp_path / "part", again)
    list(again.run())
    torch.testing.assert_close(
        to_vector(again.experiment), to_vector(whole.experiment), rtol=1e-6, atol=1e-8
    )
    torch.testing.assert_close(
        FittedSystem.of(again).covariance, FittedSystem.of(whole).covariance, rtol=1e-5, atol=1e-9
    )


@pytest.mark.parametrize("turning", [False, True])
def test_derivatives_by_the_chain_rule_are_those_carried_forward(swing, turning):
    _, frames = swing
    flow = SplineFlow((-0.6, -0.8), (0.6, 0.8), 5)
    with torch.no_grad():
        flow.coefficients.copy_(0.1 * normal(5, 5, 2))
    system = RigidMotion(flow, Constant(start=0.3)) if turning else Drift(flow)
    window = frames.window(0, 3, slice(0, 2))
    if turning:
        from dataclasses import replace

        window = replace(window, start=torch.cat([window.start, window.start[:, :1]], -1))
    experiment = Experiment(system, frames.scattering, SOLVER, frames.gain)
    vector = to_vector(experiment)
    direct = forward_slopes(
        lambda v: torch.func.functional_call(experiment, from_vector(experiment, v), (window,)),
        vector,
        64,
    )
    assert window.start.shape[-1] * 4 < 2 * len(vector)  # else it would take the direct way
    torch.testing.assert_close(
        experiment.slopes(vector, window), direct, rtol=1e-4, atol=1e-6 * float(direct.abs().max())
    )


def test_a_force_that_pulls_and_pushes_is_learned():
    """Particles start on a shaken lattice: where two lie upon each other no spline is told."""
    grid = torch.stack(
        torch.meshgrid(*[torch.linspace(-0.8, 0.8, 6).double()] * 2, indexing="ij"), -1
    )
    shaken = torch.rand(2, 36, 2, generator=torch.Generator().manual_seed(0)).double()
    start = grid.view(1, 36, 2) + 0.2 * shaken - 0.1
    seen = Cloud(Detector(18, 0.75, 2.0, 0.05), GaussianProbe(0.25, 2.0), R=0.05)
    truth = Particles(Morse(D=0.01, a=9.0, r_0=0.3, cutoff=1.0))
    solver = Solver("tsit5", rtol=1e-4, atol=1e-6, max_steps=100)
    frames = simulate(
        truth, seen, start, 0.15 * torch.arange(5).double(), solver=solver, photons=1000
    )
    system = Particles(PairSpline(1.0, 24))
    fitted = fit(system, frames, Plan((Stage(5, 2, 1, 10),)), solver=solver)
    r = torch.linspace(0.28, 0.9, 50).double()
    with torch.no_grad():
        error = system.term(r) - truth.term(r)
        assert error.norm() / truth.term(r).norm() < 0.1
    bars = fitted.error_of(lambda: system.term(r))
    assert 0.3 < float((error / bars).square().mean().sqrt()) < 3
    assert fitted.goodness.p > 0.01


def test_a_large_kernel_is_smooth_where_frames_are_few():
    """Its 48 weights from one run: with the prior nearer to the truth than without."""
    generator = torch.Generator().manual_seed(0)
    start = 2 * math.pi * torch.rand(1, 16, 16, generator=generator, dtype=torch.float64)
    seen = Lattice(Detector(12, 0.5, 2.0, 0.05), GaussianProbe(0.25, 2.0), points=16)
    truth = Kuramoto(MexicanHat(7))
    times = 0.1 * torch.arange(3).double()
    frames = simulate(truth, seen, start, times, solver=SOLVER, photons=50)
    errors = []
    for smooth in (True, False):
        system = Kuramoto(Kernel(7))
        fit(system, frames, Plan((Stage(3, 1, 1, 5),), smooth=smooth), solver=SOLVER)
        with torch.no_grad():
            errors.append(float((system.term() - truth.term()).norm() / truth.term().norm()))
    assert errors[0] < 0.7 * errors[1]


def test_bodies_are_seen_at_low_q_first(swing):
    _, frames = swing
    stages = default_plan(frames, Drift(SplineFlow())).stages
    assert [(s.frames, s.q) for s in stages] == [(2, 0.2), (2, 0.4), (3, 0.4), (3, 1), (5, 1)]
    assert {s.q for s in default_plan(frames).stages} == {1.0}
