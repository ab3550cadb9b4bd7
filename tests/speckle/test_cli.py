"""The verbs of motion from end to end, on small numbers."""

import json
import signal
from dataclasses import replace

import h5py
import pytest
from typer.testing import CliRunner

from debye.cli.command import app
from debye.speckle.fitting.fitted import load

PLAN = """
[[stages]]
frames = 2
runs = 1
iterations = 2
portion = 1
"""


def debye(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    path = tmp_path_factory.mktemp("speckle") / "frames.h5"
    done = debye("simulate", "kuramoto", "--runs", 2, "--until", 6.5, "--output", path, "--seed", 1)
    assert done.exit_code == 0
    assert "2 runs × 4 frames of 84 × 84 pixels, t = 5 … 6.5" in done.stdout
    return path


def test_simulate_learn_resume_extrapolate(frames, tmp_path):
    law, config = tmp_path / "law.safetensors", tmp_path / "plan.toml"
    config.write_text(PLAN)
    done = debye("learn", frames, "--output", law, "--config", config)
    assert done.exit_code == 0, done.stderr
    assert "stage 1/1 step 2" in done.stderr
    for words in ((), ("--resume",)):  # the same command goes on, and nothing is left to do
        again = debye("learn", frames, "--output", law, "--config", config, *words)
        assert again.exit_code == 0, again.stderr
        assert "step" not in again.stderr
    other = debye("learn", frames, "--output", law, "--quick")
    assert other.exit_code == 2
    assert "the plan has changed in stages" in other.stderr
    anew = debye("learn", frames, "--output", law, "--config", config, "--overwrite")
    assert "stage 1/1 step 2" in anew.stderr
    assert debye("learn", frames, "--output", law, "--resume", "--overwrite").exit_code == 2
    ahead = debye(
        "extrapolate", law, "--until", 7, "--from", frames, "--output", tmp_path / "p.h5", "--json"
    )
    assert ahead.exit_code == 0, ahead.stderr
    numbers = json.loads(ahead.stdout)
    assert numbers["times"] == [5.0, 5.5, 6.0, 6.5]
    assert max(numbers["frame_error"]) < 0.2
    assert (tmp_path / "p.h5").exists()
    alone = debye("extrapolate", law, "--until", 7)
    assert alone.exit_code == 2
    assert "are not beside it" in alone.stderr
    beside = frames.with_name("law.safetensors")
    beside.write_bytes(law.read_bytes())
    assert debye("extrapolate", beside, "--until", 7).exit_code == 0
    for until in ("nan", "1"):  # not a time, or before the second frame
        early = debye("extrapolate", beside, "--until", until)
        assert early.exit_code == 2
        assert "it must be 5.5 or above" in early.stderr


def test_frames_of_another_kind_of_system_are_refused(frames, tmp_path):
    done = debye("learn", frames, "--system", "swarm", "--output", tmp_path / "l.safetensors")
    assert done.exit_code == 2
    assert "they are of a Lattice, and its equation moves a Cloud" in done.stderr


def test_xpcs_prints_and_draws(frames, tmp_path):
    done = debye("xpcs", frames, "--rings", 2, "--plot", tmp_path / "g2.png")
    assert done.exit_code == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3  # a head, and a line for each ring
    assert (tmp_path / "g2.png").exists()
    numbers = json.loads(debye("xpcs", frames, "--rings", 3, "--json").stdout)
    assert numbers["delay"] == [0.5, 1.0, 1.5]
    assert numbers["q_unit"] == "1/length"
    assert numbers["g2"][1][0] > numbers["g2"][1][2] > 1  # it forgets, but not at once
    wrong = debye("xpcs", frames, "--run", 7)
    assert wrong.exit_code == 2
    assert "the file holds 2" in wrong.stderr


def test_measured_frames_without_a_plan_are_learned_from(frames, tmp_path):
    """A file of anyone's, in NeXus places: the geometry is the study's, the gain is fitted."""
    bare, config = tmp_path / "bare.h5", tmp_path / "plan.toml"
    config.write_text(PLAN)
    with h5py.File(frames) as source, h5py.File(bare, "w") as target:
        target.create_group("entry/instrument")
        source.copy("entry/instrument/detector", target["entry/instrument"])
        source.copy("entry/sample", target["entry"])
    missing = debye("learn", bare, "--output", tmp_path / "law")
    assert missing.exit_code == 2
    assert "the file names no study" in missing.stderr
    done = debye(
        "learn", bare, "--system", "kuramoto", "--output", tmp_path / "law", "--config", config
    )
    assert done.exit_code == 0, done.stderr
    assert "taking that of the kuramoto study" in done.stderr
    with h5py.File(frames) as source:
        gain = source["entry/process/gain"][()]
    assert load(tmp_path / "law").gain == pytest.approx(gain, rel=1e-4)
    wrong = debye("learn", bare, "--system", "drift", "--output", tmp_path / "law")
    assert wrong.exit_code == 2


def test_study_writes_its_page_and_movie(tmp_path, monkeypatch):
    from debye.speckle.fitting.plan import Plan, Stage
    from debye.speckle.studies import run

    small = replace(
        run.study("kuramoto"),
        times=(5.0, 7.0, 0.5),
        horizon=7.0,
        quick=Plan((Stage(2, 1, 1, 2, 1),)),
    )
    monkeypatch.setitem(run.STUDIES, "kuramoto", small)
    done = debye("study", "kuramoto", "--quick", "--json", "--output", tmp_path)
    assert done.exit_code == 0, done.stderr
    table = json.loads(done.stdout)["table"]
    assert "transfer function" in table[0]["quantity"]
    assert {p.name for p in tmp_path.iterdir()} == {
        f"kuramoto.{ending}" for ending in ("json", "png", "gif", "safetensors")
    }
    again = debye("study", "kuramoto", "--quick", "--json", "--output", tmp_path, "--no-movie")
    assert "step" not in again.stderr  # the fit was there
    assert json.loads(again.stdout)["table"] == table
    other = debye("study", "kuramoto", "--quick", "--output", tmp_path, "--seed", 1)
    assert other.exit_code == 2
    assert "its seed is 0, and now it is 1" in other.stderr
    kept_nowhere = debye("study", "kuramoto", "--resume")
    assert kept_nowhere.exit_code == 2
    assert "--output" in kept_nowhere.stderr


def test_an_interrupted_fit_keeps_its_last_step_and_goes_on(frames, tmp_path, monkeypatch):
    from debye.speckle.fitting.fit import Fitting

    fitted, config, walk = tmp_path / "fitted", tmp_path / "plan.toml", Fitting.run
    config.write_text(PLAN)

    def interrupted(fitting):
        for step in walk(fitting):
            signal.raise_signal(signal.SIGTERM)
            yield step

    monkeypatch.setattr(Fitting, "run", interrupted)
    stopped = debye("learn", frames, "--output", fitted, "--config", config)
    assert stopped.exit_code == 130
    assert "run the same command again to go on" in stopped.stderr
    assert "step 2" not in stopped.stderr
    monkeypatch.undo()
    done = debye("learn", frames, "--output", fitted, "--config", config)
    assert done.exit_code == 0, done.stderr
    assert "stage 1/1 step 2" in done.stderr
    assert "stage 1/1 step 1" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("simulate", "ising", "--output", "x.h5"), 2, "ising"),
        (("simulate", "drift", "--output", "/dev/null/x.h5"), 2, "/dev/null"),
        (("learn", "nowhere.h5", "--output", "x"), 2, "no such file"),
        (("extrapolate", "nowhere", "--until", 3, "--from", "nowhere.h5"), 2, "No such file"),
        (("study", "turing"), 2, "turing"),
    ],
)
def test_bad_usage_is_told_apart(arguments, code, words):
    done = debye(*arguments)
    assert done.exit_code == code
    assert words in done.stderr


def test_bad_config_and_likelihood(frames, tmp_path):
    config = tmp_path / "plan.toml"
    config.write_text("[[stages]]\nframs = 3\n")
    done = debye("learn", frames, "--output", tmp_path / "law", "--config", config)
    assert done.exit_code == 2
    assert "frams" in done.stderr
    done = debye("learn", frames, "--output", tmp_path / "law", "--likelihood", "cauchy")
    assert done.exit_code == 2
    assert "there are squares, poisson" in done.stderr
