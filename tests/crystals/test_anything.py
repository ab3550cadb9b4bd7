"""The front door: whatever a scientist holds becomes crystals, or is refused in words."""

import gzip
import io
import json
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from ase import Atoms
from ase.io.jsonio import encode

import debye
from debye.crystals.structure.convert import FORCE_CONSTANTS, NOT_PERIODIC
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure_io.anything import crystals_of
from debye.crystals.structure_io.read import FailedInput, read_structures, write_structures
from debye.errors import InputError

DEMO = Path(sys.modules["debye"].__file__).parent / "data" / "demo"
QUARTZ = DEMO / "quartz.cif"
SALT = Crystal(
    ["Na", "Cl"],
    [[0, 0, 0], [2.82, 2.82, 2.82]],
    2.82 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]),
    name="salt",
)
ATOMS = SALT.to_atoms()
ASE_RECORD = {"numbers": [11, 17], "positions": SALT.positions.tolist(), "cell": SALT.cell.tolist()}


def pymatgen():
    return pytest.importorskip("pymatgen.core", reason="pymatgen is an extra")


def structure():
    return pymatgen().Structure(SALT.cell, ["Na+", "Cl-"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def entry():
    module = pytest.importorskip("pymatgen.entries.computed_entries", reason="pymatgen is an extra")
    return module.ComputedStructureEntry(structure(), -1.0, entry_id="mp-22862")


def phonopy_atoms(scale=1.0):
    module = pytest.importorskip("phonopy.structure.atoms", reason="phonopy is an extra")
    return module.PhonopyAtoms(
        symbols=["Na", "Cl"], positions=scale * SALT.positions, cell=scale * SALT.cell
    )


def phonon(**how):
    phonopy = pytest.importorskip("phonopy", reason="phonopy is an extra")
    scale = how.pop("scale", 1.0)
    return phonopy.Phonopy(phonopy_atoms(scale), np.eye(3) * 2, primitive_matrix=np.eye(3), **how)


def mson_atoms():
    return pytest.importorskip("pymatgen.io.ase", reason="pymatgen is an extra").MSONAtoms(ATOMS)


def database_row():
    from ase.db import connect

    with tempfile.TemporaryDirectory() as folder, connect(f"{folder}/a.db") as database:
        database.write(ATOMS, name="salt")
        return next(database.select())


def text(suffix):
    with tempfile.TemporaryDirectory() as folder:
        return SALT.write(f"{folder}/a.{suffix}").read_text()


class Child(Atoms):
    """ASE's own type, made more of."""


class Drawer:
    """An object of the user's that holds an open file under no name of its own."""

    name = 3

    def read(self, _=-1):
        return text("cif")


ONE = {
    "Crystal": lambda: SALT,
    "Atoms": lambda: ATOMS,
    "a subclass of Atoms": lambda: Child(ATOMS),
    "a row of an ASE database": database_row,
    "Structure": structure,
    "IStructure": lambda: pymatgen().IStructure.from_sites(structure()),
    "ComputedStructureEntry": entry,
    "PhonopyAtoms": phonopy_atoms,
    "Phonopy": phonon,
    "CIF text": lambda: text("cif"),
    "POSCAR text": lambda: text("vasp"),
    "POSCAR text without a title": lambda: "\n" + text("vasp").split("\n", 1)[1],
    "xyz text": lambda: text("extxyz"),
    "JSON text": lambda: json.dumps(ASE_RECORD),
    "ASE's JSON text": lambda: encode(ATOMS),
    "bytes": lambda: text("cif").encode(),
    "bytes of Windows": lambda: text("cif").replace("\n", "\r\n").encode("utf-8-sig"),
    "bytearray": lambda: bytearray(text("cif").encode()),
    "open text": lambda: io.StringIO(text("vasp")),
    "open bytes": lambda: io.BytesIO(text("vasp").encode()),
    "an object that reads": Drawer,
    "ASE dict": lambda: ASE_RECORD,
    "ASE todict": ATOMS.todict,
    "ASE JSON dict": lambda: json.loads(encode(ATOMS)),
    "MSONAtoms dict": lambda: mson_atoms().as_dict(),
    "Structure dict": lambda: structure().as_dict(),
    "ComputedStructureEntry dict": lambda: entry().as_dict(),
    "Crystal dict": SALT.to_dict,
    "a dict that may not change": lambda: MappingProxyType(ASE_RECORD),
    "a row of a table": lambda: {"mp_id": "mp-22862", "structure": structure()},
    "an array without axes": lambda: np.array(str(SALT.write(Path(tempfile.mkdtemp()) / "a.cif"))),
}


@pytest.mark.parametrize("kind", ONE)
def test_one_thing_is_one_crystal(kind):
    found, many = crystals_of(ONE[kind]())
    (crystal,) = found
    assert not many
    assert isinstance(crystal, Crystal), crystal
    assert crystal.formula == "NaCl"
    assert crystal.volume == pytest.approx(SALT.volume, rel=1e-6)
    between = crystal.fractional[1] - crystal.fractional[0]
    assert np.abs(between - 0.5 - np.round(between - 0.5)).max() < 1e-6


@pytest.mark.parametrize("kind", ONE)
def test_many_things_are_as_many_crystals(kind):
    thing = ONE[kind]()
    if kind.startswith("open"):
        thing, again = ONE[kind](), ONE[kind]()
    else:
        again = thing
    found, many = crystals_of([thing, again])
    assert many
    assert [crystal.formula for crystal in found] == ["NaCl", "NaCl"]


def test_names_go_along():
    assert next(crystals_of(SALT)[0]).name == "salt"
    assert next(crystals_of(entry())[0]).name == "mp-22862"
    assert next(crystals_of(entry().as_dict())[0]).name == "mp-22862"
    assert next(crystals_of(database_row())[0]).name == "salt"


# Paths.


def test_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "deep"
    folder.mkdir()
    SALT.write(folder / "a.cif")
    write_structures(folder / "b.xyz", [SALT, SALT])
    for given, n, several in (
        (folder / "a.cif", 1, False),
        (str(folder / "a.cif"), 1, False),
        ("~/deep/a.cif", 1, False),
        (folder / "b.xyz", 2, True),
        (folder, 3, True),
        ("~/deep", 3, True),
        (str(folder / "*.cif"), 1, True),
        ("~/**/*.xyz", 2, True),
        ([folder, "~/deep/a.cif"], 4, True),
        (np.array([str(folder / "a.cif")] * 2), 2, True),
    ):
        found, many = crystals_of(given)
        assert many == several, given
        assert [crystal.formula for crystal in found] == ["NaCl"] * n
    assert next(read_structures("~/deep/a.cif")).source == str(folder / "a.cif")
    assert Crystal.read("~/deep/a.cif").formula == "NaCl"
    assert SALT.write("~/deep/c.cif").exists()
    assert (folder / "c.cif").exists()


@pytest.mark.parametrize(
    "given",
    ["nowhere.cif", "Si", "", " ", "x" * 5000, "hello\nworld", "a\0b", "~nobody-of-this-name/a.cif",
     "https://example.org/a.cif", Path("nowhere")],
)  # fmt: skip
def test_a_string_that_is_neither_path_nor_text_is_a_path_that_is_not_there(given):
    found, many = crystals_of(given)
    (item,) = found
    assert not many
    assert any(word in item.error.why for word in ("no such file", "name is empty", "too long"))
    assert "\n" not in item.error.what
    assert len(item.error.what) < 300


def test_folders_and_patterns_without_structures_are_many_of_none(tmp_path):
    for given in (tmp_path, str(tmp_path / "*.cif")):
        found, many = crystals_of(given)
        assert many
        assert [type(item) for item in found] == [FailedInput]


# Texts and open files.


def test_a_text_whose_lines_would_be_too_long_a_name_is_a_text():
    """Few slashes stand in it, and no part between two may be a name of over 255 characters."""
    text = (debye.DEMO / "silicon.vasp").read_text() + "\n" * 300
    assert debye.predict(text, model="fast").crystal.formula == "Si"


def test_texts_of_several():
    for given in (
        text("cif") + text("cif"),
        text("extxyz") * 2,
        json.dumps([ASE_RECORD] * 2),
        json.dumps(ASE_RECORD) + "\n" + json.dumps(ASE_RECORD),
        {"one": ASE_RECORD, "two": ASE_RECORD},
    ):
        found, many = crystals_of(given)
        assert many
        assert [crystal.formula for crystal in found] == ["NaCl", "NaCl"]


def test_open_files(tmp_path):
    path = SALT.write(tmp_path / "POSCAR")
    with path.open() as stream:
        assert next(crystals_of(stream)[0]).source == str(path)
        assert "nothing left to read" in next(crystals_of(stream)[0]).error.why  # read to its end
    assert "closed file" in next(crystals_of(stream)[0]).error.why
    with path.open("rb") as stream:
        assert next(crystals_of(stream)[0]).formula == "NaCl"
    with (tmp_path / "new").open("w") as stream:
        assert "not readable" in next(crystals_of(stream)[0]).error.why
    with tempfile.NamedTemporaryFile("w+") as stream:
        stream.write(text("cif"))
        stream.seek(0)
        assert next(crystals_of(stream)[0]).formula == "NaCl"
    with gzip.open(tmp_path / "a.cif.gz", "wt") as stream:
        stream.write(text("cif"))
    with gzip.open(tmp_path / "a.cif.gz", "rt") as stream:
        assert next(crystals_of(stream)[0]).formula == "NaCl"
    with (tmp_path / "a.cif.gz").open("rb") as stream:
        assert next(crystals_of(stream)[0]).formula == "NaCl"
    assert "database" in next(crystals_of(io.BytesIO(b"SQLite format 3\0"))[0]).error.why


# Other libraries.


def test_phonopy_counts_in_the_unit_of_its_calculator():
    from ase.units import Bohr

    crystal = next(crystals_of(phonon(scale=1 / Bohr, calculator="qe"))[0])
    assert crystal.volume == pytest.approx(SALT.volume, rel=1e-6)
    assert crystal.notes == ()


def test_force_constants_of_phonopy_are_told_to_stay_behind():
    phonopy = phonon()
    phonopy.force_constants = np.zeros((16, 16, 3, 3))
    assert next(crystals_of(phonopy)[0]).notes == (FORCE_CONSTANTS,)


def test_phonopy_numbers_kinds_and_knows_isotopes():
    module = pytest.importorskip("phonopy.structure.atoms", reason="phonopy is an extra")
    cell = module.PhonopyAtoms(
        symbols=["Li1", "H"], masses=[7.016, 2.014], positions=SALT.positions, cell=SALT.cell
    )
    crystal = Crystal.from_phonopy(cell)
    assert crystal.elements == ("Li", "D")
    assert "its mass of 7.016 u for Li is not kept: 6.94 u is used" in crystal.notes


def test_shared_sites_of_phonopy():
    module = pytest.importorskip("phonopy.structure.atoms", reason="phonopy is an extra")
    if not hasattr(module, "build_species_table_from_mixtures"):
        pytest.skip("phonopy before 4 knows no shared sites")
    table, ids = module.build_species_table_from_mixtures(
        [[("Ge", 0.25), ("Si", 0.75)], [("Cl", 1.0)]]
    )
    cell = module.PhonopyAtoms(
        species_table=table, species_ids=ids, positions=SALT.positions, cell=SALT.cell
    )
    assert Crystal.from_phonopy(cell).species == ({"Ge": 0.25, "Si": 0.75}, {"Cl": 1.0})


def test_switches_of_periodicity_are_noted_whoever_has_them():
    flat = pymatgen().Lattice(SALT.cell, pbc=(True, True, False))
    layer = pymatgen().Structure(flat, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    atoms = ATOMS.copy()
    atoms.pbc = (True, True, False)
    for given in (layer, layer.as_dict(), atoms, atoms.todict()):
        assert next(crystals_of(given)[0]).notes == (NOT_PERIODIC,)


def test_to_pymatgen_and_back():
    pymatgen()
    mixed = Crystal([{"Na": 0.5, "K": 0.25}, "D"], SALT.positions, SALT.cell)
    for crystal in (SALT, mixed):
        back = Crystal.from_pymatgen(crystal.to_pymatgen())
        assert back.species == crystal.species
        assert back.positions == pytest.approx(crystal.positions, abs=1e-12)
        assert back.cell == pytest.approx(crystal.cell)


# What is refused.


class Odd:
    """Attributes that raise, and no length, no truth, no text."""

    def __getattr__(self, name):
        raise RuntimeError(name)

    def __len__(self):
        raise RuntimeError("no length")

    def __bool__(self):
        raise RuntimeError("no truth")

    def __repr__(self):
        raise RuntimeError("no text")


class Imposter:
    """What has some attributes of Atoms, and none of its ancestors."""

    numbers, positions, cell, pbc, info = "abc", None, 3, None, None
    lattice = species = None


class Broken(Atoms):
    """Atoms whose positions cannot be had."""

    @property
    def positions(self):
        raise RuntimeError("lost")


class Wordless:
    """A file of no text."""

    def read(self, _=-1):
        return 3


def molecule():
    return pymatgen().Molecule("HH", [[0, 0, 0], [0.74, 0, 0]])


BAD = {
    "None": (lambda: None, "type NoneType"),
    "a number": (lambda: 3.5, "type float"),
    "a matrix": (lambda: np.eye(3), "type numpy.ndarray"),
    "a function": (lambda: len, "type builtin_function_or_method"),
    "a class": (lambda: Crystal, "type type"),
    "an object that raises": (Odd, "type .*Odd"),
    "a likeness of Atoms": (Imposter, "type .*Imposter"),
    "broken Atoms": (lambda: Broken(ATOMS), "lost"),
    "an atom": (lambda: ATOMS[0], "type ase.atom.Atom"),
    "Atoms without a cell": (lambda: Atoms("H2", [[0, 0, 0], [0, 0, 0.7]]), "no cell"),
    "Atoms without atoms": (lambda: Atoms(cell=[3, 3, 3]), "no atoms"),
    "a dummy atom": (lambda: Atoms("X", cell=[3, 3, 3]), "atomic number is 0"),
    "a Molecule": (molecule, "no cell"),
    "an empty dict": (dict, "no structure"),
    "a dict of something else": (lambda: {"energy": 1}, "no structure"),
    "an array of ASE's JSON that is none": (
        lambda: {**ASE_RECORD, "numbers": {"__ndarray__": [[3], "int64", [1]]}}, "an array of it"),
    "bytes of nothing": (lambda: b"", "it is empty"),
    "bytes of a pickle": (lambda: b"\x80\x04rest", "can execute code"),
    "bytes that are no text": (lambda: b"data_\0", "binary"),
    "words": (lambda: b"hello", "no known format"),
    "a broken CIF": (lambda: "data_x\n_cell_length_a 3\n", "no cell"),
    "a file that gives numbers": (Wordless, "type int"),
    "a failed input": (
        lambda: FailedInput("x", InputError("x", why="as before", fix="y")), "as before"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_used_is_refused_by_its_cause(kind):
    make, why = BAD[kind]
    found, many = crystals_of(make())
    (item,) = found
    assert not many
    with pytest.raises(InputError, match=why):
        raise item.error
    good, found = SALT, list(crystals_of([make(), SALT])[0])
    assert [type(item) for item in found] == [FailedInput, Crystal]
    assert found[1] is good
    if kind != "a failed input":
        assert "item 0" in found[0].source
        assert "item 0" in found[0].error.what


def test_a_table_is_refused_and_its_column_taken():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"id": [1, 2], "structure": [ATOMS, None]}, index=["a", "b"])
    assert "one of its columns" in next(crystals_of(table)[0]).error.fix
    found, many = crystals_of(table["structure"])
    assert many
    assert [type(item) for item in found] == [Crystal, FailedInput]
    records = list(crystals_of(table.to_dict("records"))[0])
    assert [type(item) for item in records] == [Crystal, FailedInput]


def values(items):
    return dict(enumerate(items)).values()


@pytest.mark.parametrize("collect", [list, tuple, deque, iter, values])
def test_collections(collect):
    found, many = crystals_of(collect([SALT, str(QUARTZ), ATOMS]))
    assert many
    assert [crystal.formula for crystal in found] == ["NaCl", "SiO2", "NaCl"]
    assert crystals_of(collect([]))[1]
    assert list(crystals_of(collect([]))[0]) == []


def test_object_arrays_and_generators():
    array = np.empty(2, dtype=object)
    array[:] = [SALT, 3]
    assert [type(item) for item in crystals_of(array)[0]] == [Crystal, FailedInput]
    found, many = crystals_of(SALT for _ in range(3))
    assert many
    assert len(list(found)) == 3


def test_nothing_is_taken_before_it_is_asked_for():
    taken = []

    def endless():
        while True:
            taken.append(SALT)
            yield SALT

    found, _ = crystals_of(endless())
    assert taken == []
    assert [next(found), next(found)] == [SALT, SALT]
    assert len(taken) == 2


def test_a_generator_that_raises_has_ended_and_says_so():
    def failing():
        yield SALT
        raise KeyError("lost")

    first, last = crystals_of(failing())[0]
    assert first is SALT
    assert last.source == "item 1"
    assert "KeyError: 'lost'" in last.error.why
    assert "nothing after" in last.error.fix

    def refusing():
        yield SALT
        raise InputError("cannot go on", why="because", fix="stop")

    assert list(crystals_of(refusing())[0])[1].error.what == "cannot go on"


def test_a_list_within_a_list_is_refused_and_the_rest_is_done():
    first, second, third = crystals_of([SALT, [SALT], SALT])[0]
    assert first is third is SALT
    assert "within another" in second.error.why


def test_no_library_is_imported_to_recognise_its_objects():
    code = (
        "import sys; from debye.crystals.structure_io.anything import crystals_of;"
        "list(crystals_of([sys.argv[1], 3, {}, None])[0]);"
        "print(sorted({'ase.io', 'pymatgen', 'phonopy', 'pandas', 'torch'}"
        " & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(QUARTZ)], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
