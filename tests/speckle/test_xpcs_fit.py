"""Fits find what was put in, and say where they do not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from debye.errors import InputError
from debye.speckle.xpcs.diffusion import Diffusion, diffusion, power_law, stokes_einstein
from debye.speckle.xpcs.fit import fit, fit_global
from debye.speckle.xpcs.jackknife import jackknife_error
from debye.speckle.xpcs.least_squares import goodness
from debye.speckle.xpcs.models import MODELS, Model, averaged
from debye.speckle.xpcs.simulate import brownian

SEEN = brownian(side=56, frames=400, diffusion=0.15, photons=2.0, seed=3)
FOUND = SEEN.correlate()


def exact(model, parameters, noise=0.0, seed=0):
    """FOUND with g2 of a model, and replicas that scatter by a given error."""
    width = FOUND.width.double().numpy()
    both = np.stack([width * FOUND.frame_time, 1 - 1 / width**2], 1)
    rows = [averaged(MODELS[model], FOUND.time.numpy(), both, p) for p in parameters]
    random = np.random.default_rng(seed)
    sectors = random.standard_normal((12, *FOUND.g2.shape)) * max(noise, 1e-3) * 12**0.5
    parts = np.stack(rows) + (sectors if noise else sectors - sectors.mean(0))
    whole = parts.mean(0)
    replicas = (12 * whole - parts) / 11
    return replace(FOUND, g2=torch.from_numpy(whole), replicas=torch.from_numpy(replicas))


TRUE = {
    "single": [(1.0, 0.4, t) for t in (0.05, 0.02, 0.01, 0.006)],
    "stretched": [(1.0, 0.4, t, 0.8) for t in (0.05, 0.02, 0.01, 0.006)],
    "double": [(1.0, 0.4, t, 0.6, 8.0) for t in (0.02, 0.01, 0.006, 0.004)],
    "cumulants": [(1.0, 0.4, t, 0.2) for t in (0.05, 0.02, 0.01, 0.006)],
}


@pytest.mark.parametrize("model", MODELS)
def test_exact_data_give_the_parameters_back(model):
    found = fit(exact(model, TRUE[model]), model)
    torch.testing.assert_close(
        found.values, torch.tensor(TRUE[model]).double(), rtol=1e-3, atol=1e-3
    )
    assert found.names == tuple(MODELS[model].names)


def test_known_and_bounded_parameters_keep_to_what_is_known():
    data = exact("stretched", TRUE["stretched"])
    found = fit(data, "stretched", fixed={"baseline": 1.01}, bounds={"exponent": (0.9, 2.0)})
    assert found["baseline"].tolist() == [1.01] * 4
    assert float(found["exponent"].min()) == pytest.approx(0.9)
    assert any("exponent = 0.9 lies at its bound" in note for note in found.notes)
    assert found.error[:, 0].tolist() == [0.0] * 4


def test_errors_of_parameters_are_their_scatter():
    """Sixty draws of data of known error: the errors told are the scatter, intervals cover."""
    drawn = [fit(exact("single", TRUE["single"], 0.01, seed=s), "single") for s in range(60)]
    values = torch.stack([f.values for f in drawn])
    told = torch.stack([f.error for f in drawn]).square().mean(0).sqrt()
    assert ((told / values.std(0)) - 1).abs().max() < 0.35
    true = torch.tensor(TRUE["single"])[:, 2]
    inside = torch.stack([f.interval("tau", 0.9) for f in drawn])
    cover = ((inside[..., 0] < true) & (true < inside[..., 1])).double().mean()
    assert 0.84 < cover < 0.96
    p = torch.stack([f.p_value for f in drawn])
    assert 0.35 < p.mean() < 0.65
    assert (p < 0.05).double().mean() < 0.12


def test_goodness_of_dependent_residuals_is_uniform():
    """χ² of residuals that hang together, judged from twelve sectors: p is uniform."""
    random = np.random.default_rng(0)
    mix = np.linalg.cholesky(0.9 ** np.abs(np.subtract.outer(np.arange(30), np.arange(30))))
    p = []
    for _ in range(400):
        parts = random.standard_normal((12, 30)) @ mix.T
        whole = parts.mean(0)
        replicas = (12 * whole - parts) / 11
        error = replicas.std(0) * 11**0.5
        left = (replicas - replicas.mean(0)) / error
        p.append(goodness(float(((whole / error) ** 2).sum()), left)[1])
    counts, _ = np.histogram(p, 5, (0, 1))
    assert counts.min() > 50
    assert np.mean(np.array(p) < 0.01) < 0.03


def test_a_wrong_model_is_called_bad_and_a_slow_decay_out_of_reach():
    data = exact("double", [(1.0, 0.4, 0.005, 0.5, 30.0)] * 4)
    assert all("the fit is bad" in note for note in fit(data, "single").notes[:4])
    slow = exact("single", [(1.0, 0.4, 5.0)] * 4)
    notes = fit(slow, "single", fixed={"baseline": 1.0}).notes
    assert len(notes) == 4
    assert all("lies outside the delays" in note for note in notes)


def test_a_free_baseline_under_a_long_decay_is_told():
    last = float(FOUND.time[-1])
    slow = exact("single", [(1.0, 0.4, last / 3)] * 4)
    assert all("a free baseline may take part" in note for note in fit(slow, "single").notes)
    assert len(fit(slow, "single").notes) == 4
    assert fit(slow, "single", fixed={"baseline": 1.0}).notes == ()
    assert fit(exact("single", [(1.0, 0.4, last / 8)] * 4), "single").notes == ()


def test_what_the_data_do_not_tell_is_told():
    """A single exponential says nothing of a second one."""
    notes = fit(exact("single", TRUE["single"], noise=0.01), "double").notes
    assert any("is not told by these g2" in note for note in notes), notes


def test_brownian_motion_is_found():
    each = fit(FOUND, "single", fixed={"baseline": 1.0})
    law, D = power_law(each), diffusion(each)
    assert abs(law.power - 2) < 4 * law.power_error < 0.4
    assert law.power_interval[0] < law.power < law.power_interval[1]
    assert abs(D.value - 0.15) < 4 * D.error < 0.05
    assert D.interval[0] < D.value < D.interval[1]
    together = fit_global(FOUND, "single", fixed={"baseline": 1.0})
    assert power_law(together).power == pytest.approx(law.power, abs=3 * law.power_error)
    assert diffusion(together).value == pytest.approx(0.15, abs=4 * D.error)
    assert len(set(together.p_value.tolist())) == 1


def test_q_and_times_narrow_a_fit():
    q = FOUND.qmap.q
    found = fit(FOUND, "single", q=(float(q[1]), float(q[2])), times=(0.0, 0.1))
    assert found.q.tolist() == q[1:3].tolist()
    assert found.to_frame().columns.tolist()[:3] == ["q", "baseline", "baseline_error"]
    assert found.covariance().diagonal(0, 1, 2).sqrt() == pytest.approx(found.error)


def test_stokes_and_einstein():
    found = Diffusion(2e9, 1e8, torch.zeros(2), "Å²/s", torch.zeros(1))
    radius, error = stokes_einstein(found, 298.15, 0.89e-3)
    # k_B T / (6π η R) for R = 12.26 nm in water at 25 °C is 2.0e-11 m²/s.
    assert radius == pytest.approx(12.27, abs=0.02)
    assert error / radius == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fit(FOUND, "gauss"), "unknown model 'gauss'"),
        (lambda: fit(FOUND, "single", fixed={"exponent": 1.0}), "no parameter 'exponent'"),
        (lambda: fit(FOUND, "single", bounds={"tau": (2.0, 1.0)}), "cannot hold tau"),
        (lambda: fit(FOUND, "single", q=(1e3, 1e4)), "no bin of the q-map"),
        (lambda: fit(FOUND, "single", times=(0.0, 0.002)), "cannot fit 3 parameters to 2 delays"),
        (lambda: fit(FOUND, "single")["gamma"], "no parameter 'gamma'"),
        (lambda: power_law(fit(FOUND, "single", q=(0, 8))), "all bins have one q"),
        (lambda: stokes_einstein(diffusion(fit(FOUND, "single")), 300, 1e-3), "D is in pixels²/s"),
        (
            lambda: stokes_einstein(Diffusion(1, 0, torch.zeros(2), "Å²/s", torch.zeros(1)), 0, 1),
            "temperature = 0",
        ),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_jackknife_of_a_mean_is_its_standard_error():
    parts = torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    without = (parts.sum(0) - parts) / 8
    torch.testing.assert_close(jackknife_error(without), parts.std(0) / 3)


def test_a_model_of_one_s_own_is_fitted():
    flat = Model("flat", MODELS["single"].parameters[:1], lambda t, b: b + 0 * t)
    assert fit(FOUND, flat, q=(10, 30), times=(0.1, 1.0)).values.sub(1).abs().max() < 0.05
