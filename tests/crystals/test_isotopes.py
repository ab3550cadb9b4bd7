"""The isotope law that training uses."""

import numpy as np
import pytest
import torch

from debye.crystals.graph import Graph
from debye.crystals.structure.crystal import Crystal
from debye.crystals.training.variations import LOST, Isotopes, stretched, with_scaled_masses

OMEGA = torch.linspace(0, 1000, 51, dtype=torch.float64)


def hump(center, width=60.0):
    g = torch.exp(-(((OMEGA - center) / width) ** 2))
    return g / g.max()


def mean(density):
    return (density @ OMEGA) / density.sum(-1)


@pytest.mark.parametrize("s", [0.6, 1.0, 1.7])
def test_mean_frequency_follows_the_law(s):
    target = torch.stack([hump(300.0), hump(450.0)])
    heavier = stretched(OMEGA, target, torch.full((2,), s, dtype=torch.float64).rsqrt())
    torch.testing.assert_close(mean(heavier), mean(target) * s**-0.5, rtol=5e-3, atol=0)


def test_the_law_is_that_of_a_dynamical_matrix():
    """Eigenvalues of M^-1/2 Φ M^-1/2 with all masses times s."""
    rng = np.random.default_rng(0)
    A = rng.normal(size=(12, 12))
    mass = np.repeat(rng.uniform(10, 100, 4), 3)

    def frequencies(m):
        return np.sqrt(np.linalg.eigvalsh(A @ A.T / np.sqrt(np.outer(m, m))))

    np.testing.assert_allclose(frequencies(1.3 * mass), 1.3**-0.5 * frequencies(mass))


def test_factor_one_changes_nothing():
    target = hump(500.0).unsqueeze(0)
    torch.testing.assert_close(stretched(OMEGA, target, torch.ones(1, dtype=OMEGA.dtype)), target)


def test_each_crystal_of_a_batch_gets_its_own_factor():
    salt = Crystal(["Na", "Cl"], [[0, 0, 0], [2.82, 0, 0]], 2.82 * (1 - np.eye(3)))
    graph = Graph.batch([Graph.of(salt, 3.0)] * 2)
    scale = torch.tensor([1.0, 2.0])
    heavier, _ = with_scaled_masses(graph, torch.ones(2, 51), OMEGA.float(), scale)
    torch.testing.assert_close(heavier.mass, graph.mass * torch.tensor([1.0, 1.0, 2.0, 2.0]))
    assert heavier.center is graph.center  # nothing else is touched


def test_no_states_leave_the_axis():
    target = torch.stack([hump(200.0), hump(960.0)]).repeat(200, 1)
    rng = np.random.default_rng(0)
    scale = Isotopes(fraction=1.0, spread=0.5).draw(target, OMEGA, rng)
    beyond = (OMEGA[-1] * scale.sqrt()).unsqueeze(-1) < OMEGA
    assert ((target * beyond).sum(-1) / target.sum(-1)).max() <= LOST
    assert (scale[0::2] < 1).any()  # a soft crystal may be made lighter
    assert (scale[1::2] >= 1).all()  # a hard one may not


def test_only_a_fraction_is_scaled():
    target = hump(300.0).expand(1000, -1)
    scale = Isotopes(fraction=0.25, spread=0.3).draw(target, OMEGA, np.random.default_rng(0))
    assert 0.2 < (scale != 1).double().mean() < 0.3
    assert scale.log().abs().max() <= 0.3
