"""Laws of the network: counting and symmetry, over every depth and order."""

import numpy as np
import pytest
import torch

from debye.crystals.dos.quadrature import trapezoid_weights
from debye.crystals.graph import Graph
from debye.crystals.model.network import PhononNet
from debye.crystals.structure.alloy import interpolate
from debye.crystals.structure.crystal import Crystal
from debye.errors import InputError

FREQUENCY = [20.0 * k for k in range(51)]
NETWORKS = [
    {"layers": 1, "l_max": 0},
    {"layers": 2, "l_max": 1},
    {"layers": 2, "l_max": 2},
    {"layers": 3, "l_max": 2},
    {"layers": 3, "l_max": 3},
]


@pytest.fixture(params=NETWORKS, ids=lambda kw: "layers {layers}, l_max {l_max}".format(**kw))
def network(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = PhononNet(FREQUENCY, channels=8, hidden=16, **request.param)
        # A network fresh from its initialisation is nearly flat, and a law held by a flat
        # function proves nothing: make it respond.
        for parameter in network.parameters():
            parameter.data *= 2
        network.encoder.embedding.weight.data.normal_()
    return network.eval()


@pytest.fixture
def perovskite():
    """A distorted SrTiO3: no symmetry left to hide behind."""
    rng = np.random.default_rng(0)
    fractional = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    cell = 3.905 * np.eye(3) + rng.normal(scale=0.1, size=(3, 3))
    positions = fractional @ cell + rng.normal(scale=0.05, size=(5, 3))
    return Crystal(["Sr", "Ti", "O", "O", "O"], positions, cell)


def sites(network, crystal):
    with torch.no_grad():
        return network(Graph.of(crystal, network.cutoff)).sites


def relative(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


def replaced(crystal, **changes):
    parts = {"species": crystal.species, "positions": crystal.positions, "cell": crystal.cell}
    return Crystal(**{**parts, **changes})


def random_rotation(seed=1):
    Q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return Q * np.sign(np.linalg.det(Q))


def test_network_responds(network, perovskite):
    """The other laws mean something: a displaced atom changes the spectrum."""
    moved = replaced(perovskite, positions=perovskite.positions + 0.2 * np.eye(5, 3))
    assert relative(sites(network, moved), sites(network, perovskite)) > 1e-3


def test_each_site_holds_three_states(network, perovskite):
    density = sites(network, perovskite)
    assert (density >= 0).all()
    states = density @ trapezoid_weights(torch.tensor(FREQUENCY))
    torch.testing.assert_close(states, torch.full((5,), 3.0))


@pytest.mark.parametrize("improper", [False, True], ids=["rotation", "inversion"])
def test_turning_space_changes_nothing(network, perovskite, improper):
    R = random_rotation() * (-1 if improper else 1)
    turned = replaced(perovskite, positions=perovskite.positions @ R.T, cell=perovskite.cell @ R.T)
    assert relative(sites(network, turned), sites(network, perovskite)) < 1e-5


def test_moving_the_origin_changes_nothing(network, perovskite):
    moved = replaced(perovskite, positions=perovskite.positions + np.array([0.3, 1.7, -4.0]))
    assert relative(sites(network, moved), sites(network, perovskite)) < 1e-5


def test_the_order_of_sites_only_orders_the_result(network, perovskite):
    order = [3, 0, 4, 1, 2]
    shuffled = replaced(
        perovskite,
        species=[perovskite.species[i] for i in order],
        positions=perovskite.positions[order],
    )
    assert relative(sites(network, shuffled), sites(network, perovskite)[order]) < 1e-5


def test_another_choice_of_cell_changes_nothing(network, perovskite):
    sheared = np.array([[1, 1, 0], [0, 1, 0], [0, -1, 1]]) @ perovskite.cell
    other = replaced(perovskite, cell=sheared)
    assert relative(sites(network, other), sites(network, perovskite)) < 1e-5


def test_a_supercell_repeats_the_sites(network, perovskite):
    large = perovskite.supercell((2, 1, 2))
    images = sites(network, large)
    for image in images:
        gaps = [relative(image, site) for site in sites(network, perovskite)]
        assert min(gaps) < 1e-5
    total = sites(network, perovskite).sum(0)
    assert relative(images.sum(0), 4 * total) < 1e-5


def test_batch_equals_loop(network, perovskite):
    salt = Crystal(["Na", "Cl"], [[0, 0, 0], [2.82, 0, 0]], 2.82 * (1 - np.eye(3)))
    batch = Graph.batch([Graph.of(c, network.cutoff) for c in (perovskite, salt, perovskite)])
    with torch.no_grad():
        together = network(batch)
    apart = torch.cat([sites(network, c) for c in (perovskite, salt, perovskite)])
    assert relative(together.sites, apart) < 1e-5
    assert relative(together.total[1], sites(network, salt).sum(0)) < 1e-5


def test_alloy_ends_are_the_parents(network):
    salts = [
        Crystal(["Na", X], [[0, 0, 0], [a, 0, 0]], a * (1 - np.eye(3)))
        for X, a in (("Cl", 2.82), ("Br", 2.99))
    ]
    for fraction, parent in zip((0.0, 1.0), salts, strict=True):
        assert (
            relative(sites(network, interpolate(*salts, fraction)), sites(network, parent)) < 1e-5
        )
    middle = [sites(network, interpolate(*salts, x)) for x in (0.5, 0.5 + 1e-4)]
    assert relative(*middle) < 1e-2  # continuous in the fraction


def test_vacancies_take_their_states_with_them(network):
    half = Crystal([{"Na": 0.5}, "Cl"], [[0, 0, 0], [2.82, 0, 0]], 2.82 * (1 - np.eye(3)))
    with torch.no_grad():
        total = network(Graph.of(half, network.cutoff)).total[0]
    states = total @ trapezoid_weights(torch.tensor(FREQUENCY))
    assert states.item() == pytest.approx(4.5, rel=1e-5)


def test_gradient_with_respect_to_positions_matches_finite_differences(network, perovskite):
    """Every edge is its own variable where a gradient is asked for."""
    from dataclasses import replace

    network = network.double()
    graph = Graph.of(perovskite, network.cutoff)
    floats = {n: getattr(graph, n).double() for n in ("mass", "fraction", "vector")}
    graph = replace(graph, **floats)
    weight = torch.linspace(0, 1, 51, dtype=torch.float64)

    def objective(vector):
        return (network(replace(graph, vector=vector)).total @ weight).sum()

    vector = graph.vector.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(vector), vector)
    direction = torch.randn(vector.shape, generator=torch.Generator().manual_seed(3)).double()
    h = 1e-5
    with torch.no_grad():
        # Without sharing, as the gradient sees it: the tolerance of sharing would swallow h.
        probe = [graph.vector + s * h * direction for s in (1, -1)]
    numeric = [objective(p.requires_grad_()).item() for p in probe]
    expected = (numeric[0] - numeric[1]) / (2 * h)
    assert (gradient * direction).sum().item() == pytest.approx(expected, rel=1e-4)


def test_an_atom_alone_is_refused():
    with pytest.raises(InputError, match="has no neighbour"):
        Graph.of(Crystal(["He"], [[0, 0, 0]], 20 * np.eye(3)), cutoff=5.0)
