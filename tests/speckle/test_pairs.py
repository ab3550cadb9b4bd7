"""Lists of pairs that are kept hold what a search would find, in open and periodic boxes."""

import pytest
import torch

from debye.core.neighbors import half_pairs
from debye.speckle.dynamics.pairs import PairList, tabulated
from debye.speckle.dynamics.particles import Particles, Yukawa


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("box", [None, 2.0])
def test_a_kept_list_is_a_search(box):
    r, near, sought = 2 * random(3, 40, 2), PairList(0.5, box), 0
    for step in range(30):
        r = r + 0.02 * (random(3, 40, 2, seed=step) - 0.5)
        before = near.where
        i, j, d = near(r)
        sought += near.where is not before
        found = set(zip(i.tolist(), j.tolist(), strict=True))
        wanted = half_pairs(r, 0.5, box)
        assert found == set(zip(*(w.tolist() for w in wanted), strict=True))
        apart = r.flatten(0, 1)[j] - r.flatten(0, 1)[i]
        if box:
            apart = apart - box * (apart / box).round()
        torch.testing.assert_close(d, apart)
    assert 1 < sought < 15  # some were kept, some sought anew


def test_a_periodic_box_has_no_edges():
    """Where its origin lies changes nothing, nor does an image in the place of a particle."""
    system = Particles(Yukawa(cutoff=0.9), L=2.0, periodic=True, table=0)
    r = 2 * random(30, 2)
    force = system(0.0, r)
    torch.testing.assert_close(system(0.0, r + 0.7), force)
    moved = r.clone()
    moved[3] += torch.tensor([2.0, -4.0], dtype=torch.float64)
    torch.testing.assert_close(system(0.0, moved), force)
    torch.testing.assert_close(force.sum(0), torch.zeros(2).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [0, 1000])
def test_a_force_ends_at_its_cutoff(size):
    """Also one that is not 0 there, of one column or two."""
    r = torch.tensor([0.3, 0.999, 1.0, 1.2], dtype=torch.float64)
    one = tabulated(lambda r: 2 - r, 1.0, size)
    torch.testing.assert_close(one(r), torch.tensor([1.7, 1.001, 0, 0]).double())
    two = tabulated(lambda r: torch.stack([r, 2 * r], -1), 1.0, size)
    torch.testing.assert_close(two(r)[:, 1], torch.tensor([0.6, 1.998, 0, 0]).double())
