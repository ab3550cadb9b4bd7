"""Inversion: the instrument, the likelihood, symmetry and gradients of what is free, the answers.

Laws: an instrument makes and loses no states; what was put in comes out; displacements that are
freed keep the space group; gradients through the network equal finite differences.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import debye
from debye.crystals.data.dataset import read_collection, read_split
from debye.crystals.dos.quadrature import trapezoid_weights
from debye.crystals.dos.thermo import entropy
from debye.crystals.dos_io.files import read_measured
from debye.crystals.dos_io.measured import Measured
from debye.crystals.inversion import design as designs
from debye.crystals.inversion.instrument import (
    CROSS_SECTIONS,
    Resolution,
    response,
    seen_of,
    site_weights,
)
from debye.crystals.inversion.likelihood import SHIPPED_ERROR, ModelError, Observation, fit
from debye.crystals.inversion.parameters import FreeParameters
from debye.crystals.inversion.rank import USUAL_MISFIT, Candidates, predicted, rank, screened
from debye.crystals.inversion.refine import Objective, refine, sampled
from debye.crystals.model.ensemble import Ensemble
from debye.crystals.model.network import PhononNet
from debye.crystals.predict.predictor import Predictor
from debye.crystals.screening.store import FORMAT
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.symmetry import operations_of
from debye.crystals.structure_io.read import RESULTS, read_structures
from debye.errors import InputError

GRID = torch.arange(0.0, 1020.0, 20.0, dtype=torch.float64)


def peaks(*centres, width=40.0):
    """Gaussians of equal weight."""
    return sum(torch.exp(-(((GRID - c) / width) ** 2) / 2) for c in centres)


def candidates(*densities):
    labels = tuple(f"X{i}" for i in range(len(densities)))
    return Candidates(labels, labels, GRID, torch.stack(densities), ((),) * len(densities))


@pytest.fixture
def predictor(model_file):
    return Predictor.load(model_file)


@pytest.fixture
def zinc_blende():
    a = 5.6
    cell = a / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return Crystal(["Na", "Cl"], [[0, 0, 0], [a / 4, a / 4, a / 4]], cell)


# The instrument.


@pytest.mark.parametrize(
    ("symbol", "barn"),
    # A.-J. Dianoux and G. Lander (eds.), Neutron Data Booklet, 2nd ed. (2003), table 1.1.
    [("H", 82.02), ("D", 7.64), ("C", 5.551), ("O", 4.232), ("Al", 1.503), ("V", 5.10),
     ("Ni", 18.5), ("Pb", 11.118)],
)  # fmt: skip
def test_cross_sections_are_those_of_the_booklet(symbol, barn):
    assert CROSS_SECTIONS[symbol] == pytest.approx(barn, rel=2e-3)


def test_every_coherent_cross_section_is_below_the_total_one():
    """4π b² of the coherent scattering lengths in pymatgen (from the same tables) is a part."""
    from pymatgen.analysis.diffraction import neutron

    lengths = neutron.ATOMIC_SCATTERING_LEN
    shared = [s for s in CROSS_SECTIONS if s in lengths]
    assert len(shared) > 80
    coherent = {s: 4 * np.pi * lengths[s] ** 2 / 100 for s in shared}
    # Strong absorbers have complex lengths, of which these are the real parts; He is a later value.
    assert [s for s in shared if coherent[s] > 1.03 * CROSS_SECTIONS[s]] in ([], ["He"])


def test_an_element_without_cross_section_is_refused():
    with pytest.raises(InputError, match="the spectrum of Po"):
        site_weights(["Po"], neutron=True)


@pytest.mark.parametrize("resolution", [(), (15.0,), (0.0, 0.05), (5.0, 0.02, 1e-5)])
def test_an_instrument_makes_and_loses_no_states(resolution):
    A = response(GRID, GRID, Resolution(resolution))
    w = trapezoid_weights(GRID)
    assert torch.allclose(w @ A, w, rtol=1e-9)


def test_resolution_adds_its_variance():
    g = peaks(500.0, width=30.0)
    w = trapezoid_weights(GRID)

    def variance(resolution):
        seen = response(GRID, GRID, resolution) @ g
        mean = (seen * GRID) @ w / (seen @ w)
        return (seen * (GRID - mean) ** 2) @ w / (seen @ w)

    added = variance(Resolution((40.0,))) - variance(Resolution())
    assert added.item() == pytest.approx(1600.0, rel=0.01)


@pytest.mark.parametrize("text", ["", "x", "-1", "1,x", "nan", "-2%"])
def test_bad_resolutions_are_refused(text):
    with pytest.raises(InputError, match="resolution"):
        Resolution.parse(text)


def test_resolution_in_other_units():
    assert Resolution.parse("2,0.01", "meV").coefficients == pytest.approx((16.1311, 0.01))


def test_neutron_weights_share_out_mixed_sites(predictor):
    cell = 2.82 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    mixed = Crystal(["Na", {"Cl": 0.5, "Br": 0.4}], [[0, 0, 0], [2.82, 0, 0]], cell)
    prediction = predictor.predict(mixed)
    by_element = prediction.elements
    weights = site_weights(by_element.labels, neutron=True)
    expected = weights.to(by_element.density) @ by_element.density
    assert torch.allclose(seen_of(prediction, neutron=True), expected, rtol=1e-5)
    assert torch.allclose(seen_of(prediction, neutron=False), prediction.total.density, rtol=1e-5)


# The likelihood.


@pytest.mark.parametrize("error", [None, SHIPPED_ERROR])
@pytest.mark.parametrize("noise", [False, True])
def test_scale_and_background_come_back(error, noise):
    if error is None and not noise:
        pytest.skip("nothing to weigh by")
    g, x = peaks(200, 400), 2 * GRID / GRID[-1] - 1
    y = 3.0 * g + 0.5 + 0.2 * x
    measured = Measured(GRID, y, torch.full_like(y, 0.01) if noise else None)
    observed = Observation.of(measured, GRID)
    A = response(GRID, GRID, Resolution())
    fits = fit(observed, (A @ g)[None], background="linear", error=error)
    assert torch.allclose(fits.curve[0], observed.intensity, atol=1e-9)
    area = observed.area / (3.0 * (g @ trapezoid_weights(GRID)))
    assert (fits.coefficients[0, 0] * area).item() == pytest.approx(1.0, abs=1e-3)


def test_errors_of_scale_and_background_are_those_of_repeated_measurements():
    g = peaks(200, 400)
    draw = torch.Generator().manual_seed(1)
    sigma = torch.full_like(g, 0.05)
    found = []
    for _ in range(150):
        y = g + 0.3 + sigma * torch.randn(len(g), generator=draw, dtype=g.dtype)
        observed = Observation.of(Measured(GRID, y, sigma), GRID)
        fits = fit(observed, (response(GRID, GRID, Resolution()) @ g)[None])
        found.append(fits.coefficients[0] * observed.area)
        told = fits.covariance[0].diagonal().sqrt() * observed.area
    spread = torch.stack(found).std(0)
    assert torch.allclose(spread, told, rtol=0.2)


def test_noise_alone_is_chi_square():
    g = peaks(300)
    sigma = torch.full_like(g, 0.1)
    observed = Observation.of(Measured(GRID, g + 0.5, sigma), GRID)
    none = Observation.of(Measured(GRID, g + 0.5), GRID)
    with pytest.raises(InputError, match="how large a misfit"):
        fit(none, g[None], error=None)
    exact = fit(observed, (response(GRID, GRID, Resolution()) @ g)[None], background="constant")
    assert exact.misfit.item() == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(InputError, match="no background"):
        fit(observed, g[None], background="cubic")


def test_the_mixture_is_the_closed_form_where_noise_vanishes():
    one, other = peaks(300), peaks(320)
    A = response(GRID, GRID, Resolution())
    quiet = Measured(GRID, one, torch.full_like(one, 1e-7))
    with_noise = fit(
        Observation.of(quiet, GRID), (A @ other)[None], background="none", error=SHIPPED_ERROR
    )
    without = fit(
        Observation.of(Measured(GRID, one), GRID),
        (A @ other)[None],
        background="none",
        error=SHIPPED_ERROR,
    )
    assert with_noise.log_likelihood.item() == pytest.approx(without.log_likelihood.item(), abs=0.1)


def test_a_larger_error_of_the_model_forgives_more():
    A = response(GRID, GRID, Resolution())
    observed = Observation.of(Measured(GRID, peaks(300)), GRID)
    both = (A @ peaks(340))[None].expand(2, -1)
    fits = fit(observed, both, error=SHIPPED_ERROR, size=torch.tensor([1.0, 3.0]))
    assert fits.log_likelihood[1] > fits.log_likelihood[0]
    assert fits.misfit[0] / fits.misfit[1] == pytest.approx(3.0, rel=0.1)


def test_what_may_err_by_more_says_less():
    """Of two that fit exactly, the one whose error is expected to be larger is less likely."""
    observed = Observation.of(Measured(GRID, peaks(300)), GRID)
    both = (response(GRID, GRID, Resolution()) @ peaks(300))[None].expand(2, -1)
    fits = fit(observed, both, error=SHIPPED_ERROR, size=torch.tensor([1.0, 3.0]))
    assert fits.log_likelihood[1] < fits.log_likelihood[0]


def test_a_scaled_error_is_a_size():
    observed = Observation.of(Measured(GRID, peaks(300)), GRID)
    curve = (response(GRID, GRID, Resolution()) @ peaks(340))[None]
    sized = fit(observed, curve, error=SHIPPED_ERROR, size=torch.tensor([2.0]))
    scaled = fit(observed, curve, error=SHIPPED_ERROR.scaled(2.0))
    assert sized.misfit.item() == pytest.approx(scaled.misfit.item())
    density, kernel = peaks(300) / (peaks(300) @ trapezoid_weights(GRID)), GRID
    off, more = (e.deviation(GRID, density, kernel) for e in (ModelError(), ModelError().scaled(2)))
    assert more == pytest.approx(2 * off)


def test_misplaced_states_count_by_their_distance():
    """A narrow peak moved by twice the distance has twice the d² of the first term."""
    error = ModelError(shape=1e9)
    p = peaks(500, width=20) / (peaks(500, width=20) @ trapezoid_weights(GRID))

    def square(by):
        q = peaks(500 + by, width=20)
        e = q / (q @ trapezoid_weights(GRID)) - p
        return (e @ error.precision(GRID, p) @ e).item()

    assert square(200) / square(100) == pytest.approx(2.0, rel=0.15)


# What is measured.


def test_a_fine_measurement_is_averaged_over_the_cells():
    fine = torch.linspace(0, 1000, 2001, dtype=torch.float64)
    wave = torch.sin(fine / 90) ** 2
    observed = Observation.of(Measured(fine, wave, torch.full_like(fine, 0.1)), GRID)
    at = torch.sin(GRID / 90) ** 2
    assert torch.allclose(observed.intensity * observed.area, at, atol=0.02)
    error = observed.covariance.diagonal().sqrt() * observed.area
    assert error[25].item() == pytest.approx(0.1 / 40**0.5, rel=0.02)


@pytest.mark.parametrize(
    ("end", "unit", "why"), [(40.0, "cm-1", "may be in meV or THz"), (90.0, "cm-1", "are needed")]
)
def test_ranges_that_hardly_overlap_are_refused(end, unit, why):
    axis = torch.linspace(0, end, 50, dtype=torch.float64)
    with pytest.raises(InputError, match=why):
        Observation.of(Measured(axis, torch.ones(50), unit=unit), GRID)
    with pytest.raises(InputError, match="hardly overlap"):
        Observation.of(Measured(GRID + 2000, torch.ones(51)), GRID)


# Ranking.


def test_the_right_candidate_comes_first():
    centres = [(200, 400), (210, 430), (150, 300), (300, 500)]
    found = rank(Measured(GRID, peaks(*centres[2])), candidates(*(peaks(*c) for c in centres)))
    assert found.order[0] == 2
    assert found.probability.sum().item() == pytest.approx(1.0)
    assert found.notes == ()


def test_the_resolution_is_found():
    widths = [Resolution((s,) if s else ()) for s in (0.0, 20.0, 60.0)]
    seen = response(GRID, GRID, widths[2]) @ peaks(300, 600, width=20)
    found = rank(Measured(GRID, seen), candidates(peaks(300, 600, width=20)), resolutions=widths)
    assert found.resolution == (widths[2],)


def test_a_spectrum_of_none_of_them_is_told():
    found = rank(Measured(GRID, peaks(850, width=25)), candidates(peaks(100, width=25)))
    assert found.fits.misfit[0] > USUAL_MISFIT or not found.fits.log_likelihood.isfinite().all()


def test_upside_down_is_no_explanation():
    dip = 1.2 - peaks(500)
    with pytest.raises(InputError, match="no candidate explains"):
        rank(Measured(GRID, dip), candidates(peaks(500)), background="constant")


def test_probabilities_mean_what_they_say():
    """Truths drawn with the errors that the model is said to have: 'right in p of cases'.

    Errors are drawn from the mixture with every point counted, so that the tempered likelihood
    may be too careful but not too sure.
    """
    draw = torch.Generator().manual_seed(0)
    told, right = [], []
    shapes = [peaks(*c) for c in torch.randint(5, 45, (40, 3), generator=draw).mul(20).tolist()]
    A, w = response(GRID, GRID, Resolution()), trapezoid_weights(GRID)
    for i in range(40):
        p = A @ shapes[i] / (shapes[i] @ w)
        spread = torch.linalg.inv(SHIPPED_ERROR.precision(GRID, p)) / 2 / SHIPPED_ERROR.order
        noise = torch.linalg.cholesky(spread) @ torch.randn(51, generator=draw, dtype=p.dtype)
        truth = (p + noise).clamp(min=0.0)
        found = rank(Measured(GRID, truth), candidates(*shapes), background="none")
        told.append(found.probability[0].item())
        right.append(found.order[0] == i)
    assert np.mean(right) >= np.mean(told) - 0.05


def test_candidates_that_all_fail_are_refused(predictor):
    alone = Crystal(["Na"], [[0, 0, 0]], 40 * np.eye(3))
    with pytest.raises(InputError, match="all 1 failed"):
        predicted(predictor, [alone])
    with pytest.raises(InputError, match="there are no candidates"):
        predicted(predictor, [])


def screening(folder, rows, **manifest):
    from pyarrow import Table, parquet

    (folder / "parts").mkdir()
    told = {"format": FORMAT, "model_sha256": "abc", "frequency": GRID.tolist(),
            "temperatures": [300.0], "calibrated": True, **manifest}  # fmt: skip
    (folder / RESULTS).write_text(json.dumps(told))
    parquet.write_table(Table.from_pylist(rows), folder / "parts" / "part-000000-00000000.parquet")
    return folder


ROW = {"id": "a.cif", "formula": "NaCl", "dos": peaks(200).tolist(), "warnings": ["w"],
       "expected_error_cm-1": 12.0}  # fmt: skip
FAILED = {"id": "b.cif", "formula": None, "dos": None, "warnings": None,
          "expected_error_cm-1": None}  # fmt: skip


def test_a_screening_gives_candidates(tmp_path):
    found = screened(screening(tmp_path, [ROW, FAILED]), "abc")
    assert (found.labels, found.sources, found.warnings) == (("NaCl",), ("a.cif",), (("w",),))
    assert torch.allclose(found.density[0], peaks(200))


@pytest.mark.parametrize(
    ("rows", "manifest", "why"),
    [
        ([ROW], {"model_sha256": "other"}, "another model"),
        ([ROW], {"format": 1}, "format 1"),
        ([ROW], {"frequency": "x"}, "is incomplete"),
        ([ROW], {"model_sha256": None}, "another model"),
        ([{**FAILED, "dos": None}], {}, "no spectrum"),
    ],
)
def test_a_screening_of_another_kind_is_refused(tmp_path, rows, manifest, why):
    with pytest.raises(InputError, match=why):
        screened(screening(tmp_path, rows, **manifest), "abc")


def test_a_damaged_part_is_refused(tmp_path):
    folder = screening(tmp_path, [ROW])
    (folder / "parts" / "part-000000-00000000.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="damaged"):
        screened(folder, "abc")


# What is free.


@pytest.mark.parametrize(
    ("cell", "count"),
    [
        (np.eye(3), 48),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1.3]], 16),
        ([[1, 0, 0], [-0.5, 0.75**0.5, 0], [0, 0, 1.7]], 24),
        ([[1, 0, 0], [5, 1, 0], [0, -3, 1]], 48),  # a cube in a crooked setting
        ([[1, 0, 0], [0.1, 1.2, 0], [0.2, 0.3, 1.4]], 2),
    ],
)
def test_operations_of_lattices(cell, count):
    found = operations_of([0], np.zeros((1, 3)), 4.0 * np.array(cell))
    assert len(found.shifts) == count


def test_operations_are_those_of_spglib():
    spglib = pytest.importorskip("spglib")
    rng = np.random.default_rng(0)
    for _ in range(10):
        base = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.25, 0.25, 0.25], [0.75, 0.75, 0.75]])
        kinds = rng.integers(0, 2, 4)
        cell = np.diag(rng.choice([4.0, 5.0], 3))
        ours = operations_of(kinds, base, cell)
        theirs = spglib.get_symmetry_dataset((cell, base, kinds), symprec=0.02, _throw=True)
        assert len(ours.shifts) == len(theirs.rotations)


def quartz():
    return debye.read_crystal(Path(debye.__file__).parent / "data" / "demo" / "quartz.cif")


def test_what_is_free_keeps_the_space_group():
    free_parameters = FreeParameters.of(quartz()).with_lattice().with_positions()
    values = torch.tensor([0.01, -0.01, 0.05, 0.03, -0.04, 0.02], dtype=torch.float64)
    moved = FreeParameters.of(free_parameters.crystal(values))
    assert len(free_parameters.parameters) == 6  # a, c, u of Si; x, y, z of O: 152, sites 3a and 6c
    assert len(moved.symmetry.shifts) == len(free_parameters.symmetry.shifts) == 6
    assert not np.allclose(moved.fractional, free_parameters.fractional, atol=1e-3)


def test_a_zinc_blende_has_only_its_lattice_constant(zinc_blende):
    free_parameters = FreeParameters.of(zinc_blende).with_lattice().with_positions()
    assert [p.name for p in free_parameters.parameters] == ["strain xx+yy+zz"]


def test_a_graph_that_was_moved_is_that_of_the_moved_crystal(predictor):
    free_parameters = (
        FreeParameters.of(quartz()).with_fraction("Si", "Ge").with_lattice().with_positions()
    )
    values = torch.linspace(0.01, 0.07, len(free_parameters.parameters), dtype=torch.float64)
    objective_model = predictor.model
    moved = free_parameters.graph(values.float(), objective_model.cutoff)
    with torch.no_grad():
        total = objective_model(moved).total[0]
    expected = predictor.predict(free_parameters.crystal(values)).total.density
    assert torch.allclose(total, expected, rtol=1e-3, atol=1e-6)


@pytest.fixture
def force_constants():
    """An ensemble of force constants and corrected density, untrained."""
    torch.manual_seed(5)
    heads = ["force_constants", "density"]
    net = PhononNet(GRID.tolist(), heads=heads, channels=4, layers=1, hidden=8).eval()
    return Predictor(Ensemble.of([net, net]), {"elements": ["Si", "O"]})


@pytest.mark.parametrize("neutron", [False, True])
def test_gradients_through_force_constants_are_finite_differences(
    force_constants, neutron, zinc_blende
):
    """Modes that cross a point of the fine axis bend the spectrum, so steps are small."""
    positions = zinc_blende.positions + np.array([[0, 0, 0], [0.1, 0.05, 0]])
    crystal = Crystal(["Si", "O"], positions, zinc_blende.cell)
    free_parameters = (
        FreeParameters.of(crystal).with_fraction("Si", "Ge").with_lattice().with_positions()
    )
    y = force_constants.predict(crystal).published.sum().density.double()
    observed = Observation.of(Measured(GRID, y), GRID)
    objective = Objective(force_constants, free_parameters, observed, neutron=neutron)
    assert objective.density(torch.zeros_like(objective.width)).dtype == torch.float64
    at = 0.3 * np.cos(np.arange(len(free_parameters.parameters)))
    h = 1e-6
    finite = [(objective(at + s)[0] - objective(at - s)[0]) / (2 * h) for s in h * np.eye(len(at))]
    gradient = objective(at)[1]
    assert np.abs(gradient - finite).max() < 1e-4 * np.abs(gradient).max()


@pytest.mark.parametrize("neutron", [False, True])
@pytest.mark.parametrize("error", [None, SHIPPED_ERROR])
def test_gradients_are_finite_differences(predictor, neutron, error):
    free_parameters = (
        FreeParameters.of(quartz()).with_fraction("Si", "Ge").with_lattice().with_positions()
    )
    y = predictor.predict(quartz()).published.sum().density.double()
    observed = Observation.of(Measured(GRID, y, 0.02 * y.max().expand(51)), GRID)
    objective = Objective(predictor, free_parameters, observed, neutron=neutron, error=error)
    at = 0.3 * np.cos(np.arange(len(free_parameters.parameters)))
    h = 1e-4
    finite = [(objective(at + s)[0] - objective(at - s)[0]) / (2 * h) for s in h * np.eye(len(at))]
    gradient = objective(at)[1]
    assert np.abs(gradient - finite).max() < 1e-4 * np.abs(gradient).max()


def test_edges_enter_without_a_jump(predictor, zinc_blende):
    """Across the strain at which a shell comes within the cutoff the spectrum is continuous."""
    free_parameters = FreeParameters.of(zinc_blende).with_lattice()
    cutoff = predictor.model.cutoff
    shells = np.unique(
        free_parameters.graph(torch.zeros(1).double(), 1.2 * cutoff)
        .vector.norm(dim=-1)
        .numpy()
        .round(6)
    )
    beyond = shells[shells > cutoff][0]
    at = cutoff / beyond - 1
    with torch.no_grad():
        graphs = [
            free_parameters.graph(torch.tensor([at + s]).double(), cutoff) for s in (1e-7, -1e-7)
        ]
        spectra = [predictor.model.double()(g).total for g in graphs]
    predictor.model.float()
    assert len(graphs[0].center) != len(graphs[1].center)
    assert torch.allclose(spectra[0], spectra[1], atol=1e-6)


# Refining.


def test_a_strain_comes_back(predictor, zinc_blende):
    free_parameters = FreeParameters.of(zinc_blende).with_lattice()
    true = torch.tensor([0.015], dtype=torch.float64)
    y = predictor.predict(free_parameters.crystal(true)).total.density.double()
    observed = Observation.of(Measured(GRID, y, 3e-6 * y.max().expand(51)), GRID)
    found = refine(Objective(predictor, free_parameters, observed, background="none", error=None))
    assert abs(found.values - true).item() < 3 * found.errors.item() < 0.01
    draws = sampled(Objective(predictor, free_parameters, observed, error=None), found, 100)
    assert draws.std().item() == pytest.approx(found.errors.item(), rel=0.9)
    lower, upper = found.interval(0.9)
    assert (upper - lower).item() / 2 == pytest.approx(1.6449 * found.errors.item(), rel=1e-3)
    drawn = replace(found, samples=torch.arange(0.0, 101.0).double()[:, None]).interval(0.9)
    assert [end.item() for end in drawn] == pytest.approx([5.0, 95.0])


def test_a_fraction_comes_back_and_what_is_not_told_is_said(predictor, zinc_blende):
    free_parameters = (
        FreeParameters.of(zinc_blende).with_fraction("Cl", "I").with_lattice(width=1e-6)
    )
    true = torch.tensor([0.3, 0.0], dtype=torch.float64)
    y = predictor.predict(free_parameters.crystal(true)).total.density.double()
    observed = Observation.of(Measured(GRID, y, 1e-4 * y.max().expand(51)), GRID)
    found = refine(Objective(predictor, free_parameters, observed, background="none", error=None))
    assert found.values[0].item() == pytest.approx(0.3, abs=0.02)
    assert found.directions[0].width_ratio > 0.99
    assert found.directions[0].words.startswith("strain xx+yy+zz")
    assert any("hardly tells strain" in note for note in found.notes)


def test_nothing_to_refine(predictor, zinc_blende):
    observed = Observation.of(Measured(GRID, peaks(200)), GRID)
    with pytest.raises(InputError, match="nothing to refine"):
        Objective(predictor, FreeParameters.of(zinc_blende).with_positions(), observed)


@pytest.mark.parametrize(("gives", "takes"), [("K", "Na"), ("Cl", "Xx"), ("Cl", "Cl")])
def test_fractions_that_cannot_be_freed(zinc_blende, gives, takes):
    with pytest.raises(InputError, match="cannot replace"):
        FreeParameters.of(zinc_blende).with_fraction(gives, takes)


# Design.


def test_design_reaches_a_goal_between_two_ends(predictor, zinc_blende):
    options = {"Cl": ["I"]}
    ends = designs.design(
        predictor, zinc_blende, options, designs.property_target("mean-frequency", 0.0)
    )
    values = {p.crystal.formula: p.value for p in ends}
    goal = 0.5 * (values["NaCl"] + values["NaI"])
    best = designs.design(
        predictor, zinc_blende, options, designs.property_target("mean-frequency", goal)
    )[0]
    assert best.value == pytest.approx(goal, abs=0.05 * abs(values["NaCl"] - values["NaI"]))
    assert 0 < best.replaced["I for Cl"] < 1
    assert best.half > 0


def test_intervals_of_a_design_widen_as_a_normal_distribution_does(predictor, zinc_blende):
    """The small model is not calibrated, so that its usual error stands behind the ±."""
    for goal in (designs.property_target("heat-capacity-per-kg", 1.0), designs.gap(100.0, 200.0)):
        halves = [
            designs.design(predictor, zinc_blende, {}, goal, level=level)[0].half
            for level in (0.5, 0.9, 0.99)
        ]
        # 0.6745, 1.6449 and 2.5758 standard deviations, as every table of the normal has them
        assert halves[1] / halves[0] == pytest.approx(1.6449 / 0.6745, rel=1e-3)
        assert halves[2] / halves[1] == pytest.approx(2.5758 / 1.6449, rel=1e-3)
    with pytest.raises(InputError, match="no interval of level"):
        designs.design(predictor, zinc_blende, {}, goal, level=1.0)


def test_a_design_tells_the_numbers_of_its_prediction(predictor, zinc_blende):
    from debye.crystals.predict.record import record

    goal = designs.property_target("mean-frequency", 100.0)
    (start,) = designs.design(predictor, zinc_blende, {}, goal)
    assert start.value == record(start.prediction)["mean_frequency_cm-1"]
    with pytest.raises(InputError, match="cannot design for 'colour'"):
        designs.property_target("colour", 1.0)


def test_scales_come_with_the_interval_that_is_asked_for():
    found = rank(Measured(GRID, 7 * peaks(300)), candidates(peaks(300)), background="none")
    half, wide = (found.scale_interval(level).half for level in (0.5, 0.9))
    assert (wide / half).tolist() == pytest.approx([1.6449 / 0.6745], rel=1e-3)
    width = found.fits.covariance[:, 0, 0].sqrt() * found.observed.area
    assert wide.tolist() == pytest.approx((1.6449 * width).tolist(), rel=1e-4)
    middle = sum(found.scale_interval(0.9)) / 2
    assert middle.tolist() == pytest.approx(found.scale.tolist())


def test_design_refusals(predictor, zinc_blende):
    goal = designs.property_target("mean-frequency", 100.0)
    with pytest.raises(InputError, match="cannot replace K"):
        designs.design(predictor, zinc_blende, {"K": ["Na"]}, goal)
    with pytest.raises(InputError, match="no element"):
        designs.design(predictor, zinc_blende, {"Cl": ["Q"]}, goal)
    many = {"Na": ["Li"] * 40, "Cl": ["F"] * 40}
    with pytest.raises(InputError, match="1681 combinations"):
        designs.design(predictor, zinc_blende, many, goal)


# The shipped model on calculated spectra that it has not seen.

PETRETTO = Path(__file__).parents[2] / ".." / "shared" / "data" / "petretto2018"


@pytest.mark.skipif(not PETRETTO.exists(), reason="the shared data are not there")
def test_the_true_structure_among_decoys():
    """Each validation row among 500 others: often first, and as often as was said."""
    data, _ = read_collection(PETRETTO / "data.csv")
    unseen = read_split(PETRETTO / "split.csv")["valid"]
    names = [n for n in unseen if n in data.names]
    pool = [n for n in data.names if n not in names]
    draw = np.random.default_rng(0)
    decoys = draw.choice(pool, 500, replace=False)
    kept = data.take([*names, *decoys])
    densities = [p.total.to("1").density.double() for p in Predictor.load("fast")(kept.crystals)]
    A = response(GRID, GRID, Resolution())
    p = torch.stack(densities) @ A.T
    ranks, told = [], []
    for i in range(0, len(names), 2):
        observed = Observation.of(Measured(GRID, kept.spectra.density[i].double()), GRID)
        among = p[[i, *range(len(names), len(p))]]
        found = fit(observed, among, background="none", error=SHIPPED_ERROR).log_likelihood
        ranks.append(int((found > found[0]).sum()) + 1)
        told.append(torch.softmax(found, 0).max().item())
    right = np.array(ranks) == 1
    assert right.mean() >= 0.5
    assert (np.array(ranks) <= 10).mean() >= 0.88
    assert right.mean() == pytest.approx(np.mean(told), abs=0.12)


# A measured spectrum.

DEMO = Path(debye.__file__).parent / "data" / "demo"


@pytest.fixture(scope="module")
def germanium():
    return read_measured(DEMO / "germanium.dat")


def test_the_measured_states_of_germanium_have_its_entropy(germanium):
    # CODATA Key Values for Thermodynamics (1989): S°(298.15 K) = 31.09 ± 0.15 J/K/mol; the states
    # are of 80 K, and those below 3.8 meV are not in the figure that they were read from.
    assert entropy(germanium.spectrum.to("3"), [298.15]).item() == pytest.approx(31.09, rel=0.02)
    assert (germanium.unit, germanium.notes) == ("meV", ())


def test_germanium_is_named_by_its_measured_spectrum_and_keeps_its_size(germanium):
    shipped = Predictor.load()
    names = ("germanium.vasp", "silicon.vasp", "quartz.cif", "binaries.extxyz")
    folder = read_structures([str(DEMO / name) for name in names])
    found = rank(germanium, predicted(shipped, folder), background="none")
    assert found.candidates.labels[found.order[0]] == "Ge"
    assert found.probability[0] > 0.8
    free = FreeParameters.of(debye.read_crystal(DEMO / "germanium.vasp")).with_lattice()
    observed = Observation.of(germanium, torch.tensor(shipped.model.frequency).double())
    refined = refine(Objective(shipped, free, observed, background="none"))
    assert 0 < refined.fits.misfit[0] < refined.before.misfit[0]
    assert abs(refined.values[0]) < 2 * refined.errors[0]  # no strain, as far as it can be told
