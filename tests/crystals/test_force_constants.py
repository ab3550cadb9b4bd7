"""The laws of lattice dynamics, over crystals with force constants of a formula."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from lattices import CRYSTALS, force_constants_of, omega, random_q, squares

from debye.crystals.lattice.dos import low_discrepancy
from debye.crystals.lattice.force_constants import ForceConstants, frequencies, mean_force_constants

pytestmark = pytest.mark.parametrize("name", CRYSTALS)
Q = random_q(7)
HALVES = torch.tensor([[0, 0, 0], [0.5, 0.5, 0], [0.2, 0.2, 0], [0.5, 0.5, 0.5]]).double()


def close(found, expected, **tolerance):
    torch.testing.assert_close(found, expected, **({"atol": 1e-9, "rtol": 1e-9} | tolerance))


def test_a_shift_of_the_whole_costs_nothing(name):
    force_constants = force_constants_of(CRYSTALS[name])
    D = force_constants.dynamical_matrix(torch.zeros(1, 1, 3).double())[0, 0]
    shift = force_constants.mass.sqrt()[:, None, None] * torch.eye(3)
    assert (
        D @ shift.reshape(-1, 3).to(D.dtype)
    ).abs().max() < 1e-12 * force_constants.on_site().abs().max()
    zero, others = omega(force_constants, torch.zeros(1, 3))[0].split(
        [3, 3 * len(force_constants.mass) - 3]
    )
    assert zero.abs().max() < 1e-4
    assert (others > 10).all()


def test_hermitian_and_real_in_space(name):
    force_constants = force_constants_of(CRYSTALS[name])
    D, back = force_constants.dynamical_matrix(Q[None]), force_constants.dynamical_matrix(-Q[None])
    assert torch.equal(D, D.mH)
    close(back, D.conj())


def test_a_pair_may_be_told_from_either_end(name):
    force_constants = force_constants_of(CRYSTALS[name])
    turn = torch.arange(len(force_constants.first)) % 2 == 0
    other = replace(
        force_constants,
        first=torch.where(turn, force_constants.second, force_constants.first),
        second=torch.where(turn, force_constants.first, force_constants.second),
        step=torch.where(turn[:, None], -force_constants.step, force_constants.step),
        values=torch.where(turn[:, None, None], force_constants.values.mT, force_constants.values),
    )
    close(other.dynamical_matrix(Q[None]), force_constants.dynamical_matrix(Q[None]))


def test_q_is_periodic(name):
    force_constants = force_constants_of(CRYSTALS[name])
    close(
        omega(force_constants, Q + torch.tensor([1, -2, 3])), omega(force_constants, Q), atol=1e-6
    )


def test_rotation_and_inversion(name):
    crystal = CRYSTALS[name]
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    for matrix in (turn, -turn):
        turned = replace(crystal, positions=crystal.positions @ matrix, cell=crystal.cell @ matrix)
        close(
            omega(force_constants_of(turned), Q), omega(force_constants_of(crystal), Q), atol=1e-6
        )


def test_the_order_of_sites_and_the_origin(name):
    crystal = CRYSTALS[name]
    order = np.random.default_rng(2).permutation(crystal.n_sites)
    moved = crystal.positions[order] + [0.3, 5.0, -7.0]
    other = replace(crystal, species=tuple(crystal.species[i] for i in order), positions=moved)
    close(omega(force_constants_of(other), Q), omega(force_constants_of(crystal), Q), atol=1e-6)


def test_a_supercell_folds_the_bands(name):
    crystal, times = CRYSTALS[name], (2, 1, 3)
    whole = np.array([[i, j, k] for i in range(2) for j in range(1) for k in range(3)]) / times
    q = np.array([0.13, 0.22, -0.31])
    folded = omega(force_constants_of(crystal.supercell(times)), (q * times)[None])[0]
    unfolded = omega(force_constants_of(crystal), q + whole).flatten().sort().values
    close(folded, unfolded, atol=1e-6)


def test_masses_scale_frequencies(name):
    force_constants = force_constants_of(CRYSTALS[name])
    heavy = replace(force_constants, mass=4 * force_constants.mass)
    close(2 * omega(heavy, Q), omega(force_constants, Q), atol=1e-6)


def test_the_second_moment_is_the_trace_of_the_on_site_force_constants(name):
    force_constants = force_constants_of(CRYSTALS[name])
    points = torch.arange(7).double() / 7
    square = squares(force_constants, torch.cartesian_prod(points, points, points)[None])
    on_site = force_constants.on_site().diagonal(dim1=1, dim2=2).sum(1)
    close(square.sum(-1).mean(), (on_site / force_constants.mass).sum())


@pytest.mark.parametrize("q", HALVES, ids=lambda q: str(q.tolist()))
def test_gradients_are_exact_where_modes_are_degenerate(name, q):
    force_constants = force_constants_of(CRYSTALS[name], cutoff=3.4)
    scale = (force_constants.on_site() / force_constants.mass[:, None, None]).abs().max()

    def count(values):
        square = squares(replace(force_constants, values=values), q[None, None])
        return torch.exp(-3 * square / scale).sum()  # a smooth count of all modes

    assert torch.autograd.gradcheck(
        count, force_constants.values.clone().requires_grad_(), eps=1e-5
    )


def test_derivatives_against_differences(name):
    force_constants, h = force_constants_of(CRYSTALS[name]), 1e-5
    a, b = (torch.randn(1, len(Q), 3, generator=torch.manual_seed(3)).double() for _ in range(2))
    q = Q[None]

    def slope(f, along):
        return (f(q + h * along) - f(q - h * along)) / (2 * h)

    close(
        force_constants.derivative(q, a),
        slope(force_constants.dynamical_matrix, a),
        rtol=1e-7,
        atol=1e-6,
    )
    second = slope(lambda at: force_constants.derivative(at, a), b)
    close(force_constants.derivative(q, a, b), second, rtol=1e-7, atol=1e-5)


def test_a_batch_equals_its_crystals(name):
    parts = [force_constants_of(CRYSTALS[n]) for n in (name, "silicon", "triclinic", name)]
    batch = joined(parts)
    seen = []
    for crystals, sites, part in batch.by_size():
        square = squares(part, Q.expand(len(crystals), -1, -1))
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
        values=torch.cat([p.values for p in parts]),
        n_crystals=len(parts),
    )


def test_double_leaves_gradients_behind(name):
    force_constants = force_constants_of(CRYSTALS[name])
    single = replace(force_constants, values=force_constants.values.float().requires_grad_())
    double = single.double()
    assert double.values.dtype is torch.float64
    assert not double.values.requires_grad
    assert double.first.dtype is torch.int64
    close(omega(double, Q), omega(force_constants, Q), atol=1e-2)


def test_the_mean_of_members(name):
    force_constants = force_constants_of(CRYSTALS[name])
    others = [replace(force_constants, values=x * force_constants.values) for x in (0.5, 1.5)]
    close(omega(mean_force_constants(others), Q), omega(force_constants, Q), atol=1e-6)


def test_the_mesh_averages_every_wave_away(name):
    # What a mean over the mesh makes of exp(2πi q·R), for the steps that a crystal has.
    steps = force_constants_of(CRYSTALS[name]).step
    jumps = torch.cat([steps.round(), torch.eye(3).double()])
    jumps = jumps[jumps.abs().sum(1) > 0]
    for count in (100, 1000, 10_000):
        q = low_discrepancy(count).double()
        assert ((q >= 0) & (q < 1)).all()
        waves = torch.exp(2j * torch.pi * (q @ jumps.mT)).mean(0)
        assert waves.abs().max() < 12 / count
    assert torch.equal(low_discrepancy(100), low_discrepancy(1000)[:100])
