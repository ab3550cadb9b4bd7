"""What debye.speckle hands out shows itself in one line, compares by value, and is pickled."""

import copy
import pickle

import pytest
import torch

from debye.speckle.data.frames import Frames
from debye.speckle.dynamics.couplings import Kernel, PhaseSeries
from debye.speckle.dynamics.known import MexicanHat, SwarmForce
from debye.speckle.dynamics.learnable import (
    Flow,
    FlowNetwork,
    RadialNetwork,
    RadialSpline,
    RoundFlow,
)
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import Drift, Kuramoto, Swarm
from debye.speckle.dynamics.tableaux import DOPRI5
from debye.speckle.scattering.models import Cloud, Lattice
from debye.speckle.scattering.noise import LIKELIHOODS
from debye.speckle.scattering.optics import Detector, GaussianProbe, GridProbe
from debye.speckle.scattering.scan import Scan
from debye.speckle.values import same

DETECTOR = Detector(n=16, dq=0.5, L=2.0)
LEARNABLE = [
    RadialSpline(8), RadialNetwork(), Kernel(5), PhaseSeries(2), Flow(3), FlowNetwork(), RoundFlow()
]  # fmt: skip
THINGS = {
    "Detector(n=16, dq=0.5, L=2.0)": DETECTOR,
    "GaussianProbe(f_probe=0.25, L=2.0)": GaussianProbe(0.25, 2.0),
    "GridProbe(modes=complex64[1 × 4 × 4], L=2.0)": GridProbe(torch.ones(4, 4) + 0j, 2.0),
    "Lattice(detector=Detector(n=16, dq=0.5, L=2.0), "
    "probe=GaussianProbe(f_probe=0.25, L=2.0), points=20)": Lattice(
        DETECTOR, GaussianProbe(0.25, 2.0), 20
    ),
    "Scan(specimen=complex64[24 × 24], modes=complex64[1 × 8 × 8], stop=-1.0)": Scan(
        torch.ones(24, 24) + 0j, torch.ones(1, 8, 8) + 0j, -1.0
    ),
    "Swarm(interaction=SwarmForce())": Swarm(SwarmForce()),
    "Kuramoto(coupling=MexicanHat(), K=3.0)": Kuramoto(MexicanHat(), K=3.0),
    "Drift(velocity=Linear(…))": Drift(torch.nn.Linear(2, 2)),
    "Solver(method='rk4', step=0.5)": Solver("rk4", step=0.5),
    "Tableau('dopri5', order=5, stages=7)": DOPRI5,
    "Frames(1 run × 2 frames of 4 × 4 pixels, t = 0 … 1)": Frames(torch.ones(2, 4, 4), [0, 1]),
    "Trajectory(2 times, t = 0 … 1, states of (3,), 1 steps: every requested time was reached)": (
        Solver("euler", step=1.0).solve(lambda t, y: -y, torch.ones(3), [0.0, 1.0])
    ),
}


@pytest.mark.parametrize("line", THINGS)
def test_a_thing_is_one_line(line):
    assert repr(THINGS[line]) == line


@pytest.mark.parametrize("thing", [*THINGS.values(), *LEARNABLE, *LIKELIHOODS.values()], ids=repr)
def test_a_thing_survives_pickling_and_copying(thing):
    # Written and read within the test: nothing of debye reads a pickle.
    for other in (pickle.loads(pickle.dumps(thing)), copy.deepcopy(thing)):
        assert repr(other) == repr(thing)
        assert same(other, thing) or isinstance(thing, Drift)  # torch's Linear is not ours


@pytest.mark.parametrize("term", LEARNABLE, ids=repr)
def test_a_learnable_term_tells_its_formula_and_compares_by_its_coefficients(term):
    other = copy.deepcopy(term)
    assert "\n" not in term.formula()
    with torch.no_grad():
        next(other.parameters()).add_(0.1)
    assert not same(term, other)


def test_frames_and_trajectories_compare_by_their_numbers():
    frames = [Frames(torch.full((2, 4, 4), x), [0, 1]) for x in (1.0, 1.0, 2.0)]
    assert frames[0] == frames[1]
    assert frames[0] != frames[2]
    cloud = Cloud(DETECTOR, GaussianProbe(0.25, 2.0), R=0.1)
    seen = [Frames(torch.ones(2, 4, 4), [0, 1], scattering=x) for x in (cloud, None)]
    assert seen[0] != seen[1]
    with pytest.raises(TypeError, match="unhashable"):
        hash(frames[0])
