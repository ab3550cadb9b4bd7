"""A fitted term is put into words rightly where it can be, and not where several do as well."""

import json
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from debye.cli.command import app
from debye.errors import InputError
from debye.speckle.conclusions.formula import find_formula
from debye.speckle.conclusions.naming import Trial, Weighed, shortest
from debye.speckle.data.frames import simulate
from debye.speckle.dynamics.known import LotkaVolterra
from debye.speckle.dynamics.learnable import Flow
from debye.speckle.dynamics.named import POSITIONS, Named, NamedSum
from debye.speckle.dynamics.particles import Particles, Yukawa
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.splines import PairSpline, SplineFlow
from debye.speckle.dynamics.systems import Drift
from debye.speckle.fitting.fitted import FittedSystem
from debye.speckle.fitting.gauss_newton import forward_slopes, from_vector, set_vector, to_vector
from debye.speckle.fitting.instrument import Instrument
from debye.speckle.fitting.prior import independent, ridge
from debye.speckle.fitting.smoothness import Smoother
from debye.speckle.scattering.models import RigidCloud
from debye.speckle.scattering.optics import Detector, GaussianProbe
from debye.speckle.serialize import build, describe


def debye(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


SEEN = RigidCloud(Detector(16, 0.5, 2.0), GaussianProbe(0.25, 2.0), R=0.07)


def fitted_to(system, term, wanted, x, noise):
    """A system fitted to noisy values of its term at x, as frames would have fitted it."""
    generator = torch.Generator().manual_seed(0)
    y = wanted(x)
    y = y + noise * torch.randn(y.shape, generator=generator, dtype=y.dtype)
    B = forward_slopes(
        lambda v: torch.func.functional_call(term, from_vector(term, v), (x,)), to_vector(term), 64
    ).flatten(1)
    H, b = B @ B.T / noise**2, B @ y.flatten() / noise**2
    smoother = Smoother(system, ridge(0.0, len(b)))
    A = H + smoother(to_vector(term), H, -b, 0.5).precision
    set_vector(term, torch.linalg.solve(A, b))
    card = {"smoothness": smoother.as_json()}
    return FittedSystem(system, SEEN, Solver(), covariance=torch.linalg.inv(A), card=card)


def points(size, count=200):
    generator = torch.Generator().manual_seed(1)
    return size * (2 * torch.rand(count, 2, generator=generator, dtype=torch.float64) - 1)


def flow_seen(wanted, size=0.6, noise=0.01):
    flow = SplineFlow()
    return fitted_to(Drift(flow), flow, wanted, points(size), noise)


def functions(candidate):
    return [set(map(repr, one)) for one in candidate.term.functions]


def test_predator_and_prey_are_named():
    found = find_formula(flow_seen(LotkaVolterra(L=2.0)))
    assert found.named
    assert functions(found.best) == [{"1", "x", "y", "x y"}, {"x", "x y"}]
    values, errors = to_vector(found.best.term), found.best.errors
    terms = [repr(f) for one in found.best.term.functions for f in one]
    told = dict(zip(zip([0] * 4 + [1] * 2, terms, strict=True), values.tolist(), strict=True))
    assert told[0, "y"] == pytest.approx(-2 / 3, abs=0.02)
    assert told[1, "x y"] == pytest.approx(0.5, abs=0.02)
    assert (errors < 0.02).all()
    assert "±" in found.verdict
    assert r"\pm" in found.best.latex
    assert found.best.p > 0.01
    told = json.loads(json.dumps(found.as_json()))
    assert told["named"] is True
    assert told["candidates"][0]["odds"] > 0.9


def test_the_verb_names_a_term_from_its_file(tmp_path):
    law = tmp_path / "law.safetensors"
    flow_seen(LotkaVolterra(L=2.0)).save(law)
    done = debye("formula", law, "--alone", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["named"]
    done = debye("formula", law, "--alone", "--latex")
    assert done.stdout.startswith(r"v_x = (")
    done = debye("formula", law, "--alone", "--function", "x", "--function", "sin ky")
    assert done.exit_code == 3
    assert "no sum of these functions is the law" in done.stderr
    done = debye("formula", law)
    assert done.exit_code == 2
    assert "are not beside it" in done.stderr


@pytest.mark.parametrize("opened", [False, True], ids=["all is known", "instrument, starts"])
def test_frames_tell_apart_what_the_fitted_term_cannot(opened):
    generator = torch.Generator().manual_seed(0)
    cloud = 0.6 * torch.rand(3, 20, 2, generator=generator) - 0.3
    starts = 0.6 * torch.rand(3, 2, generator=generator).double() - 0.3
    wave = lambda x: torch.stack([x[..., 1], -torch.sin(6 * x[..., 0])], -1)  # noqa: E731
    solver, times = Solver("rk4", step=0.125), 0.5 * torch.arange(5).double()
    seen = {"solver": solver, "specimen": cloud, "photons": 1000}
    frames = simulate(Drift(wave), SEEN, starts, times, **seen)
    flow = SplineFlow()
    fitted = fitted_to(Drift(flow), flow, wave, points(0.3, 30), 0.02)
    fitted.solver, fitted.gain = solver, frames.gain
    if opened:
        off = Instrument(values={"background": [1.0], "centre": [0.2, -0.1]})
        counts = off.counts(SEEN, frames.states, cloud.double(), frames.gain).detach()
        noise = torch.randn(frames.states.shape, generator=generator).double()
        frames = replace(
            frames, data=torch.poisson(counts, generator), states=frames.states + 0.01 * noise
        )
        fitted.instrument = Instrument(("background", "centre"), {"background": [0.9]})
        fitted.card["start_error"] = 0.01
    found = find_formula(fitted, frames, ["y", "x³", "sin kx", "tanh kx"])
    alone = find_formula(fitted, library=["y", "x³", "sin kx", "tanh kx"])
    assert functions(alone.best) == [{"y"}, {"tanh kx"}]
    assert functions(found.best) == [{"y"}, {"sin kx"}]
    assert found.best.term.shapes.item() == pytest.approx(6, abs=0.1)
    assert found.named
    assert found.refitted
    assert found.best.p > 0.01


def test_a_wave_is_named_with_its_wave_number():
    found = find_formula(
        flow_seen(lambda x: torch.stack([x[..., 1], -torch.sin(5 * x[..., 0])], -1), noise=0.003)
    )
    assert found.named
    assert functions(found.best) == [{"y"}, {"sin kx"}]
    assert found.best.term.shapes.item() == pytest.approx(5, abs=0.05)


def test_one_is_not_named_where_several_do_as_well():
    """Near the middle a sine and a hyperbolic tangent are one line."""
    found = find_formula(
        flow_seen(lambda x: torch.stack([x[..., 1], -torch.sin(2 * x[..., 0])], -1), size=0.25)
    )
    assert not found.named
    assert "several formulas do as well" in found.verdict


def weighed(sums, amplitudes, errors, log_likelihood):
    """A formula as it is held against others; numbers beyond its amplitudes are told poorly."""
    term = NamedSum((sums,))
    count = len(to_vector(term))
    set_vector(term, torch.tensor(amplitudes + [1.0] * (count - len(amplitudes))).double())
    curvature = torch.tensor(errors + [1.0] * (count - len(errors))).double() ** -2
    prior = independent([0.0] * count, [0.0] * count)
    trial = Trial(term, prior, torch.ones(len(amplitudes)).double(), 0.0)
    return Weighed(trial, log_likelihood, curvature.diag())


def test_a_longer_formula_whose_numbers_nobody_knows_does_not_do_as_well():
    line = weighed(("1", "x"), [-0.33, -0.32], [0.003, 0.008], -100.0)
    vague = weighed(("cos kx", "exp kx"), [-0.12, -0.2], [0.22, 0.21], -97.0)
    assert shortest([line, vague]) == [line]
    # One that does much better, or whose numbers are known, stays.
    better = weighed(("cos kx", "exp kx"), [-0.12, -0.2], [0.22, 0.21], -90.0)
    known = weighed(("cos kx", "exp kx"), [-0.12, -0.2], [0.02, 0.02], -97.0)
    assert shortest([line, better]) == [line, better]
    assert shortest([line, known]) == [line, known]
    assert shortest([vague]) == [vague]


def test_no_formula_is_named_where_the_law_is_none_of_the_library():
    """The law is a bump, and only straight lines may be named."""
    bump = lambda x: torch.exp(-8 * x.square().sum(-1, keepdim=True)) * x  # noqa: E731
    found = find_formula(flow_seen(bump), library=["1", "x", "y"])
    assert not found.named
    assert "no sum of these functions is the law" in found.verdict


def test_the_force_of_a_pair_is_named():
    term = PairSpline(2.0, 40)
    r = torch.linspace(0.15, 1.8, 400).double()
    fitted = fitted_to(Particles(term), term, Yukawa(1.0, 4.0, 2.0), r, 1e-3)
    found = find_formula(fitted)
    assert found.named
    assert functions(found.best) == [{"exp(−kr)/r"}]
    assert to_vector(found.best.term).tolist() == pytest.approx([1.0, 4.0], abs=0.01)
    assert found.verdict.startswith("f = (")


@pytest.mark.parametrize(
    ("library", "words"),
    [
        (["x", Named("ξ", r"\xi", lambda x, k: x[..., 0]), "y"], "x and ξ are one function"),
        (["x", "besselj"], "no function is called 'besselj'"),
    ],
)
def test_libraries_that_cannot_be_searched_are_refused(library, words):
    with pytest.raises(InputError, match=words):
        find_formula(flow_seen(LotkaVolterra(L=2.0)), library=library)


def test_only_splines_with_errors_are_put_into_words():
    for system in (Drift(Flow(3)), Drift(SplineFlow())):
        with pytest.raises(InputError, match="cannot put velocity into words"):
            find_formula(FittedSystem(system, SEEN, Solver()))


def test_a_sum_of_named_functions_is_a_term_like_any_other():
    term = NamedSum((("1", "x y"), ("exp ky",)))
    set_vector(term, torch.tensor([0.5, -2.0, 3.0, 1.5]).double())
    x = points(0.5)
    wanted = torch.stack([0.5 - 2 * x[:, 0] * x[:, 1], 3 * torch.exp(1.5 * x[:, 1])], -1)
    torch.testing.assert_close(term(x), wanted)
    assert term.formula() == "v_x = 0.5 − 2 x y, v_y = 3 exp 1.5 y"
    assert term.written(latex=True) == r"v_x = 0.5 - 2\,x\,y,\quad v_y = 3\,\exp(1.5\,y)"
    assert describe(build(describe(term))) == describe(term)
    assert all(f.function(x, torch.tensor(2.0)).isfinite().all() for f in POSITIONS.values())
