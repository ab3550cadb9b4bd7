"""JSON of ASE and pymatgen, and files of programs whose structures are not read."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write
from ase.io.jsonio import encode
from cases import CASES, needs_cases

from debye.crystals.structure.convert import NOT_PERIODIC, SLAB
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure_io.anything import crystals_of
from debye.crystals.structure_io.read import read_structures
from debye.errors import InputError


@needs_cases
def test_the_shared_cases():
    assert [c.formula for c in read_structures(CASES / "structures" / "b.json")] == ["NaCl", "Si"]
    assert [c.name for c in read_structures(CASES / "structures" / "b.json")] == ["nacl", "si"]
    assert Crystal.read(CASES / "structures" / "c.json").formula == "NaCl"
    slab = Crystal.read(CASES / "structures" / "pymatgen-slab.json")
    assert (slab.formula, slab.notes) == ("CsCl", (NOT_PERIODIC,))
    with pytest.raises(InputError, match="structure file of CASTEP"):
        Crystal.read(CASES / "structures" / "b.cell")


SILICON = {"numbers": [14], "positions": [[0, 0, 0]], "cell": np.eye(3).tolist()}


def heavy():
    atoms = Atoms("HLi", positions=[[0, 0, 0], [2, 2, 2]], cell=4 * np.eye(3), pbc=True)
    atoms.set_masses([2.014, 6.94])
    return atoms


@pytest.mark.parametrize("atoms", [bulk("Si"), bulk("NaCl", "rocksalt", a=5.64), heavy()])
def test_json_as_ase_writes_it(tmp_path, atoms):
    right = Crystal.of(atoms)
    write(tmp_path / "rows.json", [atoms, atoms])
    (tmp_path / "one.json").write_text(encode(atoms))
    (tmp_path / "list.json").write_text(encode([atoms] * 3))
    (tmp_path / "named.json").write_text(encode({"a": atoms}))
    for name, n in {"rows": 2, "one": 1, "list": 3, "named": 1}.items():
        found = list(read_structures(tmp_path / f"{name}.json"))
        assert len(found) == n
        assert all(c.species == right.species and c.notes == right.notes for c in found)
        assert found[0].positions == pytest.approx(right.positions)
        assert found[0].cell == pytest.approx(right.cell)


def test_mixed_sites_of_ase_come_along():
    atoms = bulk("Si")
    atoms.info["occupancy"] = {"0": {"Si": 0.5, "Ge": 0.5}, "1": {"Si": 1}}
    atoms.arrays["spacegroup_kinds"] = np.array([0, 1])
    (found,), _ = crystals_of(encode(atoms))
    assert found.species == Crystal.of(atoms).species == ({"Si": 0.5, "Ge": 0.5}, {"Si": 1})


@pytest.mark.parametrize(
    "record",
    [
        {"ids": [1], "nextid": 2},
        {"ids": 5, "nextid": 2},
        {"ids": [1], "nextid": 2, "1": [3]},
        {"ids": [[1]], "nextid": 2, "1": {}},
        {**SILICON, "masses": [1, 2]},
        {**SILICON, "masses": "x"},
    ],
)  # fmt: skip
def test_damaged_json_is_refused(tmp_path, record):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(record))
    (item,) = read_structures(path)
    assert str(path) in item.error.what


@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")  # spglib's own
def test_slabs_are_told():
    lattice = pytest.importorskip("pymatgen.core", reason="pymatgen is an extra").Lattice
    core = pytest.importorskip("pymatgen.core")
    surface = pytest.importorskip("pymatgen.core.surface")
    bulk_salt = core.Structure.from_spacegroup(
        "Fm-3m", lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    slab = surface.SlabGenerator(bulk_salt, (1, 0, 0), 5, 10).get_slab()
    for given in (slab, slab.as_dict(), json.dumps(slab.as_dict(), default=str)):
        (found,), _ = crystals_of(given)
        assert SLAB in found.notes
    plain = bulk_salt.as_dict()
    plain["lattice"]["pbc"] = [True, True, False]
    assert Crystal.of(plain).notes == (NOT_PERIODIC,)
    assert Crystal.of(bulk_salt).notes == ()


# Programs whose files are not read.

FOREIGN = {
    "a.cell": ("%BLOCK lattice_abc\n4 4 4\n90 90 90\n%ENDBLOCK lattice_abc\n", "CASTEP"),
    "castep.txt": ("! ours\n%block POSITIONS_FRAC\nSi 0 0 0\n%endblock POSITIONS_FRAC\n", "CASTEP"),
    "pw.in": ("&CONTROL\n/\n&SYSTEM\n ibrav=2\n/\nATOMIC_POSITIONS alat\n", "Quantum ESPRESSO"),
    "a.res": ("TITL quartz\nCELL 0.71073 4.9 4.9 5.4 90 90 120\n", "SHELX"),
    "a.pdb": ("CRYST1   50.8   42.8   28.9  90.00 111.00  90.00 P 21\nEND\n", "PDB"),
    "geometry.in": ("lattice_vector 4 0 0\nlattice_vector 0 4 0\n", "FHI-aims"),
    "a.xsf": ("CRYSTAL\nPRIMVEC\n4 0 0\n0 4 0\n0 0 4\n", "XCrySDen"),
    "a.fdf": ("%block LatticeVectors\n1 0 0\n", "SIESTA"),
    "vasprun.xml": ('<?xml version="1.0"?>\n<modeling>\n', "VASP's XML"),
    "b.cell": ("0 1 2\n", "CASTEP"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_structures_of_other_programs_are_refused_by_name(tmp_path, name):
    text, program = FOREIGN[name]
    (tmp_path / name).write_text(text)
    (item,) = read_structures(tmp_path / name)
    assert f"structure file of {program}" in item.error.why
    assert "export it as CIF" in item.error.fix
    (told,) = read_structures(tmp_path) if name not in ("pw.in",) else (item,)
    assert told.error.why == item.error.why
    if name != "b.cell":
        assert program in next(crystals_of(text)[0]).error.why
