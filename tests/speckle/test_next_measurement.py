"""What frames not yet taken would tell, against what they tell once they are."""

import pytest
import torch

from debye.errors import InputError
from debye.speckle.dynamics.learnable import Flow
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import Drift
from debye.speckle.fitting.fitted import FittedSystem
from debye.speckle.fitting.next_measurement import Candidate, rank_measurements
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
