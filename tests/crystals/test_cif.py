"""CIF: what a file says twice is held against each other, and what contradicts what is told."""

# ruff: noqa: E501 - tables of cases, one a line

import gemmi
import numpy as np
import pytest
from cases import CASES, needs_cases

from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.operations import MOST_OPERATIONS, symmetry_of
from debye.crystals.structure.settings import setting, settings
from debye.crystals.structure.symmetry import group_number
from debye.errors import InputError

TABLE = list(gemmi.spacegroup_table())
NACL = "5.64 5.64 5.64 90 90 90"
SALT = ("Na1 Na 0 0 0 1", "Cl1 Cl .5 .5 .5 1")
FM3M = "_symmetry_space_group_name_H-M 'F m -3 m'"


def cif(
    *items, cell=NACL, sites=SALT, operations=(), columns="label type_symbol fract_x fract_y fract_z occupancy"
):  # fmt: skip
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = ["data_test", *items]
    lines += [f"_cell_{name} {value}" for name, value in zip(names, cell.split(), strict=True)]
    if operations:
        lines += ["loop_", "_symmetry_equiv_pos_as_xyz", *(f"'{text}'" for text in operations)]
    lines += ["loop_", *(f"_atom_site_{column}" for column in columns.split()), *sites]
    return "\n".join(lines) + "\n"


def read(tmp_path, text):
    path = tmp_path / "test.cif"
    path.write_text(text)
    return Crystal.read(path)


def triplets(name):
    return [op.triplet() for op in gemmi.find_spacegroup_by_name(name).operations()]


# The shared cases, each with its right value.


@needs_cases
@pytest.mark.parametrize(
    ("name", "formula", "n_sites", "told"),
    [
        ("diamond-code1.cif", "Si", 8, []),
        ("spinel-code1.cif", "Al2ZnO4", 56, []),
        ("spinel-code2.cif", "Al2ZnO4", 56, []),
        ("magnetic.mcif", "MnF2", 6, []),
        ("magnetic-with-formula.cif", "MnF2", 6, []),
        ("symop-list-incomplete.cif", "NaCl", 8, ["lists 1 of the 192 operations of F m -3 m"]),
        ("centring-missing.cif", "NaCl", 8, ["lists 4 of the 192 operations of F m -3 m"]),
        ("number-only.cif", "NaCl", 8, ["standard setting", "lists 1 of the 192"]),
        ("dotted-names.cif", "MgO", 8, []),
        ("t-formula.cif", "SiO2", 3, ["T1 is read as Si"]),
        ("ho-noformula.cif", "NaHO", 3, ["HO1 is read as H"]),
    ],
)
def test_the_shared_cases(name, formula, n_sites, told):
    crystal = Crystal.read(CASES / "cif" / name)
    assert (crystal.formula, crystal.n_sites) == (formula, n_sites)
    assert len(crystal.notes) == len(told)
    assert all(text in note for text, note in zip(told, crystal.notes, strict=True))


@needs_cases
@pytest.mark.parametrize("name", ["cell1e-9.cif", "angle0.001.cif"])
def test_a_cell_of_no_volume_is_refused_before_its_atoms_are_sought(name):
    with pytest.raises(InputError, match="its cell has a volume of"):
        Crystal.read(CASES / "hostile" / name)


# Operations.


def test_operations_are_those_of_gemmi():
    for group in TABLE:
        ours = symmetry_of("", [op.triplet() for op in group.operations()])
        assert ours.same_as(setting(group))
        assert ours.is_group
        assert group_number(ours) == group.number  # spglib's tables, whatever the setting


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (" X, 1/2 + Y, -Z ", "x,y+1/2,-z"),
        ("x,.5+y,-z", "x,y+1/2,-z"),
        ("-y+0.3333,x-y,z+.66667", "-y+1/3,x-y,z+2/3"),
        ("x,y,z,-1", "x,y,z"),
        ("-x1,x2+1/2,-x3,x4+1/2,+1", "-x,y+1/2,-z"),
    ],
)
def test_operations_as_files_spell_them(text, plain):
    assert symmetry_of("", [text]).same_as(symmetry_of("", [plain]))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x,y",
        "x,y,",
        "x,y,1/2",
        "x,y,z/0",
        "x y,z,w",
        "x,,z",
        "x,y,1/0+z",
        "xx,y,z",
        "x,y,z+" + "1" * 400,
    ],
)
def test_what_is_no_operation_is_refused(tmp_path, text):
    with pytest.raises(InputError, match="operation cannot be read"):
        symmetry_of("", [text])


def test_the_same_operation_a_million_times_is_one(tmp_path):
    many = cif(operations=["x,y,z"] * 1_000_000, sites=SALT)
    assert read(tmp_path, many).n_sites == 2
    apart = [f"x+{i}/719,y,z" for i in range(100 * MOST_OPERATIONS + 1)]
    with pytest.raises(InputError, match="different texts"):
        read(tmp_path, cif(operations=apart))


def test_too_many_images_are_refused(tmp_path):
    sites = [f"Si{i} Si 0 0 {i / 3000} 1" for i in range(3000)]
    with pytest.raises(InputError, match="3000 atoms under 192 operations"):
        read(tmp_path, cif(FM3M, sites=sites, cell="99 99 99 90 90 90"))
    with pytest.raises(InputError, match="300000 atoms under 1 operations"):
        read(tmp_path, cif(sites=sites[:1] * 300_000, cell="99 99 99 90 90 90"))


def test_operations_generate_the_group_that_a_list_lacks():
    whole = symmetry_of("", triplets("P 42/m n m"))
    assert symmetry_of("", ["-y+1/2,x+1/2,z+1/2", "x,y,-z", "y,x,-z"]).generated().same_as(whole)
    assert symmetry_of("", ["-y,x,z", "x+1/719,y,z"]).generated() is None


# Settings: symbol, number, code.

CELLS = {
    "triclinic": "20 24 28 80 85 95", "monoclinic": "20 24 28 90 90 90", "orthorhombic": "20 24 28 90 90 90",
    "tetragonal": "20 20 28 90 90 90", "trigonal": "20 20 28 90 90 120", "hexagonal": "20 20 28 90 90 120",
    "cubic": "36 36 36 90 90 90",
}  # fmt: skip


@pytest.mark.parametrize("listed", [(), ("x,y,z",)], ids=["no list", "identity alone"])
def test_every_setting_of_gemmi_by_its_symbol(tmp_path, listed):
    for group in TABLE[::9]:
        cell = "20 20 20 80 80 80" if group.ext == "R" else CELLS[group.crystal_system_str()]
        text = cif(f"_space_group_name_H-M_alt '{group.xhm()}'", cell=cell,
                   sites=["Si1 Si .13 .07 .19 1"], operations=listed)  # fmt: skip
        crystal = read(tmp_path, text)
        images = [op.apply_to_xyz([0.13, 0.07, 0.19]) for op in group.operations()]
        apart = crystal.fractional[:, None] - np.array(images)
        apart -= np.round(apart)
        assert crystal.n_sites == len(images), group.xhm()
        assert np.abs(apart).max(-1).min(1).max() < 1e-9, group.xhm()


@pytest.mark.parametrize(
    ("symbol", "number", "code", "name"),
    [
        ("F d -3 m", "", "1", "F d -3 m:1"),
        ("F d -3 m", "227", "2", "F d -3 m:2"),
        ("F d -3 m S", "", "", "F d -3 m:1"),
        ("Fd-3mZ", "", "", "F d -3 m:2"),
        ("F 41/d -3 2/m :2", "", "", "F d -3 m:2"),
        ("F d 3 m", "", "1", "F d -3 m:1"),
        ("P 42/n m c", "137", "1", "P 42/n m c:1"),
        ("", "14", "b2", "P 1 21/n 1"),
        ("", "14", "-b1", "P 1 21/c 1"),
        ("", "3", "b1", "P 1 2 1"),
        ("", "62", "cab", "P b n m"),
        ("", "50", "2cab", "P n c b:2"),
        ("P2_1/c", "", "", "P 1 21/c 1"),
        ("P2(1)/c", "14", "", "P 1 21/c 1"),
        ("P 21/n 21/m 21/a", "", "", "P n m a"),
        ("F m -3 m (225)", "", "", "F m -3 m"),
        ("P 63/m m c", "194", "1", "P 63/m m c"),
    ],
)  # fmt: skip
def test_settings_by_symbol_number_and_code(symbol, number, code, name):
    cell = np.diag([5.0, 5.0, 5.0])
    assert settings(symbol, number, code, cell, [])[0].name == name


@pytest.mark.parametrize(
    ("symbol", "code", "cell", "n_sites", "told"),
    [
        ("R -3 m", "", "4.546 4.546 11.863 90 90 120", 6, ""),
        ("R -3 m", "", "4.75 4.75 4.75 57.2 57.2 57.2", 2, ""),
        ("R -3 m :R", "", "4.546 4.546 11.863 90 90 120", 6, "does not fit R -3 m:R"),
        ("R -3 m :H", "", "4.75 4.75 4.75 57.2 57.2 57.2", 2, "does not fit R -3 m:H"),
        ("R -3 m", "r", "4.546 4.546 11.863 90 90 120", 6, "does not fit R -3 m:R"),
        ("R -3 m H", "", "4.546 4.546 11.863 90 90 120", 6, ""),
    ],
)
def test_the_cell_decides_between_axes(tmp_path, symbol, code, cell, n_sites, told):
    z = ".23389 .23389 .23389" if cell.startswith("4.75") else "0 0 .23389"
    extra = [f"_space_group_IT_coordinate_system_code {code}"] if code else []
    text = cif(f"_space_group_name_H-M_alt '{symbol}'", *extra, cell=cell, sites=[f"Bi1 Bi {z} 1"])
    crystal = read(tmp_path, text)
    assert crystal.n_sites == n_sites
    assert [told in note for note in crystal.notes] == ([True] if told else [])


# What contradicts what.


@pytest.mark.parametrize("extra", ["", "_symmetry_Int_Tables_number 225"])
@pytest.mark.parametrize("kept", [1, 2, 24, 48, 96])
def test_a_list_that_lacks_operations_of_its_symbol(tmp_path, extra, kept):
    listed = triplets("F m -3 m")[:kept]
    crystal = read(tmp_path, cif(FM3M, extra, operations=listed))
    assert (crystal.formula, crystal.n_sites) == ("NaCl", 8)
    assert f"lists {kept} of the 192 operations of F m -3 m: read with all" in crystal.notes[0]


def test_a_whole_list_is_read_without_a_word(tmp_path):
    whole = cif(FM3M, "_symmetry_Int_Tables_number 225", operations=triplets("F m -3 m"))
    assert (read(tmp_path, whole).n_sites, read(tmp_path, whole).notes) == (8, ())


FCC = ("0 0 0", "0 .5 .5", ".5 0 .5", ".5 .5 0")


def test_atoms_that_are_all_listed_stay_as_they_are(tmp_path):
    sites = [f"Na{i} Na {at} 1" for i, at in enumerate(FCC)]
    crystal = read(tmp_path, cif(FM3M, sites=sites, operations=["x,y,z"]))
    assert (crystal.formula, crystal.n_sites) == ("Na", 4)
    ordered = [f"Cu1 Cu {FCC[0]} 1", *(f"Au{i} Au {at} 1" for i, at in enumerate(FCC[1:]))]
    crystal = read(tmp_path, cif(FM3M, sites=ordered, operations=["x,y,z"]))
    assert (crystal.formula, crystal.n_sites) == ("CuAu3", 4)  # not in F m -3 m any more
    assert "read as listed" in crystal.notes[0]


def test_atoms_that_are_all_listed_about_another_origin_stay_as_they_are(tmp_path):
    rutile = read(tmp_path, cif("_space_group_name_H-M_alt 'P 42/m n m'", cell="4.594 4.594 2.959 90 90 90",
                                sites=["Ti1 Ti 0 0 0 1", "O1 O .3048 .3048 0 1"]))  # fmt: skip
    moved = rutile.fractional + np.array([0.1, 0.23, 0.31])
    sites = [f"{next(iter(s))}{i} {next(iter(s))} {x} {y} {z} 1"
             for i, (s, (x, y, z)) in enumerate(zip(rutile.species, moved, strict=True))]  # fmt: skip
    text = cif("_space_group_name_H-M_alt 'P 42/m n m'", cell="4.594 4.594 2.959 90 90 90",
               sites=sites, operations=["x,y,z"])  # fmt: skip
    crystal = read(tmp_path, text)
    assert crystal.n_sites == 6
    assert "of P 42/m n m: read as listed" in crystal.notes[0]


def test_a_primitive_cell_under_the_symbol_of_its_group(tmp_path):
    text = cif(FM3M, cell="3.988 3.988 3.988 60 60 60", operations=["x,y,z"])
    assert read(tmp_path, text).n_sites == 2


@pytest.mark.parametrize(
    ("extra", "n_sites"),
    [
        ("_chemical_formula_sum 'Cl Na'\n_cell_formula_units_Z 4", 8),
        ("_chemical_formula_sum 'Cl Na'\n_cell_formula_units_Z 1", 2),
        ("_exptl_crystal_density_diffrn 2.163", 8),
        ("_exptl_crystal_density_diffrn 0.541", 2),
    ],
)
def test_formula_and_density_decide_which_is_right(tmp_path, extra, n_sites):
    crystal = read(tmp_path, cif(FM3M, extra, operations=["x,y,z"]))
    assert crystal.n_sites == n_sites
    assert len(crystal.notes) == 1


def test_multiplicities_are_held_against_the_operations(tmp_path):
    columns = "label type_symbol fract_x fract_y fract_z site_symmetry_multiplicity"
    sites = ("Na1 Na 0 0 0 4", "Cl1 Cl .5 .5 .5 4")
    alone = read(tmp_path, cif(sites=sites, columns=columns, operations=["x,y,z"]))
    assert "makes 1 atoms of Na1" in alone.notes[0]
    assert read(tmp_path, cif(FM3M, sites=sites, columns=columns)).notes == ()
    order = ("Na1 Na 0 0 0 48", "Cl1 Cl .5 .5 .5 48")  # as SHELX counts
    assert read(tmp_path, cif(FM3M, sites=order, columns=columns)).notes == ()
    wrong = ("Na1 Na 0 0 0 8", "Cl1 Cl .5 .5 .5 4")
    assert "says 8" in read(tmp_path, cif(FM3M, sites=wrong, columns=columns)).notes[0]


def test_operations_of_another_group_than_the_symbol(tmp_path):
    listed = triplets("P 1 21/c 1")
    text = cif("_symmetry_space_group_name_H-M 'P 63/m m c'", operations=listed,
               sites=["Si1 Si .1 .2 .3 1"], cell="5 6 7 90 100 90")  # fmt: skip
    assert read(tmp_path, text).n_sites == 4
    same_cell = text.replace("7\n_cell_angle_alpha", "7\n_cell_angle_alpha").replace(
        "P 63/m m c", "P 1 2/m 1"
    )
    crystal = read(tmp_path, same_cell)
    assert crystal.n_sites == 4
    assert (
        "those of space group 14, not of P 1 2/m 1 (10): read with the operations"
        in crystal.notes[0]
    )
    number = "_symmetry_Int_Tables_number 14"
    symbol = "_symmetry_space_group_name_H-M 'P 63/m m c'"
    assert read(tmp_path, text.replace(symbol, number)).notes == ()
    in_n = cif(
        number,
        operations=triplets("P 1 21/n 1"),
        sites=["Si1 Si .1 .2 .3 1"],
        cell="5 6 7 90 100 90",
    )
    assert read(tmp_path, in_n).notes == ()
    other = read(tmp_path, text.replace("P 63/m m c", "P 21/n"))
    assert "another setting than P 1 21/n 1: read with the operations" in other.notes[0]


def test_operations_that_form_no_group_are_told(tmp_path):
    listed = triplets("P 42/m n m")[:-3]
    rutile = ("Ti1 Ti 0 0 0 1", "O1 O .3048 .3048 0 1")
    text = cif(operations=listed, sites=rutile, cell="4.594 4.594 2.959 90 90 90")
    crystal = read(tmp_path, text)
    assert (crystal.formula, crystal.n_sites) == ("TiO2", 6)
    assert "its 13 operations form no group" in crystal.notes[0]


def test_symbol_and_number_that_contradict_each_other(tmp_path):
    crystal = read(tmp_path, cif(FM3M, "_symmetry_Int_Tables_number 221"))
    assert (crystal.n_sites, len(crystal.notes)) == (8, 1)
    assert "its symbol F m -3 m is that of space group 225, its number says 221" in crystal.notes[0]
    unknown = read(
        tmp_path, cif("_symmetry_space_group_name_H-M 'F cubic'", "_symmetry_Int_Tables_number 225")
    )
    assert unknown.n_sites == 8
    assert "'F cubic' is unknown: read by its number 225" in unknown.notes[0]


def test_the_number_alone_is_read_in_the_standard_setting_and_told(tmp_path):
    crystal = read(tmp_path, cif("_space_group_IT_number 225"))
    assert crystal.n_sites == 8
    assert crystal.notes == (
        "only the number of its space group is given: its standard setting, F m -3 m, is assumed",)  # fmt: skip


def test_a_hall_symbol_leaves_nothing_open(tmp_path):
    hall = "_space_group_name_Hall 'F 4d 2 3 -1d'"  # International Tables B, F d -3 m :1
    silicon = {"sites": ["Si1 Si 0 0 0 1"], "cell": "5.43 5.43 5.43 90 90 90"}
    both = read(tmp_path, cif("_space_group_name_H-M_alt 'F d -3 m'", hall, **silicon))
    assert (both.n_sites, both.notes) == (8, ())
    assert read(tmp_path, cif(hall, **silicon)).n_sites == 8
    odd = read(tmp_path, cif(hall.replace("F 4d", "I 4d"), FM3M, **silicon))
    assert "Hall symbol" in odd.notes[0]


def test_a_code_that_names_no_setting_is_told(tmp_path):
    code = "_space_group_IT_coordinate_system_code {}"
    assert "code 'b2' names no setting" in read(tmp_path, cif(FM3M, code.format("b2"))).notes[0]
    assert read(tmp_path, cif(FM3M, code.format("1"))).notes == ()


def test_a_volume_that_is_not_the_cells_is_told(tmp_path):
    assert (
        "its _cell_volume says 44.8" in read(tmp_path, cif(FM3M, "_cell_volume 44.8(1)")).notes[0]
    )
    assert read(tmp_path, cif(FM3M, "_cell_volume 179.41")).notes == ()


# Magnetic and modulated structures.


@pytest.mark.parametrize("dot", [".", "_"])
@pytest.mark.parametrize("time", ["+1", "-1", "1"])
def test_magnetic_operations_and_centrings(tmp_path, dot, time):
    loops = (
        "_parent_space_group.name_H-M_alt 'F m -3 m'\n_parent_space_group.IT_number 225\n"
        f"loop_\n_space_group_symop_magn_operation{dot}id\n_space_group_symop_magn_operation{dot}xyz\n"
        f"1 x,y,z,+1\n2 -x,-y,-z,{time}\n"
        f"loop_\n_space_group_symop_magn_centering{dot}id\n_space_group_symop_magn_centering{dot}xyz\n"
        f"1 x,y,z,+1\n2 x+1/2,y+1/2,z+1/2,{time}\n"
    )
    sites = ["Mn1 Mn 0 0 0 1", "F1 F .305 .305 0 1"]
    crystal = read(tmp_path, cif(loops, sites=sites, cell="4.87 4.87 3.31 90 90 90"))
    assert (crystal.formula, crystal.n_sites, crystal.notes) == ("MnF2", 6, ())


def test_a_magnetic_group_without_operations_is_told(tmp_path):
    crystal = read(tmp_path, cif("_space_group_magn.name_BNS \"Im'm'm\""))
    assert crystal.notes == (
        "the operations of its magnetic space group Im'm'm are not listed: read as P 1",)  # fmt: skip


def test_a_modulated_structure_is_told(tmp_path):
    ssg = "loop_\n_space_group_symop_ssg_operation_algebraic\nx1,x2,x3,x4\n-x1,-x2,-x3,-x4+1/2\n"
    crystal = read(tmp_path, cif("_cell_modulation_dimension 1", ssg, sites=["Si1 Si .1 .2 .3 1"]))
    assert crystal.n_sites == 2
    assert crystal.notes == ("it is a modulated structure: its average structure is read",)
