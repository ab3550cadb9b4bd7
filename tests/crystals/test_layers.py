"""Layers against e3nn, and their laws."""

import pytest
import torch

from debye.crystals.model import layers

o3 = pytest.importorskip("e3nn.o3")

PATHS = layers.paths(3, 3, 3)
SINGLE = {"atol": 1e-4, "rtol": 1e-5}  # the tables are kept in single precision


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def directions():
    r = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return r / r.norm(dim=-1, keepdim=True)


def rotation(improper=False):
    R = o3.rand_matrix(dtype=torch.float64)
    return -R if improper else R


@pytest.mark.parametrize("l", range(5))
def test_harmonics_equal_e3nn(l, directions):
    ours = layers.spherical_harmonics(directions, 4)[:, layers.orders(4)[l]]
    theirs = o3.spherical_harmonics(l, directions, normalize=False, normalization="component")
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_couplings_equal_e3nn_up_to_sign(path):
    ours = layers.coupling(*path)
    theirs = o3.wigner_3j(*path, dtype=torch.float64) * (2 * path[2] + 1) ** 0.5
    sign = torch.sign((ours * theirs).sum())
    torch.testing.assert_close(ours, sign * theirs, atol=1e-12, rtol=0)


def wigner(l_max, R):
    """How features (…, m) of natural parity turn when space turns by R."""
    proper, parity = (R, 1) if torch.det(R) > 0 else (-R, -1)
    angles = o3.matrix_to_angles(proper)
    blocks = [o3.wigner_D(l, *(a.double() for a in angles)) * parity**l for l in range(l_max + 1)]
    return torch.block_diag(*blocks)


@pytest.mark.parametrize("improper", [False, True], ids=["rotation", "rotoinversion"])
@pytest.mark.parametrize("l_max", [0, 1, 2, 3])
def test_convolution_turns_with_space(l_max, improper, directions):
    convolution = layers.Convolution(l_max, l_max, l_max).double()
    h = torch.randn(50, (l_max + 1) ** 2, 4, dtype=torch.float64)
    weight = torch.randn(50, len(convolution.paths), 4, dtype=torch.float64)
    R = rotation(improper)
    D = wigner(l_max, R)
    before = convolution(h, layers.spherical_harmonics(directions, l_max), weight)
    turned = layers.spherical_harmonics(directions @ R.T, l_max)
    after = convolution(torch.einsum("ab,nbc->nac", D, h), turned, weight)
    torch.testing.assert_close(after, torch.einsum("ab,nbc->nac", D, before), **SINGLE)


@pytest.mark.parametrize("l_max", [1, 2, 3])
def test_gate_and_linear_turn_with_space(l_max):
    gate = layers.Gate(l_max)
    linear = layers.Linear(l_max, 4, 4).double()
    h = torch.randn(6, (l_max + 1) ** 2, 4, dtype=torch.float64)
    scalars = torch.randn(6, (l_max + 1) * 4, dtype=torch.float64)
    D = wigner(l_max, rotation(improper=True))
    turned = torch.einsum("ab,nbc->nac", D, h)
    for f in (lambda x: gate(scalars, x), linear):
        torch.testing.assert_close(f(turned), torch.einsum("ab,nbc->nac", D, f(h)))


def test_convolution_equals_e3nn_tensor_product(directions):
    """One channel, all filters 1: the sum over paths of e3nn's own tensor product."""
    h = torch.randn(50, 9, 1, dtype=torch.float64)
    convolution = layers.Convolution(2, 2, 2)
    Y = layers.spherical_harmonics(directions, 2)
    ours = convolution(h, Y, torch.ones(50, len(convolution.paths), 1, dtype=torch.float64))
    block = layers.orders(2)
    theirs = torch.zeros(50, 9, dtype=torch.float64)
    for l1, l2, l3 in convolution.paths:
        w3j = o3.wigner_3j(l1, l2, l3, dtype=torch.float64) * (2 * l3 + 1) ** 0.5
        w3j = w3j * torch.sign((layers.coupling(l1, l2, l3) * w3j).sum())
        theirs[:, block[l3]] += torch.einsum(
            "ni,nj,ijk->nk", h[:, block[l1], 0], Y[:, block[l2]], w3j
        )
    torch.testing.assert_close(ours[..., 0], theirs, **SINGLE)
