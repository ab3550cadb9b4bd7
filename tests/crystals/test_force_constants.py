"""The laws of lattice dynamics, over crystals with springs of a formula."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from lattices import CRYSTALS, omega, random_q, springs_of

from debye.crystals.lattice.dos import low_discrepancy
from debye.crystals.lattice.force_constants import ForceConstants, frequencies, mean_springs

pytestmark = pytest.mark.parametrize("name", CRYSTALS)
Q = random_q(7)
HALVES = torch.tensor([[0, 0, 0], [0.5, 0.5, 0], [0.2, 0.2, 0], [0.5, 0.5, 0.5]]).double()


def close(found, expected, **tolerance):
    torch.testing.assert_close(found, expected, **({"atol": 1e-9, "rtol": 1e-9} | tolerance))


def test_a_shift_of_the_whole_costs_nothing(name):
    springs = springs_of(CRYSTALS[name])
    D = springs.dynamical_matrix(torch.zeros(1, 1, 3).double())[0, 0]
    shift = springs.mass.sqrt()[:, None, None] * torch.eye(3)
    assert (
        D @ shift.reshape(-1, 3).to(D.dtype)
    ).abs().max() < 1e-12 * springs.on_site().abs().max()
    zero, others = omega(springs, torch.zeros(1, 3))[0].split([3, 3 * len(springs.mass) - 3])
    assert zero.abs().max() < 1e-4
    assert (others > 10).all()


def test_hermitian_and_real_in_space(name):
    springs = springs_of(CRYSTALS[name])
    D, back = springs.dynamical_matrix(Q[None]), springs.dynamical_matrix(-Q[None])
    assert torch.equal(D, D.mH)
    close(back, D.conj())


def test_a_pair_may_be_told_from_either_end(name):
    springs = springs_of(CRYSTALS[name])
    turn = torch.arange(len(springs.first)) % 2 == 0
    other = replace(
        springs,
        first=torch.where(turn, springs.second, springs.first),
        second=torch.where(turn, springs.first, springs.second),
        step=torch.where(turn[:, None], -springs.step, springs.step),
        spring=torch.where(turn[:, None, None], springs.spring.mT, springs.spring),
    )
    close(other.dynamical_matrix(Q[None]), springs.dynamical_matrix(Q[None]))


def test_q_is_periodic(name):
    springs = springs_of(CRYSTALS[name])
    close(omega(springs, Q + torch.tensor([1, -2, 3])), omega(springs, Q), atol=1e-6)


def test_rotation_and_inversion(name):
    crystal = CRYSTALS[name]
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    for matrix in (turn, -turn):
        turned = replace(crystal, positions=crystal.positions @ matrix, cell=crystal.cell @ matrix)
        close(omega(springs_of(turned), Q), omega(springs_of(crystal), Q), atol=1e-6)


def test_the_order_of_sites_and_the_origin(name):
    crystal = CRYSTALS[name]
    order = np.random.default_rng(2).permutation(crystal.n_sites)
    moved = crystal.positions[order] + [0.3, 5.0, -7.0]
    other = replace(crystal, species=tuple(crystal.species[i] for i in order), positions=moved)
    close(omega(springs_of(other), Q), omega(springs_of(crystal), Q), atol=1e-6)


def test_a_supercell_folds_the_bands(name):
    crystal, times = CRYSTALS[name], (2, 1, 3)
    whole = np.array([[i, j, k] for i in range(2) for j in range(1) for k in range(3)]) / times
    q = np.array([0.13, 0.22, -0.31])
    folded = omega(springs_of(crystal.supercell(times)), (q * times)[None])[0]
    unfolded = omega(springs_of(crystal), q + whole).flatten().sort().values
    close(folded, unfolded, atol=1e-6)


def test_masses_scale_frequencies(name):
    springs = springs_of(CRYSTALS[name])
    heavy = replace(springs, mass=4 * springs.mass)
    close(2 * omega(heavy, Q), omega(springs, Q), atol=1e-6)


def test_the_second_moment_is_the_trace_of_the_on_site_springs(name):
    springs = springs_of(CRYSTALS[name])
    points = torch.arange(7).double() / 7
    square = springs.modes(torch.cartesian_prod(points, points, points)[None]).square
    on_site = springs.on_site().diagonal(dim1=1, dim2=2).sum(1)
    close(square.sum(-1).mean(), (on_site / springs.mass).sum())


def test_shares_of_sites_sum_to_one(name):
    share = springs_of(CRYSTALS[name]).modes(Q[None]).share
    close(share.sum(-1), torch.ones(1, len(Q), share.shape[-2]).double())


@pytest.mark.parametrize("q", HALVES, ids=lambda q: str(q.tolist()))
def test_gradients_are_exact_where_modes_are_degenerate(name, q):
    springs = springs_of(CRYSTALS[name], reach=3.4)
    scale = (springs.on_site() / springs.mass[:, None, None]).abs().max()

    def count(spring):
        square = replace(springs, spring=spring).modes(q[None, None]).square
        return torch.exp(-3 * square / scale).sum()  # a smooth count of all modes

    assert torch.autograd.gradcheck(count, springs.spring.clone().requires_grad_(), eps=1e-5)


def test_derivatives_against_differences(name):
    springs, h = springs_of(CRYSTALS[name]), 1e-5
    a, b = (torch.randn(1, len(Q), 3, generator=torch.manual_seed(3)).double() for _ in range(2))
    q = Q[None]

    def slope(f, along):
        return (f(q + h * along) - f(q - h * along)) / (2 * h)

    close(springs.derivative(q, a), slope(springs.dynamical_matrix, a), rtol=1e-7, atol=1e-6)
    second = slope(lambda at: springs.derivative(at, a), b)
    close(springs.derivative(q, a, b), second, rtol=1e-7, atol=1e-5)


def test_a_batch_equals_its_crystals(name):
    parts = [springs_of(CRYSTALS[n]) for n in (name, "silicon", "triclinic", name)]
    batch = joined(parts)
    seen = []
    for crystals, sites, part in batch.by_size():
        square = part.modes(Q.expand(len(crystals), -1, -1)).square
        for row, crystal in zip(square, crystals.tolist(), strict=True):
            close(frequencies(row), omega(parts[crystal], Q), atol=1e-6)
            seen.append(crystal)
        assert torch.equal(batch.mass[sites], part.mass)
    assert sorted(seen) == [0, 1, 2, 3]


def joined(parts):
    """Force constants of several crystals as one batch."""
    sizes = torch.tensor([0, *(len(p.mass) for p in parts)]).cumsum(0)
    return ForceConstants(
        crystal=torch.cat([torch.full_like(p.crystal, i) for i, p in enumerate(parts)]),
        mass=torch.cat([p.mass for p in parts]),
        first=torch.cat([p.first + start for p, start in zip(parts, sizes, strict=False)]),
        second=torch.cat([p.second + start for p, start in zip(parts, sizes, strict=False)]),
        step=torch.cat([p.step for p in parts]),
        spring=torch.cat([p.spring for p in parts]),
        n_crystals=len(parts),
    )


def test_double_leaves_gradients_behind(name):
    springs = springs_of(CRYSTALS[name])
    single = replace(springs, spring=springs.spring.float().requires_grad_())
    double = single.double()
    assert double.spring.dtype is torch.float64
    assert not double.spring.requires_grad
    assert double.first.dtype is torch.int64
    close(omega(double, Q), omega(springs, Q), atol=1e-2)


def test_the_mean_of_members(name):
    springs = springs_of(CRYSTALS[name])
    others = [replace(springs, spring=x * springs.spring) for x in (0.5, 1.5)]
    close(omega(mean_springs(others), Q), omega(springs, Q), atol=1e-6)


def test_the_mesh_averages_every_wave_away(name):
    # What a mean over the mesh makes of exp(2πi q·R), for the steps that a crystal has.
    steps = springs_of(CRYSTALS[name]).step
    jumps = torch.cat([steps.round(), torch.eye(3).double()])
    jumps = jumps[jumps.abs().sum(1) > 0]
    for count in (100, 1000, 10_000):
        q = low_discrepancy(count).double()
        assert ((q >= 0) & (q < 1)).all()
        waves = torch.exp(2j * torch.pi * (q @ jumps.mT)).mean(0)
        assert waves.abs().max() < 12 / count
    assert torch.equal(low_discrepancy(100), low_discrepancy(1000)[:100])
