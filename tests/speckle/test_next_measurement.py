"""What frames not yet taken would tell, against what they tell once they are."""

import json
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from debye.cli.command import app
from debye.errors import InputError
from debye.speckle.conclusions.next_measurement import Candidate, rank_measurements
from debye.speckle.data.frames import simulate
from debye.speckle.data.nexus import save_frames
from debye.speckle.dynamics.learnable import Flow
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import Drift
from debye.speckle.fitting.fitted import FittedSystem
from debye.speckle.scattering.models import RigidCloud
from debye.speckle.scattering.optics import Detector, GaussianProbe

SEEN = RigidCloud(Detector(12, 0.5, 2.0, 0.04), GaussianProbe(0.25, 2.0), R=0.07)
CLOUD = 0.8 * torch.rand(30, 2, generator=torch.Generator().manual_seed(0)).double() - 0.4
TIMES = [0.0, 0.5, 1.0]


@pytest.fixture
def fitted():
    system = Drift(Flow(degree=1))
    spread = 0.01 * torch.eye(6, dtype=torch.float64)
    return FittedSystem(system, SEEN, Solver("rk4", step=0.5), 0.05, spread)


def at(x, y, exposure=1.0):
    return Candidate([x, y], TIMES, CLOUD, exposure)


def test_longer_exposures_tell_more_and_all_errors_shrink(fitted):
    options = {f"{e:g}": at(0.1, 0.1, e) for e in (1.0, 4.0, 0.1)}
    gains = rank_measurements(fitted, options)
    assert [gain.name for gain in gains] == ["4", "1", "0.1"]
    assert all(0 < gain.shrinkage < 1 and gain.information > 0 for gain in gains)
    assert {gain.frames for gain in gains} == {2}


def test_a_quantity_is_told_best_where_it_matters(fitted):
    there = torch.tensor([[0.3, 0.0]], dtype=torch.float64)
    options = {"near": at(0.3, 0.0), "far": at(-0.3, 0.0)}
    best = rank_measurements(fitted, options, lambda: fitted.system.term(there).flatten())
    assert best[0].name == "near"
    assert best[0].shrinkage < best[1].shrinkage


def test_refusals(fitted):
    with pytest.raises(InputError, match="no candidate is given"):
        rank_measurements(fitted, {})
    fitted.covariance = None
    with pytest.raises(InputError, match="its errors are not known"):
        rank_measurements(fitted, {"one": at(0.0, 0.0)})
    fitted.covariance = 0.01 * torch.eye(6, dtype=torch.float64)
    with pytest.raises(InputError, match="'flat' does not fit the system"):
        rank_measurements(fitted, {"flat": Candidate([[0.1, 0.1]], TIMES, CLOUD)})
    with pytest.raises(InputError, match="no open pixel is seen from q = 900 to 950"):
        rank_measurements(fitted, {"far": replace(at(0.0, 0.0), q=(900.0, 950.0))})


def test_a_ring_tells_less_than_all_rings(fitted):
    options = {
        "all": at(0.1, 0.1),
        "inner": replace(at(0.1, 0.1), q=(0.0, 10.0)),
        "outer": replace(at(0.1, 0.1), q=(10.0, 99.0)),
    }
    gains = {gain.name: gain for gain in rank_measurements(fitted, options)}
    parts = gains["inner"].information, gains["outer"].information
    assert max(parts) < gains["all"].information < sum(parts)


CONFIG = """
[long]
from = "frames.h5"
run = 1
until = 2.0
frames = 5
[bright]
from = "frames.h5"
exposure = 4.0
q = [2.0, 30.0]
"""


def test_the_verb_ranks_tables_and_runs_of_frames(tmp_path, fitted):
    def plan(*words):
        return CliRunner().invoke(app, ["plan", str(tmp_path / "law"), "--candidates", *words])

    fitted.save(tmp_path / "law")
    frames = simulate(
        fitted.system, SEEN, [[0.1, 0.1], [0.3, 0.0]], TIMES, solver=fitted.solver,
        specimen=CLOUD.expand(2, -1, -1), photons=100,
    )  # fmt: skip
    save_frames(tmp_path / "frames.h5", frames)
    (tmp_path / "c.toml").write_text(CONFIG)
    done = plan(str(tmp_path / "c.toml"), "--json")
    assert done.exit_code == 0, done.stderr
    found = {one["name"]: one for one in json.loads(done.stdout)["measurements"]}
    assert (found["long"]["frames"], found["bright"]["exposures"]) == (4, 8.0)
    each = found["long"]["information"] / 4
    assert found["long"]["information_per_frame"] == pytest.approx(each)
    table = plan(str(tmp_path / "frames.h5")).stdout.splitlines()
    assert sorted(line.split("  ")[0].strip() for line in table[1:]) == ["run 0", "run 1"]
    wrong = {
        "[a]\nstart = [0.1, 0.1]\n": "it has no times",
        "[a]\nfrom = 'frames.h5'\nhow = 1\n": "it has 'how'",
        "[a]\nfrom = 'frames.h5'\nrun = 7\n": "there is no run 7",
        "a = 1\n": "it is no table",
        "": "it names no candidate",
    }
    for text, said in wrong.items():
        (tmp_path / "c.toml").write_text(text)
        done = plan(str(tmp_path / "c.toml"))
        assert done.exit_code == 2
        assert said in done.stderr
