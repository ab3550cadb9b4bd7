"""The Crystal type: what it refuses, what it counts, and alloys between two of them."""

# ruff: noqa: E501 - tables of cases, one a line

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from debye.crystals.structure.alloy import interpolate
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.elements import (
    ATOMIC_NUMBERS,
    MASSES,
    SYMBOLS,
    descriptors,
    electronegativity,
    periodic_position,
)
from debye.crystals.structure.symmetry import operations_of, primitive
from debye.crystals.structure.validate import close_pairs
from debye.errors import ComputationError, InputError

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def salt(a=5.64, species=("Na", "Cl"), **fields):
    return Crystal(
        list(species), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]) @ (a * FCC), a * FCC, **fields
    )


def trigonal(anion, a, c, z):
    cell = np.array([[a, 0, 0], [-a / 2, a * 3**0.5 / 2, 0], [0, 0, c]])
    fractional = [
        [0, 0, 0],
        [1 / 3, 2 / 3, 0.634],
        [2 / 3, 1 / 3, 0.366],
        [1 / 3, 2 / 3, z],
        [2 / 3, 1 / 3, -z],
    ]
    return Crystal(["Mg", "Mg", "Mg", anion, anion], fractional @ cell, cell)


# What it knows of itself.


def test_counts_and_masses_of_an_ordered_crystal():
    crystal = salt()
    assert crystal.formula == "NaCl"
    assert (crystal.n_sites, crystal.n_atoms, crystal.elements) == (2, 2.0, ("Na", "Cl"))
    assert crystal.volume == pytest.approx(5.64**3 / 4)
    assert crystal.masses == pytest.approx([22.990, 35.45], abs=1e-3)
    assert crystal.mass == pytest.approx(58.44, abs=1e-2)
    assert crystal.is_ordered
    assert crystal.notes == ()


def test_mixed_and_vacant_sites():
    crystal = salt(species=({"Na": 0.5, "K": 0.25}, "Cl"))
    assert crystal.formula == "K0.25Na0.5Cl"
    assert crystal.n_atoms == pytest.approx(1.75)
    assert crystal.masses[0] == pytest.approx((0.5 * MASSES["Na"] + 0.25 * MASSES["K"]) / 0.75)
    assert crystal.mass == pytest.approx(0.5 * MASSES["Na"] + 0.25 * MASSES["K"] + MASSES["Cl"])
    assert not crystal.is_ordered
    assert crystal.notes == ("occupancies that sum below 1 are taken as vacancies",)
    with pytest.raises(InputError, match="mixed or partly vacant"):
        crystal.to_atoms()


@pytest.mark.parametrize(
    ("species", "formula"),
    [
        ([{"Si": 0.5, "Ge": 0.5}] * 8, "Si0.5Ge0.5"),
        ([{"La": 0.7, "Sr": 0.3}, "Mn", "O", "O", "O"] * 2, "Sr0.3La0.7MnO3"),
        (["Mg"] * 6 + [{"Sb": 0.75, "Bi": 0.25}] * 4, "Mg3Bi0.5Sb1.5"),
        (["Si"] * 3 + ["O"] * 6, "SiO2"),
        (["O"], "O"),
        (["N", "H", "H", "H", "H", "Cl"], "H4NCl"),
    ],
)
def test_formula_is_of_the_formula_unit(species, formula):
    cell = 4.0 * len(species) * np.eye(3)
    crystal = Crystal(species, np.arange(len(species))[:, None] * [3.0, 0, 0], cell)
    assert crystal.formula == formula
    assert crystal.supercell(2).formula == formula


def test_isotopes_are_hydrogen_with_their_own_mass():
    crystal = salt(species=("Li", "D"))
    assert crystal.masses[1] == pytest.approx(2.014, abs=1e-3)
    assert crystal.notes == ("D is treated as H chemically, with its own mass of 2.014 u",)
    atoms = crystal.to_atoms()
    assert list(atoms.symbols) == ["Li", "H"]
    assert Crystal.from_atoms(atoms).elements == ("Li", "D")
    assert ATOMIC_NUMBERS["D"] == ATOMIC_NUMBERS["T"] == 1


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2))
def test_supercell_repeats_everything(i, j, k):
    crystal = trigonal("Sb", 4.57, 7.23, 0.228)
    large = crystal.supercell((i, j, k))
    assert large.n_sites == i * j * k * crystal.n_sites
    assert large.volume == pytest.approx(i * j * k * crystal.volume)
    assert large.formula == crystal.formula
    back = large.positions @ np.linalg.inv(crystal.cell)
    home = np.tile(crystal.fractional, (i * j * k, 1))
    assert np.abs(back - home - np.round(back - home)).max() < 1e-9


@pytest.mark.parametrize("n", [0, (1, 2), (1, 1, -1), 1.5, (1.0, 1, 1), "222", None, np.eye(3)])
def test_supercell_refuses_nonsense(n):
    with pytest.raises(InputError, match="three whole numbers"):
        salt().supercell(n)
    with pytest.raises(InputError, match="three whole numbers"):
        salt() * n


@pytest.mark.parametrize("n", [2, np.int64(2), (2, 1, 1), [1, 2, 1], np.array([1, 1, 3])])
def test_a_crystal_times_a_number_is_its_supercell(n):
    assert salt() * n == n * salt() == salt().supercell(n)
    assert (salt() * n).n_sites == 2 * np.prod(np.broadcast_to(n, 3))


def test_crystals_are_equal_by_value():
    a, b = salt(name="a", source="here"), salt(name="b")
    assert a == b
    assert hash(a) == hash(b)
    assert {a: 1}[b] == 1
    mixed = [{"Na": 0.5, "K": 0.5}, "Cl"]
    turned = [{"K": 0.5, "Na": 0.5}, "Cl"]
    assert salt(species=mixed) == salt(species=turned)
    assert hash(salt(species=mixed)) == hash(salt(species=turned))
    for other in (
        salt(a=5.65), salt(species=("Na", "Br")), salt(species=mixed), salt() * (1, 1, 2), "NaCl", None,
    ):  # fmt: skip
        assert a != other
    signed = Crystal(["Po"], [[-0.0, 0, 0]], 3.36 * np.eye(3))
    unsigned = Crystal(["Po"], [[0.0, 0, 0]], 3.36 * np.eye(3))
    assert signed == unsigned
    assert len({signed, unsigned}) == 1


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_copies_are_equal_and_frozen_too(again):
    crystal = salt(name="rock salt", source="here", species=({"Na": 0.5}, "D"))
    twin = again(crystal)
    assert twin == crystal
    assert (twin.name, twin.source, twin.notes) == (crystal.name, crystal.source, crystal.notes)
    for array in (twin.positions, twin.cell):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1.0


def test_it_says_what_it_is_on_one_line():
    assert repr(salt()) == "Crystal(NaCl, 2 sites)"
    assert repr(salt(name="NaCl")) == "Crystal(NaCl, 2 sites)"
    assert repr(salt(name="rock\n salt")) == "Crystal(NaCl, 2 sites, rock salt)"
    assert len(repr(salt(name="x" * 1000))) < 100
    assert "NaCl" in salt()._repr_html_()


def test_it_is_frozen_and_can_be_sent_to_another_process():
    crystal = salt(name="rock salt", source="here")
    with pytest.raises(ValueError, match="read-only"):
        crystal.positions[0, 0] = 1.0
    there = pickle.loads(pickle.dumps(crystal))
    assert (there.name, there.source, there.species) == ("rock salt", "here", crystal.species)


def test_left_handed_cells_are_fine():
    crystal = salt()
    mirrored = Crystal(crystal.species, crystal.positions, crystal.cell[[1, 0, 2]])
    assert mirrored.volume == pytest.approx(crystal.volume)


# What it refuses.

BAD = {
    "no atoms": ([], np.zeros((0, 3)), np.eye(3)),
    "NaN or infinity": (["Si"], [[np.nan, 0, 0]], 3 * np.eye(3)),
    "NaN or infinity in its cell": (["Si"], [[0, 0, 0]], np.full((3, 3), np.inf)),
    "no cell": (["Si"], [[0, 0, 0]], np.zeros((3, 3))),
    "volume of 0 Å³": (["Si"], [[0, 0, 0]], [[3, 0, 0], [0, 3, 0], [3, 3, 0]]),
    "volume of 0.125 Å³ for 1 atoms": (["Si"], [[0, 0, 0]], 0.5 * np.eye(3)),
    "two faces of its cell are 0.001 Å apart": (["Si"], [[0, 0, 0]], [[9, 0, 0], [0, 9, 0], [0, 9000, 1]]),
    "shape \\(1, 2\\), not \\(1, 3\\)": (["Si"], [[0, 0]], 3 * np.eye(3)),
    "no table of numbers": (["Si"], [["a", 0, 0]], 3 * np.eye(3)),
    "have shape \\(2, 3\\), not \\(3, 3\\)": (["Si"], [[0, 0, 0]], np.ones((2, 3))),
    "unknown species 'X' on site 0": (["X"], [[0, 0, 0]], 3 * np.eye(3)),
    "unknown species 'Vac' on site 0": ([{"Si": 0.5, "Vac": 0.5}], [[0, 0, 0]], 3 * np.eye(3)),
    "occupancy of Si on site 0 is -0.5": ([{"Si": -0.5}], [[0, 0, 0]], 3 * np.eye(3)),
    "occupancy of Si on site 0 is nan": ([{"Si": np.nan}], [[0, 0, 0]], 3 * np.eye(3)),
    "sum to 1.2: 0.7 Si \\+ 0.5 Ge": ([{"Si": 0.7, "Ge": 0.5}], [[0, 0, 0]], 3 * np.eye(3)),
    "sum to 0: nothing": ([{}], [[0, 0, 0]], 3 * np.eye(3)),
    "one site's species": ("Si", [[0, 0, 0]], 3 * np.eye(3)),
    "atoms 0 \\(1 Si\\) and 1 \\(1 Si\\) overlap: 0.200 Å": (
        ["Si", "Si"], [[0.1, 0, 0], [3.9, 0, 0]], 4 * np.eye(3)),
    "atoms 0 \\(1 Si\\) and 0 \\(1 Si\\) overlap: 0.400 Å": (
        ["Si"], [[0, 0, 0]], [[0.4, 0, 0], [0, 9, 0], [0, 0, 9]]),
    "its species are an object of type int": (5, [[0, 0, 0]], 3 * np.eye(3)),
    "the species of site 0 is an object of type int": ([14], [[0, 0, 0]], 3 * np.eye(3)),
    "the occupancy of Si on site 0 is half": ([{"Si": "half"}], [[0, 0, 0]], 3 * np.eye(3)),
    "the occupancy of Si on site 0 is None": ([{"Si": None}], [[0, 0, 0]], 3 * np.eye(3)),
    "positions reach 1e\\+09 Å": (["Si"], [[1e9, 0, 0]], 3 * np.eye(3)),
}  # fmt: skip


@pytest.mark.parametrize(("text", "arguments"), BAD.items(), ids=list(BAD))
def test_bad_crystals_are_refused_by_their_cause(text, arguments):
    with pytest.raises(InputError, match=text) as caught:
        Crystal(*arguments, source="file.cif")
    assert "file.cif" in caught.value.what


def test_rounded_thirds_are_not_too_much():
    crystal = Crystal([{"Fe": 0.334, "Ni": 0.334, "Cr": 0.334}], [[0, 0, 0]], 3 * np.eye(3))
    assert crystal.n_atoms == pytest.approx(1.0, abs=1e-12)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1.5))
def test_close_pairs_against_every_image(seed, cutoff):
    """In skewed and flat cells too, where the nearest image is not the rounded one."""
    rng = np.random.default_rng(seed)
    cell = np.array([[1.5, 0, 0], [3.0, 1.5, 0], [-2.0, 2.5, 1.7]])
    positions = rng.random((3, 3)) @ cell
    images = np.array(np.meshgrid(*[range(-9, 10)] * 3)).reshape(3, -1).T @ cell
    expected = {}
    for i in range(3):
        for j in range(i, 3):
            distance = np.linalg.norm(positions[j] - positions[i] + images, axis=1)
            nearest = distance[distance > 1e-12].min() if i == j else distance.min()
            if nearest < cutoff:
                expected[i, j] = pytest.approx(nearest)
    assert {(i, j): d for i, j, d in close_pairs(positions, cell, cutoff)} == expected


def test_a_large_cell_is_checked_quickly():
    side = 17
    grid = np.array(np.meshgrid(*[range(side)] * 3)).reshape(3, -1).T * 2.5
    crystal = Crystal(["Po"] * side**3, grid, side * 2.5 * np.eye(3))
    assert crystal.n_sites == 4913


# Other libraries.


def test_atoms_there_and_back():
    crystal = trigonal("Sb", 4.57, 7.23, 0.228)
    atoms = crystal.to_atoms()
    assert atoms.pbc.all()
    back = Crystal.from_atoms(atoms)
    assert back.species == crystal.species
    assert np.array_equal(back.positions, crystal.positions)
    assert np.array_equal(back.cell, crystal.cell)


def test_atoms_mark_mixed_sites_as_ase_reads_them_from_cif():
    from ase import Atoms

    atoms = Atoms("SiC", [[0, 0, 0], [1.9, 0, 0]], cell=[4, 4, 4], pbc=True)
    atoms.info["occupancy"] = {"0": {"Si": 0.6, "Ge": 0.4}, "1": {"C": 1.0}}
    atoms.set_array("spacegroup_kinds", np.array([0, 1]))
    assert Crystal.from_atoms(atoms).species == ({"Si": 0.6, "Ge": 0.4}, {"C": 1.0})


def test_a_cell_without_periodicity_is_noted_and_a_molecule_refused():
    from ase import Atoms

    molecule = Atoms("HH", [[0, 0, 0], [0.74, 0, 0]])
    with pytest.raises(InputError, match="no cell"):
        Crystal.from_atoms(molecule)
    molecule.set_cell([5, 5, 5])
    assert Crystal.from_atoms(molecule).notes == (
        "its periodicity is switched off: treated as periodic",
    )


def test_dict_there_and_back_with_mixed_sites():
    crystal = salt(species=({"Na": 0.5, "K": 0.25}, "D"))
    back = Crystal.from_dict(crystal.to_dict())
    assert back.species == crystal.species
    assert back.positions == pytest.approx(crystal.positions)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"numbers": [14]}, "'positions' is missing"),
        ({"positions": [[0, 0, 0]]}, "'numbers' is missing"),
        ({"numbers": [14], "positions": [[0, 0, 0]]}, "no cell"),
        ({"numbers": [14], "positions": [[0, 0, 0]], "cell": None}, "no cell"),
        ({"numbers": [14], "positions": [[0, 0, 0]], "cell": [[1], [2, 3]]}, "no table of numbers"),
        ({"numbers": [0], "positions": [[0, 0, 0]], "cell": np.eye(3)}, "atomic number is 0"),
        ({"numbers": [119], "positions": [[0, 0, 0]], "cell": np.eye(3)}, "numbers are unusable"),
        ({"numbers": [10**30], "positions": [[0, 0, 0]], "cell": np.eye(3)}, "unusable"),
        ({"numbers": [1.5], "positions": [[0, 0, 0]], "cell": np.eye(3)}, "atomic number|unusable"),
        ({"numbers": "Si", "positions": [[0, 0, 0]], "cell": np.eye(3)}, "unusable"),
        ({"sites": []}, "no cell"),
        ({"sites": [], "lattice": {"matrix": np.eye(3).tolist()}}, "no atoms"),
        ({"sites": [{}], "lattice": {"matrix": np.eye(3).tolist()}}, "not a pymatgen Structure"),
        ({"sites": [{}], "lattice": {}}, "not a pymatgen Structure"),
    ],
)
def test_bad_dicts_are_refused(data, text):
    with pytest.raises(InputError, match=text):
        Crystal.from_dict(data)


def test_pymatgen_structures():
    core = pytest.importorskip("pymatgen.core", reason="pymatgen is an extra")
    structure = core.Structure(
        core.Lattice.cubic(3.9),
        [{"La3+": 0.7, "Sr2+": 0.3}, {"Mn3+": 0.5, "Mn4+": 0.5}, "O", "O", "O"],
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    )
    for crystal in (Crystal.from_pymatgen(structure), Crystal.from_dict(structure.as_dict())):
        assert crystal.formula == "Sr0.3La0.7MnO3"
        assert crystal.species[1] == {"Mn": 1.0}
    back = core.Structure.from_dict(crystal.to_dict())
    assert (
        back.composition.reduced_formula == structure.composition.remove_charges().reduced_formula
    )
    with pytest.raises(InputError, match="no cell"):
        Crystal.from_pymatgen(core.Molecule("H2", [[0, 0, 0], [0.74, 0, 0]]))
    with pytest.raises(InputError, match="unknown species 'X'"):
        Crystal.from_pymatgen(core.Structure(core.Lattice.cubic(3), ["X"], [[0, 0, 0]]))


FOREIGN = [None, 3, "NaCl", [1, 2], np.eye(3), object(), salt()]


@pytest.mark.parametrize("thing", FOREIGN, ids=lambda thing: type(thing).__name__)
@pytest.mark.parametrize(
    "take", [Crystal.from_atoms, Crystal.from_pymatgen, Crystal.from_phonopy, Crystal.from_dict]
)
def test_foreign_objects_are_refused_in_words(take, thing):
    with pytest.raises(
        InputError, match=f"it is an object of type .*{type(thing).__name__}"
    ) as caught:
        take(thing)
    assert caught.value.fix.startswith("give ")


# Alloys.


def test_alloy_ends_are_the_parents():
    a, b = trigonal("Sb", 4.57, 7.23, 0.228), trigonal("Bi", 4.67, 7.40, 0.223)
    for x, parent in ((0, a), (1, b)):
        end = interpolate(a, b, x)
        assert end.species == parent.species
        assert end.cell == pytest.approx(parent.cell)
        assert end.positions == pytest.approx(parent.positions)


@given(st.floats(0, 1))
def test_alloy_composition_and_cell_are_linear(x):
    a, b = trigonal("Sb", 4.57, 7.23, 0.228), trigonal("Bi", 4.67, 7.40, 0.223)
    alloy = interpolate(a, b, x)
    assert alloy.n_atoms == pytest.approx(5)
    assert alloy.composition.get("Bi", 0.0) == pytest.approx(2 * x)
    assert alloy.composition.get("Sb", 0.0) == pytest.approx(2 * (1 - x))
    assert alloy.composition["Mg"] == pytest.approx(3)
    assert alloy.mass == pytest.approx((1 - x) * a.mass + x * b.mass)
    assert alloy.cell == pytest.approx((1 - x) * a.cell + x * b.cell)
    assert alloy.is_ordered == (x in (0, 1)) or min(x, 1 - x) < 5e-3
    assert alloy.notes == ()


def test_alloys_of_other_libraries_objects():
    a, b = salt(), salt(species=("Na", "Br"))
    assert interpolate(a.to_atoms(), b.to_dict(), 0.5) == interpolate(a, b, 0.5)
    with pytest.raises(InputError, match="an object of type float"):
        interpolate(a, 3.5, 0.5)
    with pytest.raises(InputError, match="outside 0 to 1"):
        interpolate(a, b, "half")


def test_alloy_matches_sites_by_place_not_by_order():
    a, b = trigonal("Sb", 4.57, 7.23, 0.228), trigonal("Bi", 4.67, 7.40, 0.223)
    order = [4, 2, 0, 3, 1]
    shuffled = Crystal([b.species[i] for i in order], b.positions[order] + b.cell[1], b.cell)
    alloy, plain = interpolate(a, shuffled, 0.25), interpolate(a, b, 0.25)
    assert alloy.formula == plain.formula == "Mg3Bi0.5Sb1.5"
    assert alloy.species == plain.species
    assert alloy.positions == pytest.approx(plain.positions)


@pytest.mark.parametrize(
    ("a", "b", "x", "text"),
    [
        (salt(), trigonal("Sb", 4.57, 7.23, 0.228), 0.5, "they have 2 and 5 sites"),
        (salt(), salt(a=9.0), 0.5, "differ by more than 25 %"),
        (salt(), salt(), 1.5, "outside 0 to 1"),
        (salt(), salt(), float("nan"), "outside 0 to 1"),
        (
            salt(),
            Crystal(["Na", "Cl"], [[1.2, 1.2, 0], [4.2, 4.2, 4.2]], 5.64 * FCC),
            0.5,
            "do not match one to one",
        ),
    ],
)
def test_alloys_of_strangers_are_refused(a, b, x, text):
    with pytest.raises(InputError, match=text):
        interpolate(a, b, x)


# Symmetry, found by spglib.


CELLS = {
    "cubic": 5.64 * np.eye(3),
    "primitive": 5.64 * FCC,
    "left-handed": 5.64 * FCC[[1, 0, 2]],
    "crooked": [[4, 0, 0], [20, 4, 0], [0, -12, 4]],
    "triclinic": [[4, 0, 0], [0.4, 5, 0], [0.8, 1.2, 6]],
}


def turned(rng):
    return np.linalg.qr(rng.normal(size=(3, 3)))[0]


@pytest.mark.parametrize("name", CELLS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_a_supercell_goes_back_to_its_primitive_cell_in_place(name, seed):
    """Orientation, origin and the order of sites stay, whatever stands on them."""
    rng = np.random.default_rng(seed)
    cell = np.array(CELLS[name]) @ turned(rng)
    species = [{"Na": 0.5, "K": 0.25}, {"Na": 0.5, "K": 0.5}, "Cl"]
    fractional = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.27, 0.24, 0.23]]) + rng.random(3)
    crystal = Crystal(species, fractional @ cell, cell, name="x", source="y", notes=["z"])
    assert primitive(crystal) is crystal
    times = tuple(int(n) for n in rng.integers(1, 4, 3))
    large = crystal * times
    order = rng.permutation(large.n_sites)
    large = replace(
        large, species=[large.species[i] for i in order], positions=large.positions[order]
    )
    found = primitive(large)
    if times == (1, 1, 1):
        assert found is large
        return
    lattice = found.cell @ np.linalg.inv(cell)
    assert lattice == pytest.approx(np.round(lattice), abs=1e-9)
    assert found.volume == pytest.approx(crystal.volume)
    assert np.linalg.det(found.cell) > 0
    assert (found.name, found.source, found.notes) == ("x", "y", large.notes)
    assert found.composition == pytest.approx(crystal.composition)
    where = [np.flatnonzero((large.positions == p).all(1))[0] for p in found.positions]
    assert where == sorted(where)
    assert [large.species[i] for i in where] == list(found.species)


def test_what_shares_a_site_and_how_much_counts():
    metal = Crystal(["Cu"], [[0, 0, 0]], 3.6 * FCC) * (2, 1, 1)
    half, less, vacant = {"Cu": 0.5, "Au": 0.5}, {"Cu": 0.4, "Au": 0.6}, {"Cu": 0.5}
    for pair, n_sites in (
        ((half, half), 1),
        ((half, less), 2),
        ((half, vacant), 2),
        ((vacant, vacant), 1),
    ):
        assert primitive(replace(metal, species=pair)).n_sites == n_sites


@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(sorted(CELLS)))
@settings(max_examples=20)
def test_operations_map_each_site_on_one_of_its_kind_and_are_a_group(seed, name):
    rng = np.random.default_rng(seed)
    cell = np.array(CELLS[name]) @ turned(rng)
    kinds = rng.integers(0, 2, 4)
    base = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0, 0, 0.5]]) + rng.random(3)
    found = operations_of(kinds, base, cell)
    identity = np.abs(found.rotations - np.eye(3)).max((1, 2)) + np.abs(found.shifts).max(1)
    assert identity.min() == pytest.approx(0, abs=1e-9)
    for W, w in zip(found.rotations, found.shifts, strict=True):
        apart = (base @ W.T + w)[:, None] - base
        apart -= np.round(apart)
        near = np.linalg.norm(apart @ cell, axis=-1) < 0.02
        assert (near & (kinds[:, None] == kinds)).any(1).all()
        metric = cell @ cell.T
        assert W.T @ metric @ W == pytest.approx(metric, rel=1e-3, abs=1e-3)
    products = {np.round(A @ B).tobytes() for A in found.rotations for B in found.rotations}
    assert products == {np.round(A).tobytes() for A in found.rotations}


@pytest.mark.parametrize("how", ["returns None", "raises"])
def test_where_spglib_fails_it_is_told(monkeypatch, how):
    import spglib

    def fail(*_, **__):
        if how == "raises":
            raise spglib.SpglibError("too close")

    monkeypatch.setattr(spglib, "get_symmetry_dataset", fail)
    with pytest.raises(ComputationError, match="spglib finds no symmetry"):
        operations_of([0], np.zeros((1, 3)), np.eye(3))
    large = salt() * 2
    left = primitive(large)
    assert left == large
    assert "taken as primitive: spglib finds no symmetry" in left.notes[0]


# Elements.


def test_elements():
    assert len(SYMBOLS) == 119
    assert ATOMIC_NUMBERS["Og"] == 118
    assert MASSES["T"] == pytest.approx(3.016, abs=1e-3)
    places = {"H": (1, 1, "s"), "He": (1, 18, "s"), "O": (2, 16, "p"), "Zn": (4, 12, "d"),
              "La": (6, 3, "f"), "Lu": (6, 3, "d"), "Hf": (6, 4, "d"), "Tl": (6, 13, "p"),
              "U": (7, 3, "f"), "Og": (7, 18, "p")}  # fmt: skip
    assert {s: periodic_position(ATOMIC_NUMBERS[s]) for s in places} == places
    assert "Vac" not in ATOMIC_NUMBERS


def test_electronegativities_against_pymatgen():
    core = pytest.importorskip("pymatgen.core", reason="pymatgen is an extra")
    imputed = {"He", "Ne", "Ar", "Pm", "Eu", "Tb", "Yb", "At", "Rn", "Fr", "Cm"}
    for z in range(1, 97):
        if SYMBOLS[z] not in imputed:
            assert electronegativity(z) == core.Element(SYMBOLS[z]).X, SYMBOLS[z]


def test_descriptors_are_finite_and_standardised():
    table = descriptors()
    assert table.shape == (119, 8)
    assert np.isfinite(table).all()
    assert not table[0].any()
    assert np.abs(table[1:97].mean(0)).max() < 1e-12
    assert table[1:97].std(0) == pytest.approx(np.ones(8))
    similar = np.linalg.norm(table[1:97] - table[ATOMIC_NUMBERS["Ho"]], axis=1)
    assert SYMBOLS[int(np.argsort(similar)[1]) + 1] in {"Dy", "Er"}
