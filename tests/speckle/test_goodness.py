"""A fit that is right says so as often as it should; one that is wrong says so, and names why."""

import json
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from debye.cli.command import app
from debye.errors import ComputationError, InputError
from debye.speckle.data.frames import simulate
from debye.speckle.data.nexus import save_frames
from debye.speckle.dynamics.learnable import Flow
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import Drift
from debye.speckle.fitting.deviance import moments, unit_deviance
from debye.speckle.fitting.fit import prepare
from debye.speckle.fitting.fitted import FittedSystem, fit
from debye.speckle.fitting.gauss_newton import check_curvature, free
from debye.speckle.fitting.goodness import Goodness, Group, least_of
from debye.speckle.fitting.instrument import Instrument
from debye.speckle.fitting.plan import Plan, Stage
from debye.speckle.fitting.prior import independent
from debye.speckle.scattering.models import RigidCloud
from debye.speckle.scattering.optics import Detector, GaussianProbe
from debye.speckle.values import same

SOLVER = Solver("rk4", step=0.25)
MODEL = RigidCloud(Detector(16, 0.5, 2.0, 0.04), GaussianProbe(0.25, 2.0), R=0.07)
PLAN = Plan((Stage(3, 2, 1, 12), Stage(5, 2, 1, 12), Stage(8, 2, 1, 12)))
TIMES = 0.25 * torch.arange(8).double()


def turning(x):
    return torch.stack([x[..., 1], -x[..., 0]], -1)


def recorded(seed=0, photons=300.0, velocity=turning, **values):
    """Counts of two clouds that turn, seen by an instrument that may be set otherwise."""
    generator = torch.Generator().manual_seed(seed)
    cloud = 0.8 * torch.rand(2, 40, 2, generator=generator, dtype=torch.float64) - 0.4
    start = 0.5 * torch.rand(2, 2, generator=generator, dtype=torch.float64) - 0.25
    clean = simulate(
        Drift(velocity), MODEL, start, TIMES, solver=SOLVER, photons=photons, specimen=cloud
    )
    rate = Instrument(values=values).counts(MODEL, clean.states, cloud, clean.gain).detach()
    return replace(clean, data=torch.poisson(rate, generator), system=None)


def fitted(frames, **how):
    return fit(Drift(Flow(degree=1)), frames, PLAN, solver=SOLVER, **how)


@pytest.mark.parametrize("rate", [0.003, 0.3, 3.0, 300.0])
def test_moments_of_the_deviance_are_those_of_many_draws(rate):
    lam = torch.full((400_000,), rate, dtype=torch.float64)
    d = unit_deviance(lam, torch.poisson(lam, torch.Generator().manual_seed(0)))
    mean, variance = (float(x) for x in moments(lam[:1]))
    assert float(d.mean()) == pytest.approx(mean, abs=5 * (variance / len(lam)) ** 0.5)
    assert float(d.var()) == pytest.approx(variance, rel=0.1)


@pytest.mark.parametrize("photons", [10.0, 300.0])
def test_p_of_good_fits_is_spread_evenly(photons):
    p = torch.tensor(
        [fitted(recorded(s, photons), instrument=False).goodness.p for s in range(1, 7)]
    )
    assert p.min() > 1e-3
    assert 0.1 < p.median() < 0.95


@pytest.mark.parametrize("seed", [2, 22])
def test_short_windows_that_tell_little_lead_nowhere(seed):
    """Three frames of ten photons do not tell a whole flow: what they do not is not walked."""
    generator = torch.Generator().manual_seed(seed)
    cloud = 0.8 * torch.rand(2, 40, 2, generator=generator, dtype=torch.float64) - 0.4
    start = 0.5 * torch.rand(2, 2, generator=generator, dtype=torch.float64) - 0.25
    how = {"solver": SOLVER, "specimen": cloud, "photons": 10.0, "seed": seed + 1_000_003}
    found = fitted(simulate(Drift(turning), MODEL, start, TIMES, **how))
    assert found.goodness.p > 1e-3
    velocity = found.system.term(TURNED)
    z = (velocity - turning(TURNED)).flatten() / found.error_of(
        lambda: found.system.term(TURNED).flatten()
    )
    assert z.abs().max() < 4


TURNED = torch.tensor([[0.2, 0.0], [0.0, 0.2]]).double()
WRONG = {
    "background": [1.0],
    "centre": [0.2, -0.1],
    "q_scale": [0.02],
    "width": [0.05],
    "incoherence": [0.3],
}


@pytest.mark.parametrize("name", WRONG)
def test_an_error_of_the_instrument_is_named_and_cured(name):
    frames = recorded(1, **{name: WRONG[name]})
    plain = fitted(frames, instrument=False)
    assert plain.goodness.fits is False
    assert name in [cause.name for cause in plain.goodness.causes[:2]]
    assert plain.goodness.lines()[0].startswith("the frames do not follow this law")
    cured = fitted(frames)
    assert cured.goodness.fits
    found = cured.instrument.get_parameter(name).tolist()
    for value, true, error in zip(found, WRONG[name], cured.nuisance[name]["error"], strict=True):
        assert abs(value - true) < 4.5 * error < abs(true)
    velocity = cured.system.term(torch.tensor([0.2, 0.1], dtype=torch.float64)).tolist()
    assert velocity == pytest.approx([0.1, -0.2], abs=0.02)


def test_a_law_outside_the_basis_is_not_blamed_on_the_instrument():
    bent = recorded(2, 1000.0, lambda x: torch.stack([x[..., 1], -torch.sin(12 * x[..., 0])], -1))
    goodness = fitted(bent).goodness
    assert goodness.fits is False
    assert "no error of the instrument alone explains it" in "\n".join(goodness.lines())


def test_errors_grow_with_the_misfit_and_survive_the_file(tmp_path):
    wrong = fitted(recorded(1, background=[1.0]), instrument=False)
    right = fitted(recorded(1), instrument=False)
    assert (
        wrong.errors["velocity.coefficients"].min()
        > 1.5 * right.errors["velocity.coefficients"].min()
    )
    free_too = fitted(recorded(1, background=[1.0]))
    for one in (wrong, free_too):
        one.save(tmp_path / "fit")
        back = FittedSystem.load(tmp_path / "fit")
        assert back == one, [k for k, v in vars(one).items() if not same(v, getattr(back, k))]
        assert back.goodness.lines() == one.goodness.lines()
        torch.testing.assert_close(back.covariance, one.covariance)
    frames = recorded(1)
    states = frames.states[:, :3]
    torch.testing.assert_close(
        back.frames(states, frames.specimen), free_too.frames(states, frames.specimen)
    )


def test_goodness_draws_where_frames_do_not_follow():
    groups = tuple(Group(f"t = {k}", z, 0.5) for k, z in enumerate((0.1, 7.0, -1.0)))
    axes = Goodness(10, 0.1, p=1e-9, by_time=groups, by_run=groups[:1], by_q=groups).plot()
    assert [bar.get_height() for bar in axes.containers[0]] == [0.1, 7.0, -1.0]
    assert axes.get_title(loc="left").startswith("The frames do not follow the law")
    with pytest.raises(InputError, match="nothing was held against counting noise"):
        Goodness(10, 0.1).plot()


def test_a_fit_that_was_stopped_on_its_way_says_so():
    plan = Plan((Stage(3, 2, 1, 1),))
    made = fit(Drift(Flow(degree=1)), recorded(1), plan, solver=SOLVER, instrument=False)
    assert made.goodness.to_go > 1
    assert "stopped on its way down" in "\n".join(made.goodness.lines())
    assert fitted(recorded(1), instrument=False).goodness.to_go < 0.1


def test_a_law_that_carries_everything_out_of_sight_is_judged_in_numbers(tmp_path):
    frames = recorded(1)
    fitting = prepare(Drift(Flow(degree=1)), frames, PLAN, solver=SOLVER, instrument=False)
    (c,) = fitting.experiment.system.parameters()
    with torch.no_grad():
        c.copy_(torch.tensor([[0.0, 6.0, 0.0], [0.0, 0.0, 6.0]]).view_as(c))
    assert (fitting.experiment(PLAN.stages[-1].windows(frames)[0]) == 0).any()
    fitting.stage, fitting.outcome = len(PLAN.stages), fitting.examine()
    made = FittedSystem.of(fitting)
    assert made.goodness.fits is False
    assert made.covariance.isfinite().all()
    made.save(tmp_path / "fit.safetensors")
    assert FittedSystem.load(tmp_path / "fit.safetensors").goodness == made.goodness
    alone = replace(fitting.plan, method="adam")
    fitting.plan = alone
    assert torch.tensor(fitting.examine().goodness.deviance).isfinite()


def test_steps_too_long_for_the_errors_are_told():
    fits = {}
    for step in (0.25, 0.125, 0.01):
        made = fit(
            Drift(Flow(degree=1)),
            recorded(1),
            PLAN,
            solver=Solver("midpoint", step=step),
            instrument=False,
        )
        fits[step] = made, torch.cat([p.detach().flatten() for p in made.system.parameters()])
    exact, C = fits[0.01][1], fits[0.01][0].covariance
    for step in (0.25, 0.125):
        made, found = fits[step]
        moved = found - exact
        away = float(moved @ torch.linalg.solve(C, moved)) ** 0.5
        # Half the step removes three fourths of the error of an order of two.
        assert made.goodness.solver == pytest.approx(0.75 * away, rel=0.2)
    assert "halve the solver's step" in "\n".join(fits[0.25][0].goodness.lines())
    assert fits[0.01][0].goodness.solver < 0.05
    assert "solver" not in "\n".join(fits[0.01][0].goodness.lines())


def test_an_equation_that_lasts_in_long_steps_alone_says_so():
    def growing(x):
        return torch.stack([x[..., 1], 0.3 * x[..., 0]], -1)

    frames = recorded(1, velocity=growing)
    fitting = prepare(Drift(Flow(degree=1)), frames, PLAN, solver=SOLVER, instrument=False)
    for _ in fitting.run():
        pass
    fitting.experiment.solver = replace(SOLVER, max_steps=7)
    goodness = fitting.examine().goodness
    assert goodness.solver is None
    assert "would not last" in "\n".join(goodness.lines())
    assert Goodness.from_json(json.loads(json.dumps(goodness.as_json()))) == goodness


def test_windows_that_overlap_count_a_frame_once():
    frames = recorded(3)
    plan = Plan((Stage(6, 2, 2, 10),))
    goodness = fit(Drift(Flow(degree=1)), frames, plan, solver=SOLVER, instrument=False).goodness
    assert goodness.pixels == 2 * 8 * int(frames.mask.sum())
    assert goodness.fits


def test_frames_without_noise_are_not_judged_by_it():
    clean = recorded(0)
    exact = replace(clean, data=MODEL(clean.states, clean.specimen), photons=0.0, gain=1.0)
    goodness = fitted(exact, instrument=False).goodness
    assert goodness.p is None
    assert goodness.fits is None
    assert goodness.misfit < 1e-3
    assert "no counting noise" in goodness.lines()[0]


@pytest.mark.parametrize(("background", "code"), [(0.0, 0), (3.0, 3)])
def test_learn_says_in_json_how_well_and_ends_with_3_where_it_does_not(tmp_path, background, code):
    frames = replace(recorded(1, background=[background]), about={"study": "drift"})
    save_frames(tmp_path / "f.h5", frames)
    (tmp_path / "plan.toml").write_text("[[stages]]\nframes = 2\nruns = 2\niterations = 9\n")
    words = ["learn", tmp_path / "f.h5", "--output", tmp_path / "fit", "--config"]
    words += [tmp_path / "plan.toml", "--no-instrument", "--json"]
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == code, done.stderr
    record = json.loads(done.stdout)
    assert record["goodness"]["fits"] is (code == 0)
    assert record["coefficients"].keys() == record["errors"].keys()
    assert ("do not follow" in done.stderr) is (code == 3)


def test_adam_cannot_fit_an_instrument():
    plan = Plan((Stage(3, 1),), method="adam")
    with pytest.raises(InputError, match="cannot fit the instrument by adam"):
        prepare(Drift(Flow(1)), recorded(), plan, solver=SOLVER, instrument=True)


def test_a_curvature_that_is_not_finite_is_told_apart_from_none():
    model = Drift(Flow(1))
    H = torch.eye(6, dtype=torch.float64)
    H[2, 2] = torch.nan
    with pytest.raises(ComputationError, match=r"velocity\.coefficients is not finite"):
        check_curvature(H, free(model))
    with pytest.raises(ComputationError, match="no pixel depends"):
        check_curvature(0 * torch.eye(6).double(), free(model))


def test_bounds_hold_what_would_leave_them():
    prior = independent([0.0, 0.0], [1.0, 1.0])._replace(least=torch.tensor([0.0, -torch.inf]))
    c = torch.tensor([0.0, -3.0], dtype=torch.float64)
    assert prior.held(c, torch.tensor([-1.0, -1.0]).double()).tolist() == [True, False]
    assert prior.within(c - 1).tolist() == [0.0, -4.0]


def test_many_tests_together_are_one():
    assert least_of([]) == 1.0
    p = torch.rand(4000, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    together = torch.tensor([least_of(row.tolist()) for row in p])
    assert float((together < 0.1).double().mean()) == pytest.approx(0.1, abs=0.02)


def test_goodness_comes_back_from_json():
    made = fitted(recorded(4), instrument=False).goodness
    assert Goodness.from_json(json.loads(json.dumps(made.as_json()))) == made
