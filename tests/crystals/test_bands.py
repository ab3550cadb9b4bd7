"""Primitive cells, paths, bands and velocities, against geometry, differences and phonopy."""

import sys
from dataclasses import replace
from math import pi, sqrt

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.lattice import all_variants
from lattices import CRYSTALS, FCC, emt, force_constants_of, omega, random_q

from debye.crystals.lattice.bands import Bands
from debye.crystals.lattice.dos import by_element, mesh_for, site_densities
from debye.crystals.lattice.elastic import (
    debye_temperature,
    rotational_cost,
)
from debye.crystals.lattice.force_constants import solved
from debye.crystals.lattice.path import QPath, special_points
from debye.crystals.lattice.velocity import group_velocities, reciprocal_steps, sound
from debye.crystals.predict.bands import NOT_TRAINED, predicted_bands
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.symmetry import primitive
from debye.errors import ComputationError, InputError
from debye.units import VELOCITY_TO_KM_S

each_crystal = pytest.mark.parametrize("name", CRYSTALS)


def cell(crystal):
    return torch.tensor(crystal.cell)


# Primitive cells.


@each_crystal
@pytest.mark.parametrize("times", [(1, 1, 1), (2, 1, 1), (1, 3, 2)])
def test_a_supercell_has_the_primitive_cell_of_its_crystal(name, times):
    crystal = CRYSTALS[name]
    found = primitive(crystal.supercell(times))
    assert found.n_sites == crystal.n_sites
    assert found.volume == pytest.approx(crystal.volume)
    assert found.composition == crystal.composition
    lattice = found.cell @ np.linalg.inv(crystal.cell)
    np.testing.assert_allclose(lattice, np.round(lattice), atol=1e-9)
    q = random_q(5)
    same = omega(force_constants_of(found), q @ torch.tensor(lattice).mT)  # the same waves
    torch.testing.assert_close(same, omega(force_constants_of(crystal), q), atol=1e-6, rtol=0)


def test_a_primitive_crystal_is_left_alone():
    for crystal in CRYSTALS.values():
        assert primitive(crystal) is crystal


def test_species_and_small_distortions_count():
    metal = Crystal.from_atoms(bulk("Cu", cubic=True))
    assert primitive(metal).n_sites == 1
    alloy = replace(metal, species=("Cu", "Cu", "Au", "Au"))
    assert primitive(alloy).n_sites == 2
    moved = replace(metal, positions=metal.positions + np.eye(4, 3) * 0.01)
    assert primitive(moved) is moved
    shared = replace(metal, species=({"Cu": 0.5, "Au": 0.5},) * 4)
    assert primitive(shared).n_sites == 1


def test_numbers_written_with_few_digits_do_not_matter():
    metal = Crystal.from_atoms(bulk("Cu", cubic=True))
    rounded = replace(metal, positions=np.round(metal.positions, 3))
    assert primitive(rounded).n_sites == 1


# Paths.


@pytest.mark.parametrize(
    "lattice", [v for v in all_variants() if v.ndim == 3], ids=lambda v: v.variant
)
def test_points_are_those_of_the_lattice_in_whatever_cell(lattice):
    first = lattice.tocell()
    known = {k: v @ first.reciprocal() for k, v in first.bandpath().special_points.items()}
    rng = np.random.default_rng(4)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    mixed = np.array([[1, 1, 0], [0, 1, 0], [0, -1, 1]]) @ np.array(first) @ turn  # either hand
    points, _ = special_points(mixed)
    lengths = {k: np.linalg.norm(v @ np.linalg.inv(mixed).T) for k, v in points.items()}
    # The names of a triclinic lattice's faces may change places.
    for found, expected in zip(
        sorted(lengths.values()), sorted(np.linalg.norm(v) for v in known.values()), strict=True
    ):
        assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("lattice", "lengths"),
    [
        (FCC / 2, {"X": 1, "L": sqrt(3) / 2, "W": sqrt(5) / 2, "K": sqrt(9 / 8), "U": sqrt(9 / 8)}),
        ((1 - 2 * np.eye(3)) / 2, {"H": 1, "N": sqrt(1 / 2), "P": sqrt(3 / 4)}),
        (np.eye(3), {"X": 1 / 2, "M": sqrt(1 / 2), "R": sqrt(3 / 4)}),
        (
            [[1, 0, 0], [-1 / 2, sqrt(3 / 4), 0], [0, 0, 1.6]],
            {"M": 1 / sqrt(3), "K": 2 / 3, "A": 1 / 3.2},
        ),
    ],
)
def test_points_are_where_the_textbooks_have_them(lattice, lengths):
    # N. W. Ashcroft and N. D. Mermin, Solid State Physics (1976), chapter 5; in units of 2π/a.
    a = 3.6
    points, _ = special_points(a * np.array(lattice))
    reciprocal = np.linalg.inv(a * np.array(lattice)).T
    for label, length in lengths.items():
        assert np.linalg.norm(points[label] @ reciprocal) * a == pytest.approx(length)


def test_a_path_of_ones_own():
    path = QPath.of(2.0 * FCC, "Γ X U | K G", 60)
    assert path.ends == (("G", "X"), ("X", "U"), ("K", "G"))
    assert len(path.q) == sum(path.lengths)
    assert abs(len(path.q) - 60) <= 3
    assert [label for _, label in path.ticks] == ["G", "X", "U|K", "G"]
    assert path.ticks[1][0] == pytest.approx(2 * pi / 4.0)
    assert path.direction.norm(dim=1).allclose(torch.ones(len(path.q)).double())
    gaps = path.distance.diff()
    assert gaps.min() >= 0
    assert gaps.max() < 2.5 * path.distance[-1] / 60
    reciprocal = torch.from_numpy(2 * pi * np.linalg.inv(2.0 * FCC).T)
    torch.testing.assert_close(path.wave_vector, path.q @ reciprocal)


@each_crystal
def test_the_path_of_the_space_group_leads_through_the_same_points(name):
    """seekpath's points against ASE's, where the atoms are as symmetric as their lattice."""
    pytest.importorskip("seekpath")
    crystal = CRYSTALS[name]
    path = QPath.of_crystal(crystal, "seekpath", 60)
    assert {path.q[0].norm().item(), path.wave_vector[0].norm().item()} == {0.0}
    if name != "triclinic":  # its points have other names
        lengths = dict(zip(path.labels, path.wave_vector.norm(dim=1).tolist(), strict=True))
        other = QPath.of_crystal(crystal, "auto", 60)
        theirs = dict(zip(other.labels, other.wave_vector.norm(dim=1).tolist(), strict=True))
        common = (lengths.keys() & theirs.keys()) - {""}
        assert len(common) >= 4
        assert all(lengths[label] == pytest.approx(theirs[label]) for label in common)
    force_constants = force_constants_of(crystal)
    bands = Bands.of(crystal, force_constants, "seekpath", 60)
    assert bands.frequency.isfinite().all()


def test_a_path_without_seekpath(monkeypatch):
    monkeypatch.setitem(sys.modules, "seekpath", None)
    with pytest.raises(InputError, match="seekpath is not installed"):
        QPath.of_crystal(CRYSTALS["salt"], "seekpath")


@pytest.mark.parametrize(
    ("text", "points", "why"),
    [
        ("G Y", 60, "no point Y"),
        ("G", 60, "two points or more"),
        ("G X |", 60, "two points or more"),
        ("", 60, "two points or more"),
        ("G G X", 60, "are both G"),
        ("G X", 1, "a segment has two ends"),
    ],
)
def test_a_path_that_cannot_be_followed(text, points, why):
    with pytest.raises(InputError) as refused:
        QPath.of(2.0 * FCC, text, points)
    assert why in str(refused.value)
    if "point Y" in why:
        assert "use G K L U W X" in refused.value.fix


# Bands.


@each_crystal
def test_bands_are_the_modes_along_the_path(name, monkeypatch):
    crystal = CRYSTALS[name]
    force_constants, path, told = force_constants_of(crystal), QPath.of(crystal.cell, points=40), []
    # One wave vector at a time.
    monkeypatch.setattr("debye.crystals.lattice.force_constants.AT_ONCE", 1)
    bands = Bands.of(crystal, force_constants, path, velocities=True, progress=told.append)
    torch.testing.assert_close(bands.frequency, omega(force_constants, path.q), atol=1e-4, rtol=0)
    assert sum(told) == 2 * len(path.q)
    assert bands.at("G")[:3].abs().max() < 1e-4
    assert not bands.imaginary
    assert not bands.velocity.isnan().any()


def test_equal_waves_have_equal_frequencies_in_whatever_cell():
    cubic = Crystal.from_atoms(bulk("Si", cubic=True))
    for given in (cubic, cubic.supercell((1, 2, 1)), replace(cubic, cell=-cubic.cell)):
        crystal = primitive(given)
        assert crystal.n_sites == 2
        bands = Bands.of(crystal, force_constants_of(crystal), QPath.of(crystal.cell, points=50))
        expected = omega(force_constants_of(cubic), [[0.0, 1, 0], [0.5, 0.5, 0.5]])
        for label, folded in zip("XL", expected, strict=True):
            nearest = (folded - bands.at(label)[:, None]).abs().min(dim=1).values
            assert nearest.max() < 1e-4


def test_imaginary_modes_are_negative():
    crystal = CRYSTALS["polonium"]
    force_constants = force_constants_of(crystal, cutoff=3.5)
    unstable = replace(force_constants, values=-force_constants.values)
    bands = Bands.of(crystal, unstable, QPath.of(crystal.cell, points=30))
    stable = Bands.of(crystal, force_constants, QPath.of(crystal.cell, points=30))
    assert bands.imaginary
    torch.testing.assert_close(bands.frequency, -stable.frequency.flip(1), atol=1e-4, rtol=0)


def test_members_give_a_range():
    crystal = CRYSTALS["salt"]
    force_constants, path = force_constants_of(crystal), QPath.of(crystal.cell, points=20)
    members = [
        replace(force_constants, values=x * force_constants.values) for x in (0.81, 1.21, 1.0)
    ]
    bands = Bands.of(crystal, members, path)
    low, high = bands.range
    one = omega(force_constants, path.q)
    torch.testing.assert_close(low, 0.9 * one, atol=1e-4, rtol=1e-6)
    torch.testing.assert_close(high, 1.1 * one, atol=1e-4, rtol=1e-6)


def test_a_crystal_in_any_cell_is_predicted_in_its_primitive_one():
    cubic, asked, told = Crystal.from_atoms(bulk("Si", cubic=True)), [], []

    def estimates(crystal):
        asked.append(crystal)
        found = force_constants_of(crystal)
        return [replace(found, values=x * found.values) for x in (0.9, -1.1)]

    bands = predicted_bands(
        cubic, estimates, "G X", 20, warnings=["a warning"], progress=lambda *x: told.append(x)
    )
    assert [c.n_sites for c in asked] == [bands.crystal.n_sites] == [2]
    assert told[-1] == (60, 60)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert bands.notes[:2] == (NOT_TRAINED, "a warning")
    assert "imaginary" in bands.notes[2]
    assert "8 sites, the primitive one 2" in bands.notes[3]
    assert bands.sites.sum().integral.item() == pytest.approx(6)
    assert repr(bands) == "Bands(Si, 6 branches -322..0 cm⁻¹, G-X, 20 points)"
    with pytest.raises(InputError, match="no point 'L'"):
        bands.at("L")


def test_atoms_that_nothing_holds():
    crystal = CRYSTALS["salt"]
    force_constants = force_constants_of(crystal)
    keep = torch.zeros(0, dtype=torch.long)
    free = replace(
        force_constants,
        **{k: getattr(force_constants, k)[keep] for k in ("first", "second", "step", "values")},
    )
    bands = Bands.of(crystal, free, QPath.of(crystal.cell, points=20), velocities=True)
    assert (bands.frequency == 0).all()
    assert site_densities(free).integral.tolist() == pytest.approx([3, 3])
    assert np.isnan(debye_temperature(crystal, free))
    assert rotational_cost(free, cell(crystal)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        (torch.nan, ComputationError, "NaN or infinity"),
        (torch.inf, ComputationError, "NaN or infinity"),
        (1e308, ComputationError, "at q = (0, 0, 0)"),
    ],
)
def test_what_cannot_be_solved_is_told_with_its_place(values, error, text):
    crystal = CRYSTALS["salt"]
    force_constants = force_constants_of(crystal)
    broken = replace(force_constants, values=force_constants.values * 0 + values)
    with pytest.raises(error) as refused:
        Bands.of(crystal, broken, QPath.of(crystal.cell))
    assert text in str(refused.value)


def test_masses_and_batches_that_have_no_bands():
    crystal = CRYSTALS["salt"]
    force_constants = force_constants_of(crystal)
    path = QPath.of(crystal.cell)
    for broken, text in (
        (replace(force_constants, mass=0 * force_constants.mass), "a mass of 0 u"),
        (replace(force_constants, n_crystals=2), "2 crystals"),
    ):
        with pytest.raises(InputError, match=text):
            Bands.of(crystal, broken, path)


# Densities of states.


@each_crystal
def test_the_density_counts_the_modes(name):
    crystal = CRYSTALS[name]
    force_constants = force_constants_of(crystal)
    q = random_q(40)
    sites = site_densities(force_constants, q, sigma=2.0)
    assert sites.integral.tolist() == pytest.approx([3.0] * crystal.n_sites)
    total, modes = sites.sum(), omega(force_constants, q)
    assert total.mean_frequency.item() == pytest.approx(modes.mean().item(), abs=1e-3)
    spread = modes.flatten().var(correction=0).item() + 2.0**2
    found = total.moment(2).item() - total.mean_frequency.item() ** 2
    assert found == pytest.approx(spread, abs=0.5)
    parts = by_element(crystal, sites)
    torch.testing.assert_close(parts.sum().density, total.density)
    assert parts.n_atoms.tolist() == list(crystal.composition.values())


def test_the_mesh_is_fine_enough():
    force_constants = force_constants_of(CRYSTALS["salt"])
    one, two = (
        site_densities(force_constants).sum(),
        site_densities(force_constants, random_q(60_000)).sum(),
    )
    apart = (one.resample(two.frequency).density - two.density).abs().sum() / 6
    assert apart < 0.04
    assert len(mesh_for(200)) == 100


# Velocities.


def slopes(force_constants, lattice, q, direction, h=1e-5):
    """∂ω/∂k along a direction by differences of sorted frequencies, km/s."""
    steps = h * direction @ reciprocal_steps(lattice)
    ends = [torch.cat([s for _, s, _ in solved(force_constants, q + x * steps)]) for x in (0, 1, 2)]
    at, one, two = (e.sign() * e.abs().sqrt() for e in ends)
    return (4 * one - 3 * at - two) / (2 * h) * VELOCITY_TO_KM_S


@each_crystal
def test_group_velocities_against_differences(name):
    crystal = CRYSTALS[name]
    force_constants, lattice = force_constants_of(crystal), cell(crystal)
    special = torch.tensor([[0.5, 0.5, 0], [0.5, 0.5, 0.5], [0.2, 0.2, 0], [0.5, 0, 0]])
    q = torch.cat([random_q(10), special.double()])  # degenerate in cubic crystals
    for seed in (1, 2):
        n = torch.nn.functional.normalize(random_q(len(q), seed) - 0.5, dim=1)
        velocity = group_velocities(force_constants, lattice, q, n)
        along = torch.einsum("qjx,qx->qj", velocity, n).sort(dim=1).values
        expected = slopes(force_constants, lattice, q, n).sort(dim=1).values
        torch.testing.assert_close(along, expected, atol=2e-5, rtol=1e-5)


@each_crystal
def test_sound_is_the_slope_of_the_acoustic_branches(name):
    crystal = CRYSTALS[name]
    force_constants, lattice = force_constants_of(crystal), cell(crystal)
    n = torch.nn.functional.normalize(random_q(8, 3) - 0.5, dim=1)
    zero = torch.zeros(8, 3).double()
    waves = sound(force_constants, lattice, n)
    h = 1e-3
    square = torch.cat(
        [s for _, s, _ in solved(force_constants, h * n @ reciprocal_steps(lattice))]
    )
    torch.testing.assert_close(
        waves.speed, square[:, :3].sqrt() / h * VELOCITY_TO_KM_S, atol=0, rtol=1e-5
    )
    # Energy travels with the derivative of c(n) k; along n itself that is c.
    torch.testing.assert_close(torch.einsum("kix,kx->ki", waves.velocity, n), waves.speed)
    at_rest = group_velocities(force_constants, lattice, zero, n)
    torch.testing.assert_close(at_rest[:, :3], waves.velocity)


@pytest.mark.parametrize("name", ["Cu", "Al", "Cu3Au"])
def test_velocities_are_those_of_phonopy(name):
    pytest.importorskip("phonopy")
    from debye.crystals.lattice.phonopy import from_phonopy

    phonon, crystal = emt(name)
    q = random_q(6)
    n = torch.tensor([[1.0, 2, 3]]).expand(6, 3).double() / sqrt(14)
    phonon.run_qpoints(q.numpy(), with_group_velocities=True)
    theirs = phonon.qpoints.group_velocities * 0.1  # Å THz → km/s
    ours = group_velocities(from_phonopy(phonon), cell(crystal), q, n)
    np.testing.assert_allclose(ours.numpy(), theirs, atol=2e-5)
