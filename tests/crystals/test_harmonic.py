"""Somebody's force constants, in phonopy's files or objects, instead of a prediction."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lattices import emt, random_q

import debye
from debye.crystals.data.labels import FREQUENCY
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.lattice.dos import smoothed
from debye.crystals.lattice.harmonic import GIVEN
from debye.crystals.lattice.phonopy import from_phonopy
from debye.crystals.lattice.polar import USED
from debye.crystals.structure_io.read import FailedInput
from debye.errors import InputError

phonopy = pytest.importorskip("phonopy", reason="phonopy is an extra")
THZ = 33.35640951981521  # cm-1
CALCULATORS = ("vasp", "qe", "abinit", "elk", "wien2k", "cp2k", "siesta", "turbomole", "aims")
PLAIN = {"force_constants": True, "force_sets": False, "displacements": False}


def in_units_of(calculator, phonon):
    """The same calculation as another calculator's: lengths and force constants in its units."""
    from phonopy.physical_units import get_calculator_physical_units
    from phonopy.structure.atoms import PhonopyAtoms

    units = get_calculator_physical_units(calculator)
    ours = get_calculator_physical_units(None)
    cell = phonon.unitcell
    made = phonopy.Phonopy(
        PhonopyAtoms(
            symbols=cell.symbols,
            cell=cell.cell / units.distance_to_A,
            positions=cell.positions / units.distance_to_A,
            masses=cell.masses,
        ),
        phonon.supercell_matrix,
        primitive_matrix=phonon.primitive_matrix,
        calculator=calculator,
    )
    made.force_constants = phonon.force_constants * (ours.factor / units.factor) ** 2
    return made


def theirs(phonon, q):
    """phonopy's frequencies, cm⁻¹."""
    phonon.run_qpoints(np.asarray(q))
    return torch.from_numpy(phonon.qpoints.frequencies * THZ)


def source_of(item):
    return item.source if isinstance(item, FailedInput) else item.crystal.source


def ours(force_constants, q):
    from lattices import omega

    return omega(force_constants, q)


@pytest.mark.parametrize("calculator", CALCULATORS)
def test_every_calculators_units_give_the_same_frequencies(calculator, tmp_path):
    """What phonopy itself finds, and what it finds of the same crystal in VASP's units."""
    path, q = tmp_path / "phonopy_params.yaml", random_q(10)
    in_units_of(calculator, emt("Cu3Au")[0]).save(path, settings=PLAIN)
    loaded = phonopy.load(path)
    found = ours(from_phonopy(loaded), q)
    torch.testing.assert_close(found, theirs(loaded, q), rtol=1e-6, atol=1e-3)
    torch.testing.assert_close(found, theirs(emt("Cu3Au")[0], q), rtol=1e-5, atol=1e-3)
    crystal = debye.predict(path).crystal
    np.testing.assert_allclose(crystal.cell, emt("Cu3Au")[1].cell, atol=1e-6)


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "cu3au.yaml"
    emt("Cu3Au")[0].save(path, settings=PLAIN)
    return path


def test_the_spectrum_is_that_of_the_force_constants(record):
    found = debye.predict(record)
    phonon = emt("Cu3Au")[0]
    phonon.run_mesh(60.0)
    weights = phonon.mesh.weights / phonon.mesh.weights.sum() / 12
    mean = float((phonon.mesh.frequencies * THZ * weights[:, None]).sum())
    assert found.total.mean_frequency.item() == pytest.approx(mean, rel=2e-3)
    assert found.total.integral.item() == pytest.approx(12, rel=1e-6)
    assert found.warnings == (GIVEN,)
    assert found.uncertainty is None
    assert found.elements.labels == ("Cu", "Au")
    phonon.run_thermal_properties(temperatures=[300.0], cutoff_frequency=0.01)
    capacity = phonon.thermal_properties.heat_capacity[0]
    moles = found.thermo(300.0, basis="per-mole-of-cells").heat_capacity.item()
    assert moles == pytest.approx(capacity, rel=1e-3)


def test_its_bands_are_those_of_the_force_constants(record):
    bands = debye.predict(record).bands("G X M", points=20)
    expected = theirs(emt("Cu3Au")[0], bands.path.q)
    torch.testing.assert_close(bands.frequency, expected, rtol=1e-6, atol=1e-3)
    torch.testing.assert_close(bands.frequency, debye.bands(record, "G X M", 20).frequency)
    assert bands.notes[0] == GIVEN
    assert not any("trained" in note for note in bands.notes)


def test_an_object_is_as_good_as_its_file(record):
    phonon = emt("Cu3Au")[0]
    one, other = debye.predict(phonon), debye.predict(record)
    torch.testing.assert_close(one.total.density, other.total.density, rtol=1e-3, atol=1e-4)
    several = debye.predict([phonon, phonon.primitive, "nowhere.yaml"], model="fast")
    assert several[0].warnings[0] == GIVEN
    assert GIVEN not in several[1].warnings  # a cell alone is predicted
    assert isinstance(several[2], FailedInput)


def test_a_folder_of_one_calculation(tmp_path):
    from phonopy.file_IO import write_FORCE_CONSTANTS

    phonon = emt("Cu3Au")[0]
    phonon.save(tmp_path / "phonopy_disp.yaml", settings={"force_sets": False})
    with pytest.raises(InputError, match="neither forces nor force constants"):
        debye.predict(tmp_path / "phonopy_disp.yaml")
    write_FORCE_CONSTANTS(phonon.force_constants, tmp_path / "FORCE_CONSTANTS")
    means = [
        debye.predict(at).total.mean_frequency.item()
        for at in (tmp_path, tmp_path / "FORCE_CONSTANTS", tmp_path / "phonopy_disp.yaml")
    ]
    assert means == pytest.approx([means[0]] * 3)
    (tmp_path / "BORN").write_text("14.4\n" + "1 0 0 0 1 0 0 0 1\n" + 2 * "0 0 0 0 0 0 0 0 0\n")
    assert not any("not read" in w for w in debye.predict(tmp_path).warnings)
    emt("Cu3Au")[1].write(tmp_path / "other.cif")
    (told,) = (w for w in debye.predict(tmp_path).warnings if "not read" in w)
    assert "calculation: other.cif in it" in told


def test_a_folder_of_calculations_and_structures(debye, tmp_path):
    from phonopy.file_IO import write_FORCE_CONSTANTS

    from debye import predict

    phonon, cell = emt("Cu3Au")
    for name, factor in (("whole", 1.0), ("nothing", 0.0)):
        (tmp_path / name).mkdir()
        phonon.save(tmp_path / name / "phonopy_disp.yaml", settings={"force_sets": False})
        write_FORCE_CONSTANTS(factor * phonon.force_constants, tmp_path / name / "FORCE_CONSTANTS")
        cell.write(tmp_path / name / "POSCAR")
    cell.write(tmp_path / "alone.cif")
    phonon.save(tmp_path / "record.yaml", settings=PLAIN)
    for given in (tmp_path, f"{tmp_path}/*"):
        found = {Path(source_of(item)).name: item for item in predict(given, model="fast")}
        assert found.keys() == {"whole", "nothing", "alone.cif", "record.yaml"}
        assert GIVEN in found["whole"].warnings
        assert GIVEN in found["record.yaml"].warnings
        assert GIVEN not in found["alone.cif"].warnings
        assert "all zero" in found["nothing"].error.why
        assert str(tmp_path / "nothing") in found["nothing"].error.what
    run = debye("dos", tmp_path, "--model", "fast", "--json")
    assert len(run.stdout.splitlines()) == 3
    assert f"cannot take force constants from {tmp_path / 'nothing'}" in run.stderr


def test_born_charges_are_used_and_told(tmp_path):
    phonon = in_units_of("vasp", emt("Cu3Au")[0])
    charges = np.zeros((4, 3, 3))
    phonon.nac_params = {"born": charges, "dielectric": np.eye(3), "factor": 14.4}
    path = tmp_path / "phonopy_params.yaml"
    phonon.save(path, settings=PLAIN)
    for given in (phonon, path):
        assert USED in debye.predict(given).warnings
    assert phonon.nac_params is not None  # what was given stays as it was


def test_imaginary_modes_are_told(tmp_path):
    phonon = in_units_of("vasp", emt("Cu3Au")[0])
    phonon.force_constants = -phonon.force_constants
    found = debye.predict(phonon)
    assert any("100 % of its modes are imaginary" in warning for warning in found.warnings)
    assert any("sign" in warning for warning in found.warnings)
    assert found.total.imaginary_fraction.item() > 0.9


def test_force_constants_in_another_unit_are_told():
    """Those of Ry/a₀² taken for eV/Å² are fifty times too small, the other way fifty too large."""
    phonon = in_units_of("vasp", emt("Cu3Au")[0])
    right = phonon.force_constants
    assert not any("unit" in warning for warning in debye.predict(phonon).warnings)
    for factor in (48.6, 1 / 48.6):
        phonon.force_constants = factor * right
        assert any("check the unit" in warning for warning in debye.predict(phonon).warnings)


def test_sites_that_only_have_fast_modes_are_smoothed_too():
    """Of hydrogen on a heavy lattice, in the labels' view nearly nothing is left."""
    axis = np.arange(0.0, 2001.0)
    peaks = [np.exp(-(((axis - at) / 20) ** 2)) for at in (200.0, 1800.0)]
    peaks = [3 * peak / peak.sum() for peak in peaks]
    seen = smoothed(Spectrum(axis, np.array(peaks), [1.0, 1.0]), np.array(FREQUENCY))
    assert seen.sum().integral.item() == pytest.approx(6.0)
    assert seen.integral[0].item() == pytest.approx(6.0)


def test_force_constants_of_another_cell_are_refused(tmp_path):
    from phonopy.file_IO import write_FORCE_CONSTANTS

    emt("Cu3Au")[0].save(tmp_path / "phonopy_disp.yaml", settings={"force_sets": False})
    write_FORCE_CONSTANTS(emt("CuAu")[0].force_constants, tmp_path / "FORCE_CONSTANTS")
    with pytest.raises(InputError, match="for 32 atoms in the supercell"):
        debye.from_phonopy(tmp_path)


def test_force_constants_out_of_balance_are_put_right_and_told(tmp_path):
    phonon = in_units_of("vasp", emt("Cu3Au")[0])
    off = phonon.force_constants.copy()
    off[np.arange(len(off)), np.arange(len(off))] += 0.1 * np.eye(3)
    phonon.force_constants = off
    with pytest.raises(InputError, match="acoustic sum rule"):
        debye.predict(phonon)
    phonon.save(tmp_path / "p.yaml", settings=PLAIN)
    found = debye.predict(tmp_path / "p.yaml")
    assert any("put right" in warning for warning in found.warnings)
    expected = debye.predict(emt("Cu3Au")[0]).total.mean_frequency.item()
    assert found.total.mean_frequency.item() == pytest.approx(expected, rel=1e-2)


def test_what_no_drift_explains_is_refused(tmp_path):
    phonon = in_units_of("vasp", emt("Cu3Au")[0])
    noise = np.random.default_rng(0).normal(size=phonon.force_constants.shape)
    phonon.force_constants = noise
    phonon.save(tmp_path / "p.yaml", settings=PLAIN)
    with pytest.raises(InputError, match="noise, or another crystal's"):
        debye.predict(tmp_path / "p.yaml")


def test_the_verbs_take_them(debye, record, tmp_path):
    one = json.loads(debye("dos", record, "--json").stdout)
    assert one["warnings"][0] == GIVEN
    assert one["formula"] == "Cu3Au"
    table = debye("thermo", record, "--temperatures", "300").stdout.splitlines()
    assert float(table[2].split(",")[1]) == pytest.approx(
        one["heat_capacity_J_per_K_per_mol_atoms"], rel=1e-4
    )
    inside = debye("dos", record.parent)
    assert inside.exit_code == 0
    assert GIVEN in inside.stderr
    lines = debye("bands", record, "--path", "G X")
    assert GIVEN in lines.stderr
    assert "trained" not in lines.stderr
    changed = debye("alloy", record, record)
    assert changed.exit_code == 2
    assert "give the structure alone" in changed.stderr


def test_the_right_calculation_is_ranked_first(debye, record, tmp_path):
    """Among others, by the spectrum that it has itself, broadened by an instrument."""
    from debye import predict

    spectrum = predict(record).total.broaden(fwhm=20.0)
    spectrum.write(tmp_path / "measured.csv")
    other = tmp_path / "cuau.yaml"
    emt("CuAu")[0].save(other, settings=PLAIN)
    run = debye(
        "invert", "rank", tmp_path / "measured.csv", other, record, "--resolution", "20", "--json"
    )
    assert json.loads(run.stdout)["candidates"][0]["formula"] == "Cu3Au", run.stderr
