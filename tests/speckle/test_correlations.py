"""A law is fitted to correlations whose starts nobody knows, and says when they follow another."""

import json
import math

import pytest
import torch

from debye.errors import ComputationError, InputError
from debye.speckle import (
    Ageing,
    Brownian,
    Cloud,
    Detector,
    GaussianProbe,
    SoftRepulsion,
    Suspension,
)
from debye.speckle.dynamics.particles import Particles
from debye.speckle.dynamics.systems import Drift
from debye.speckle.fitting.fitted import load
from debye.speckle.unknown_starts.correlations import CorrelationFit
from debye.speckle.unknown_starts.statistics import Linear, shrunk
from debye.speckle.xpcs.average import average

L, RINGS = 3.0, [3.0, 6.0, 9.0, 12.0]
CONFIG = """
[sample]
particles = 24
L = 3.0
settle = 0.5
[detector]
n = 12
dq = 0.5
[probe]
f_probe = 0.2
[cloud]
R = 0.05
illumination = "centres"
aperture = true
[force]
class = "SoftRepulsion"
strength = 4.0
cutoff = {cutoff}
[brownian]
diffusion = 0.12
[fit]
simulated = 12
"""


def law(strength=6.0, diffusion=0.08, cutoff=0.7):
    force = SoftRepulsion(strength, cutoff)
    return Brownian(Particles(force, L=L, periodic=True), diffusion)


@pytest.fixture(scope="module")
def sample():
    seen = Cloud(
        Detector(12, 0.5, L), GaussianProbe(0.2, L), R=0.05, illumination="centres", aperture=True
    )
    return Suspension(seen, (24, 2), L=L, frames=40, frame_time=0.02, settle=0.5)


@pytest.fixture(scope="module")
def runs(sample):
    return sample.correlate(law(), sample.qmap(RINGS), runs=8, seed=77, photons=4.0)


def test_free_particles_diffuse_as_they_should():
    """⟨Δx²⟩ = 2Dt along each axis, and g2 − 1 = exp(−2Dq²t)."""
    free = Brownian(Drift(torch.zeros_like), diffusion=0.3)
    start, times = torch.zeros(4000, 2), torch.tensor([0.0, 0.1, 0.4])
    _, early, late = free.walk(start, times, step=0.05, seed=0)
    assert early.var().item() == pytest.approx(2 * 0.3 * 0.1, rel=0.05)
    assert late.var().item() == pytest.approx(2 * 0.3 * 0.4, rel=0.05)


def test_what_ages_diffuses_less_and_less():
    """⟨Δx²⟩ = 2Da ln((a + t₂)/(a + t₁)) along each axis."""
    free = Ageing(Drift(torch.zeros_like), diffusion=0.3, age=0.2)
    start, times = torch.zeros(4000, 2), torch.tensor([0.0, 0.2, 1.0])
    _, early, late = free.walk(start, times, step=0.1, seed=0)
    assert early.var().item() == pytest.approx(0.12 * math.log(2), rel=0.05)
    assert (late - early).var().item() == pytest.approx(0.12 * math.log(3), rel=0.05)


def test_a_particle_in_a_well_spreads_as_boltzmann_says():
    """With dx = −κx dt + √(2D) dW, ⟨x²⟩ → D/κ; steps of κh = 0.2 do not change that."""
    well = Brownian(Drift(lambda x: -2.0 * x), diffusion=0.5)
    *_, last = well.walk(torch.zeros(20_000, 1), torch.linspace(0, 4, 5), step=0.1, seed=1)
    assert last.var().item() == pytest.approx(0.25, rel=0.05)


def test_the_law_is_found_and_read_again(debye, runs, tmp_path):
    """By the command, with the errors that it states."""
    average(runs, check=False).write(tmp_path / "x_results.hdf")
    (tmp_path / "law.toml").write_text(CONFIG.format(cutoff=0.7))
    out = tmp_path / "law.safetensors"
    words = (
        "learn",
        tmp_path / "x_results.hdf",
        "--config",
        tmp_path / "law.toml",
        "--output",
        out,
    )
    done = debye(*words, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert abs(found["D"] - 0.08) < 4 * found["D_error"] < 0.08
    assert found["p_value"] > 1e-3
    assert found["runs"] == 8
    fitted = load(out)
    k, error = fitted.system.term.k.item(), fitted.errors["system.force.k"].item()
    assert abs(k - 6) < 4 * error < 9
    assert math.isclose(fitted.system.D, found["D"])
    again = debye(*words)
    assert again.exit_code == 2
    assert "add --overwrite" in again.stderr


def test_another_law_is_told(runs, sample):
    """Of particles that hardly feel each other."""
    fitting = CorrelationFit(law(3.0, 0.1, cutoff=0.2), sample, runs, simulated=8)
    for _ in fitting.run(3):
        pass
    assert fitting.result().card["correlations"]["p_value"] < 1e-2


def test_what_cannot_be_fitted_is_refused(debye, runs, sample, tmp_path):
    with pytest.raises(InputError, match="no run was given"):
        CorrelationFit(law(), sample, [])
    with pytest.raises(InputError, match="cannot fit with 3 simulated runs"):
        CorrelationFit(law(), sample, runs, simulated=3)
    with pytest.raises(InputError, match="not every run has those of all its rings"):
        CorrelationFit(law(), sample, runs, maps=True)
    with pytest.raises(InputError, match="nothing ages over a time of 0"):
        Ageing(Drift(torch.zeros_like), age=0.0)
    with pytest.raises(ComputationError, match="walk through run"):
        CorrelationFit(law(), sample, runs).result()
    with pytest.raises(InputError, match="cannot simulate with settle = 0"):
        Suspension(sample.scattering, (24, 2), L, 40, 0.02, settle=0.0)
    with pytest.raises(InputError, match="nothing diffuses by -1"):
        law(diffusion=-1.0)
    steep = Brownian(Drift(lambda x: 1e9 * x**3))
    with pytest.raises(ComputationError, match="stopped being finite"):
        list(steep.walk(torch.ones(3, 1), torch.arange(3.0), step=0.1, seed=0))
    path = runs[0].write(tmp_path / "x_results.hdf")
    out = ("--output", tmp_path / "o.safetensors")
    for config, why in (
        (None, "nothing says what the sample is"),
        ("[sample]\nL = 3", "it has no table [cloud]"),
        ("[smaple]\nL = 3", "it has a table [smaple]"),
        (
            CONFIG.format(cutoff=0.7).replace("settle", "setle"),
            "does not hold what its class takes",
        ),
        (CONFIG.format(cutoff=0.7).replace("f_probe", "width"), "cannot build a GaussianProbe"),
    ):
        if config is not None:
            (tmp_path / "c.toml").write_text(config)
        done = debye("learn", path, *out, *(["--config", tmp_path / "c.toml"] if config else []))
        assert done.exit_code == 2
        assert why in done.stderr


def test_errors_are_the_scatter_of_the_parameters():
    """Over many draws of runs, whatever the weight: a bootstrap would give them too."""
    random = torch.Generator().manual_seed(0)
    J = torch.randn(12, 2, generator=random).double()
    mix = torch.randn(12, 12, generator=random).double()
    steps, errors = [], []
    for _ in range(400):
        draws = torch.randn(66, 12, generator=random).double() @ mix
        near, simulated, measured = draws.split([40, 20, 6])
        no_prior = torch.zeros(2, 2).double()
        one = Linear(
            J.expand(2, -1, -1), near, simulated, measured, no_prior, torch.zeros(2).double()
        )
        steps.append(one.step)
        errors.append(one.covariance.diagonal())
    ratio = torch.stack(steps).var(0) / torch.stack(errors).mean(0)
    assert ((ratio > 0.75) & (ratio < 1.35)).all()


def test_noise_of_slopes_is_not_counted_as_knowledge():
    """Two parameters told nearly together, by slopes with noise: errors are still the scatter."""
    random = torch.Generator().manual_seed(0)
    J = torch.randn(40, 1, generator=random).double().expand(-1, 2).clone()
    J[:, 1] += 0.3 * torch.randn(40, generator=random).double()
    steps, errors, plain = [], [], []
    for _ in range(300):
        draws = torch.randn(300, 40, generator=random).double()
        near, simulated, measured = draws.split([200, 68, 32])
        rough = J + 0.25 * torch.randn(2, *J.shape, generator=random).double()
        no_prior = torch.zeros(2, 2).double()
        one = Linear(rough, near, simulated, measured, no_prior, torch.zeros(2).double())
        steps.append(one.step)
        errors.append(one.covariance.diagonal())
        plain.append(torch.linalg.inv(one.J.T @ one.weight @ one.J).diagonal())
    scatter = torch.stack(steps).square().median(0).values / 0.455
    assert ((scatter / torch.stack(errors).median(0).values - 1).abs() < 0.35).all()
    assert (scatter > 1.5 * torch.stack(plain).median(0).values).all()


def test_shrinking_leaves_what_many_runs_say():
    mix = torch.randn(5, 5, generator=torch.Generator().manual_seed(3)).double()
    draws = torch.randn(20_000, 5, generator=torch.Generator().manual_seed(4)).double() @ mix
    torch.testing.assert_close(shrunk(draws), mix.T @ mix, rtol=0, atol=0.2)
