"""Fine densities of states: every state, down to sound, and what labels would show of them."""

import numpy as np
import pytest
import torch
from lattices import CRYSTALS

from debye.core.checkpoint import arguments_of
from debye.crystals.data.labels import FREQUENCY
from debye.crystals.dos.spectrum import Spectrum, trapezoid_weights
from debye.crystals.dos.thermo import heat_capacity
from debye.crystals.graph import Graph
from debye.crystals.lattice.dos import smoothed, spectrum_of_modes
from debye.crystals.lattice.folded import FoldedForceConstants
from debye.crystals.lattice.force_constants import ForceConstants, frequencies
from debye.crystals.lattice.site_states import CENTRE, UNSTABLE, SiteModes
from debye.crystals.model.ensemble import Ensemble
from debye.crystals.model.modes import STEP, fine_sites
from debye.crystals.model.network import PhononNet
from debye.crystals.structure.crystal import Crystal
from debye.crystals.uncertainty.modes import FoundModes, ModesCalibration


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    grid = list(FREQUENCY)
    heads = ["force_constants", "density"]
    return PhononNet(grid, heads=heads, channels=8, q_points=240, l_pairs=2).eval()


def fine(net, *crystals, net_answer=True):
    graph = Graph.batch([Graph.of(c, net.cutoff) for c in crystals])
    with torch.no_grad():
        outputs, modes = net.with_modes(graph)
    answer = outputs[-1 if net_answer else 0]
    return fine_sites([modes], answer, tuple(net.frequency)), outputs, graph


@pytest.mark.parametrize("name", CRYSTALS)
def test_every_site_has_three_states_to_beyond_its_highest_mode(net, name):
    (found,), _, graph = fine(net, CRYSTALS[name])
    spectrum = Spectrum(found.frequency, found.density.double())
    torch.testing.assert_close(
        spectrum.integral, torch.full((graph.n_sites,), 3.0).double(), rtol=1e-6, atol=0
    )
    assert found.frequency[-1] % STEP == 0
    with torch.no_grad():
        modes = SiteModes.even(net.force_constants(graph), 240)
        highest = max(float(m.omega.max()) for m in modes)
    assert found.frequency[-1] >= highest


def test_a_batch_is_its_crystals(net):
    names = list(CRYSTALS)
    together, _, _ = fine(net, *CRYSTALS.values())
    for name, one in zip(names, together, strict=True):
        (alone,), _, _ = fine(net, CRYSTALS[name])
        assert torch.equal(alone.frequency, one.frequency)
        torch.testing.assert_close(alone.density, one.density, rtol=1e-3, atol=1e-5)


def test_outputs_with_modes_are_those_without(net):
    _, outputs, graph = fine(net, *CRYSTALS.values())
    with torch.no_grad():
        torch.testing.assert_close(net.head_outputs(graph), outputs, rtol=1e-5, atol=1e-7)


def chain_of_springs(stiffness=(2.0, 0.5)):
    """A simple cubic lattice: neighbours along and across, whose sound is soft."""
    along, across = stiffness
    steps = torch.eye(3)
    K = across * torch.eye(3).expand(3, 3, 3) + (along - across) * torch.diag_embed(steps)
    none = torch.zeros(3, dtype=torch.long)
    return ForceConstants(torch.tensor([0]), torch.tensor([30.0]), none, none, steps, K, 1)


@pytest.mark.parametrize(("temperature", "within"), [(5.0, 0.15), (10.0, 0.06), (50.0, 0.02)])
def test_a_few_directions_give_the_heat_capacity_of_a_dense_mesh(temperature, within):
    """T³ at 5 K, by 13 wave vectors a face and 40 even ones; a mesh of 64,000 is the truth."""
    K = chain_of_springs()
    even, (centre,) = list(SiteModes.even(K, 40)), SiteModes.central(K, 40)
    states = (even[0].fine(200) + centre.fine(200))[0]
    axis = 5.0 * torch.arange(200).double()
    few = Spectrum(axis, states.double() / trapezoid_weights(axis))
    dense = (torch.arange(40) + 0.5) / 40 - 0.5
    q = torch.stack(torch.meshgrid(dense, dense, dense, indexing="ij"), -1).reshape(1, -1, 3)
    omega = frequencies(torch.linalg.eigvalsh(K.dynamical_matrix(q))).flatten().double().numpy()
    many = spectrum_of_modes(omega, np.full((1, len(omega)), 3 / len(omega)), 1, sigma=0.3)
    ratio = heat_capacity(few, temperature)[0] / heat_capacity(many, temperature)[0]
    assert ratio.item() == pytest.approx(1.0, abs=within)


def test_the_cube_around_zero_counts_once():
    """Its rays stand for its volume, and the even mesh for the rest."""
    K = chain_of_springs()
    (even,), (centre,) = list(SiteModes.even(K, 100)), SiteModes.central(K, 100)
    assert centre.weight.sum().item() == pytest.approx(CENTRE**3)
    assert even.weight.sum().item() == pytest.approx(1 - CENTRE**3)


def test_imaginary_modes_stand_below_zero_and_slow_ones_do_not(net):
    """A lattice that shears away on its own."""
    (even,) = list(SiteModes.even(chain_of_springs((2.0, -0.3)), 200))
    below, above = even.fine(200, imaginary=True).sum(), even.fine(200).sum()
    share = (frequencies(even.square) < UNSTABLE).float().mean(-1) @ even.weight[:, None]
    assert below / (below + above) == pytest.approx(float(share / even.weight.sum()), abs=1e-5)
    assert 0.2 < below / (below + above) < 0.9


def test_members_of_an_ensemble_look_at_other_wave_vectors(net):
    """Each at fewer, together at more: their mean is nearer to many than each of them."""
    graph = Graph.of(CRYSTALS["triclinic"], net.cutoff)
    many, shared = PhononNet(**{**arguments_of(net), "q_points": 4000}), Ensemble.sharing(8 * [net])
    many.load_state_dict(net.state_dict())
    with torch.no_grad():
        answer = many.eval().head_outputs(graph)[0]
        each = shared.head_outputs(graph)[:: len(net.heads)]
    off = [(x - answer).abs().sum().item() for x in (each.mean(0), *each)]
    assert off[0] < min(off[1:])


def test_labels_would_show_the_answer(net):
    """Smoothed as labels are, a fine density is near what the network answers in their view."""
    (found,), outputs, graph = fine(net, CRYSTALS["salt"], net_answer=False)
    sites = Spectrum(found.frequency, found.density.double(), torch.ones(graph.n_sites))
    seen = smoothed(sites, np.array(FREQUENCY)).sum().density
    answer = outputs[0].sum(0).double()
    assert ((seen - answer).abs().sum() / answer.sum()).item() < 0.13  # slow states apart


def test_real_modes_of_folded_force_constants():
    """What was real stays, to rounding; what was imaginary is as fast, and real."""
    given = FoldedForceConstants.of(
        chain_of_springs((2.0, -0.3)), Crystal(["P"], [[0, 0, 0]], 3 * np.eye(3)), (2, 2, 2)
    )
    q = given.commensurate.unsqueeze(0)
    before, after = (
        torch.linalg.eigvalsh(x.unfolded().dynamical_matrix(q)).double()
        for x in (given, given.with_real_modes())
    )
    assert before.min() < -1e-3
    torch.testing.assert_close(before.abs().sort(-1).values, after, atol=1e-6, rtol=1e-5)
    assert given.with_real_modes().with_real_modes().values.equal(given.with_real_modes().values)


# Single frequencies.


def rows_of_modes(n, seed):
    rng = torch.Generator().manual_seed(seed)
    error = 5 + 20 * torch.rand(n, generator=rng)
    truth = [
        600 * torch.rand(30, generator=rng) - 80 * (torch.rand(1, generator=rng) < 0.2)
        for _ in range(n)
    ]
    found = [t + e * torch.randn(30, generator=rng) for t, e in zip(truth, error, strict=True)]
    return [FoundModes(*x) for x in zip(found, truth, strict=True)], error


def test_intervals_of_frequencies_hold_as_often_as_they_say():
    fitted = ModesCalibration.fit(*rows_of_modes(400, 0))
    rows, error = rows_of_modes(400, 1)
    for level in (0.5, 0.9):
        inside = [
            ((x.found - x.truth).abs() <= fitted.half(x.found, e, level)).float().mean()
            for x, e in zip(rows, error, strict=True)
        ]
        assert torch.stack(inside).mean().item() == pytest.approx(level, abs=0.04)


def test_softer_is_likelier_unstable_and_the_probability_is_right_on_average():
    fitted = ModesCalibration.fit(*rows_of_modes(400, 0))
    chances = [fitted.unstable(x) for x in (-500.0, -60.0, 0.0, 60.0, 500.0)]
    assert chances == sorted(chances, reverse=True)
    rows, _ = rows_of_modes(1000, 2)
    mean = np.mean([fitted.unstable(x.found.min().item()) for x in rows])
    truly = np.mean([x.truth.min().item() < UNSTABLE for x in rows])
    assert mean == pytest.approx(truly, abs=0.05)


def test_a_calibration_of_frequencies_travels_in_a_card():
    fitted = ModesCalibration.fit(*rows_of_modes(150, 0))
    again = ModesCalibration.from_card(fitted.to_card())
    omega, error = torch.tensor([10.0, 300.0]), torch.tensor(12.0)
    torch.testing.assert_close(
        fitted.half(omega, error, 0.9), again.half(omega, error, 0.9), rtol=1e-4, atol=0
    )
    assert again.unstable(-40.0) == pytest.approx(fitted.unstable(-40.0), rel=1e-3)
