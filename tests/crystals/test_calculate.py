"""Force constants of ASE calculators, against phonopy driven by hand; and calculators that fail."""

import json
import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from lattices import CU3AU, FCC, cell_of, computed, omega, random_q

import debye
from debye.crystals.data.labels import published_recipe
from debye.errors import ComputationError, InputError

phonopy = pytest.importorskip("phonopy", reason="phonopy is an extra")
THZ = 33.35640951981521  # cm-1
COPPER = bulk("Cu", a=3.6)


def argon():
    return LennardJones(sigma=3.4, epsilon=0.0104, rc=8.0, smooth=True)


class Counted(EMT):
    """EMT that counts its calls, and may do something else at one of them."""

    def __init__(self, at=-1, instead=None):
        super().__init__()
        self.calls, self.at, self.instead = 0, at, instead

    def get_forces(self, atoms=None, **options):
        self.calls += 1
        if self.calls == self.at:
            return self.instead(atoms)
        return super().get_forces(atoms)


def theirs(phonon, q):
    phonon.run_qpoints(np.asarray(q))
    return torch.from_numpy(phonon.qpoints.frequencies * THZ)


@pytest.mark.parametrize(
    ("atoms", "calculator", "times"),
    [(bulk("Cu"), EMT, 3), (CU3AU, EMT, 2), (bulk("Ar", a=5.31), argon, 3)],
)
def test_frequencies_are_phonopys_own(atoms, calculator, times):
    found = debye.from_calculator(atoms, calculator(), supercell=times)
    phonon, q = computed(atoms, np.eye(3), times, calculator), random_q(8)
    torch.testing.assert_close(
        omega(found.force_constants, q), theirs(phonon, q), rtol=1e-5, atol=1e-3
    )
    assert found.crystal.notes[0].startswith("computed from forces of")


def test_forces_at_rest_are_subtracted_and_told():
    """A crystal off its minimum, by phonopy by hand with and without the rest."""
    atoms = CU3AU.copy()
    atoms.rattle(0.08, seed=2)
    phonon = phonopy.Phonopy(cell_of(atoms), np.diag([2] * 3), primitive_matrix=np.eye(3))
    phonon.generate_displacements(distance=0.02)

    def forces(cell):
        made = Atoms(cell.symbols, cell=cell.cell, positions=cell.positions, pbc=True)
        made.calc = EMT()
        return made.get_forces()

    rest = forces(phonon.supercell)
    phonon.forces = [forces(cell) - rest for cell in phonon.supercells_with_displacements]
    phonon.produce_force_constants()
    phonon.symmetrize_force_constants()
    found, q = debye.from_calculator(atoms, EMT, supercell=2, distance=0.02), random_q(5)
    torch.testing.assert_close(
        omega(found.force_constants, q), theirs(phonon, q), rtol=1e-5, atol=1e-2
    )
    assert any("not relaxed: forces at rest" in note for note in found.crystal.notes)


def test_all_that_follows_from_them(tmp_path):
    found = debye.from_calculator(bulk("Cu", cubic=True), EMT(), supercell=3, output=tmp_path)
    assert found.crystal.n_sites == 1  # the primitive cell
    prediction = debye.predict(found)
    assert prediction.total.integral.item() == pytest.approx(3, rel=1e-4)
    bands = debye.bands(found, "G X", 10)
    assert 200 < bands.frequency.max() < 300
    again = debye.from_phonopy(tmp_path).bands("G X", 10).frequency
    torch.testing.assert_close(again, bands.frequency, rtol=1e-6, atol=1e-3)
    phonon = phonopy.load(tmp_path / "phonopy_params.yaml")
    torch.testing.assert_close(theirs(phonon, bands.path.q), bands.frequency, rtol=1e-5, atol=1e-2)


def test_a_calculation_goes_on_where_it_stopped(tmp_path):
    def stopped(atoms):
        raise KeyboardInterrupt

    cell = CU3AU.copy()
    whole, first, second = Counted(), Counted(3, stopped), Counted()
    expected = debye.from_calculator(cell, whole, supercell=2)
    with pytest.raises(KeyboardInterrupt):
        debye.from_calculator(cell, first, supercell=2, output=tmp_path)
    told = []
    found = debye.from_calculator(
        cell, second, supercell=2, output=tmp_path, progress=lambda *x: told.append(x)
    )
    assert first.calls - 1 + second.calls == whole.calls
    assert told[0] == (0, whole.calls)
    assert told[-1] == (whole.calls, whole.calls)
    torch.testing.assert_close(found.force_constants.values, expected.force_constants.values)
    again = Counted()
    debye.from_calculator(cell, again, supercell=2, output=tmp_path)
    assert again.calls == 0


def test_a_folder_of_another_calculation_is_refused(tmp_path):
    debye.from_calculator(COPPER, EMT(), supercell=2, output=tmp_path)
    for other in ({"supercell": 3}, {"supercell": 2, "distance": 0.02}):
        with pytest.raises(InputError, match="holds another calculation"):
            debye.from_calculator(COPPER, EMT(), output=tmp_path, **other)
    (tmp_path / "forces-0001.json").write_bytes(b"rubbish")
    with pytest.raises(InputError, match=r"forces-0001.json[\s\S]*delete it"):
        debye.from_calculator(COPPER, EMT(), supercell=2, output=tmp_path)


def raising(atoms):
    raise RuntimeError("no license")


@pytest.mark.parametrize(
    ("instead", "why"),
    [
        (raising, "RuntimeError: no license"),
        (lambda atoms: None, "returned nothing"),
        (lambda atoms: np.full((len(atoms), 3), np.nan), "NaN"),
        (lambda atoms: np.zeros((2, 3)), r"\(2, 3\), for 8 atoms"),
        (lambda atoms: np.full((len(atoms), 3), 1e6), "diverged"),
        (lambda atoms: "forces", "no numbers"),
    ],
)
def test_a_calculator_that_fails_is_told_with_its_displacement(instead, why):
    with pytest.raises(ComputationError, match=why) as failed:
        debye.from_calculator(COPPER, Counted(2, instead), supercell=2)
    assert "displacement 1 of 1 (atom 1, Cu, by " in str(failed.value)
    with pytest.raises(ComputationError, match="forces at rest of Cu"):
        debye.from_calculator(COPPER, Counted(1, instead), supercell=2)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"supercell": 0}, "is no supercell"),
        ({"supercell": 1.5}, "is no supercell"),
        ({"supercell": (2, 2)}, "is no supercell"),
        ({"supercell": 30}, "27000 atoms"),
        ({"distance": 0}, "noise"),
        ({"calculator": 3}, "get_forces"),
        ({"calculator": EMT, "atoms": "nowhere.cif"}, "nowhere.cif|not"),
    ],
)
def test_what_cannot_be_calculated_is_refused(options, why):
    given = {"atoms": COPPER, "calculator": EMT(), **options}
    with pytest.raises(InputError, match=why):
        debye.from_calculator(given.pop("atoms"), given.pop("calculator"), **given)


def test_a_crystal_is_relaxed_with_its_symmetry():
    found = debye.from_calculator(bulk("Cu", a=3.7), EMT(), supercell=2, relax=True)
    constant = (4 * found.crystal.volume) ** (1 / 3)
    assert constant == pytest.approx(3.59, abs=0.01)  # EMT's copper, in ASE's own tests
    np.testing.assert_allclose(found.crystal.cell, constant / 2 * FCC, atol=1e-5)
    assert any("relaxed by EMT: its volume changed by -8" in n for n in found.crystal.notes)


class Endless(Calculator):
    """Forces that do not fall, whatever moves."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms=None, properties=(), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {
            "energy": -atoms.get_volume(), "forces": np.zeros((len(atoms), 3)),
            "stress": np.array([1.0, 1, 1, 0, 0, 0]) * (-1) ** int(1e4 * atoms.get_volume()),
        }  # fmt: skip


def test_a_relaxation_that_does_not_end_is_told(monkeypatch):
    monkeypatch.setattr("debye.crystals.lattice.calculate.STEPS", 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ComputationError, match="relaxation of Cu"):
            debye.from_calculator(COPPER, Endless(), supercell=1, relax=True)


def test_atoms_in_a_line_and_alone():
    chain = Atoms("Cu2", cell=[20, 20, 5.0], positions=[[0, 0, 0], [0, 0, 2.4]], pbc=True)
    found = debye.from_calculator(chain, EMT(), supercell=(1, 1, 3))
    assert omega(found.force_constants, random_q(3)).isfinite().all()
    assert debye.predict(found).total.integral.item() == pytest.approx(6, rel=1e-3)
    with pytest.raises(InputError, match="all zero"):
        debye.from_calculator(Atoms("Ar", cell=[30] * 3, pbc=True), argon(), supercell=1)
    with pytest.raises((InputError, ComputationError)):
        debye.from_calculator(Atoms("Ar"), argon())


# Through the rooms.


@pytest.fixture
def record(tmp_path):
    debye.from_calculator(CU3AU, EMT(), supercell=2, output=tmp_path / "cu3au")
    return tmp_path / "cu3au"


def test_spectra_are_smoothed_as_the_labels_were(debye, record):
    from debye import predict

    raw = predict(record)
    view = predict(record, smooth=True)
    expected = published_recipe(raw.total.frequency, raw.total.density)
    torch.testing.assert_close(
        view.total.to("max").density.double(), expected, rtol=1e-5, atol=1e-6
    )
    assert view.total.integral.item() == pytest.approx(12, rel=1e-5)
    assert any("smoothed" in warning for warning in view.warnings)
    for path in (record, record / "phonopy_params.yaml"):
        told = json.loads(debye("dos", path, "--smooth", "--json").stdout)
        assert len(told["dos"]) == 51
        assert debye("thermo", path, "--smooth", "--temperatures", 300).exit_code == 0
        assert debye("bands", path, "--points", 8).exit_code == 0
    plain = json.loads(debye("dos", record, "--json").stdout)
    assert told["mean_frequency_cm-1"] == pytest.approx(plain["mean_frequency_cm-1"], rel=0.05)


def test_front_door_takes_calculations_alone(record):
    assert repr(debye.from_phonopy(record)).startswith("HarmonicCrystal(Cu3Au, 4 sites")
    for other in ("src/debye/data/demo/quartz.cif", COPPER):
        with pytest.raises(InputError, match="holds none"):
            debye.from_phonopy(other)
