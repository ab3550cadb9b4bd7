"""Polar crystals: the dipoles of Born charges, against phonopy's own; and files of them."""

import json

import numpy as np
import pytest
import torch
from lattices import CRYSTALS, FCC, force_constants_of, omega, random_q
from verbs import refused

import debye
from debye.crystals.data.born import read_born
from debye.crystals.lattice.bands import NO_SPLITTING, Bands
from debye.crystals.lattice.harmonic import HarmonicCrystal
from debye.crystals.lattice.path import QPath
from debye.crystals.lattice.phonopy import from_phonopy, to_phonopy, with_born_charges
from debye.crystals.lattice.polar import USED, BornCharges, Dipoles, cells_within, shortest
from debye.crystals.lattice.velocity import group_velocities, reciprocal_steps
from debye.crystals.structure.crystal import Crystal
from debye.errors import InputError

phonopy = pytest.importorskip("phonopy", reason="phonopy is an extra")
THZ = 33.35640951981521  # cm-1
TILTED = np.array([[3.0, 0.2, 0.1], [0.2, 2.2, -0.3], [0.1, -0.3, 2.6]])


def salt(symbols, a):
    return Crystal(symbols, [[0, 0, 0], [a / 2] * 3], a / 2 * FCC)


def charged(size):
    return [size * np.eye(3), -size * np.eye(3)]


def crooked():
    """Charges of three sites that are no multiples of the identity, and sum to zero."""
    Z = np.random.default_rng(3).normal(size=(3, 3, 3))
    return Z - Z.mean(0)


# Charges and tensors: L. He et al., Phys. Rev. B 89, 064305 (2014), and the like, rounded.
POLAR = {
    "NaCl": (salt(["Na", "Cl"], 5.64), charged(1.09), 2.45 * np.eye(3)),
    "MgO": (salt(["Mg", "O"], 4.21), charged(1.96), 3.1 * np.eye(3)),
    "triclinic": (CRYSTALS["triclinic"], crooked(), TILTED),
}
each_polar = pytest.mark.parametrize("name", POLAR)
NEAR = {"rtol": 1e-5, "atol": 1e-3}


def computed(name, times=3, calculator=None):
    """A calculation of phonopy with made-up force constants in a supercell, and Born charges."""
    from phonopy.physical_units import get_calculator_physical_units
    from phonopy.structure.atoms import PhonopyAtoms

    crystal, Z, epsilon = POLAR[name]
    units, ours = (get_calculator_physical_units(c) for c in (calculator, None))
    length = units.distance_to_A
    cell = PhonopyAtoms(
        symbols=crystal.symbols(), cell=crystal.cell / length, positions=crystal.positions / length
    )
    phonon = phonopy.Phonopy(
        cell, np.eye(3, dtype=int) * times, primitive_matrix=np.eye(3), calculator=calculator
    )
    pairs = force_constants_of(crystal, cutoff=3.9)
    atoms, n = phonon.supercell, crystal.n_sites
    found = np.zeros((len(atoms), len(atoms), 3, 3))
    at = atoms.scaled_positions * times
    for i in range(len(atoms)):
        for first, second, step, K in zip(
            pairs.first, pairs.second, pairs.step.numpy(), pairs.values.numpy(), strict=True
        ):
            for here, there, way, k in ((first, second, step, K), (second, first, -step, K.T)):
                if i // times**3 != here:
                    continue
                apart = (at - at[i] - way) / times
                near = np.abs(apart - np.round(apart)).max(1) < 1e-6
                (j,) = np.flatnonzero(near & (np.arange(len(atoms)) // times**3 == int(there)))
                found[i, j] -= k
                found[i, i] += k
    assert n == len(phonon.primitive)
    phonon.force_constants = found * (ours.factor / units.factor) ** 2
    phonon.nac_params = {"born": np.array(Z), "dielectric": epsilon, "factor": units.nac_factor}
    return phonon


def theirs(phonon, q):
    phonon.run_qpoints(np.asarray(q))
    return torch.from_numpy(phonon.qpoints.frequencies * THZ)


def along_path(phonon, path):
    """phonopy's bands, each segment's Γ with the direction of the segment."""
    found = []
    for part in path.q.split(path.lengths):
        phonon.run_band_structure([part.numpy()])
        found.append(phonon.band_structure.frequencies[0] * THZ)
    return torch.from_numpy(np.concatenate(found))


@each_polar
def test_phonopys_frequencies_are_reproduced(name):
    phonon, q = computed(name), torch.cat([random_q(20), 1e-3 * random_q(5)])
    found = from_phonopy(phonon)
    torch.testing.assert_close(omega(found, q), theirs(phonon, q), **NEAR)
    path = QPath.of(POLAR[name][0].cell, points=40)
    bands = Bands.of(POLAR[name][0], found, path)
    torch.testing.assert_close(bands.frequency, along_path(phonon, path), **NEAR)
    assert USED in bands.notes
    assert NO_SPLITTING not in bands.notes
    split = bands.at("G") - omega(force_constants_of(POLAR[name][0], 3.9), np.zeros((1, 3)))[0]
    assert split[-1] > 5


@pytest.mark.parametrize("calculator", ["qe", "abinit", "elk", "aims"])
def test_every_calculators_units_give_the_same_dipoles(calculator):
    q = random_q(5)
    expected = omega(from_phonopy(computed("MgO")), q)
    phonon = computed("MgO", calculator=calculator)
    torch.testing.assert_close(omega(from_phonopy(phonon), q), theirs(phonon, q), **NEAR)
    torch.testing.assert_close(omega(from_phonopy(phonon), q), expected, rtol=1e-4, atol=1e-2)


def test_lydane_sachs_teller_of_a_cubic_salt():
    """ω_LO² − ω_TO² = 4π e² Z² / (4πε₀ V μ ε∞), with nothing else in it."""
    crystal, (Z, _), epsilon = POLAR["MgO"]
    bands = Bands.of(crystal, from_phonopy(computed("MgO")), "G X", 4)
    TO, LO = bands.at("G")[[3, 5]].tolist()
    reduced = np.prod(crystal.masses) / crystal.masses.sum()
    field = 4 * np.pi * 14.39964548 * Z[0, 0] ** 2 / (crystal.volume * reduced * epsilon[0, 0])
    assert pytest.approx(521.471**2 * field, rel=1e-4) == LO**2 - TO**2


@each_polar
def test_laws_of_the_dynamical_matrix(name):
    found, q = from_phonopy(computed(name)), random_q(4)
    D = found.dynamical_matrix(q[None])[0]
    torch.testing.assert_close(D, D.mH)
    # A whole reciprocal vector more is the same wave.
    more = q + torch.tensor([1.0, -2.0, 0.0])
    torch.testing.assert_close(omega(found, more), omega(found, q))
    # At what fits into the supercell, and is not Γ, the pairs alone are exact.
    fitting = torch.tensor([[1.0, 0.0, 0.0], [1.0, 2.0, 1.0]]).double() / 3
    added = found.dipoles.matrix(fitting).abs().max()
    assert added < 1e-8 * D.abs().max()
    assert omega(found, torch.zeros(1, 3).double())[0].abs().sort().values[:3].max() < 1e-2


@each_polar
def test_derivatives_are_those_of_differences(name):
    found, q, h = from_phonopy(computed(name)), random_q(3), 1e-4
    for axis in torch.eye(3).double():
        ends = (found.dynamical_matrix((q + s * h * axis)[None])[0] for s in (1, -1))
        slope = (next(ends) - next(ends)) / (2 * h)
        given = found.derivative(q[None], axis.expand(1, 3, 3))[0]
        torch.testing.assert_close(given, slope, rtol=1e-5, atol=1e-6)
    two = [found.derivative((q + s * h * axis)[None], axis.expand(1, 3, 3))[0] for s in (1, -1)]
    second = found.derivative(q[None], axis.expand(1, 3, 3), axis.expand(1, 3, 3))[0]
    torch.testing.assert_close(second, (two[0] - two[1]) / (2 * h), rtol=1e-4, atol=1e-4)


def test_velocities_are_the_slopes_of_the_bands():
    crystal, found = POLAR["NaCl"][0], from_phonopy(computed("NaCl"))
    n = torch.tensor([[1.0, 2.0, 3.0]]).double() / 14**0.5
    q, step = (
        torch.tensor([[0.03, 0.05, 0.02]]).double(),
        n @ reciprocal_steps(torch.tensor(crystal.cell)),
    )
    given = group_velocities(found, torch.tensor(crystal.cell), q, n)[0] @ n[0]
    ends = omega(found, torch.cat([q - 1e-4 * step, q + 1e-4 * step]))
    slope = 2 * np.pi * 2.99792458e-3 * (ends[1] - ends[0]) / 2e-4  # km/s of cm⁻¹ Å
    torch.testing.assert_close(given, slope, rtol=1e-3, atol=1e-3)


@each_polar
def test_phonopy_finds_our_frequencies(name, tmp_path):
    """Of its own calculation in a wider supercell, and of pairs that tell of none."""
    crystal, Z, epsilon = POLAR[name]
    pairs = HarmonicCrystal(crystal, force_constants_of(crystal, cutoff=3.9))
    born = BornCharges.of(Z, epsilon, crystal.n_sites)
    q = random_q(8)
    for given in (from_phonopy(computed(name)), with_born_charges(pairs, born).force_constants):
        exported = to_phonopy(crystal, given)
        torch.testing.assert_close(theirs(exported, q), omega(given, q), **NEAR)
    exported.save(tmp_path / "p.yaml", settings={"force_constants": True})
    loaded = debye.predict(tmp_path / "p.yaml")
    assert USED in loaded.warnings
    back = loaded.given.force_constants
    torch.testing.assert_close(omega(back, q), omega(given, q), **NEAR)


def test_a_skewed_cell_has_the_same_dipoles():
    crystal, Z, epsilon = POLAR["NaCl"]
    turn = np.array([[1, 0, 0], [0, 1, 0], [4, 6, 1]])
    skewed = Crystal(crystal.species, crystal.positions, turn @ crystal.cell)
    q = random_q(3)
    born, supercell, found = BornCharges.of(Z, epsilon, 2), 2 * np.eye(3, dtype=int), []
    for cell, S, at in (
        (crystal, supercell, q),
        (
            skewed,
            np.round(supercell @ np.linalg.inv(turn)).astype(int),
            q @ torch.tensor(turn.T).double(),
        ),
    ):
        dipoles = Dipoles.of(cell, torch.tensor(cell.masses), born, S)
        found.append(torch.linalg.eigvalsh(dipoles.matrix(at)))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


def test_cells_and_shortest_vectors():
    matrix = np.array([[2, 1, 0], [0, 1, 1], [-1, 0, 2]])
    cells = cells_within(matrix)
    assert len(cells) == round(abs(np.linalg.det(matrix)))
    inside = cells @ np.linalg.inv(matrix)
    assert len(np.unique(np.round(inside % 1, 6), axis=0)) == len(cells)
    skewed = np.array([[1, 10**6, 0], [0, 1, 10**6], [0, 0, 2]])
    assert len(cells_within(skewed)) == 2
    vectors, of = shortest(np.array([[0.5, 0.5, 0], [0.9, 0, 0]]), np.eye(3, dtype=int), np.eye(3))
    assert np.bincount(of).tolist() == [4, 1]
    assert np.linalg.norm(vectors[-1]) == pytest.approx(0.1)


# Files.

BORN = """# charges of rock salt
2.45 0 0 0 2.45 0 0 0 2.45
1.09 0 0 0 1.09 0 0 0 1.09
-1.09 0 0 0 -1.09 0 0 0 -1.09
"""
FLUORITE = Crystal(["Ca", "F", "F"], [[0, 0, 0], [1.365] * 3, [4.095] * 3], 2.73 * FCC)


@pytest.fixture
def born(tmp_path):
    def write(text=BORN):
        (tmp_path / "BORN").write_text(text)
        return tmp_path / "BORN"

    return write


def test_a_file_tells_one_charge_for_each_kind_of_site(born):
    text = BORN.replace("-1.09", "-0.545")
    found = read_born(born(text), FLUORITE)
    assert found.charges[:, 0, 0].tolist() == pytest.approx([1.09, -0.545, -0.545])
    every = text + text.splitlines()[-1] + "\n"
    torch.testing.assert_close(read_born(born(every), FLUORITE).charges, found.charges)
    assert not found.notes


def test_phonopy_reads_the_same_charges_for_turned_sites(born, tmp_path):
    """Wurtzite's second zinc is the first, turned; the tensors are made up but allowed."""
    from ase.build import bulk
    from phonopy.file_IO import parse_BORN
    from phonopy.structure.atoms import PhonopyAtoms

    atoms = bulk("ZnO", "wurtzite", a=3.25, c=5.2)
    cell = PhonopyAtoms(symbols=atoms.symbols, cell=atoms.cell, positions=atoms.positions)
    kinds = "2.1 0 0 0 2.1 0 0 0 2.2\n-2.1 0 0 0 -2.1 0 0 0 -2.2\n"
    path = born(f"x\n3.7 0 0 0 3.7 0 0 0 3.8\n{kinds}")
    expected = parse_BORN(cell, filename=path)
    found = read_born(path, Crystal.from_atoms(atoms))
    np.testing.assert_allclose(found.charges, expected["born"], atol=1e-9)
    np.testing.assert_allclose(found.dielectric, expected["dielectric"], atol=1e-9)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BORN + "1 0 0 0 1 0 0 0 1\n", "3 charges, and NaCl has 2 kinds"),
        (BORN.replace("-1.09 0 0 0 -1.09 0 0 0 -1.09\n", ""), "1 charges, and NaCl has 2 kinds"),
        (BORN.replace("-1.09", "-0.5"), "they sum to 0.59 e"),
        (BORN.replace("2.45", "-2.45"), "eigenvalue -2.45"),
        (BORN.replace("2.45", "0"), "eigenvalue 0"),
        (BORN.replace("1.09 0 0 0 1.09 0 0 0 1.09", "1.09 0 0 0 1.09 0 0 0 9"), "symmetry of NaCl"),
        (BORN.replace("1.09", "1090"), "one of them is 1.09e+03 e"),
        (BORN.replace("2.45 0", "2.45 nan"), "NaN"),
        (BORN.replace("2.45 0", "2.45 a"), "nine numbers"),
        (BORN.replace("2.45 0", "2.45"), "nine numbers"),
        ("", "nine numbers"),
    ],
)
def test_what_is_no_file_of_these_charges_is_refused(born, text, why):
    with pytest.raises(InputError) as error:
        read_born(born(text), POLAR["NaCl"][0])
    assert why in str(error.value)
    assert "BORN" in str(error.value)


def test_a_small_sum_is_put_right_and_told(born):
    found = read_born(born(BORN.replace("-1.09", "-1.05")), POLAR["NaCl"][0])
    assert found.charges.sum(0).abs().max() < 1e-12
    (note,) = found.notes
    assert "summed to 0.04 e: 0.02 e is taken" in note


def test_verbs_take_a_file_for_one_crystal(debye, born, tmp_path):
    structure, path = "src/debye/data/demo/rock_salt.cif", born()
    bands = debye("bands", structure, "--path", "G X", "--points", 4, "--born", path, "--json")
    assert bands.exit_code == 0, bands.stderr
    told = json.loads(bands.stdout)
    TO, _, LO = told["frequency_cm-1"][0][3:]
    assert LO > TO + 30
    assert USED in told["warnings"]
    dos = json.loads(debye("dos", structure, "--born", path, "--json").stdout)
    assert any("without intervals" in w for w in dos["warnings"])
    assert USED in dos["warnings"]
    thermo = json.loads(
        debye("thermo", structure, "--born", path, "--temperatures", 300, "--json").stdout
    )
    assert thermo["heat_capacity_J_per_K_per_mol_atoms"][0] == pytest.approx(
        dos["heat_capacity_J_per_K_per_mol_atoms"], rel=1e-4
    )
    both = debye("dos", structure, structure.replace("rock_salt", "rutile"), "--born", path)
    assert both.exit_code == 3
    assert "one structure with its BORN" in both.stderr
    other = debye("bands", structure.replace("rock_salt.cif", "quartz.cif"), "--born", path)
    refused(other, "fix: ")


def test_charges_replace_those_of_a_calculation(tmp_path, born):
    computed("NaCl").save(tmp_path / "p.yaml", settings={"force_constants": True})
    ours = debye.bands(tmp_path / "p.yaml", "G X", 4)
    doubled = BORN.replace("1.09", "2.18")
    theirs = debye.bands(tmp_path / "p.yaml", "G X", 4, born=born(doubled))
    lift = [b.at("G")[5] ** 2 - b.at("G")[3] ** 2 for b in (ours, theirs)]
    assert (lift[1] / lift[0]).item() == pytest.approx(4, rel=1e-4)
