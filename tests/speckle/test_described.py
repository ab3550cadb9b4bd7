"""Equations that a config describes are built, filled, and learned from the command line."""

import json
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from debye.cli.command import app
from debye.errors import InputError
from debye.speckle.data.frames import simulate
from debye.speckle.data.nexus import save_frames
from debye.speckle.dynamics.learnable import Smooth
from debye.speckle.dynamics.particles import Particles
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.splines import SplineFlow
from debye.speckle.dynamics.systems import Drift
from debye.speckle.fitting.described import RICH, described, filled
from debye.speckle.fitting.fitted import fit, load
from debye.speckle.fitting.plan import Plan, Stage
from debye.speckle.scattering.models import Cloud, RigidCloud
from debye.speckle.scattering.optics import Detector, GaussianProbe
from debye.speckle.serialize import build, describe

SEEN = RigidCloud(Detector(12, 0.75, 2.0), GaussianProbe(0.25, 2.0), R=0.07)
STATES = {
    "Drift": (2,),
    "RigidMotion": (3,),
    "Particles": (5, 2),
    "Swarm": (5, 2),
    "Swarmalator": (5, 3),
    "Kuramoto": (12, 12),
    "ReactionDiffusion": (2, 8, 8),
}
MORE = {"ReactionDiffusion": {"diffusion": [1e-3, 1e-3]}, "Particles": {"species": [2, 3]}}


@pytest.mark.parametrize("kind", RICH, ids=lambda kind: kind.__name__)
def test_every_equation_has_terms_of_any_form(kind):
    """They are smooth, a file can hold them, and they lead somewhere."""
    name = kind.__name__
    system = described({"system": {"class": name, **MORE.get(name, {})}}, SEEN).system
    assert all(isinstance(getattr(system, term), Smooth) for term in RICH[kind])
    assert describe(build(describe(system))) == describe(system)
    y = torch.rand(STATES[name], generator=torch.Generator().manual_seed(0)).double()
    assert system(0.0, y).shape == y.shape


def test_constants_terms_scattering_and_solver_are_written_down():
    made = described(
        {
            "system": {
                "class": "Particles",
                "periodic": True,
                "L": 2.0,
                "force": {"class": "PairSpline", "cutoff": 0.8, "knots": 20},
                "field": {"class": "Flow", "degree": 1},
            },
            "scattering": {
                "class": "Cloud",
                "R": 0.1,
                "detector": {"n": 12, "dq": 0.75, "L": 2.0},
                "probe": {"f_probe": 0.25, "L": 2.0},
            },
            "solver": {"method": "rk4", "step": 0.1},
            "ridge": 1.0,
        }
    )
    assert made.system.periodic
    assert made.system.force.knots == 20
    assert isinstance(made.scattering, Cloud)
    assert made.solver == Solver("rk4", step=0.1)
    assert made.plan == {"ridge": 1.0}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"class": "Particles", "force": {"cutoff": 1.0}}, r"\[force\] names no class"),
        ({}, r"\[system\] names no class"),
        ({"class": "Gravity"}, "cannot build 'Gravity'"),
        ({"class": "Yukawa"}, "is no equation of motion"),
        ({"class": "Drift"}, "how large the box is"),
        ({"class": "Particles", "L": 2.0, "mass": 1.0}, "cannot build a Particles"),
        ({"class": "mine:Pull"}, "which is not debye's"),
    ],
)
def test_what_describes_no_equation_is_refused(config, words):
    with pytest.raises(InputError, match=words):
        described({"system": config})


def test_other_tables_are_checked_too():
    with pytest.raises(InputError, match=r"table \[solver\]"):
        described({"system": {"class": "Particles", "L": 2.0}, "solver": {"order": 4}})
    with pytest.raises(InputError, match="cannot fill a ReactionDiffusion"):
        filled(*[k for k in RICH if k.__name__ == "ReactionDiffusion"], SEEN)


CONFIG = """
[system]
class = "Drift"
[system.velocity]
class = "SplineFlow"
knots = 6
low = [-0.8, -0.8]
high = [0.8, 0.8]
[solver]
method = "rk4"
step = 0.25
[[stages]]
frames = 3
runs = 2
iterations = 6
q = 0.4
[[stages]]
frames = 6
runs = 2
iterations = 40
"""


@pytest.fixture(scope="module")
def turning():
    generator = torch.Generator().manual_seed(0)
    cloud = 0.6 * torch.rand(2, 30, 2, generator=generator) - 0.3
    start = torch.tensor([[0.4, 0.0], [0.0, -0.25]]).double()
    turn = Drift(lambda x: torch.stack([x[..., 1], -x[..., 0]], -1))
    solver, times = Solver("rk4", step=0.25), 0.5 * torch.arange(6).double()
    return simulate(turn, SEEN, start, times, solver=solver, specimen=cloud, photons=500)


def debye(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_an_equation_is_learned_and_named_from_the_command_line(turning, tmp_path):
    frames, config, law = (tmp_path / n for n in ("f.h5", "plan.toml", "law.safetensors"))
    save_frames(frames, replace(turning, system=None))
    config.write_text(CONFIG)
    words = ("learn", frames, "--config", config, "--output", law, "--no-instrument")
    done = debye(*words, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["goodness"]["p"] > 0.01
    assert load(law).card["described"]["system"]["class"] == "Drift"
    again = debye(*words)
    assert "step" not in again.stderr  # nothing is left to do
    named = debye("formula", law, *(w for f in "1xy" for w in ("--function", f)))
    assert named.exit_code == 0, named.stderr
    assert "y, v_y = (−" in named.stdout
    config.write_text(CONFIG.replace("0.25", "0.125"))
    other = debye(*words)
    assert other.exit_code == 2
    assert "its described is" in other.stderr
    both = debye(*words, "--system", "drift")
    assert both.exit_code == 2
    assert "cannot use --system" in both.stderr


def test_a_class_alone_is_filled(turning):
    plan, solver = Plan((Stage(2, 2, 1, 1),)), Solver("rk4", step=0.5)
    fitted = fit(Drift, turning, plan, solver=solver, instrument=False)
    assert isinstance(fitted.system.term, SplineFlow)
    assert fitted.system.term.high == (1.0, 1.0)
    assert filled(Particles, None, {"L": 2.0}).term.cutoff == pytest.approx(0.98)
