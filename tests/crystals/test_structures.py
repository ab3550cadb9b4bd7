"""Structure files: what is in them, what comes back, and what is refused by its cause."""

# ruff: noqa: E501 - tables of cases, one a line

import ast
import csv
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure_io import read as structures
from debye.crystals.structure_io.read import (
    FailedInput,
    read_file,
    read_structures,
    write_structures,
)
from debye.errors import InputError

DEMO = Path(structures.__file__).parents[2] / "data" / "demo"
PETRETTO = Path(__file__).parents[2] / ".." / "shared" / "data" / "petretto2018" / "data.csv"
PO = Crystal(["Po"], [[0, 0, 0]], 3.36 * np.eye(3), name="polonium")
SIGE = Crystal([{"Si": 0.5, "Ge": 0.5}, "Si"], [[0, 0, 0], [1.4, 1.4, 1.4]], 5.54 * np.eye(3))


def cif(sites, symmetry="_space_group_name_H-M_alt 'P 1'", cell="4 4 4 90 90 90", extra=""):
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = ["data_test", extra, symmetry]
    lines += [f"_cell_{name} {value}" for name, value in zip(names, cell.split(), strict=True)]
    columns = ["label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy"]
    columns = columns[: len(sites[0].split())] if sites else columns
    lines += ["loop_", *(f"_atom_site_{column}" for column in columns), *sites]
    return "\n".join(lines) + "\n"


def read_text(tmp_path, text, name="test.cif"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Crystal.read(path)


# CIF.

QUARTZ = "Si1 Si 0.4697(1) 0 0.66667", "O1 O 0.4135(3) 0.2669(2) 0.7858(2)"
FD3M = "5.54 5.54 5.54 90 90 90"


@pytest.mark.parametrize(
    ("sites", "symmetry", "cell", "formula", "n_sites"),
    [
        (QUARTZ, "_symmetry_space_group_name_H-M 'P 32 2 1'", "4.916(1) 4.916 5.4054(4) 90 90 120", "SiO2", 9),
        (["Na1 Na+ 0 0 0", "Cl1 Cl- .5 .5 .5"], "_symmetry_Int_Tables_number 225", "5.64 5.64 5.64 90 90 90", "NaCl", 8),
        (["Ti1 Ti4+ 0 0 0", "O1 O2- 0.3048 0.3048 0"], "_space_group_name_Hall '-P 4n 2n'", "4.594 4.594 2.959 90 90 90", "TiO2", 6),
        (["Si1 Si 0 0 0 0.5", "Ge1 Ge 0 0 0 0.5"], "_space_group_name_H-M_alt 'F d -3 m :1'", FD3M, "Si0.5Ge0.5", 8),
        (["Si1 Si .125 .125 .125 0.5", "Ge1 Ge .125 .125 .125 0.5"], "_space_group_name_H-M_alt 'F d -3 m Z'", FD3M, "Si0.5Ge0.5", 8),
        (["La1 La3+ 0 0 0 0.7", "Sr1 Sr2+ 0 0 0 0.3", "Mn1 Mn3+ .5 .5 .5 .", "O1 O2- .5 .5 0 0.95(2)"],
         "_space_group_name_H-M_alt 'P m -3 m'", "3.88 3.88 3.88 90 90 90", "Sr0.3La0.7MnO2.85", 5),
        (["Mg1 Mg 0.333 0.667 0.25"], "_space_group_IT_number 194", "3.209 3.209 5.211 90 90 120", "Mg", 2),
        (["Bi1 Bi 0 0 0.23389"], "_space_group_name_H-M_alt 'R -3 m'", "4.546 4.546 11.863 90 90 120", "Bi", 6),
        (["Bi1 Bi .23389 .23389 .23389"], "_space_group_name_H-M_alt 'R -3 m'", "4.75 4.75 4.75 57.2 57.2 57.2", "Bi", 2),
        (["Si1 Si 0.1 0 0 1"], "loop_\n_symmetry_equiv_pos_as_xyz\n'x, y, z'\n'-X+0.25, -y+.25, 1/4-z'", FD3M, "Si", 2),
    ],
    ids=["quartz", "salt by number", "rutile by Hall", "SiGe origin 1", "SiGe origin 2", "manganite",
         "rounded thirds", "hexagonal axes", "rhombohedral axes", "listed operations"],
)  # fmt: skip
def test_known_crystals_from_cif(tmp_path, sites, symmetry, cell, formula, n_sites):
    crystal = read_text(tmp_path, cif(sites, symmetry, cell))
    assert (crystal.formula, crystal.n_sites) == (formula, n_sites)


def test_quartz_has_its_published_bonds(tmp_path):
    crystal = Crystal.read(DEMO / "quartz.cif")
    silicon, oxygen = crystal.positions[0], crystal.positions[3:]
    images = np.array(np.meshgrid(*[range(-2, 3)] * 3)).reshape(3, -1).T @ crystal.cell
    bonds = np.sort(np.linalg.norm(oxygen[:, None] + images - silicon, axis=-1).ravel())[:5]
    assert bonds[:4] == pytest.approx([1.605, 1.605, 1.614, 1.614], abs=2e-3)  # Levien 1980
    assert bonds[4] > 3.0


def test_an_open_setting_is_settled_by_the_formula_or_noted(tmp_path):
    sites = ["Si1 Si 0 0 0"]
    symmetry, extra = "_space_group_name_H-M_alt 'F d -3 m'", "_chemical_formula_sum Si\n"
    settled = read_text(tmp_path, cif(sites, symmetry, FD3M, extra + "_cell_formula_units_Z 8"))
    assert (settled.n_sites, settled.notes) == (8, ())
    noted = read_text(tmp_path, cif(["Si1 Si .125 .125 .125"], symmetry, FD3M))
    assert noted.n_sites == 8
    assert noted.notes == ("the setting of its space group is left open: read as F d -3 m:2",)


def test_the_formula_is_compared(tmp_path):
    sites = ["Si1 Si 0 0 0", "O1 O .5 .5 .5"]
    wrong = read_text(tmp_path, cif(sites, extra="_chemical_formula_sum 'O2 Si'"))
    assert wrong.notes == (
        "its atoms make Si1 O1, its _chemical_formula_sum says O2 Si1: check the file",
    )
    assert read_text(tmp_path, cif(sites, extra="_chemical_formula_sum 'O4 Si4'")).notes == ()
    four = [*sites, "Si2 Si .5 0 0", "O2 O 0 .5 .5"]
    stated = "_chemical_formula_sum 'O{0} Si{0}'\n_cell_formula_units_Z {1}"
    z_wrong = read_text(tmp_path, cif(four, extra=stated.format(1, 4)))
    assert "holds 2 formula units, its _cell_formula_units_Z says 4" in z_wrong.notes[0]
    assert read_text(tmp_path, cif(four, extra=stated.format(1, 2))).notes == ()
    assert read_text(tmp_path, cif(four, extra=stated.format(2, 2))).notes == ()  # as pymatgen does
    deuterium = ["Li1 Li 0 0 0", "D1 D .5 .5 .5"]
    assert len(read_text(tmp_path, cif(deuterium, extra="_chemical_formula_sum 'H Li'")).notes) == 1


def test_sites_in_one_place_are_merged(tmp_path):
    twice = read_text(tmp_path, cif(["Si1 Si 0 0 0", "Si2 Si 1 0 0.00001", "O1 O .5 .5 .5"]))
    assert (twice.formula, twice.notes) == (
        "SiO", ("atoms listed more than once in the same place are read as one",))  # fmt: skip
    split = read_text(
        tmp_path, cif(["Si1 Si .02 0 0 .5", "Si2 Si -.02 0 0 .5"], cell="8 8 8 90 90 90")
    )
    assert split.positions[0] == pytest.approx([0, 0, 0], abs=1e-9)
    assert split.species == ({"Si": 1.0},)
    assert "split positions less than 0.5 Å apart are averaged" in split.notes[0]


def test_small_print_of_cif(tmp_path):
    dummy = cif(["Si1 Si 0 0 0 1", "Ge1 Ge .5 .5 .5 0"])
    assert read_text(tmp_path, dummy).notes == ("atom Ge1 has occupancy 0: left out",)
    without_type = "\n".join(
        ["data_x", *(f"_cell_{n} 9" for n in ("length_a", "length_b", "length_c")),
         *(f"_cell_{n} 90" for n in ("angle_alpha", "angle_beta", "angle_gamma")), "loop_",
         "_atom_site_label", "_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z",
         "Na1A 0 0 0", "CL2 .5 0 0", "OW .5 .5 0", "Ho1 0 0 .5", "D3 0 .5 0", "T1 .5 0 .5"])  # fmt: skip
    crystal = read_text(tmp_path, without_type)
    assert [next(iter(site)) for site in crystal.species] == ["Na", "Cl", "O", "Ho", "D", "T"]
    assert "no symmetry is given: read as P 1, every atom listed" in crystal.notes
    misfit = cif(["Si1 Si 0 0 0"], "_space_group_name_H-M_alt 'P 63/m m c'", "3 3 5 90 90 90")
    assert "its symmetry does not fit its cell" in read_text(tmp_path, misfit).notes[0]
    latin = cif(["Si1 Si 0 0 0"], extra="_publ_author_name 'M\xfcller'").encode("latin-1")
    assert read_text(tmp_path, latin).formula == "Si"


def test_many_blocks_and_one_bad_among_them(tmp_path):
    good, bad = cif(["Si1 Si 0 0 0"]), cif(["X1 Xx 0 0 0"])
    (tmp_path / "many.cif").write_text(good + bad + "data_text\n_publ_title 'no atoms'\n" + good)
    items = list(read_file(tmp_path / "many.cif"))
    assert [type(item) for item in items] == [Crystal, FailedInput, Crystal]
    assert [item.source for item in items] == [f"{tmp_path}/many.cif[{i}]" for i in range(3)]
    assert "unknown species 'Xx'" in items[1].error.why
    (tmp_path / "broken.cif").write_text(
        good + "data_broken\nloop_\n_atom_site_fract_x\n_b\n1 2 3\n" + good
    )
    items = list(read_file(tmp_path / "broken.cif"))
    assert [type(item) for item in items] == [Crystal, FailedInput, Crystal]
    assert "not a valid CIF" in items[1].error.why


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("hello\n", "no data_ block"),
        ("data_x\n_cell_length_a 4\n", "no cell: _cell_length_b is missing"),
        (cif(["Si1 Si 0 0 0"], cell="4 ? 4 90 90 90"), "_cell_length_b is \\?"),
        (cif(["Si1 Si 0 0 0"], cell="4 0 4 90 90 90"), "_cell_length_b is 0"),
        (cif(["Si1 Si 0 0 0"], cell="4 4 4 90 90 180"), "_cell_angle_gamma is 180"),
        (cif(["Si1 Si 0 0 0"], cell="4 4 4 170 90 30"), "angles cannot meet"),
        (cif(["Si1 Si 0 0 0"]).split("loop_")[0], "no atoms"),
        (cif(["Si1 Si ? 0 0"]), "atom Si1 has coordinates \\?, 0, 0"),
        (cif(["Si1 Si 0 0 0 1/2"]), "occupancy 1/2"),
        (cif(["Si1 Si 0 0 0 1.5"]), "occupancy of Si on site 0 is 1.5"),
        (cif(["Si1 Si 0 0 0 -1"]), "occupancy of Si on site 0 is -1"),
        (cif(["Si1 Si 0 0 0 .8", "Ge1 Ge 0 0 0 .8"]), "sum to 1.6: 0.8 Si \\+ 0.8 Ge"),
        (cif(["Si1 Si 0 0 0", "Ge1 Ge 0.05 0 0"]), "overlap: 0.200 Å apart"),
        (cif(["Vac1 Vac 0 0 0"]), "unknown species 'Vac'"),
        (cif(["Va1 . 0 0 0"]), "unknown species 'Va1'"),
        (cif(["M1 (Fe,Mn) 0 0 0"]), "unknown species '\\(Fe,Mn\\)'"),
        (cif(["Si1 Si 0 0 0"], "_space_group_name_H-M_alt 'Q 1 2 3'"), "unknown space group 'Q 1 2 3'"),
        (cif(["Si1 Si 0 0 0"], "_space_group_IT_number 231"), "unknown space group '231'"),
        (cif(["Si1 Si 0 0 0"], "loop_\n_space_group_symop_operation_xyz\nfoo"), "operation cannot be read"),
        (cif(["Si1 Si 0 0 0"])[:-3], "not a valid CIF"),
    ],
)  # fmt: skip
def test_bad_cifs_are_refused_by_their_cause(tmp_path, text, why):
    with pytest.raises(InputError, match=why) as caught:
        read_text(tmp_path, text)
    assert "test.cif" in caught.value.what


# Round trips.


def same(a, b, fixed=True):
    """Equal, up to a rotation of the whole and lattice translations if not ``fixed``."""
    assert a.species == b.species
    if fixed:
        assert b.cell == pytest.approx(a.cell, abs=1e-9)
        assert b.positions == pytest.approx(a.positions, abs=1e-9)
    else:
        assert b.cell @ b.cell.T == pytest.approx(a.cell @ a.cell.T, rel=1e-9, abs=1e-8)
        hand = np.sign(np.linalg.det(a.cell))
        between = b.fractional - hand * a.fractional
        assert np.abs(between - np.round(between)).max() < 1e-8


@pytest.mark.parametrize(
    "name", ["a.cif", "a.extxyz", "a.xyz", "a.vasp", "POSCAR", "CONTCAR_2", "a.json", "a.jsonl"]
)
@pytest.mark.parametrize("demo", ["quartz.cif", "rutile.cif", "silicon.vasp", "binaries.extxyz"])
def test_written_structures_come_back(tmp_path, name, demo):
    crystal = Crystal.read(DEMO / demo)
    back = Crystal.read(crystal.write(tmp_path / name))
    same(crystal, back, fixed=not name.endswith(".cif"))
    assert back.name == crystal.name.replace(" ", "_") if name.endswith(".cif") else crystal.name
    assert back.source == str(tmp_path / name) + ("[0]" if name.endswith("jsonl") else "")


@pytest.mark.parametrize("name", ["a.cif", "a.json", "a.jsonl"])
def test_mixed_sites_come_back(tmp_path, name):
    vacant = Crystal([{"Si": 0.5, "Ge": 0.25}, "D"], SIGE.positions, SIGE.cell[[1, 0, 2]])
    for crystal in (SIGE, vacant):
        back = Crystal.read(crystal.write(tmp_path / name))
        same(crystal, back, fixed=not name.endswith(".cif"))
        assert back.notes == crystal.notes


@pytest.mark.parametrize("name", ["a.xyz", "a.vasp"])
def test_mixed_sites_are_not_written_where_they_do_not_fit(tmp_path, name):
    with pytest.raises(InputError, match="mixed or partly vacant"):
        SIGE.write(tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["a.cif", "a.xyz", "a.json", "a.jsonl"])
def test_several_in_a_file(tmp_path, name):
    crystals = [PO, Crystal.read(DEMO / "silicon.vasp"), PO]
    path = write_structures(tmp_path / name, crystals)
    assert [c.formula for c in Crystal.read_all(path)] == ["Po", "Si", "Po"]
    assert [c.source for c in Crystal.read_all(path)] == [f"{path}[{i}]" for i in range(3)]
    assert Crystal.read(path, 1).formula == Crystal.read(path, -2).formula == "Si"
    for beyond in (3, -4):
        with pytest.raises(InputError, match="it holds 3 structures"):
            Crystal.read(path, beyond)


@pytest.mark.parametrize(
    ("name", "crystals", "why"),
    [("a.vasp", [PO, PO], "holds one structure"), ("a.gif", PO, "format is unknown"),
     ("no/a.cif", PO, "there is no folder")],
)  # fmt: skip
def test_writing_is_refused_by_its_cause(tmp_path, name, crystals, why):
    with pytest.raises(InputError, match=why):
        write_structures(tmp_path / name, crystals)


def test_ase_reads_what_is_written(tmp_path):
    io = pytest.importorskip("ase.io")
    crystal = Crystal.read(DEMO / "rutile.cif")
    for name in ("a.extxyz", "a.cif", "a.vasp"):
        atoms = io.read(crystal.write(tmp_path / name))
        same(crystal, Crystal.from_atoms(atoms), fixed=not name.endswith(".cif"))
        io.write(tmp_path / ("b" + name), atoms)
        same(crystal, Crystal.read(tmp_path / ("b" + name)), fixed=not name.endswith(".cif"))
    heavy = Crystal(["Li", "D"], [[0, 0, 0], [2, 2, 2]], 4 * np.eye(3)).to_atoms()
    io.write(tmp_path / "heavy.extxyz", heavy)
    assert Crystal.read(tmp_path / "heavy.extxyz").elements == ("Li", "D")


def test_ase_database(tmp_path):
    from ase.db import connect

    path = tmp_path / "a.db"
    with connect(path) as database:
        database.write(Crystal.read(DEMO / "rutile.cif").to_atoms(), name="rutile")
        database.write(PO.to_atoms()[:0])
        database.write(PO.to_atoms())
    rutile, nothing, polonium = read_file(path)
    assert (rutile.formula, rutile.name, rutile.source) == ("TiO2", "rutile", f"{path}[0]")
    assert "no atoms" in nothing.error.why
    assert polonium.formula == "Po"
    assert "no atoms" in repr(nothing)
    assert "\n" not in repr(nothing)
    (tmp_path / "b.db").write_bytes(path.read_bytes()[:3000])
    assert [type(item) for item in read_file(tmp_path / "b.db")] == [FailedInput]
    (tmp_path / "c.db").write_text("no database")
    with pytest.raises(InputError, match="no SQLite database"):
        Crystal.read(tmp_path / "c.db")


def test_json_of_every_kind(tmp_path):
    plain = {"numbers": [84], "positions": [[0, 0, 0]], "cell": (3.36 * np.eye(3)).tolist()}
    kinds = {
        "one": (plain, [""]),
        "list": ([plain, SIGE.to_dict()], ["", ""]),
        "named": ({"mp-1": plain, "mp-2": SIGE.to_dict()}, ["mp-1", "mp-2"]),
        "nested": ([{"structure": plain, "mp_id": "mp-3"}], ["mp-3"]),
    }
    for name, (data, names) in kinds.items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(data))
        assert [crystal.name for crystal in Crystal.read_all(path)] == names
    for text, why in (("{", "not valid JSON"), ("{}", "no structure"), ("[]", "no structure"), ("3", "no structure"),
                      ("[" * 100_000, "not valid JSON"), ('{"numbers": [1]}', "'positions' is missing")):  # fmt: skip
        with pytest.raises(InputError, match=why):
            read_text(tmp_path, text, "bad.json")
    (tmp_path / "a.jsonl").write_text(json.dumps(plain) + "\n{oops\n\n" + json.dumps(plain))
    assert [type(i) for i in read_file(tmp_path / "a.jsonl")] == [Crystal, FailedInput, Crystal]


def test_deep_json_is_refused_whoever_raised_the_limit_of_recursion(tmp_path):
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(100_000)  # as symfc does, which phonopy imports
        with pytest.raises(InputError, match="nested more than 1000 deep"):
            read_text(tmp_path, "[" * 90_000, "deep.json")
        assert read_text(tmp_path, json.dumps(PO.to_dict()), "flat.json") == PO
    finally:
        sys.setrecursionlimit(limit)


def test_pymatgen_json(tmp_path):
    core = pytest.importorskip("pymatgen.core", reason="pymatgen is an extra")
    structure = core.Structure(
        core.Lattice.cubic(5.54), [{"Si": 0.5, "Ge": 0.5}, "Si4+"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    )
    (tmp_path / "a.json").write_text(structure.to_json())
    assert Crystal.read(tmp_path / "a.json").formula == "Si1.5Ge0.5"
    (tmp_path / "b.json").write_text(json.dumps([structure.as_dict()] * 2))
    assert len(Crystal.read_all(tmp_path / "b.json")) == 2


# xyz and POSCAR.


def test_a_bad_frame_does_not_stop_the_next(tmp_path):
    good = 'Lattice="3 0 0 0 3 0 0 0 3"\nPo 0 0 0\n'
    frames = ["1\n" + good, "1\nno cell\nPo 0 0 0\n", "1\n" + good.replace("Po 0", "Po nan"),
              "1\n" + good.replace("Po", "Zz"), "\n\n1\n" + good]  # fmt: skip
    (tmp_path / "a.xyz").write_text("".join(frames))
    items = list(read_structures(tmp_path / "a.xyz"))
    assert [type(item) for item in items] == [Crystal, *[FailedInput] * 3, Crystal]
    whys = [item.error.why for item in items if isinstance(item, FailedInput)]
    assert [any(w in why for w in ("no cell", "NaN", "'Zz'")) for why in whys] == [True] * 3
    (tmp_path / "b.xyz").write_text(frames[0] + "what?\n" + frames[0])
    first, rest = read_structures(tmp_path / "b.xyz")
    assert isinstance(first, Crystal)
    assert "should be the number of atoms and is 'what?'" in rest.error.why
    with pytest.raises(InputError, match="should be the number of atoms"):
        Crystal.read(tmp_path / "b.xyz", 5)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('2\nLattice="3 0 0 0 3 0 0 0 3"\nPo 0 0 0\n', "truncated: 1 of 2 atoms"),
        ('1\nLattice="3 0 0 0 3 0 0 0"\nPo 0 0 0\n', "Lattice has 8 numbers"),
        ('1\nLattice="3 0 0 0 3 0 0 0 z"\nPo 0 0 0\n', "Lattice are no numbers"),
        ('1\nLattice="3 0 0 0 3 0 0 0 3"\nPo 0 0\n', "positions|columns"),
        ('1\nLattice="3 0 0 0 3 0 0 0 3"\nPo 0 0 z\n', "positions are no numbers"),
        ('1\nLattice="3 0 0 0 3 0 0 0 3" Properties=pos:R:3\n0 0 0\n', "Properties are pos:R:3"),
        ("99999999\n\n", "should be the number of atoms"),
        ("0\nLattice=\"3 0 0 0 3 0 0 0 3\"\n", "no atoms"),
    ],
)  # fmt: skip
def test_bad_xyz(tmp_path, text, why):
    with pytest.raises(InputError, match=why):
        read_text(tmp_path, text, "a.xyz")


def test_xyz_with_other_columns(tmp_path):
    text = '2\nproperties=forces:R:3:pos:R:3:Z:I:1 pbc="T T F" lattice="4 0 0 0 4 0 0 0 4" id=mp-7 e=1\n'
    crystal = read_text(tmp_path, text + "9 9 9 0 0 0 11\n9 9 9 2 2 2 17\n", "a.extxyz")
    assert (crystal.formula, crystal.name) == ("NaCl", "mp-7")
    assert crystal.notes == ("its periodicity is switched off: treated as periodic",)


POSCAR = "title\n{scale}\n4 0 0\n0 4 0\n0 0 4\n{species}\n1 1\n{mode}\n0 0 0\n{second}\n"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"scale": "-64.0"},
        {"scale": "1 1 1"},
        {"mode": "Selective dynamics\nDirect", "second": "0.5 0.5 0.5 T T F"},
        {"mode": "Cartesian", "second": "2 2 2"},
        {"species": "Na_pv Cl/2f3a"},
    ],
)
def test_poscar_variants(tmp_path, fields):
    defaults = {"scale": "1.0", "species": "Na Cl", "mode": "Direct", "second": "0.5 0.5 0.5 Cl"}
    crystal = read_text(tmp_path, POSCAR.format(**{**defaults, **fields}), "POSCAR")
    assert crystal.formula == "NaCl"
    assert crystal.volume == pytest.approx(64.0)
    assert crystal.positions[1] == pytest.approx([2, 2, 2])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a\n1\n", "truncated: 2 lines"),
        ("t\n1\n4 0 0\n0 4 0\n0 0 4\nNa Cl\n1 1\nDirect\n0 0 0\n", "truncated: 1 of 2 positions"),
        ("t\n1\n4 0 0\n0 4 0\n0 0 4\nNa Cl\n1 1\nWhat\n0 0 0\n", "should say Direct"),
        (
            "t\n1\n4 0 0\n0 4 0\n0 0 4\n1 1\nDirect\n0 0 0\n",
            "species 't' and counts '1 1' do not fit",
        ),
        ("t\n1\n4 0 0\n0 4 0\n0 0 4\nQq\n1\nDirect\n0 0 0\n", "unknown species 'Qq'"),
        ("t\nx\n4 0 0\n0 4 0\n0 0 4\nNa\n1\nDirect\n0 0 0\n", "scaling factors are no numbers"),
        ("t\n1\n4 0 0\n0 4 0\n0 0 4\nNa\n0\nDirect\n\n", "no atoms"),
        ("t\n1\n4 0 0\n0 4 0\n0 0 4\nNa\n99999999\nDirect\n", "claims 99999999 atoms"),
        ("t\n1\n4 0 0\n0 4 0\n0 4 0\nNa\n1\nDirect\n0 0 0\n", "volume of 0"),
    ],
)
def test_bad_poscar(tmp_path, text, why):
    with pytest.raises(InputError, match=why):
        read_text(tmp_path, text, "POSCAR")


def test_vasp_4_names_its_species_in_the_title(tmp_path):
    text = "Na Cl\n1\n4 0 0\n0 4 0\n0 0 4\n1 1\nDirect\n0 0 0\n.5 .5 .5\n"
    assert read_text(tmp_path, text, "POSCAR").formula == "NaCl"


# Files, folders, patterns.


def test_folders_and_patterns(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("b.cif", "a.cif", "deep/POSCAR", "deep/er/c.xyz"):
        PO.write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a structure")
    (tmp_path / ".hidden.cif").write_text("not a structure")
    names = [Path(c.source).name for c in read_structures([tmp_path])]
    assert names == ["a.cif", "b.cif", "POSCAR", "c.xyz"]
    assert len(list(read_structures(str(tmp_path / "*.cif")))) == 2
    assert len(list(read_structures(str(tmp_path / "**" / "*.xyz")))) == 1
    assert len(list(read_structures([tmp_path / "a.cif", str(tmp_path / "deep")]))) == 3
    (tmp_path / "[1].cif").write_text((tmp_path / "a.cif").read_text())
    assert len(list(read_structures(tmp_path / "[1].cif"))) == 1


def test_the_content_decides_where_the_name_does_not(tmp_path):
    for name in ("a.cif", "a.xyz", "a.vasp", "a.json"):
        path = PO.write(tmp_path / name)
        renamed = path.rename(tmp_path / (name.replace(".", "_") + ".txt"))
        assert Crystal.read(renamed).formula == "Po"


BAD_FILES = {
    "missing.cif": (None, "there is no such file"),
    "empty.cif": (b"", "the file is empty"),
    "blank.xyz": (b" \n \n", "the file is empty"),
    "binary.cif": (b"data_\0\1\2", "binary, not text"),
    "utf16.cif": ("data_x".encode("utf-16"), "binary, not text"),
    "odd.docx": (b"some text", "unrecognised suffix '.docx'"),
    "a.pkl": (b"x", "can execute code"),
    "a.traj": (b"- of Ulm", "can execute code"),
    "pickled.cif": (pickle.dumps({"a": 1}), "can execute code"),
    "a.cif.gz": (b"\x1f\x8b\x08", "compressed"),
    "zipped.xyz": (b"PK\x03\x04rest", "compressed"),
    "a.npy": (b"\x93NUMPY", "can execute code"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused_by_their_cause_and_the_rest_is_read(tmp_path, name):
    content, why = BAD_FILES[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    bad, good = read_structures([tmp_path / name, DEMO / "rutile.cif"])
    assert why in bad.error.why
    assert bad.source in bad.error.what
    assert good.formula == "TiO2"
    with pytest.raises(InputError):
        Crystal.read(tmp_path / name)
    with pytest.raises(InputError):
        Crystal.read_all(tmp_path / name)


def test_folders_without_structures_and_patterns_without_matches(tmp_path):
    assert "no structure file is in the folder" in next(read_structures(tmp_path)).error.why
    assert "matches no file" in next(read_structures(str(tmp_path / "*.cif"))).error.why
    assert "no regular file" in next(read_structures("/dev/null")).error.why


@pytest.mark.parametrize("thing", [5, None, PO, b"a.cif"])
def test_what_is_no_path_is_refused(tmp_path, thing):
    for items in (read_structures([thing, DEMO / "rutile.cif"]), [*read_file(thing), PO]):
        bad, good = items
        assert "it is no path" in bad.error.why
        assert isinstance(good, Crystal)
    with pytest.raises(InputError, match="it is no path"):
        Crystal.read(thing)
    with pytest.raises(InputError, match="it is no path"):
        PO.write(thing)
    if thing is not PO:
        with pytest.raises(InputError, match="it is an object of type"):
            write_structures(tmp_path / "a.cif", [thing])


def test_large_files(tmp_path, monkeypatch):
    monkeypatch.setattr(structures, "LARGEST_TEXT", 1000)
    path = write_structures(tmp_path / "large.cif", [PO] * 10)
    with pytest.raises(InputError, match="may have 0 MB"):
        Crystal.read(path)
    path = write_structures(tmp_path / "large.xyz", [PO] * 100)
    assert sum(isinstance(item, Crystal) for item in read_structures(path)) == 100


def test_a_hundred_megabytes_of_nothing(tmp_path):
    path = tmp_path / "large.cif"
    with path.open("wb") as stream:
        stream.write(b"data_x\n")
        stream.truncate(100_000_000)
    assert "binary" in next(read_file(path)).error.why
    with path.open("r+b") as stream:
        stream.write(b"data_x\n" + b"# filling\n" * 2000)
    assert "100 MB; a cif file may have 50 MB" in next(read_file(path)).error.why


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = PO.write(tmp_path / "a.cif")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert next(read_file(path)).error.why == "Permission denied"


def test_warnings_of_parsers_become_notes(monkeypatch):
    import warnings

    def make():
        warnings.warn("odd but fine", stacklevel=1)
        return PO

    assert structures.attempt("x", make).notes == ("odd but fine",)


def test_nothing_heavy_is_imported_for_a_cif():
    code = (
        "import sys; from debye.crystals.structure.crystal import Crystal; Crystal.read(sys.argv[1]);"
        "print(sorted({'ase.io', 'pymatgen', 'scipy', 'torch', 'ase.db'} & set(sys.modules)))"
    )
    source = str(Path(structures.__file__).parents[3])
    run = subprocess.run(
        [sys.executable, "-c", code, str(DEMO / "quartz.cif")],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": source, "PATH": ""},
    )  # fmt: skip
    assert run.stdout.strip() == "[]"


# The shipped structures, and the real collection.


def test_the_demo_structures():
    crystals = list(read_structures(DEMO))
    assert all(isinstance(crystal, Crystal) and crystal.notes == () for crystal in crystals)
    formulas = {(Path(c.source).name, c.formula) for c in crystals}
    assert formulas >= {
        ("binaries.extxyz[0]", "MgO"), ("binaries.extxyz[1]", "GaAs"), ("binaries.extxyz[2]", "CsCl"),
        ("mg3sb1.5bi0.5.cif", "Mg3Bi0.5Sb1.5"), ("quartz.cif", "SiO2"), ("rock_salt.cif", "NaCl"),
        ("rutile.cif", "TiO2"), ("silicon.vasp", "Si")}  # fmt: skip


def petretto():
    """The rows of the shared table, whose cells are longer than the module's limit."""
    limit = csv.field_size_limit(10**8)
    try:
        with PETRETTO.open(newline="") as stream:
            return list(csv.DictReader(stream))
    finally:
        csv.field_size_limit(limit)


@pytest.mark.skipif(
    not PETRETTO.exists(), reason="the shared Petretto data are not beside the repo"
)
def test_real_structures_survive_every_format(tmp_path):
    rows = [(row["mp_id"], ast.literal_eval(row["structure"])) for row in petretto()]
    crystals = [Crystal.from_dict(data, name=name) for name, data in rows]
    assert all(crystal.notes == () for crystal in crystals)
    for suffix in ("cif", "extxyz", "json"):
        path = write_structures(tmp_path / f"all.{suffix}", crystals)
        back = list(read_structures(path))
        assert len(back) == len(crystals)
        for a, b in zip(crystals, back, strict=True):
            same(a, b, fixed=suffix != "cif")
            assert (b.name, b.notes) == (a.name, ())
    for crystal in crystals[::10]:
        same(crystal, Crystal.read(crystal.write(tmp_path / "POSCAR")))


@pytest.mark.skipif(
    not PETRETTO.exists(), reason="the shared Petretto data are not beside the repo"
)
@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")  # spglib's own
@pytest.mark.parametrize("listed", [True, False], ids=["operations listed", "space group by name"])
def test_symmetrised_cifs_hold_the_same_crystal(tmp_path, listed):
    """pymatgen and spglib find the symmetry and write the asymmetric unit of real crystals."""
    core = pytest.importorskip("pymatgen.core", reason="pymatgen is an extra")
    writer = pytest.importorskip("pymatgen.io.cif").CifWriter
    rows = [ast.literal_eval(row["structure"]) for row in petretto()[::25]]
    for original in map(Crystal.from_dict, rows):
        text = str(writer(core.Structure.from_dict(original.to_dict()), symprec=0.01))
        if not listed:
            text = re.sub(r"loop_\n _symmetry_equiv_pos_site_id\n.*\n(\s+\d+\s+'.*'\n)+", "", text)
            assert "x, y, z" not in text
        crystal = read_text(tmp_path, text)
        assert crystal.formula == original.formula
        assert crystal.volume / crystal.n_atoms == pytest.approx(
            original.volume / original.n_atoms, rel=1e-3
        )
        assert not [note for note in crystal.notes if "left open" not in note]


# Fuzz: whatever the bytes, a Crystal or a FailedInput.

FUZZ = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NAMES = ["a.cif", "a.xyz", "POSCAR", "a.json", "a.jsonl", "a.db", "a.txt"]
SEEDS = {
    "a.cif": [(DEMO / name).read_bytes() for name in ("quartz.cif", "mg3sb1.5bi0.5.cif", "rutile.cif")],
    "a.xyz": [(DEMO / "binaries.extxyz").read_bytes()],
    "POSCAR": [(DEMO / "silicon.vasp").read_bytes(), POSCAR.format(scale=1, species="Na Cl", mode="C", second="2 2 2").encode()],
    "a.json": [json.dumps([SIGE.to_dict(), {"numbers": [84], "positions": [[0, 0, 0]], "cell": [[3, 0, 0], [0, 3, 0], [0, 0, 3]]}]).encode()],
}  # fmt: skip


def survives(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    for item in read_structures(tmp_path / name):
        assert isinstance(item, Crystal | FailedInput)
        if isinstance(item, Crystal):
            assert np.isfinite(item.positions).all()
            assert item.formula
        else:
            assert item.error.why


@FUZZ
@given(st.sampled_from(NAMES), st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_random_bytes(tmp_path, name, content):
    survives(tmp_path, name, content)


@FUZZ
@given(st.sampled_from(sorted(SEEDS)), st.data())
def test_truncated_files(tmp_path, name, data):
    content = data.draw(st.sampled_from(SEEDS[name]))
    survives(tmp_path, name, content[: data.draw(st.integers(0, len(content)))])


@settings(FUZZ, max_examples=300)
@given(st.sampled_from(sorted(SEEDS)), st.data())
def test_mutated_files(tmp_path, name, data):
    """Words of a good file replaced by others, by numbers of every size, or by noise."""
    content = data.draw(st.sampled_from(SEEDS[name])).decode()
    words = content.split(" ")
    noise = ["-1", "0", "1e308", "-1e400", "nan", "inf", "?", ".", "'", '"', ";", "\n", "loop_", "data_",
             "1" * 400, "Xx", "D", "Vac", "{", "]", "null", "-x,y", "0.5", "\u00e9", "\u0660", "\t"]  # fmt: skip
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(words) - 1))
        words[place] = data.draw(st.sampled_from(noise) | st.text(max_size=5))
    survives(tmp_path, name, " ".join(words).encode("utf-8", "surrogatepass"))
