"""The numbers of an evaluation against the formulas written out in NumPy."""

import numpy as np
import pytest
import torch

from debye.crystals.data.dataset import read_collection
from debye.crystals.data.labels import FREQUENCY
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.structure.elements import composition_vector
from debye.crystals.training.evaluate import (
    BASELINES,
    mean_baseline,
    nearest_composition_baseline,
    spectrum_errors,
    summary,
)

W = np.full(51, 20.0)
W[[0, -1]] = 10.0
F = np.array(FREQUENCY)


@pytest.fixture(scope="module")
def pair():
    """Predicted (3N) and true (max) spectra of 40 rows."""
    rng = np.random.default_rng(0)
    true = rng.random((40, 51)) * np.exp(-F / 300)
    true /= true.max(-1, keepdims=True)
    predicted = np.maximum(true + 0.2 * rng.normal(size=true.shape), 0)
    atoms = rng.integers(1, 20, 40).astype(float)
    predicted *= (3 * atoms / (predicted @ W))[:, None]
    return (
        Spectrum(F, predicted, atoms),
        Spectrum(F, true, atoms, "max"),
        predicted / predicted.max(-1, keepdims=True),
        true,
    )


def test_summary_is_what_the_formulas_say(pair):
    predicted, true, p, t = pair
    told = summary(predicted, true)
    rows = ((p - t) ** 2).mean(-1)
    assert told["mse_max1"] == pytest.approx(((p - t) ** 2).mean())
    assert told["mae_max1"] == pytest.approx(np.abs(p - t).mean())
    assert told["mse_max1_q50"] == pytest.approx(np.quantile(rows, 0.5))
    assert told["mse_max1_max"] == pytest.approx(rows.max())
    scaled = p * (t.sum(-1) / p.sum(-1))[:, None]
    assert told["mse_true_sum"] == pytest.approx(((scaled - t) ** 2).mean())
    assert told["mae_true_sum"] == pytest.approx(np.abs(scaled - t).mean())


def test_r_squared_by_its_three_definitions(pair):
    predicted, true, p, t = pair
    told = summary(predicted, true)

    def r2(axis):
        residual = ((p - t) ** 2).sum(axis)
        return 1 - residual / ((t - t.mean(axis, keepdims=True)) ** 2).sum(axis)

    assert told["r2_flattened"] == pytest.approx(r2(None))
    assert told["r2_per-sample"] == pytest.approx(r2(-1).mean())
    variance = t.var(0)  # per bin, weighted by the variance there
    assert told["r2_per-bin"] == pytest.approx((variance * r2(0)).sum() / variance.sum())


def test_mean_frequency_is_the_first_moment(pair):
    predicted, true, p, t = pair
    told = summary(predicted, true)
    mean_p, mean_t = ((s * F) @ W / (s @ W) for s in (p, t))
    assert told["mean_frequency_cm-1_mae"] == pytest.approx(np.abs(mean_p - mean_t).mean())
    share = (np.abs(mean_p - mean_t) / mean_t < 0.1).mean()
    assert told["mean_frequency_within_10_percent"] == pytest.approx(share)


def test_zero_point_energy_is_half_the_first_moment(pair):
    predicted, true, p, t = pair
    told = summary(predicted, true)
    # 3 states per atom, ½ h c N_A = 5.98132 J/mol per cm⁻¹.
    energy = [3 * (s * F) @ W / (s @ W) * 5.981328e-3 for s in (p, t)]
    expected = np.abs(energy[0] - energy[1]).mean()
    assert told["zero_point_energy_kJ_per_mol_atoms_mae"] == pytest.approx(expected, rel=1e-2)


def test_a_perfect_prediction_has_no_error(pair):
    true = pair[1]
    errors = spectrum_errors(true.to("3N"), true)
    for name, values in vars(errors).items():
        assert values.abs().max() < 1e-9, name


def test_normalisation_and_atoms_do_not_matter(pair):
    predicted, true, *_ = pair
    one = summary(predicted, true)
    other = summary(Spectrum(F, predicted.to("1").density, 7.0, "1"), true)
    for name, value in one.items():
        assert other[name] == pytest.approx(value), name


def test_a_shift_is_its_wasserstein_distance():
    peak = np.zeros((2, 51))
    peak[0, 10], peak[1, 13] = 1, 1
    spectra = Spectrum(F, peak, normalisation="max")
    told = summary(spectra[:1], spectra[1:])
    assert told["wasserstein_cm-1"] == pytest.approx(60.0)


def test_baselines(labelled):
    data, _ = read_collection(labelled)
    known, asked = data.take(data.names[:8]), data.take(data.names[8:])
    mean = mean_baseline(known, asked.crystals)
    expected = known.spectra.density.mean(0)
    assert torch.allclose(mean.to("max").density[2], expected / expected.max())
    nearest = nearest_composition_baseline(known, known.crystals)
    assert torch.equal(nearest.density, known.spectra.density)
    assert all(len(make(known, asked.crystals).density) == 4 for make in BASELINES.values())


def test_composition_vector(labelled):
    data, _ = read_collection(labelled)
    x = composition_vector(data.take(["NaCl"]).crystals[0].composition)
    assert (x[11], x[17], x.sum()) == (0.5, 0.5, 1.0)
