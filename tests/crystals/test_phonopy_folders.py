"""Phonopy folders become the labels that an independent computation gives."""

import importlib.util
import lzma
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from hypothesis import given, settings
from hypothesis import strategies as st
from lattices import CUAU, computed, forces
from scipy.stats import qmc

from debye.crystals.data.dataset import read_collection
from debye.crystals.data.labels import FREQUENCY, published_recipe
from debye.crystals.data.phonopy_files import load_phonon
from debye.crystals.data.phonopy_folders import read_phonopy_folders, total_dos
from debye.crystals.structure_io.read import FailedInput
from debye.errors import InputError

phonopy = pytest.importorskip("phonopy")
from phonopy import Phonopy  # noqa: E402
from phonopy import file_IO as phonopy_files  # noqa: E402
from phonopy.structure.atoms import PhonopyAtoms  # noqa: E402

THZ = 33.35640951981521  # cm-1
OMEGA = torch.arange(1101, dtype=torch.float64)


@pytest.fixture(scope="module")
def aluminium():
    return computed(bulk("Al", cubic=True))


@pytest.fixture(scope="module")
def cuau():
    return computed(CUAU)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, aluminium, cuau):
    """A folder of calculations, each left by phonopy in another way."""
    root = tmp_path_factory.mktemp("calculations")
    folders = {name: root / name for name in ("al", "cuau", "cuau-constants", "cuau-sets")}
    for folder in folders.values():
        folder.mkdir()
    aluminium.save(folders["al"] / "phonopy_params.yaml")
    cuau.save(folders["cuau"] / "phonopy_params.yaml")
    constants = {"force_constants": True, "force_sets": False, "displacements": False}
    cuau.save(folders["cuau-constants"] / "phonopy.yaml", settings=constants)
    cuau.save(folders["cuau-sets"] / "phonopy_disp.yaml", settings={"force_sets": False})
    phonopy_files.write_FORCE_SETS(cuau.dataset, folders["cuau-sets"] / "FORCE_SETS")
    return root


@pytest.fixture
def copy(saved, tmp_path):
    def copied(name, to="calculation"):
        return shutil.copytree(saved / name, tmp_path / to)

    return copied


def only(path):
    (row,) = read_phonopy_folders(path)
    return row


def reason(path):
    row = only(path)
    assert isinstance(row, FailedInput), row
    return str(row.error)


# What is read.


def scattered_density(phonon, points=2048):
    """States per cm⁻¹ from q scattered in the zone: no mesh, no symmetry, no smearing."""
    q = qmc.Halton(3, seed=0).random(points)
    phonon.run_qpoints(q)
    omega = phonon.qpoints.frequencies * THZ
    counts, _ = np.histogram(omega, np.arange(-0.5, 1101.5))
    return counts / points


@pytest.mark.parametrize(("name", "atoms"), [("al", 1), ("cuau", 2), ("cuau-sets", 2)])
def test_a_folder_gives_the_spectrum_of_scattered_wave_vectors(saved, aluminium, cuau, name, atoms):
    label, crystal, spectrum = only(saved / name)
    phonon = aluminium if name == "al" else cuau
    expected = published_recipe(OMEGA, scattered_density(phonon))
    assert label == name == crystal.name
    assert crystal.n_atoms == atoms == spectrum.n_atoms
    assert spectrum.density.dtype == torch.float32
    assert spectrum.normalisation == "max"
    assert spectrum.density.max() == 1
    assert spectrum.frequency.tolist() == list(FREQUENCY)
    torch.testing.assert_close(spectrum.density.double(), expected, atol=0.02, rtol=0)


def test_the_density_is_the_tetrahedron_methods(aluminium):
    dos = total_dos(aluminium)
    mesh = aluminium.mesh
    mean = np.average(mesh.frequencies.mean(1), weights=mesh.weights) * THZ
    aluminium.run_mesh(100.0)
    aluminium.run_total_dos(freq_min=0.0, freq_max=400 / THZ, freq_pitch=1 / THZ)
    expected = aluminium.total_dos.dos / THZ
    found = np.interp(np.arange(len(expected)), dos.frequency, dos.density)
    assert np.abs(found - expected).sum() < 0.02 * 3
    assert dos.integral.item() == pytest.approx(3, abs=1e-9)
    assert dos.mean_frequency.item() == pytest.approx(mean, rel=1e-9)


def test_one_mesh_is_as_good_as_a_finer_one(cuau):
    coarse, fine = (total_dos(cuau, length) for length in (150.0, 300.0))
    at = np.arange(0.0, 300.0)
    one, other = (np.interp(at, dos.frequency, dos.density) for dos in (coarse, fine))
    assert np.abs(one - other).sum() < 0.04 * 6
    views = [published_recipe(dos.frequency, dos.density) for dos in (coarse, fine)]
    assert (views[0] - views[1]).abs().max() < 0.003


def test_the_crystal_is_the_primitive_cell(saved):
    _, al, _ = only(saved / "al")
    assert al.n_atoms == 1
    assert al.volume == pytest.approx(4.05**3 / 4)
    _, alloy, _ = only(saved / "cuau")
    assert sorted(alloy.elements) == ["Au", "Cu"]
    assert alloy.volume == pytest.approx(2.8 * 2.8 * 3.7)
    assert alloy.notes == ()
    assert alloy.source == str(saved / "cuau")


@pytest.mark.parametrize("way", ["constants", "text", "hdf5", "packed", "conf", "all-at-once"])
def test_every_way_of_leaving_forces_gives_the_same(saved, copy, cuau, way):
    folder = copy("cuau-constants" if way == "constants" else "cuau-sets")
    if way in ("text", "hdf5"):
        (folder / "FORCE_SETS").unlink()
    if way == "text":
        phonopy_files.write_FORCE_CONSTANTS(cuau.force_constants, folder / "FORCE_CONSTANTS")
    if way == "hdf5":
        phonopy_files.write_force_constants_to_hdf5(
            cuau.force_constants, folder / "force_constants.hdf5"
        )
    if way == "packed":
        record = folder / "phonopy_disp.yaml"
        (folder / "phonopy_disp.yaml.xz").write_bytes(lzma.compress(record.read_bytes()))
        record.unlink()
    if way == "conf":
        (folder / "phonopy_disp.yaml").unlink()
        CUAU.write(folder / "POSCAR", format="vasp")
        (folder / "phonopy.conf").write_text("# a comment\nDIM = 2 2 2\nMESH = 9 9 9\n")
    if way == "all-at-once":
        forces_of_random_displacements(cuau, folder / "FORCE_SETS")
    _, crystal, spectrum = only(folder)
    _, expected, label = only(saved / "cuau")
    tolerance = 0.02 if way == "all-at-once" else 1e-4
    np.testing.assert_allclose(crystal.cell, expected.cell, atol=1e-9)
    torch.testing.assert_close(spectrum.density, label.density, atol=tolerance, rtol=0)


def forces_of_random_displacements(phonon, path):
    supercell = phonon.supercell
    rows = []
    for seed in range(4):
        shift = np.random.default_rng(seed).normal(0, 0.01, (len(supercell), 3))
        moved = PhonopyAtoms(
            symbols=supercell.symbols, cell=supercell.cell, positions=supercell.positions + shift
        )
        rows.append(np.hstack([shift, forces(moved, EMT)]))
    np.savetxt(path, np.vstack(rows))


def test_a_calculator_in_bohr_gives_the_same_crystal_and_spectrum(saved, copy, cuau):
    bohr, rydberg = 0.52917721, 13.605693
    units = Phonopy(
        PhonopyAtoms(
            symbols=cuau.unitcell.symbols,
            cell=cuau.unitcell.cell / bohr,
            positions=cuau.unitcell.positions / bohr,
        ),
        np.diag([2, 2, 2]),
        primitive_matrix="auto",
        calculator="qe",
    )
    units.force_constants = cuau.force_constants / rydberg * bohr**2
    folder = copy("cuau")
    units.save(folder / "phonopy_params.yaml", settings={"force_constants": True})
    _, crystal, spectrum = only(folder)
    _, expected, label = only(saved / "cuau")
    np.testing.assert_allclose(crystal.cell, expected.cell, rtol=1e-6)
    torch.testing.assert_close(spectrum.density, label.density, atol=1e-4, rtol=0)


def test_born_charges_split_the_optical_modes(copy):
    folder = copy("cuau")
    metal = total_dos(load_phonon(folder))
    born = "14.4\n3 0 0 0 3 0 0 0 3\n1 0 0 0 1 0 0 0 1\n-1 0 0 0 -1 0 0 0 -1\n"
    (folder / "BORN").write_text(born)
    polar = load_phonon(folder)
    assert polar.nac_params["factor"] == 14.4
    assert total_dos(polar).frequency[-1] > metal.frequency[-1] + 5
    (folder / "BORN").write_text("default\n" + born.split("\n", 1)[1])
    assert load_phonon(folder).nac_params["factor"] == pytest.approx(14.4, abs=0.01)


def test_a_folder_is_read_wherever_one_stands(copy, tmp_path, monkeypatch):
    """``phonopy.load`` would take BORN and FORCE_SETS of the current folder."""
    folder = copy("cuau")
    (tmp_path / "BORN").write_text("not for this one")
    (tmp_path / "FORCE_CONSTANTS").write_text("nor this")
    monkeypatch.chdir(tmp_path)
    assert load_phonon(folder).nac_params is None


def test_other_masses_are_noted(copy):
    folder = copy("cuau")
    path = folder / "phonopy_params.yaml"
    path.write_text(path.read_text().replace("mass: 63.546", "mass: 70.0"))
    _, crystal, _ = only(folder)
    assert crystal.notes == ("the force constants were used with a mass of 70 u for Cu",)


def test_deuterium_is_no_hydrogen(tmp_path):
    heavy = save(force_constants(5.0, symbol="H", mass=2.014), tmp_path / "heavy")
    _, crystal, _ = only(heavy)
    assert crystal.elements == ("D",)
    assert len(crystal.notes) == 1  # the crystal's own on its isotope


# Imaginary modes and states above the grid.


def force_constants(strength, softness=0.0, symbol="Si", mass=28.0855):
    """Simple cubic crystal bound to its sites, less a coupling that softens long waves."""
    phonon = Phonopy(
        PhonopyAtoms(symbols=[symbol], cell=np.eye(3) * 3.36, positions=[[0, 0, 0]], masses=[mass]),
        np.diag([2, 2, 2]),
        primitive_matrix="auto",
    )
    constants = np.einsum("ij,xy->ijxy", np.eye(8), np.eye(3)) * strength
    phonon.force_constants = constants - np.einsum("ij,xy->ijxy", np.ones((8, 8)), np.eye(3)) * (
        softness
    )
    return phonon


def save(phonon, folder):
    folder.mkdir(exist_ok=True)
    phonon.save(folder / "phonopy_params.yaml", settings={"force_constants": True})
    return folder


def test_a_flat_band_keeps_all_its_states():
    dos = total_dos(force_constants(5.0))
    assert dos.integral.item() == pytest.approx(3, abs=1e-9)
    expected = (
        np.sqrt(5.0 * 1.602176634e-19 * 1e20 / (28.0855 * 1.66053907e-27)) / (2e12 * np.pi) * THZ
    )
    assert dos.mean_frequency.item() == pytest.approx(expected, rel=2e-3)


def test_imaginary_modes_fall_off_and_many_reject(tmp_path):
    # Γ alone is softened in this supercell: the modes around it are imaginary.
    strong = save(force_constants(5.0, softness=3.0), tmp_path / "strong")
    phonon = load_phonon(strong)
    share = total_dos(phonon).imaginary_fraction.item()
    assert share > 0.05
    text = reason(strong)
    assert f"{100 * share:.3g} % of its modes are imaginary, more than the 5 % allowed" in text
    weak = save(force_constants(5.0, softness=0.8), tmp_path / "weak")
    share = total_dos(load_phonon(weak)).imaginary_fraction.item()
    assert 0.001 < share < 0.05
    _, crystal, spectrum = only(weak)
    expected = f"{100 * share:.3g} % of the states are imaginary and not in the labelled spectrum"
    assert crystal.notes == (expected,)
    assert spectrum.density.max() == 1


def test_states_above_the_grid_are_told(tmp_path):
    assert "states between 0 and 1000" in reason(save(force_constants(2e4), tmp_path / "hard"))
    beyond = force_constants(5.0)
    beyond.force_constants = beyond.force_constants * np.diag([1.0, 1.0, 1000.0])
    _, crystal, _ = only(save(beyond, tmp_path / "mixed"))
    assert crystal.notes == (
        "33.3 % of the states are above 1000 cm⁻¹ and not in the labelled spectrum",
    )


# The recipe.


def delta(at, height=1.0):
    density = torch.zeros(1101, dtype=torch.float64)
    density[at] = height
    return density


def test_a_constant_stays_constant():
    torch.testing.assert_close(
        published_recipe(OMEGA, torch.full_like(OMEGA, 0.3)), torch.ones(51).double()
    )


@given(st.floats(0.5, 5.0), st.floats(-1.0, 1.0), st.floats(-1.0, 1.0))
@settings(max_examples=20, deadline=None)
def test_a_cubic_stays_as_it_is(offset, slope, bend):
    x = OMEGA / 1000
    cubic = (offset + slope * x + bend * x**3) + 3
    expected = cubic[:1001:20]
    torch.testing.assert_close(published_recipe(OMEGA, cubic), expected / expected.max())


def test_a_delta_becomes_the_filters_kernel():
    # Savitzky and Golay's closed form for a cubic, window 2m + 1 = 101; its sum is 1.
    m, j = 50, np.arange(-50, 51)
    kernel = 3 * (3 * m**2 + 3 * m - 1 - 5 * j**2) / ((2 * m + 3) * (2 * m + 1) * (2 * m - 1))
    assert kernel.sum() == pytest.approx(1)
    found = published_recipe(OMEGA, delta(500))
    expected = torch.zeros(51).double()
    for i in range(51):
        if abs(20 * i - 500) <= 50:
            expected[i] = max(kernel[20 * i - 500 + 50], 0.0)
    torch.testing.assert_close(found, expected / expected.max())
    assert found.count_nonzero() == 3  # lobes below zero are clipped


def test_a_deltas_area_is_kept():
    # A far higher constant shows the kernel without clipping or normalising: its sum over the
    # 51 points, each of 20 cm-1, for deltas at every place between two of them, is one state each.
    ground = torch.full_like(OMEGA, 100.0)
    total = 0.0
    for at in range(490, 510):
        view = published_recipe(OMEGA, ground + delta(at))
        total += (view / view[10] * 100 - 100).sum().item()
    assert total == pytest.approx(1, abs=1e-9)


def test_the_filter_is_the_polynomial_fit():
    rng = np.random.default_rng(3)
    density = np.convolve(rng.random(1101), np.ones(9) / 9, "same")
    found = published_recipe(OMEGA, density).numpy()
    expected = []
    for centre in range(60, 1001, 20):
        window = np.arange(centre - 50, centre + 51)
        # About the middle, so that the fit is well conditioned.
        coefficients = np.polynomial.polynomial.polyfit(window - centre, density[window], 3)
        expected.append(coefficients[0])
    # The maximum may lie outside: compare up to one factor.
    np.testing.assert_allclose(found[3:] / found[3], np.array(expected) / expected[0], rtol=1e-9)
    assert found.max() == 1
    assert found.min() >= 0


def test_the_first_window_serves_all_its_points():
    density = np.random.default_rng(4).random(1101) + 1
    cubic = np.polynomial.polynomial.polyfit(np.arange(-50, 51), density[:101], 3)
    values = np.polynomial.polynomial.polyval([-50, -30, -10], cubic)
    found = published_recipe(OMEGA, density).numpy()
    np.testing.assert_allclose(found[1:3] / found[0], values[1:] / values[0], rtol=1e-9)


def test_only_states_from_zero_on_count_and_any_normalisation_does():
    density = torch.exp(-(((OMEGA - 300) / 60) ** 2))
    expected = published_recipe(OMEGA, density)
    axis = torch.arange(-200, 600, dtype=torch.float64)
    longer = torch.exp(-(((axis - 300) / 60) ** 2))
    longer[axis < 0] = 7.0
    torch.testing.assert_close(published_recipe(axis, 12 * longer), expected, atol=1e-7, rtol=0)
    # A raw axis that is not quite whole wavenumbers, as the published one.
    shifted = OMEGA * 0.98 + 0.3
    other = published_recipe(shifted, torch.exp(-(((shifted - 300) / 60) ** 2)))
    torch.testing.assert_close(other, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("frequency", "density", "text"),
    [
        (OMEGA + 2000, torch.ones(1101), "no states between 0 and 1000 cm⁻¹ (its axis: 2000"),
        (OMEGA, torch.zeros(1101), "holds no states"),
        (OMEGA, torch.full((1101,), float("nan")), "NaN"),
        (OMEGA, -torch.ones(1101), "negative"),
        (OMEGA[:5], torch.ones(6), "differ in length"),
    ],
)
def test_the_recipe_refuses_what_is_no_spectrum(frequency, density, text):
    with pytest.raises(InputError) as refused:
        published_recipe(frequency, density.double())
    assert text in str(refused.value)


# What is refused.


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "it is no phonopy record, or empty"),
        (b"just words", "it is no phonopy record"),
        (b"phonopy: {version: 4}\n", "it has no unit_cell"),
        (b"unit_cell: [1, 2\n", "it cannot be parsed (ParserError"),
        (b"\x00\xff\xfe binary", "it cannot be parsed"),
        (b"unit_cell: {lattice: 3}\n", "it has no unit_cell"),
        (b"unit_cell: {lattice: 3, points: [4]}\n", "it cannot be parsed"),
        (b"a: " + b"[" * 200_000, "nested too deeply"),
        (b"- " * 200_000, "its lines are too long"),
    ],
)
def test_a_bad_record_is_told_by_its_cause(tmp_path, content, text):
    (tmp_path / "phonopy_params.yaml").write_bytes(content)
    told = reason(tmp_path)
    assert text in told
    assert "phonopy_params.yaml" in told
    assert "fix: " in told


def test_a_record_executes_nothing(tmp_path):
    trace = tmp_path / "executed"
    tag = (
        f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{trace}']]"
    )
    (tmp_path / "phonopy_params.yaml").write_text(f"unit_cell: {tag}\n")
    assert "could not determine a constructor for the tag" in reason(tmp_path)
    assert not trace.exists()


def test_a_record_cut_short_is_told(copy):
    folder = copy("cuau")
    path = folder / "phonopy_params.yaml"
    lines = path.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("displacements:"))
    path.write_text("\n".join(lines[: start + 12]))
    assert "forces (" in reason(folder)
    assert "for 16 atoms in the supercell" in reason(folder)
    path.write_text("\n".join(lines[:start]))
    assert "it holds neither forces nor force constants" in reason(folder)
    path.write_text("\n".join(lines)[:700])
    assert "cannot read" in reason(folder)
    packed = lzma.compress("\n".join(lines).encode())
    path.unlink()
    (folder / "phonopy_params.yaml.xz").write_bytes(packed[: len(packed) // 2])
    assert "phonopy_params.yaml.xz" in reason(folder)


@pytest.mark.parametrize("name", ["FORCE_SETS", "FORCE_CONSTANTS"])
def test_forces_cut_short_are_told(copy, cuau, name):
    folder = copy("cuau-sets")
    phonopy_files.write_FORCE_CONSTANTS(cuau.force_constants, folder / "FORCE_CONSTANTS")
    for other in {"FORCE_SETS", "FORCE_CONSTANTS"} - {name}:
        (folder / other).unlink()
    path = folder / name
    text = path.read_text()
    path.write_text(text[: len(text) // 2].rsplit("\n", 1)[0] + "\n")
    assert f"cannot read {path}" in reason(folder)
    if name == "FORCE_SETS":
        assert "it ends too early" in reason(folder)
    lines = text.splitlines()
    lines[-1] = "nan 0 0"
    path.write_text("\n".join(lines))
    assert "NaN or infinity" in reason(folder)
    path.write_text("")
    assert f"cannot read {path}" in reason(folder)


def test_forces_of_another_cell_are_told(copy, aluminium):
    folder = copy("cuau-sets")
    phonopy_files.write_FORCE_SETS(aluminium.dataset, folder / "FORCE_SETS")
    assert "forces (32, 3) for 16 atoms in the supercell" in reason(folder)
    phonopy_files.write_FORCE_CONSTANTS(aluminium.force_constants, folder / "FORCE_CONSTANTS")
    assert "force constants (32, 32, 3, 3) for 16 atoms" in reason(folder)


def test_damaged_force_constants_are_told(copy, cuau):
    folder = copy("cuau-sets")
    (folder / "force_constants.hdf5").write_bytes(b"not HDF5 at all")
    assert "force_constants.hdf5" in reason(folder)
    phonopy_files.write_force_constants_to_hdf5(
        1e6 * cuau.force_constants, folder / "force_constants.hdf5"
    )
    assert "the force constants make no sense" in reason(folder)


def test_what_is_missing_is_named(copy):
    folder = copy("cuau-sets")
    (folder / "phonopy_disp.yaml").unlink()
    assert "the unit cell is missing" in reason(folder)
    CUAU.write(folder / "POSCAR", format="vasp")
    assert "(DIM in phonopy.conf) is missing" in reason(folder)
    (folder / "phonopy.conf").write_text("DIM = 2 2\n")
    assert "phonopy.conf" in reason(folder)
    (folder / "phonopy.conf").write_text("dim = 2 2 2\nPRIMITIVE_AXES = 1/1 0 0 0 1 0 0 0 1\n")
    assert not isinstance(only(folder), FailedInput)


def test_bad_born_charges_are_told(copy):
    folder = copy("cuau")
    (folder / "BORN").write_text("14.4\n3 0 0 0 3 0\n")
    assert f"cannot read {folder / 'BORN'}" in reason(folder)


def test_no_folder_and_nothing_in_it(tmp_path):
    with pytest.raises(InputError, match="there is no such folder"):
        next(read_phonopy_folders(tmp_path / "nowhere"))
    file = tmp_path / "a-file"
    file.write_text("")
    with pytest.raises(InputError, match="it is no folder"):
        next(read_phonopy_folders(file))
    with pytest.raises(InputError, match="no force constants and no folders"):
        next(read_phonopy_folders(tmp_path))
    (tmp_path / "empty").mkdir()
    assert "it holds neither a phonopy record nor forces" in reason(tmp_path)


def test_without_phonopy_it_says_what_to_install(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "phonopy" else find(name)
    )
    with pytest.raises(InputError) as refused:
        next(read_phonopy_folders(tmp_path))
    assert refused.value.fix == "pip install 'debye[phonopy]'"


def test_the_module_needs_no_phonopy_to_be_imported():
    code = "import sys, debye.crystals.data.phonopy_folders; print('phonopy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# A collection.


def test_a_folder_of_calculations_is_a_collection(saved, tmp_path):
    root = shutil.copytree(saved, tmp_path / "all")
    (root / "broken").mkdir()
    (root / "broken" / "phonopy_params.yaml").write_text("")
    (root / ".hidden").mkdir()
    (root / "notes.txt").write_text("not a calculation")
    collection, failed = read_collection(root)
    assert collection.names == ("al", "cuau", "cuau-constants", "cuau-sets")
    assert collection.elements == {"Al", "Au", "Cu"}
    assert collection.spectra.density.shape == (4, 51)
    assert [row.source for row in failed] == ["broken"]
    one, none_rejected = read_collection(root / "al")
    assert one.names == ("al",)
    assert none_rejected == []
