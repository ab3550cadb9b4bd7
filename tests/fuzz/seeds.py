"""Small files of every kind that debye reads."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

LEGACY = Path(__file__).parents[1] / "legacy"
CIF = """data_salt
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'F m -3 m'
_space_group_IT_number 225
_chemical_formula_sum 'Na Cl'
_cell_formula_units_Z 4
loop_
_space_group_symop_operation_xyz
'x, y, z'
'x, y+1/2, z+1/2'
'x+1/2, y, z+1/2'
'x+1/2, y+1/2, z'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na1 Na+ 0 0 0 1
Cl1 Cl- 0.5(1) 0.5 0.5 1.0
"""
PONI = """poni_version: 2.1
Detector: Detector
Detector_config: {"pixel1": 7.5e-05, "pixel2": 5.5e-05, "orientation": 3}
Distance: 2.3
Poni1: 0.004
Poni2: 0.006
Rot1: 0.05
Rot2: -0.03
Rot3: 0.4
Wavelength: 1.2e-10
"""
MAGNETIC = """data_magnetic
_cell_length_a 4.87
_cell_length_b 4.87
_cell_length_c 3.31
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_space_group_symop_magn_operation.id
_space_group_symop_magn_operation.xyz
1 x,y,z,+1
2 -x,-y,z,+1
loop_
_space_group_symop_magn_centering.id
_space_group_symop_magn_centering.xyz
1 x,y,z,+1
2 x+1/2,y+1/2,z+1/2,-1
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Mn1 Mn 0 0 0
F1 F 0.305 0.305 0
"""
POSCAR = """rutile ! a comment
1.0
4.594 0.0 0.0
0.0 4.594 0.0
0.0 0.0 2.959
Ti O
2 4
Selective dynamics
Direct
0.0 0.0 0.0 T T T
0.5 0.5 0.5 T T F
0.305 0.305 0.0
0.695 0.695 0.0
0.805 0.195 0.5
0.195 0.805 0.5
"""
EXTXYZ = """2
Lattice="0 2.715 2.715 2.715 0 2.715 2.715 2.715 0" Properties=species:S:1:pos:R:3 pbc="T T T"
Si 0 0 0
Si 1.3575 1.3575 1.3575
2
Lattice="0 2.82 2.82 2.82 0 2.82 2.82 2.82 0" Properties=species:S:1:pos:R:3:masses:R:1
Na 0 0 0 22.99
Cl 2.82 2.82 2.82 35.45
"""
PYMATGEN = json.dumps(
    {
        "@module": "pymatgen.core.structure",
        "@class": "Structure",
        "lattice": {"matrix": [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]]},
        "sites": [
            {"species": [{"element": "Na", "occu": 1}], "abc": [0, 0, 0]},
            {
                "species": [{"element": "Cl", "occu": 0.5}, {"element": "Br", "occu": 0.5}],
                "abc": [0.5, 0.5, 0.5],
            },
        ],
    }
)
ASE = json.dumps(
    {
        "numbers": [14, 14],
        "positions": [[0, 0, 0], [1.36, 1.36, 1.36]],
        "cell": [[0, 2.72, 2.72], [2.72, 0, 2.72], [2.72, 2.72, 0]],
        "pbc": [True, True, True],
    }
)
ASE_IO = json.dumps(
    {
        "1": {
            "numbers": {"__ndarray__": [[2], "int64", [14, 14]]},
            "positions": {"__ndarray__": [[2, 3], "float64", [0, 0, 0, 1.36, 1.36, 1.36]]},
            "cell": {
                "array": {
                    "__ndarray__": [
                        [3, 3],
                        "float64",
                        [0, 2.72, 2.72, 2.72, 0, 2.72, 2.72, 2.72, 0],
                    ]
                },
                "__ase_objtype__": "cell",
            },
            "pbc": {"__ndarray__": [[3], "bool", [True, True, True]]},
        },
        "ids": [1],
        "nextid": 2,
    }
)
MEASURED = "# E (meV)   S   error\n" + "".join(
    f"{e}  {e * e * (40 - e) / 1e4:.4f}  0.01\n" for e in range(0, 41, 2)
)
DATA = (
    "mp_id,structure,phfreq,phdos\n"
    "mp-1,\"{'numbers': [11, 17], 'positions': [[0, 0, 0], [2.8, 2.8, 2.8]], "
    "'cell': [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]]}\","
    f'"{list(range(0, 1001, 20))}","{[0.0, *([0.5] * 12), 1.0, *([0.0] * 37)]}"\n'
)
PHONOPY = """phonopy:
  version: 2.20.0
  calculator: vasp
supercell_matrix:
- [ 1, 0, 0 ]
- [ 0, 1, 0 ]
- [ 0, 0, 1 ]
unit_cell:
  lattice:
  - [ 3.36, 0.0, 0.0 ]
  - [ 0.0, 3.36, 0.0 ]
  - [ 0.0, 0.0, 3.36 ]
  points:
  - symbol: Cs
    coordinates: [ 0.0, 0.0, 0.0 ]
    mass: 132.9
  - symbol: Cl
    coordinates: [ 0.5, 0.5, 0.5 ]
    mass: 35.45
force_constants:
  format: "full"
  shape: [ 2, 2 ]
  elements:
  - # (1, 1)
    - [ 1.0, 0.0, 0.0 ]
    - [ 0.0, 1.0, 0.0 ]
    - [ 0.0, 0.0, 1.0 ]
  - # (1, 2)
    - [ -1.0, 0.0, 0.0 ]
    - [ 0.0, -1.0, 0.0 ]
    - [ 0.0, 0.0, -1.0 ]
  - # (2, 1)
    - [ -1.0, 0.0, 0.0 ]
    - [ 0.0, -1.0, 0.0 ]
    - [ 0.0, 0.0, -1.0 ]
  - # (2, 2)
    - [ 1.0, 0.0, 0.0 ]
    - [ 0.0, 1.0, 0.0 ]
    - [ 0.0, 0.0, 1.0 ]
"""
BORN = """14.4
2.0 0 0 0 2.0 0 0 0 2.0
1.0 0 0 0 1.0 0 0 0 1.0
-1.0 0 0 0 -1.0 0 0 0 -1.0
"""


def written(write, suffix: str) -> bytes:
    """The bytes that something writes to a path."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"seed{suffix}")
        write(path)
        return path.read_bytes()


def ase_database(path: Path) -> None:
    from ase.build import bulk
    from ase.db import connect

    with connect(str(path)) as base:
        base.write(bulk("NaCl", "rocksalt", a=5.64), name="salt")


def parquet(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"name": ["a", "b", "c"], "structure": [PYMATGEN, ASE, CIF]}), path)


def frames_of(count: int = 6, side: int = 16, dtype: str = "u2") -> np.ndarray:
    """Photons of changing speckle."""
    noise = np.random.default_rng(0)
    return noise.poisson(noise.exponential(3.0, (count, side, side))).astype(dtype)


def eiger(path: Path, **compression) -> None:
    """A NeXus file as a detector leaves it."""
    import h5py

    with h5py.File(path, "w") as file:
        detector = file.create_group("/entry/instrument/detector")
        detector.create_dataset("data", data=frames_of(), chunks=(1, 16, 16), **compression)
        detector["time"] = np.arange(6) * 0.1
        detector["time"].attrs["units"] = "s"
        detector["pixel_mask"] = np.zeros((16, 16), "u4")
        detector["bit_depth_image"] = 16
        detector["saturation_value"] = 60_000


def bitshuffled(path: Path) -> None:
    import hdf5plugin

    eiger(path, **hdf5plugin.Bitshuffle(nelems=0, cname="lz4"))


def tiff(path: Path) -> None:
    """As many pages as frames."""
    from PIL import Image

    first, *others = map(Image.fromarray, frames_of(3))
    first.save(path, save_all=True, append_images=others)


def edf(path: Path) -> None:
    from fabio.edfimage import EdfImage

    EdfImage(data=frames_of()[0]).write(str(path))


def npy(path: Path) -> None:
    np.save(path, frames_of())


def npz(path: Path) -> None:
    np.savez_compressed(path, frames=frames_of(), mask=frames_of()[0] > 1)


def cxi(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["entry_1/data_1/data"] = frames_of(4)
        file["entry_1/data_1/translation"] = np.outer(np.arange(4), [1e-7, 0, 0])
        file["entry_1/instrument_1/source_1/energy"] = 1.6e-15
        file["entry_1/instrument_1/detector_1/distance"] = 2.0
        file["entry_1/instrument_1/detector_1/x_pixel_size"] = 75e-6
        file["entry_1/instrument_1/detector_1/mask"] = np.zeros((16, 16), "u4")


def own_frames(path: Path) -> None:
    from debye.speckle import Frames
    from debye.speckle.data.nexus import save_frames

    save_frames(path, Frames(frames_of(), range(6)))


def fitted(path: Path) -> None:
    path.write_bytes((LEGACY / "swarm.safetensors").read_bytes())


def network(path: Path) -> None:
    path.write_bytes((LEGACY / "network.safetensors").read_bytes())


def mantid() -> str:
    rows = "".join(f"{0.5 * k:.4f},{k * (40 - k) / 400:.4f},0.0100\n" for k in range(40))
    return f"# DeltaE (meV) , Y , E\n1\n{rows}"


def _pairs() -> np.ndarray:
    """Force constants of two atoms bound to each other, (2, 2, 3, 3)."""
    return np.array([[1.0, -1.0], [-1.0, 1.0]])[..., None, None] * np.eye(3)


def force_constants(path: Path) -> None:
    from phonopy.file_IO import write_FORCE_CONSTANTS

    write_FORCE_CONSTANTS(_pairs(), path)


def force_constants_hdf5(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["force_constants"] = _pairs()
        file["p2s_map"] = np.arange(2)
        file["physical_unit"] = np.array([b"eV/angstrom^2"])


def spectrum(path: Path) -> None:
    from debye.crystals.dos.spectrum import Spectrum

    Spectrum([0, 100, 200], [0.0, 0.06, 0.0], n_atoms=2).write(path)
