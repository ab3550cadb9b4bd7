"""Force constants between sites and what their modes make of them: laws of the head."""

from dataclasses import replace

import pytest
import torch
from ase.build import bulk
from lattices import squares

from debye.crystals.graph import Graph
from debye.crystals.lattice.site_states import site_states
from debye.crystals.model.network import PhononNet
from debye.crystals.structure.crystal import Crystal

GRID = [20.0 * i for i in range(51)]
CRYSTALS = {
    "salt": bulk("NaCl", "rocksalt", a=5.6),
    "one atom": bulk("Cu", "fcc", a=3.6),
    "wurtzite": bulk("ZnO", "wurtzite", a=3.25, c=5.2),
}


def crystal(name):
    atoms = CRYSTALS[name]
    return Crystal(atoms.get_chemical_symbols(), atoms.get_positions(), atoms.cell.array)


KINDS = {"free": {}, "far": {"r_pairs": 7.0, "envelope": 16}, "positive": {"positive": True}}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def net(request):
    torch.manual_seed(3)
    heads = ["force_constants", "density"]
    return PhononNet(GRID, heads=heads, channels=8, hidden=16, **request.param).eval()


@pytest.fixture(scope="module")
def positive():
    torch.manual_seed(3)
    return PhononNet(GRID, heads=["force_constants"], channels=8, hidden=16, positive=True).eval()


def off_axis(l_pairs, atoms):
    """How far second neighbours' force constants are from being alike all around their line."""
    torch.manual_seed(3)
    net = PhononNet(GRID, heads=["force_constants"], channels=8, hidden=16, l_pairs=l_pairs).eval()
    cell = Crystal(atoms.get_chemical_symbols(), atoms.get_positions(), atoms.cell.array)
    with torch.no_grad():
        found = net.force_constants(Graph.of(cell, net.cutoff))
    vector = found.step @ torch.tensor(cell.cell).float()
    r = vector.norm(dim=-1)
    second = (found.first == found.second) & (r < 1.01 * r[found.first == found.second].min())
    K, n = found.values[second], (vector / r.unsqueeze(-1))[second]
    along = n.unsqueeze(-1) * n.unsqueeze(-2)
    across = torch.eye(3) - along
    of_line = torch.einsum("pab,pab->p", along, K)[:, None, None] * along
    around = torch.einsum("pab,pab->p", across, K)[:, None, None] / 2 * across
    return ((K - of_line - around).norm() / K.norm()).item()


@pytest.mark.parametrize(
    "atoms", [bulk("Si", "diamond", a=5.43), bulk("NaCl", "rocksalt", a=5.6)], ids=["Si", "NaCl"]
)
def test_pairs_of_cubic_sites_need_more_than_an_axis(atoms):
    """Tetrahedra begin at order 3, octahedra at order 4: below, nothing tells what is around."""
    assert off_axis(2, atoms) < 1e-5
    assert off_axis(4, atoms) > 1e-3


@pytest.mark.parametrize("name", CRYSTALS)
def test_states_are_counted(net, name):
    graph = Graph.of(crystal(name), net.cutoff)
    cell = net.force_constant_head.cell
    for sites in net.head_outputs(graph):
        assert (sites >= 0).all()
        torch.testing.assert_close((sites * cell).sum(-1), torch.full((len(sites),), 3.0))


@pytest.mark.parametrize("name", CRYSTALS)
def test_three_modes_are_at_rest(net, name):
    """Only differences of displacements cost energy."""
    force_constants = net.force_constants(Graph.of(crystal(name), net.cutoff))
    q = torch.stack([torch.zeros(1, 3), torch.tensor([[0.5, 0.1, 0.2]])], dim=1)
    square = squares(force_constants, q).abs()
    assert square[0, 0].sort().values[:3].max() < 1e-5 * square.max()


@pytest.mark.parametrize("name", CRYSTALS)
def test_sums_of_force_constants_are_symmetric(net, name):
    """Else the block on the diagonal, which the acoustic sum rule asks for, would not be."""
    on_site = net.force_constants(Graph.of(crystal(name), net.cutoff)).on_site()
    assert (on_site - on_site.mT).abs().max() < 2e-6 * on_site.abs().max()


@pytest.mark.parametrize("name", CRYSTALS)
def test_squares_have_real_modes(positive, name):
    """A square of a symmetric tensor pushes nothing."""
    force_constants = positive.force_constants(Graph.of(crystal(name), positive.cutoff))
    square = squares(force_constants, torch.rand(1, 20, 3))
    assert square.min() > 0


def test_force_constants_do_not_know_their_ends(net):
    """Edges the other way round give the same force constants, transposed."""
    graph = Graph.of(crystal("wurtzite"), net.cutoff)
    features = net._features(graph)
    decoder = net.force_constant_head.decoder
    pair = graph.one_way()
    i, j, n = graph.center[pair], graph.other[pair], graph.vector[pair]
    r = n.norm(dim=-1)
    n = n / r.unsqueeze(-1)
    there = decoder.decoded(features, graph, decoder.pairs(i, j, n, r))
    back = decoder.decoded(features, graph, decoder.pairs(j, i, -n, r))
    torch.testing.assert_close(there, back.mT, rtol=1e-4, atol=1e-6)


def test_force_constants_vanish_smoothly_at_the_cutoff(net):
    graph = Graph.of(crystal("salt"), net.cutoff)
    features = net._features(graph)
    i, j = torch.tensor([0]), torch.tensor([1])
    n = torch.tensor([[0.6, 0.0, 0.8]])
    decoder = net.force_constant_head.decoder
    at, near = (
        decoder.decoded(features, graph, decoder.pairs(i, j, n, torch.tensor([r])))
        for r in (decoder.cutoff, decoder.cutoff - 0.01)
    )
    assert at.abs().max() == 0
    assert 0 < near.abs().max() < 1e-4


def test_force_constants_turn_with_the_crystal(net):
    Q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))
    whole = crystal("wurtzite")
    turned = Crystal(whole.species, whole.positions @ Q.T.numpy(), whole.cell @ Q.T.numpy())
    there, here = (net.force_constants(Graph.of(c, net.cutoff)) for c in (turned, whole))

    def by_pair(force_constants):
        """Force constants by their ends and steps, whichever end they were seen from."""
        rows = {}
        for i, j, step, K in zip(
            force_constants.first,
            force_constants.second,
            force_constants.step,
            force_constants.values,
            strict=True,
        ):
            if K.abs().max() < 1e-7:  # at the cutoff, on either side of it
                continue
            rows[(int(i), int(j), *step.round(decimals=3).tolist())] = K
            rows[(int(j), int(i), *(-step).round(decimals=3).tolist())] = K.mT
        return {tuple(x + 0.0 for x in key): K for key, K in rows.items()}

    before, after = by_pair(here), by_pair(there)
    assert before.keys() == after.keys()
    scale = max(K.abs().max() for K in before.values())
    for key, K in before.items():
        assert (after[key] - Q @ K @ Q.T).abs().max() < 1e-4 * scale


@pytest.mark.parametrize(
    ("heads", "positive"),
    [
        (["force_constants"], False),
        (["force_constants"], True),
        (["force_constants", "density"], False),
    ],
)
def test_force_constants_obey_the_isotope_law(heads, positive):
    """Force constants do not know the masses, so ω ∝ m^−½ exactly."""
    torch.manual_seed(0)
    net = PhononNet(GRID, heads=heads, channels=8, hidden=16, positive=positive).eval()
    salt = crystal("salt")
    graph = Graph.of(salt, net.cutoff)
    heavy = replace(graph, mass=4 * graph.mass)
    q = torch.rand(1, 9, 3)
    light, slow = (squares(net.force_constants(g), q) for g in (graph, heavy))
    torch.testing.assert_close(slow, light / 4, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("gaps", [(0.0, 0.0, 0.0), (0.01, 0.05, 0.02)], ids=["degenerate", "apart"])
def test_site_states_against_finite_differences(gaps):
    """Daleckii and Krein's derivative, where eigenvectors alone would have poles."""
    gen = torch.Generator().manual_seed(0)

    def hermitian():
        A = torch.randn(6, 6, dtype=torch.complex128, generator=gen)
        return A + A.mH

    U, _ = torch.linalg.qr(hermitian())
    a, b, c = gaps
    square = torch.tensor([0.1, 0.1 + a, 0.1 + b, 0.5, 0.5 + c, 0.9], dtype=torch.float64)
    D, P = (U * square) @ U.mH, hermitian()
    wave = torch.linspace(0, 40, 800, dtype=torch.float64)
    weight = torch.stack([wave.sin(), (0.7 * wave).cos()]).unsqueeze(0)

    def total(t):
        return (site_states((D + t * P)[None, None], 2, 800) * weight).sum()

    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (exact,) = torch.autograd.grad(total(t), t)
    h = 1e-6
    found = (total(torch.tensor(h)) - total(torch.tensor(-h))) / (2 * h)
    assert exact.item() == pytest.approx(found.item(), rel=1e-6)
