"""A prior acts as so many more observations of the parameters themselves would."""

import pytest
import torch

from debye.speckle.fitting.gauss_newton import GaussNewton, to_vector
from debye.speckle.fitting.prior import Prior, independent, joined, ridge
from debye.speckle.scattering.noise import SQUARES

x = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None]
TARGET = 3 * x + 1
PRIOR = Prior(
    torch.tensor([[5.0, 1.0], [1.0, 2.0]], dtype=torch.float64),
    torch.tensor([1.0, -1.0], dtype=torch.float64),
)


def fitted(prior=None):
    line = torch.nn.Linear(1, 1, dtype=torch.float64)
    fit = GaussNewton(line, lambda x: TARGET, torch.tensor(True), SQUARES, prior=prior)
    list(fit.run([x], 20, rtol=1e-12))
    return to_vector(line), fit.curvature


def test_the_posterior_is_that_of_normal_equations():
    A = torch.cat([x, torch.ones_like(x)], 1)
    P, m = PRIOR[:2]
    expected = torch.linalg.solve(A.T @ A + P, A.T @ TARGET[:, 0] + P @ m)
    found, curvature = fitted(PRIOR)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(curvature, A.T @ A + P)


def test_a_flat_prior_is_none():
    torch.testing.assert_close(fitted(ridge(0.0, 2)), fitted(None))


def test_slope_is_the_derivative_of_cost():
    c, step = torch.tensor([0.3, 0.7], dtype=torch.float64), 1e-6
    for k, slope in enumerate(PRIOR.slope(c).tolist()):
        e = torch.eye(2, dtype=torch.float64)[k] * step
        assert (PRIOR.cost(c + e) - PRIOR.cost(c - e)) / (2 * step) == pytest.approx(slope)


def test_joined_costs_add_up():
    both = joined([PRIOR, independent([2.0], [4.0])])
    c = torch.tensor([0.3, 0.7, 1.0], dtype=torch.float64)
    assert both.cost(c) == pytest.approx(PRIOR.cost(c[:2]) + 2.0)
