"""First states that nobody knows, and the law of a drifting object that nobody has seen."""

import json
import math
import re
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from debye.cli.command import app
from debye.errors import InputError
from debye.speckle import (
    CurvedProbe,
    Detector,
    Drift,
    Flow,
    GaussianProbe,
    Lattice,
    Plan,
    RigidLattice,
    Solver,
    Stage,
    load,
    prepare,
    reconstruct_lattice,
    reconstruct_lattices,
    reconstruct_object,
    save_frames,
    simulate,
)

L, N = 2.0, 10
CURVED, SOFT = CurvedProbe(0.25, L, 12.0), GaussianProbe(0.25, L)
SOLVER = Solver("rk4", step=0.05)
CENTRE = torch.tensor([0.3, -0.2]).double()
TURN = torch.tensor([[0.1, 1.0], [-1.0, 0.1]]).double()
TRUTH = torch.stack([-TURN @ CENTRE, TURN[:, 1], TURN[:, 0]])
"""Coefficients of 1, y and x."""


def drifting(probe, photons=1000, runs=1):
    """Frames of a random object that turns about a point beside it, and what is true of it."""
    generator = torch.Generator().manual_seed(1)
    seen = RigidLattice(Detector(N, 0.5, L, 0.04), probe, N)
    support = seen.sites.norm(dim=-1) < 0.5
    thing = torch.rand(runs, N, N, generator=generator).double() ** 3 * support
    true = Drift(Flow(degree=1))
    true.velocity.coefficients.data = TRUTH.clone()
    start, times = torch.zeros(runs, 2).double(), 0.25 * torch.arange(8).double()
    return simulate(
        true, seen, start, times, solver=SOLVER, photons=photons, specimen=thing, seed=1
    ), support


def test_object_and_law_are_found_together():
    frames, support = drifting(CURVED)
    seen = frames.scattering
    law, found = reconstruct_object(
        Drift(Flow(degree=1)), frames, seen, solver=SOLVER, support=support
    )
    assert found.goodness.fits, found.lines()
    assert found.alike > 1
    pull = ((found.values - frames.specimen[0]) / found.errors)[support]
    assert 0.7 < float(pull.square().mean().sqrt()) < 1.4
    away = (found.path - frames.states[0]).norm(dim=-1)
    assert float(away.max()) < 0.01
    assert float(found.path_errors.max()) < 0.01
    true, learned = (s(0.0, found.path).detach() for s in (frames.system, law.system))
    assert float((learned - true).norm() / true.norm()) < 0.02
    pull = (law.system.velocity.coefficients.detach() - TRUTH) / law.errors["velocity.coefficients"]
    assert float(pull.square().mean().sqrt()) < 2.5
    assert "beginnings led to the same" in found.lines()[0]


def test_a_moved_object_is_a_moved_probe():
    model = RigidLattice(Detector(8, 0.5, L), CURVED, 8)
    moved = torch.roll(
        thing := torch.rand(1, 8, 8).double() * (model.sites.norm(dim=-1) < 0.6), 1, -1
    )
    step = torch.tensor([[[L / 8, 0.0]]]).double()
    assert torch.allclose(model(step, thing), model(0 * step, moved))


def lattice_frame(probe, points=10, seed=0):
    generator = torch.Generator().manual_seed(seed)
    theta = 2 * math.pi * torch.rand(points, points, generator=generator).double()
    seen = Lattice(Detector(points, 0.5, L, 0.02), probe, points)
    gain = float(1000 / seen(theta).max())
    return torch.poisson(gain * seen(theta), generator=generator), seen, gain, theta.cos()


@pytest.mark.parametrize("seed", range(3))
def test_phases_are_found_under_a_curved_probe(seed):
    frame, seen, gain, true = lattice_frame(CURVED, seed=seed)
    found = reconstruct_lattice(frame, seen, gain=gain, seed=seed)
    assert found.goodness.fits, found.lines()
    assert found.alike > 1
    lit = seen.window[0].abs() > 0.2
    sign = float((found.values * true)[lit].sum().sign())
    pull = ((sign * found.values - true) / found.errors)[lit]
    assert 0.7 < float(pull.square().mean().sqrt()) < 1.4


def test_phases_that_move_are_followed_from_window_to_window():
    """Of one sign throughout; where they have moved too far, random beginnings find them again."""
    generator = torch.Generator().manual_seed(4)
    seen = Lattice(Detector(10, 0.5, L, 0.02), CURVED, 10)
    turning = torch.randn(10, 10, generator=generator).double()
    theta = 6 * torch.rand(10, 10, generator=generator).double()
    theta = theta + torch.tensor([0.0, 0.1, 0.2, 2.0])[:, None, None] * turning
    gain = float(1000 / seen(theta).max())
    frames = torch.poisson(gain * seen(theta), generator=generator)
    found = list(reconstruct_lattices(frames, seen, gain=gain))
    assert [one.followed for one in found] == [False, True, True, False]
    assert all(one.goodness.fits for one in found)
    assert "from the frame before" in found[1].lines()[0]
    lit, pulls = seen.window[0].abs() > 0.2, []
    for one, true in zip(found, theta.cos(), strict=True):
        sign = float((one.values * true)[lit].sum().sign())
        pulls.append(((sign * one.values - true) / one.errors)[lit].square().mean().sqrt())
        assert (
            sign == float((found[0].values * theta[0].cos())[lit].sum().sign()) or one is found[3]
        )
    assert 0.7 < float(torch.stack(pulls).mean()) < 1.4


def test_what_does_not_fit_is_not_to_be_used():
    frame, seen, gain, _ = lattice_frame(CURVED)
    found = reconstruct_lattice(frame.flip(0), seen, gain=gain, starts=2)
    assert found.goodness.fits is False
    assert "not to be used" in found.lines()[1]


@pytest.mark.parametrize("probe", [SOFT, CurvedProbe(0.25, L, 1e-3)])
def test_a_probe_that_is_its_own_twin_is_refused(probe):
    frame, seen, gain, _ = lattice_frame(probe)
    with pytest.raises(InputError, match="its twin"):
        reconstruct_lattice(frame, seen, gain=gain)
    frames, support = drifting(probe)
    with pytest.raises(InputError, match="its twin"):
        reconstruct_object(Drift(Flow(1)), frames, frames.scattering, support=support)


def test_under_a_symmetric_probe_twins_make_the_same_frames():
    for probe, same in ((SOFT, True), (CURVED, False)):
        model = RigidLattice(Detector(8, 0.5, L), probe, 8)
        thing = torch.rand(1, 8, 8).double() * (model.sites.norm(dim=-1) < 0.6)
        twin = torch.roll(thing.flip(1, 2), (1, 1), (1, 2))
        step = torch.tensor([[[0.2, -0.1]]]).double()
        assert torch.allclose(model(step, thing), model(-step, twin)) is same


def test_what_cannot_be_reconstructed_is_refused():
    frames, support = drifting(CURVED, runs=2)
    with pytest.raises(InputError, match="2 runs"):
        reconstruct_object(Drift(Flow(1)), frames, frames.scattering, support=support)
    clean, _ = drifting(CURVED, photons=0)
    with pytest.raises(InputError, match="no counts"):
        reconstruct_object(Drift(Flow(1)), clean, clean.scattering, support=support)
    large = RigidLattice(Detector(48, 0.5, L), CURVED, 48)
    with pytest.raises(InputError, match="2304 sites"):
        reconstruct_object(Drift(Flow(1)), frames.runs(1), large)
    frame, seen, gain, _ = lattice_frame(CURVED)
    mixed = Lattice(seen.detector, CURVED, N, charge=0.5)
    with pytest.raises(InputError, match="several channels"):
        reconstruct_lattice(frame, mixed, gain=gain)
    with pytest.raises(InputError, match="specimen"):
        frames.scattering(torch.zeros(1, 1, 2))


def test_the_command_learns_an_object_and_its_law(tmp_path):
    frames, _ = drifting(CURVED)
    save_frames(tmp_path / "f.h5", frames)
    (tmp_path / "c.toml").write_text("[object]\nsupport = 0.5\ndegree = 1\n")
    words = ["learn", str(tmp_path / "f.h5"), "--output", str(tmp_path / "o.safetensors")]
    done = CliRunner().invoke(app, [*words, "--config", str(tmp_path / "c.toml"), "--json"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    found = torch.tensor(record["coefficients"]["velocity.coefficients"]).view(3, 2)
    assert torch.allclose(found.double(), TRUTH, atol=0.05)
    assert len(record["object"]["values"]) == N
    assert load(tmp_path / "o.safetensors").scattering.points == N


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("[object]\n[probe]\nf_probe = 0.25\n", r"no table \[detector\]"),
        ("[object]\nbeginnings = 3\n", "beginnings"),
        ("[object]\n[detector]\nn = 8\n[probe]\nf_probe = 0.25\n", "does not hold"),
    ],
)
def test_a_config_that_describes_no_object_is_refused(config, why, tmp_path):
    frames, _ = drifting(CURVED)
    save_frames(tmp_path / "f.h5", frames)
    (tmp_path / "c.toml").write_text(config)
    words = ["learn", str(tmp_path / "f.h5"), "--output", str(tmp_path / "o.safetensors")]
    done = CliRunner().invoke(app, [*words, "--config", str(tmp_path / "c.toml")])
    assert done.exit_code == 2
    assert re.search(why, done.stderr), done.stderr


@pytest.mark.parametrize("gain", [None, 1.0])
def test_states_outside_the_probe_are_refused(gain):
    frames, _ = drifting(SOFT)
    far = replace(frames, states=frames.states + 40.0, gain=gain)
    with pytest.raises(InputError, match="outside the probe"):
        prepare(Drift(Flow(1)), far, Plan((Stage(3, 1),)))
