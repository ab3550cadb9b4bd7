"""A law is learned from frames, by every method, resumes exactly, and fails with its reason."""

import math
import re
from dataclasses import replace

import pytest
import torch

from debye.errors import ComputationError, InputError
from debye.speckle.conclusions.extrapolate import extrapolate
from debye.speckle.data.frames import Frames, simulate
from debye.speckle.dynamics.couplings import Kernel, PhaseSeries
from debye.speckle.dynamics.known import LotkaVolterra, MexicanHat, PhaseCoupling, SwarmForce
from debye.speckle.dynamics.learnable import Flow, FlowNetwork, RadialSpline
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import Drift, Kuramoto, Swarm, Swarmalator
from debye.speckle.fitting.experiment import Experiment
from debye.speckle.fitting.fit import prepare
from debye.speckle.fitting.fitted import FittedSystem, fit, load, resume, save
from debye.speckle.fitting.gauss_newton import GaussNewton, to_vector
from debye.speckle.fitting.plan import Plan, Stage
from debye.speckle.scattering.models import Cloud, Lattice, RigidCloud
from debye.speckle.scattering.noise import EXACT
from debye.speckle.scattering.optics import Detector, GaussianProbe
from debye.speckle.serialize import build, describe
from debye.speckle.studies.drift import DRIFT
from debye.speckle.studies.kuramoto import KURAMOTO
from debye.speckle.studies.run import STUDIES, run_study, study
from debye.speckle.studies.scan import SCAN
from debye.speckle.studies.study import Study, relative
from debye.speckle.studies.swarm import SWARM, pair_force

SOLVER = Solver("tsit5", rtol=1e-6, atol=1e-7)
BRIEF = Solver("tsit5", rtol=1e-4, atol=1e-5, max_steps=15)


@pytest.fixture(scope="module")
def small_swarm():
    """60 particles, 6 frames: a second's work."""
    generator = torch.Generator().manual_seed(0)
    y0 = 2 * torch.rand(3, 60, 2, generator=generator, dtype=torch.float64) - 1
    model = Cloud(Detector(16, 0.5, 2.0, 0.05), GaussianProbe(0.25, 2.0), R=0.05)
    return simulate(
        Swarm(SwarmForce(), L=2.0), model, y0, 0.1 * torch.arange(6).double(), solver=SOLVER
    )


@pytest.fixture(scope="module")
def small_lattice():
    """A 20² lattice and a 5 × 5 kernel."""
    generator = torch.Generator().manual_seed(0)
    y0 = 2 * math.pi * torch.rand(2, 20, 20, generator=generator, dtype=torch.float64)
    model = Lattice(Detector(18, 0.5, 2.0, 0.05), GaussianProbe(0.25, 2.0), points=20)
    truth = Kuramoto(MexicanHat(5))
    return simulate(truth, model, y0, 0.25 * torch.arange(5).double(), solver=SOLVER)


def force_error(term):
    r = torch.linspace(0.1, 0.8, 200, dtype=torch.float64)
    return relative(pair_force(term, r), pair_force(SwarmForce(), r))


def test_gauss_newton_finds_the_swarm_force(small_swarm):
    system = Swarm(RadialSpline(12), L=2.0)
    fitted = fit(system, small_swarm, Plan((Stage(6, 3, 1, 10, 3),)), solver=SOLVER)
    assert force_error(system.term) < 0.01
    spread = fitted.covariance
    assert spread.shape == (13, 13)
    assert (spread.diagonal() > 0).all()


@pytest.mark.parametrize("symmetric", [False, True])
def test_gauss_newton_finds_the_kernel(small_lattice, symmetric):
    system = Kuramoto(Kernel(5, symmetric=symmetric))
    fit(system, small_lattice, Plan((Stage(3, 2, 1, 8),)), solver=SOLVER)
    assert relative(system.term(), MexicanHat(5)()) < 1e-3


@pytest.mark.parametrize(("method", "iterations"), [("lbfgs", 25), ("adam", 60)])
def test_gradient_methods_descend_too(small_lattice, method, iterations):
    system = Kuramoto(Kernel(5, symmetric=True))
    plan = Plan((Stage(3, 2, 1, iterations),), method=method, rate=3e-2)
    fit(system, small_lattice, plan, solver=Solver("rk4", step=0.125))
    assert relative(system.term(), MexicanHat(5)()) < 0.1


def test_the_derivative_carried_forward_is_the_one_by_finite_differences(small_swarm):
    system = Swarm(RadialSpline(6), L=2.0)
    experiment = Experiment(system, small_swarm.scattering, SOLVER, small_swarm.gain)
    fit = GaussNewton(experiment, lambda w: w.frames[:, 1:], small_swarm.mask, EXACT)
    vector, pieces = to_vector(experiment), [small_swarm.window(0, 3, slice(0, 1))]
    _, slope = fit.linearise(vector, pieces)
    count = int(small_swarm.mask.sum()) * 2
    for k in (0, 3):  # the cutoff, and a coefficient
        step = torch.zeros_like(vector)
        step[k] = 1e-6
        up, down = (fit.loss(vector + s * step, pieces) for s in (1, -1))
        assert count * (up - down) / 2e-6 == pytest.approx(float(slope[k]), rel=1e-3)


def test_the_phase_coupling_of_a_swarmalator_is_learned():
    """The interaction in space is known, the coupling of phases is not."""
    generator = torch.Generator().manual_seed(0)
    y0 = 2 * torch.rand(3, 60, 3, generator=generator, dtype=torch.float64) - 1
    y0[..., 2] *= math.pi
    model = Cloud(Detector(16, 0.5, 2.0, 0.05), GaussianProbe(0.25, 2.0), R=0.05)
    truth = Swarmalator(SwarmForce(), PhaseCoupling(J=0.5, K=1.5), L=2.0)
    data = simulate(truth, model, y0, 0.2 * torch.arange(6).double(), solver=SOLVER)
    system = Swarmalator(SwarmForce(), PhaseSeries(2), L=2.0)
    fit(system, data, Plan((Stage(3, 3, 1, 5, 3), Stage(6, 3, 1, 2, 3))), solver=SOLVER)
    assert system.term.even.tolist() == pytest.approx([0.5, 0.0], abs=0.01)
    assert system.term.odd.tolist() == pytest.approx([1.5, 0.0], abs=0.05)


def test_a_swarm_in_space_is_learned_from_its_projection():
    generator = torch.Generator().manual_seed(0)
    y0 = 1.2 * torch.rand(3, 40, 3, generator=generator, dtype=torch.float64) - 0.6
    model = Cloud(Detector(16, 0.5, 2.0, 0.05), GaussianProbe(0.25, 2.0), R=0.05)
    data = simulate(
        Swarm(SwarmForce(), L=2.0, D=3), model, y0, 0.1 * torch.arange(5).double(), solver=SOLVER
    )
    system = Swarm(RadialSpline(8), L=2.0, D=3)
    fit(system, data, Plan((Stage(4, 3, 1, 6, 3),)), solver=SOLVER)
    assert force_error(system.term) < 0.1


def test_a_kernel_in_space_is_learned_from_its_projection():
    generator = torch.Generator().manual_seed(0)
    y0 = 2 * math.pi * torch.rand(2, 10, 10, 10, generator=generator, dtype=torch.float64)
    model = Lattice(
        Detector(10, 0.5, 2.0, 0.0), GaussianProbe(0.25, 2.0), points=10, form="projected"
    )
    truth = Kuramoto(MexicanHat(3, axes=3), axes=3)
    data = simulate(truth, model, y0, 0.1 * torch.arange(4).double(), solver=SOLVER)
    system = Kuramoto(Kernel(3, axes=3, symmetric=True), axes=3)
    fit(system, data, Plan((Stage(4, 2, 1, 8),)), solver=SOLVER)
    assert relative(system.term(), MexicanHat(3, axes=3)()) < 1e-3


def test_same_seed_same_law_other_seed_other_frames():
    small = replace(DRIFT, times=(0.0, 4.0, 2.0))
    one, two = (small.frames(runs=2, photons=50, seed=3) for _ in range(2))
    assert torch.equal(one.data, two.data)
    other = small.frames(runs=2, photons=50, seed=4)
    assert not torch.equal(one.data, other.data)


def test_unseen_states_share_nothing_with_training():
    for case in (SWARM, KURAMOTO, DRIFT):
        seen, unseen = (case.draw(2, seed)[0] for seed in (0, 1_000_003))
        apart = (seen[:, None] - unseen[None]).abs().flatten(2).mean(-1)
        assert apart.min() > 0.01


def test_error_bars_are_as_long_as_the_errors(small_lattice):
    """χ² of the learned kernel about the true one, by the law's own covariance, is about 1."""
    generator = torch.Generator().manual_seed(1)
    intensity = small_lattice.gain * 0.2 * small_lattice.scattering(small_lattice.states)
    counted = replace(
        small_lattice,
        data=torch.poisson(intensity, generator=generator),
        photons=200.0,
        gain=0.2 * small_lattice.gain,
    )
    system = Kuramoto(Kernel(5))
    fitting = prepare(system, counted, Plan((Stage(5, 2, 1, 10),)), solver=SOLVER)
    list(fitting.run())
    truth = MexicanHat(5)().flatten()
    error = system.term.weights.detach() - truth[torch.arange(25) != 12]
    chi2 = float(error @ fitting.curvature @ error) / 24
    assert 0.4 < chi2 < 2.0


def test_uneven_times_are_learned_from(small_lattice):
    times = torch.tensor([0.0, 0.1, 0.4, 0.45, 1.0], dtype=torch.float64)
    truth, y0 = Kuramoto(MexicanHat(5)), small_lattice.states[:, 0]
    data = simulate(truth, small_lattice.scattering, y0, times, solver=SOLVER)
    system = Kuramoto(Kernel(5))
    fit(system, data, Plan((Stage(3, 2, 3, 8),)), solver=SOLVER)
    assert relative(system.term(), MexicanHat(5)()) < 1e-3


@pytest.fixture(scope="module", params=["swarm", "drift", "scan"])
def report(request):
    """A study cut short, fitted in two steps; the drift's budget ends before its horizon."""
    case = study(request.param)
    changes = {
        "swarm": {"times": (0.0, 0.2, 0.1), "runs_unseen": 1},
        "drift": {"times": (0.0, 4.0, 2.0), "runs_unseen": 1, "solver": BRIEF},
        "scan": {"times": (1.0, 8.0, 1.0)},
    }[case.name]
    solver = Solver("tsit5", rtol=1e-4, atol=1e-5, max_steps=3000)
    small = replace(case, **{"solver": solver, "careful": solver, **changes})
    frames = 4 if case is SCAN else 2
    return run_study(small, plan=Plan((Stage(frames, 1, 1, 2, 1),)), photons=1e3, quick=True)


def test_every_study_has_its_table_and_page(report, tmp_path):
    from debye.plot import save
    from debye.plot.speckle import movie, study_figure

    assert report.rows
    assert all(math.isfinite(row.value) for row in report.rows)
    assert all(row.quantity in "\n".join(report.lines()) for row in report.rows)
    assert save(study_figure(report), tmp_path / "page.png").stat().st_size > 10_000
    assert movie(report, tmp_path / "movie.gif", frames=2).stat().st_size > 1_000


def test_a_study_says_where_it_stopped_and_why(report):
    reached, horizon = float(report.times[-1]), report.horizon
    lines = "\n".join(report.lines())
    if report.study.name != "drift":
        assert reached == horizon
        assert report.as_json()["stopped"] is None
        return
    assert reached < 100 == horizon
    assert report.stopped in lines
    assert f"the integration stopped after t = {reached:.4g}: " in report.stopped
    assert "the horizon is t = 100" in report.stopped
    assert report.as_json()["stopped"] == report.stopped
    assert report.rows[-1].quantity == f"error of the states at t = {reached:.4g}, where it stopped"
    assert report.true.shape == report.predicted.shape
    assert len(report.error) == len(report.times) == report.true.shape[1]


def test_a_table_has_no_rows_for_times_that_were_not_reached(report):
    """The swarm cut off at t = 0.2 has no error at t = 2, nor the drift a period."""
    end = float(report.times[-1])
    times = [float(t) for row in report.rows for t in re.findall(r"t = ([\d.]+)", row.quantity)]
    assert all(t <= end + 1e-3 for t in times)
    assert not any("period" in row.quantity for row in report.rows)


def test_a_study_from_nothing_to_its_table():
    case = replace(KURAMOTO, times=(5.0, 10.0, 0.5), horizon=10.0)
    report = run_study(case, plan=Plan((Stage(2, 1, 1, 3, 1),)), quick=True)
    assert report.rows[0].met
    assert report.until == 5.5
    table = report.as_json()["table"]
    assert table[0]["met"] is True
    assert table[0]["value"] < 0.01


@pytest.mark.parametrize("name", ["gray-scott", "turing"])
def test_reaction_and_diffusion_scatter(name):
    case = STUDIES[name]
    frames = case.frames(runs=1, until=3 * case.times[2])
    assert frames.data.shape == (1, 4, 84, 84)
    assert frames.states.isfinite().all()
    with pytest.raises(InputError, match=f"no study of {name}"):
        run_study(case)


@pytest.mark.parametrize("method", ["gauss-newton", "adam"])
def test_resumed_fitting_ends_where_an_unbroken_one_does(small_lattice, tmp_path, method):
    plan = Plan((Stage(2, 1, 1, 3), Stage(3, 2, 1, 3)), method=method)

    def fresh():
        return prepare(Kuramoto(Kernel(5)), small_lattice, plan, solver=SOLVER)

    whole = fresh()
    losses = [step.loss for step in whole.run()]
    part = fresh()
    path = tmp_path / "law.safetensors"
    for k, _ in enumerate(part.run()):
        save(path, part)
        if k == 1:
            break
    again = fresh()
    resume(path, again)
    rest = [step.loss for step in again.run()]
    assert rest[-1] == pytest.approx(losses[-1], rel=1e-6, abs=1e-12)
    torch.testing.assert_close(again.experiment.system.term(), whole.experiment.system.term())


def test_resume_refuses_another_plan(small_lattice, tmp_path):
    fitting = prepare(Kuramoto(Kernel(5)), small_lattice, Plan((Stage(2, 1),)), solver=SOLVER)
    save(tmp_path / "law", fitting)
    other = prepare(Kuramoto(Kernel(5)), small_lattice, Plan((Stage(3, 1),)), solver=SOLVER)
    with pytest.raises(InputError, match="changed in stages"):
        resume(tmp_path / "law", other)


def test_a_law_survives_its_file(small_lattice, tmp_path):
    fitting = prepare(Kuramoto(Kernel(5)), small_lattice, Plan((Stage(2, 1, 1, 2),)), solver=SOLVER)
    list(fitting.run())
    save(tmp_path / "law.safetensors", fitting, study="test")
    law = load(tmp_path / "law.safetensors")
    y0 = small_lattice.states[0, 0]
    here = SOLVER.solve(fitting.experiment.system.vector_field(), y0, [0.0, 0.3]).states.detach()
    torch.testing.assert_close(law.extrapolate(y0, torch.tensor([0.0, 0.3])).states, here)
    assert law.card["study"] == "test"
    assert law.covariance.shape == (24, 24)
    assert law.frames(here).shape == (2, 36, 36)


def test_a_fitted_system_equals_its_file_and_tells_its_errors(small_lattice, tmp_path):
    fitted = fit(Kuramoto(Kernel(5)), small_lattice, Plan((Stage(2, 1, 1, 2),)), solver=SOLVER)
    fitted.save(tmp_path / "fitted.safetensors")
    back = FittedSystem.load(tmp_path / "fitted.safetensors")
    assert back == fitted
    assert back.path == tmp_path / "fitted.safetensors"
    errors = back.errors["coupling.weights"]
    torch.testing.assert_close(errors, fitted.covariance.diagonal().sqrt())
    direct = fitted.error_of(lambda: fitted.system.term.weights)  # the slopes are 1
    torch.testing.assert_close(direct, errors)
    assert back.to_frame()["error"].tolist() == pytest.approx(errors.tolist())
    assert "5 × 5 points of 24 coefficients" in back.formula
    assert "\n" not in repr(back)
    with pytest.raises(InputError, match="not where the fit stood"):
        resume(tmp_path / "fitted.safetensors", prepared(small_lattice))


def prepared(frames):
    return prepare(Kuramoto(Kernel(5)), frames, Plan((Stage(2, 1, 1, 2),)), solver=SOLVER)


def test_what_the_data_leave_open_has_long_errors_in_a_file_too(small_lattice, tmp_path):
    """A coefficient that no pixel depends on: its error is not 0, before the file and after."""
    fitting = prepared(small_lattice)
    fitting.curvature = torch.diag(torch.cat([torch.ones(23), torch.zeros(1)])).double()
    save(tmp_path / "law", fitting)
    for fitted in (FittedSystem.of(fitting), load(tmp_path / "law")):
        assert fitted.errors["coupling.weights"].tolist() == pytest.approx([1.0] * 23 + [1e6])


def test_fit_walks_its_own_curriculum(small_lattice):
    fitted = fit(Kuramoto(Kernel(5)), small_lattice)
    assert relative(fitted.system.term(), MexicanHat(5)()) < 1e-3


def test_extrapolation_agrees_with_the_frames_and_goes_beyond(small_lattice):
    known = FittedSystem(
        Kuramoto(MexicanHat(5)), small_lattice.scattering, SOLVER, small_lattice.gain
    )
    found = extrapolate(known, 2.0, small_lattice)
    assert found.times.tolist() == small_lattice.times.tolist()
    assert found.predicted.times.tolist() == [0.25 * k for k in range(9)]
    assert found.frame_error.max() < 1e-5
    assert found.photon_noise.max() == 0
    assert found.stopped == ""
    assert list(found.to_frame().columns) == ["frame_error", "photon_noise"]
    assert len(extrapolate(known, 0.6, small_lattice, runs=1).predicted.times) == 3
    for until in (math.nan, 0.1):
        with pytest.raises(InputError, match=r"it must be 0\.25 or above"):
            extrapolate(known, until, small_lattice)
    with pytest.raises(InputError, match="they hold no states"):
        extrapolate(known, 2.0, replace(small_lattice, states=None))
    with pytest.raises(InputError, match="nothing to start this system from"):
        extrapolate(known, 2.0)


def test_an_extrapolation_that_stops_gives_what_was_reached(small_lattice):
    eager = Solver("rk4", step=0.25, max_steps=6)
    known = FittedSystem(Kuramoto(MexicanHat(5)), small_lattice.scattering, eager)
    found = extrapolate(known, 9.0, small_lattice)
    assert found.predicted.times.tolist() == [0.25 * k for k in range(7)]
    assert "stopped after t = 1.5: the budget of steps ran out" in found.stopped
    assert found.as_json()["stopped"] == found.stopped
    with pytest.raises(ComputationError, match="stopped at t = 0"):
        extrapolate(
            replace(known, solver=replace(eager, step=0.1, max_steps=1)), 9.0, small_lattice
        )


@pytest.mark.parametrize("case", STUDIES.values(), ids=lambda c: c.name)
def test_every_study_can_be_described_and_built_again(case):
    for thing in (
        case.known(),
        case.scattering(),
        *((case.model(),) if isinstance(case, Study) else ()),
    ):
        tensors = {}
        plan = describe(thing, tensors)
        assert describe(build(plan, tensors), {}) == plan


def test_a_law_that_blows_up_says_so_and_keeps_the_last_good_weights(small_lattice):
    system = Kuramoto(Kernel(5))
    with torch.no_grad():
        system.term.weights.fill_(1e9)
    eager = Solver("tsit5", rtol=1e-6, max_steps=50)
    fitting = prepare(system, small_lattice, Plan((Stage(3, 1),)), solver=eager)
    with pytest.raises(ComputationError, match="blows up within the window"):
        list(fitting.run())
    assert (system.term.weights == 1e9).all()


def test_a_step_that_blows_up_is_replace():
    """From a start where the full step leads to a singular law, the damping finds another way."""

    class Well(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.x = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))

        def forward(self, piece):
            if self.x.detach().abs().max() > 2.5:
                raise ComputationError("too far", why="a wall", fix="turn back")
            return torch.tanh(self.x) * piece

    from debye.speckle.scattering.noise import SQUARES

    well, asked = Well(), []
    fit = GaussNewton(well, lambda p: 0.1 * p, torch.ones(1), SQUARES, damping=1e-9)
    fit.adapt = lambda *_: asked.append(fit.steps) or fit.known
    steps = list(fit.run([torch.ones(3).double()], 30))
    assert any(step.rewound for step in steps)
    assert math.tanh(well.x.item()) == pytest.approx(0.1, abs=1e-6)
    # A prior is not chosen from where the model was not linear a step ago.
    assert asked == [
        0,
        *(k for k, step in enumerate(steps, 1) if not step.rewound and k < len(steps)),
    ]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Plan(()), "no stages"),
        (lambda: Plan((Stage(2, 1),), method="newton"), "gauss-newton, lbfgs and adam"),
        (lambda: Plan((3,)), "no stages"),
        (lambda: Plan((Stage(2, 1),), ridge=-1.0), "ridge is -1.0"),
        (lambda: Stage("3", 1), "frames is '3'"),
        (lambda: Plan((Stage(2, 1),)).changed({"stages": [{"framse": 2}]}), "framse"),
        (lambda: Plan((Stage(2, 1),)).changed({"stages": 3}), "cannot follow this plan"),
        (lambda: prepare("kuramoto", None, None), "give a System of debye.speckle"),
        (lambda: fit(Drift(Flow(2)), "frames.h5"), "give a Frames of debye.speckle"),
        (lambda: extrapolate("law.safetensors", 3.0), "give a FittedSystem of debye.speckle"),
        (lambda: run_study("ising"), "there are swarm"),
        (lambda: study("ising"), "there are swarm"),
        (lambda: GaussNewton(torch.nn.Linear(99, 99), None, None, EXACT), "method='adam'"),
        (lambda: GaussNewton(Drift(LotkaVolterra()), None, None, EXACT), "no parameters"),
        (lambda: build({"class": "Popen", "arguments": {}}), "cannot build 'Popen'"),
        (lambda: build({"class": "Detector", "arguments": {"m": 1}}), "unexpected keyword"),
        (lambda: describe(torch.nn.Linear(1, 1)), "cannot save a Linear"),
        (lambda: Kernel(4), "needs a middle"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_frames_without_states_or_geometry_are_refused_with_what_to_add():
    bare = Frames(torch.ones(1, 3, 8, 8), torch.arange(3.0), torch.ones(8, 8, dtype=torch.bool))
    with pytest.raises(InputError, match="pass scattering="):
        prepare(Drift(Flow(2)), bare, Plan((Stage(2, 1),)), solver=SOLVER)
    model = RigidCloud(Detector(8, 1.0, 2.0), GaussianProbe(0.25, 2.0), R=0.1)
    with pytest.raises(InputError, match="/entry/sample/states"):
        prepare(Drift(Flow(2)), bare, Plan((Stage(2, 1),)), solver=SOLVER, scattering=model)
    scaled = prepare(
        Drift(Flow(2)),
        replace(bare, gain=1.0),
        Plan((Stage(2, 1),)),
        solver=SOLVER,
        scattering=model,
    )
    with pytest.raises(InputError, match="/entry/sample/states"):
        list(scaled.run())


def test_a_network_fills_the_term_as_well():
    x = torch.zeros(4, 2)
    assert Drift(FlowNetwork())(0.0, x).shape == (4, 2)


# Where a law is computed: tensors on the meta device refuse to meet those on any other.


@pytest.mark.parametrize("name", ["kuramoto", "drift", "scan"])
def test_field_and_scattering_stay_on_the_device_of_the_state(name):
    case = study(name)
    start, specimen = case.starts(1, torch.Generator().manual_seed(0))
    state = start.to("meta")
    assert case.model().to("meta").vector_field()(0.0, state).device.type == "meta"
    cloud = None if specimen is None else specimen.to("meta")
    intensity = case.scattering().to("meta")(torch.stack([state, state], dim=1), cloud)
    assert intensity.device.type == "meta"
