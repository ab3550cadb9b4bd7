"""Structures that would take all memory, all time or the process: refused before that."""

import json

import numpy as np
import pytest
from cases import CASES, needs_cases
from hypothesis import given
from hypothesis import strategies as st

import debye
from debye.core.neighbors import expected_pairs, pairs_by_tree, pairs_within
from debye.crystals.data.dataset import read_collection
from debye.crystals.graph import FEW_SITES, MOST_EDGES, Graph
from debye.crystals.structure import validate
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.validate import MOST_ATOMS, MOST_PAIRS, close_pairs
from debye.crystals.structure_io import read
from debye.errors import InputError


def edges(pairs):
    """Pairs as a set, whatever their order."""
    return set(
        zip(pairs.center.tolist(), pairs.other.tolist(), *pairs.shift.T.tolist(), strict=True)
    )


def grid(side, step):
    """Sites of a cube, (side³, 3)."""
    return np.array(np.meshgrid(*[range(side)] * 3)).reshape(3, -1).T * step


# Neighbours in any cell.


@given(st.integers(0, 2**32 - 1), st.floats(0.3, 4.0))
def test_a_tree_finds_what_the_cell_list_finds(seed, cutoff):
    rng = np.random.default_rng(seed)
    cell = rng.normal(size=(3, 3)) + 3 * np.eye(3)
    positions = rng.normal(size=(5, 3)) * 10
    listed, found = (f(positions, cell, cutoff) for f in (pairs_within, pairs_by_tree))
    assert edges(found) == edges(listed)
    vector = positions[found.other] - positions[found.center] + found.shift @ cell
    assert found.vector == pytest.approx(vector)
    assert (np.diff(found.center) >= 0).all()


@pytest.mark.parametrize("sides", [(1e6, 3, 3), (3, 1e6, 1e6), (1e4, 1e4, 5), (4, 1e6, 4)])
def test_neighbours_in_long_flat_cells(sides):
    """There the cell list of vesin divides by zero, which no Python can catch."""
    cell = np.diag(sides).astype(float)
    found = pairs_within(np.zeros((1, 3)), cell, 5.5)
    steps = [np.arange(-2, 3) if side < 6 else np.zeros(1) for side in sides]
    images = np.array(np.meshgrid(*steps)).reshape(3, -1).T @ cell
    assert len(found.center) == (np.linalg.norm(images, axis=1) < 5.5).sum() - 1


def test_expected_pairs_are_about_those_found():
    cell = 20 * np.eye(3)
    everywhere = np.random.default_rng(0).random((2000, 3)) * 20
    for positions in (everywhere, everywhere / 4):
        found = len(pairs_within(positions, cell, 3.0).center)
        assert found / 3 < expected_pairs(positions, cell, 3.0) < 3 * found


def test_a_search_that_has_enough_ends():
    found = pairs_by_tree(np.zeros((20_000, 3)), 50 * np.eye(3), 0.5, most=1000)
    assert 1000 <= len(found.center) < 20_000**2 / 10
    assert not found.vector.any()


# Overlapping atoms.


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1.5))
def test_close_pairs_are_the_same_of_few_and_of_many(seed, cutoff):
    rng = np.random.default_rng(seed)
    cell = rng.normal(size=(3, 3)) + 3 * np.eye(3)
    positions = rng.normal(size=(8, 3)) * 10
    few = close_pairs(positions, cell, cutoff)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validate, "ALL_AGAINST_ALL", 0)
        many = close_pairs(positions, cell, cutoff)
    assert {(i, j): pytest.approx(d) for i, j, d in few} == {(i, j): d for i, j, d in many}
    assert [d for *_, d in many] == sorted(d for *_, d in many)


@pytest.mark.parametrize(
    "positions",
    [np.zeros((20_000, 3)), grid(20, 0.15), np.zeros((MOST_ATOMS, 3)), grid(40, 0.3)],
    ids=["20,000 in one place", "8,000 close ones", "200,000 in one place", "64,000 close ones"],
)
def test_heaps_of_atoms_are_refused(positions):
    with pytest.raises(InputError, match=f"overlap: .* at least {MOST_PAIRS - 1} more pairs"):
        Crystal(["Si"] * len(positions), positions, 200 * np.eye(3))


def test_a_pair_among_many_is_named():
    positions = grid(20, 2.5)
    positions[7000] = positions[11] + [0, 0.3, 0]
    with pytest.raises(InputError, match=r"atoms 11 \(1 Po\) and 7000 \(1 Po\) overlap: 0.300 Å"):
        Crystal(["Po"] * 8000, positions, 50 * np.eye(3))


def test_more_sites_than_anybody_means(tmp_path):
    iron = Crystal(["Fe"], [[0, 0, 0]], 2.87 * np.eye(3))
    for times in (10**9, (1, 1, MOST_ATOMS + 1)):
        with pytest.raises(InputError, match=f"give at most {MOST_ATOMS}"):
            iron.supercell(times)
    with pytest.raises(InputError, match=f"it has {MOST_ATOMS + 1} sites"):
        Crystal(["Fe"] * (MOST_ATOMS + 1), np.zeros((MOST_ATOMS + 1, 3)), np.eye(3))


def test_a_graph_too_large_for_memory_is_refused():
    """Whether the sites fill the cell or lie in a heap."""
    even = Crystal(["Po"] * 40**3, grid(40, 2.0), 80 * np.eye(3))
    heap = Crystal(["Po"] * 20**3, grid(20, 0.51), 300 * np.eye(3))
    for crystal in (even, heap):
        with pytest.raises(InputError, match=f"{crystal.n_sites} sites\n.* at most {MOST_EDGES}"):
            Graph.of(crystal, 5.0)


def test_few_sites_have_few_edges():
    """In the closest packing that is no overlap, √2 / d³ sites per volume."""
    each = 4 / 3 * np.pi * 5.0**3 * np.sqrt(2) / validate.CLOSEST**3
    assert FEW_SITES * each < MOST_EDGES


# Cells.


CIF = """data_x
_cell_length_a {}
_cell_length_b {}
_cell_length_c {}
_cell_angle_alpha {}
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_symmetry_equiv_pos_as_xyz
'x,y,z'
'-x,-y,-z'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Si1 Si 0 0 0
Si2 Si 0.25 0.25 0.25
"""


@pytest.mark.parametrize(
    "cell",
    [(1e-9, 1e-9, 1e-9, 90), (1e-300, 5, 5, 90), (5, 5, 5, 1e-3), (5, 1e6, 1e-5, 90),
     (1e6, 1e6, 1e-8, 90), (1e300, 5, 5, 90), (5, 5, 5, 179.9999)],
)  # fmt: skip
def test_cells_without_room_are_refused_before_their_images_are_counted(cell):
    (found,) = read.made(read.lazy_structures_of(CIF.format(*cell), "x.cif"))
    assert any(word in found.error.why for word in ("volume", "faces", "reach")), found
    assert "x.cif" in found.error.what


@needs_cases
@pytest.mark.parametrize("name", ["cell1e-9.cif", "angle0.001.cif"])
def test_cases_of_cells_without_room(name):
    (found,) = debye.read_structures(CASES / "hostile" / name)
    assert "volume" in found.error.why


@needs_cases
def test_the_case_that_killed_the_process():
    found = debye.predict(CASES / "hostile" / "fpe.extxyz", model="fast")
    assert [item.crystal.formula for item in found] == ["MgO", "GaAs", "CsCl"]


# Tables.


@pytest.mark.parametrize("column", ["structure", "phfreq", "phdos"])
def test_a_literal_longer_than_any_structure(tmp_path, column):
    cell = {"structure": str(grid_structure()), "phfreq": "[0]", "phdos": "[0]"}
    cell[column] = f"[{'0,' * 10**6}0]"
    table = tmp_path / "labels.csv"
    table.write_text("mp_id,structure,phfreq,phdos\nx," + ",".join(f'"{c}"' for c in cell.values()))
    with pytest.raises(InputError, match=f"column {column} is no literal: it is 2000003 char"):
        read_collection(table)


def grid_structure():
    """A structure as the tables of labels have it."""
    return {"numbers": [84], "positions": [[0, 0, 0]], "cell": (3 * np.eye(3)).tolist()}


def test_a_file_with_nothing_good_in_it_ends_early(tmp_path, monkeypatch):
    monkeypatch.setattr(read, "HOPELESS", 5)
    good = json.dumps(grid_structure())
    bad, mixed = tmp_path / "bad.jsonl", tmp_path / "mixed.jsonl"
    bad.write_text('{"numbers": 1}\n' * 50)
    mixed.write_text('{"numbers": 1}\n' * 4 + f"{good}\n" + '{"numbers": 1}\n' * 50)
    for found in (list(debye.read_structures(bad)), debye.predict(bad, model="fast")):
        assert len(found) == 6
        assert found[-1].error.why == "none of its first 5 structures could be read"
    assert len(list(debye.read_structures(mixed))) == 55


# Meshes and supercells of flat cells.


def test_a_mesh_of_a_flat_cell_is_refused_before_it_is_made():
    """Its heights are 0.25, 0.25 and 2 Å: with 600 Å, 1.7·10⁹ points."""
    phonopy = pytest.importorskip("phonopy", reason="python -m pip install 'debye[phonopy]'")
    from debye.crystals.data.phonopy_folders import total_dos

    cell = phonopy.structure.atoms.PhonopyAtoms(
        ["Al"], scaled_positions=[[0, 0, 0]], cell=[[8, 0, 0], [7.9, 0.25, 0], [0, 0, 2]]
    )
    phonon = phonopy.Phonopy(cell, np.eye(3, dtype=int), primitive_matrix=np.eye(3))
    phonon.force_constants = np.zeros((1, 1, 3, 3))
    with pytest.raises(InputError, match=r"the mesh would have 1.7e\+09 points"):
        total_dos(phonon, length=600.0)
