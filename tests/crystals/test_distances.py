"""Distances against SciPy, against shifts that are known, and against their loops."""

import numpy as np
import pytest
import torch

from debye.crystals.dos.distances import (
    mae,
    mse,
    published_view,
    r_squared,
    wasserstein,
)
from debye.crystals.dos.spectrum import Spectrum
from debye.errors import InputError

GRID = np.arange(0.0, 1001.0, 20.0)


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(1)
    numbers = torch.rand(2, 6, 51, generator=generator, dtype=torch.float64)
    return [Spectrum(GRID, rows, normalisation="max").to("3N") for rows in numbers]


def test_wasserstein_of_a_shifted_peak_is_the_shift():
    def at(point):
        return Spectrum(GRID, np.where(point == GRID, 1.0, 0.0), normalisation="max")

    for shift in (0.0, 20.0, 340.0):
        assert wasserstein(at(200.0), at(200.0 + shift)).item() == pytest.approx(shift)


def test_wasserstein_agrees_with_scipy(pair):
    stats = pytest.importorskip("scipy.stats")
    axis = np.concatenate([[0.0, 3.0, 11.0], GRID[3:]])
    one, two = (Spectrum(axis, s.density, normalisation="max") for s in pair)
    weights = one.weights.numpy()
    expected = [
        stats.wasserstein_distance(axis, axis, weights * a.numpy(), weights * b.numpy())
        for a, b in zip(one.density, two.density, strict=True)
    ]
    np.testing.assert_allclose(wasserstein(one, two).numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("distance", [wasserstein, mse, mae])
def test_a_batch_equals_a_loop_and_the_normalisation_does_not_matter(pair, distance):
    one, two = pair
    rows = torch.stack([distance(one[i], two[i]) for i in range(6)])
    torch.testing.assert_close(distance(one, two), rows)
    torch.testing.assert_close(distance(one.to("max"), two.to("1")), rows)
    torch.testing.assert_close(distance(one, one), torch.zeros(6).double(), atol=1e-7, rtol=0)


@pytest.mark.parametrize("distance", [wasserstein, mse, mae])
def test_distances_are_differentiable(pair, distance):
    one, two = pair

    def of(density):
        return distance(Spectrum(GRID, density, normalisation="max"), two)

    assert torch.autograd.gradcheck(of, one.density.clone().requires_grad_())


def test_the_sum_view_gives_the_prediction_the_true_sum(pair):
    guess, truth = published_view(*pair, "sum")
    torch.testing.assert_close(guess.sum(-1), truth.sum(-1))
    torch.testing.assert_close(truth.amax(-1), torch.ones(6).double())


def test_the_three_definitions_of_r_squared(pair):
    guess, truth = (numbers.numpy() for numbers in published_view(*pair))

    def r2(t, g, axis=None):  # as in a textbook
        spread = ((t - t.mean(axis, keepdims=True)) ** 2).sum(axis)
        return 1 - ((t - g) ** 2).sum(axis) / spread, spread

    per_bin, variance = r2(truth, guess, 0)
    expected = {
        "flattened": r2(truth, guess)[0],
        "per-sample": r2(truth, guess, 1)[0].mean(),
        "per-bin": np.average(per_bin, weights=variance),
    }
    for definition, value in expected.items():
        assert r_squared(*pair, definition).item() == pytest.approx(value)


def test_misspelt_choices_and_other_axes_are_refused(pair):
    one, two = pair
    with pytest.raises(InputError, match="no view 'mean'"):
        mse(one, two, "mean")
    with pytest.raises(InputError, match="no R² 'r2'"):
        r_squared(one, two, "r2")
    shifted = Spectrum(GRID + 1, two.density)
    for distance in (mse, mae, wasserstein):
        with pytest.raises(InputError, match="axes differ"):
            distance(one, shifted)
