"""A law learned on a stream, a stretch at a time, is that of all frames at once."""

import json
from dataclasses import replace
from itertools import pairwise

import h5py
import pytest
import torch
from typer.testing import CliRunner

from debye.cli.command import app
from debye.errors import InputError
from debye.speckle.data import nexus
from debye.speckle.data.frames import simulate
from debye.speckle.data.nexus import save_frames
from debye.speckle.dynamics.known import SwarmForce
from debye.speckle.dynamics.learnable import Flow, RadialSpline
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import Drift, Swarm
from debye.speckle.fitting.fitted import fit
from debye.speckle.fitting.plan import Plan, Stage
from debye.speckle.fitting.stream import Stream
from debye.speckle.scattering.models import Cloud, RigidCloud
from debye.speckle.scattering.optics import Detector, GaussianProbe

SOLVER = Solver("rk4", step=0.25)
DETECTOR, PROBE = Detector(12, 0.5, 2.0, 0.04), GaussianProbe(0.25, 2.0)
generator = torch.Generator().manual_seed(0)
POINTS = 0.8 * torch.rand(2, 30, 2, generator=generator, dtype=torch.float64) - 0.4


def turning(x):
    return torch.stack([x[..., 1], -x[..., 0]], -1)


def recorded(velocity=turning, count=20, photons=200.0):
    return simulate(
        Drift(velocity), RigidCloud(DETECTOR, PROBE, R=0.07), [[0.2, 0.0], [0.0, 0.15]],
        0.25 * torch.arange(count).double(), solver=SOLVER, photons=photons, specimen=POINTS,
        seed=3,
    )  # fmt: skip


def streamed(frames, cuts, system=None, **how):
    system = system or Drift(Flow(1))
    stream = Stream(system, frames.stretch(slice(0, cuts[0])), solver=SOLVER, **how)
    for first, last in pairwise(cuts):
        stream.take(frames.stretch(slice(first, last)))
    return stream


@pytest.mark.parametrize("start_error", [0.0, 0.02])
def test_stretches_tell_what_all_frames_tell(start_error):
    frames = recorded(photons=3000.0)
    plan = Plan(tuple(Stage(n, 2) for n in (3, 6, 12, 20)), start_error=start_error)
    whole = fit(Drift(Flow(1)), frames, plan, solver=SOLVER, instrument=False)
    first = replace(plan, stages=(Stage(3, 2), Stage(8, 2)))
    stream = streamed(frames, (8, 12, 15, 20), plan=first, instrument=False)
    found = stream.result()
    name = "velocity.coefficients"
    apart = found.system.term.coefficients - whole.system.term.coefficients
    assert (apart.detach().abs() / whole.errors[name]).max() < 0.3
    torch.testing.assert_close(found.errors[name], whole.errors[name], rtol=0.1, atol=0)
    assert found.goodness.fits
    assert len(found.goodness.tests) == len(stream.stretches) == 4


def test_particles_and_instrument_go_on_from_stretch_to_stretch():
    frames = simulate(
        Swarm(SwarmForce()), Cloud(DETECTOR, PROBE, R=0.07),
        1.2 * torch.rand(2, 9, 2, generator=generator).double() - 0.6,
        0.25 * torch.arange(9).double(), solver=SOLVER, photons=3000.0, seed=1,
    )  # fmt: skip
    stream = streamed(frames, (5, 9), Swarm(RadialSpline(6, 0.95)), instrument=True)
    assert stream.result().goodness.fits
    assert stream.result().nuisance.keys() == stream.result().instrument.values.keys()


def test_a_law_that_changes_is_told_from_when():
    before, after = recorded(), recorded(lambda x: 0.5 * turning(x))
    odd = replace(before, data=torch.cat([before.data[:, :10], after.data[:, 10:]], 1))
    stream = streamed(odd, (5, 10, 15), instrument=False)
    assert [stretch.p > 0.01 for stretch in stream.stretches] == [True, True, False]
    assert stream.result().goodness.fits is False


def test_a_stream_that_jumps_is_refused_or_told():
    frames = recorded()
    stream = streamed(frames, (5, 8), instrument=False)
    with pytest.raises(InputError, match="the stream jumps back in time"):
        stream.take(frames.stretch(slice(7, 9)))
    assert "over 4 frames" in stream.take(frames.stretch(slice(12, 15))).note
    assert stream.stretches[-1].p > 0.01
    with pytest.raises(InputError, match="do not go on with the stream"):
        stream.take(frames.runs(1).stretch(slice(16, 18)))
    with pytest.raises(InputError, match="no counting noise"):
        stream.take(replace(frames, photons=0.0).stretch(slice(16, 18)))
    with pytest.raises(InputError, match="does not see the whole first stretch"):
        Stream(Drift(Flow(1)), frames, Plan((Stage(3, 2),)), solver=SOLVER)


def grown(path, frames, first, last):
    """Frames of one run after those that a file holds."""
    with h5py.File(path, "a", libver="latest") as file:
        home = file["/entry/instrument/detector"]
        for name, values in (("data", frames.data[0]), ("time", frames.times)):
            home[name].resize(last, axis=0)
            home[name][first:last] = values[first:last].numpy()


OWN = """
ridge = 100.0
[system]
class = "Drift"
[system.velocity]
class = "Flow"
degree = 3
[solver]
method = "rk4"
step = 0.25
"""


@pytest.mark.parametrize(
    ("config", "equation"), [("ridge = 100.0\n", ["--system", "drift"]), (OWN, [])]
)
def test_learn_follows_a_file_that_grows(tmp_path, monkeypatch, config, equation):
    frames = recorded(photons=1000.0, count=8).runs(1)
    path, out = tmp_path / "f.h5", tmp_path / "fit"
    save_frames(tmp_path / "whole.h5", replace(frames, system=None, about={"study": "drift"}))
    with h5py.File(tmp_path / "whole.h5") as whole, h5py.File(path, "w", libver="latest") as file:
        whole.copy("/entry", file)
        home = file["/entry/instrument/detector"]
        for name in ("data", "time"):
            values = home[name][0, :3] if name == "data" else home[name][:3]
            del home[name]
            home.create_dataset(name, data=values, maxshape=(None, *values.shape[1:]))
        states = file["/entry/sample/states"][0, :1]
        specimen = file["/entry/sample/specimen"][0]
        for name, values in (("states", states), ("specimen", specimen)):
            del file[f"/entry/sample/{name}"]
            file[f"/entry/sample/{name}"] = values
    coming, count = iter([None, (3, 5), (5, 8)]), nexus.count_frames

    def look(name):  # before each look, some frames come
        if (part := next(coming, None)) is not None:
            grown(path, frames, *part)
        return count(name)

    monkeypatch.setattr(nexus, "count_frames", look)
    words = ["learn", path, "--output", out, "--follow", "--stretch", 3, "--timeout", 0.5, "--json"]
    (tmp_path / "plan.toml").write_text(config)  # one run tells little of a cubic flow
    words += ["--no-instrument", *equation, "--config", tmp_path / "plan.toml"]
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == 0, done.stderr
    assert list(json.loads(done.stdout)["goodness"]["tests"]) == [
        "t = 0 to 0.5", "t = 0.5 to 1.25", "t = 1.25 to 1.75",
    ]  # fmt: skip
    again = CliRunner().invoke(app, [str(w) for w in words])
    assert again.exit_code == 2
    assert "add --overwrite" in again.stderr
