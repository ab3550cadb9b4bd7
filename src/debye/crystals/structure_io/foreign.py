"""Structure files of other programs, which are not read here: known by name, refused by name."""

from __future__ import annotations

import re
from pathlib import Path

from debye.errors import InputError

_BY_SUFFIX = {
    ".cell": "CASTEP", ".res": "SHELX", ".ins": "SHELX", ".pdb": "PDB", ".ent": "PDB",
    ".xsf": "XCrySDen", ".axsf": "XCrySDen", ".gen": "DFTB+", ".struct": "WIEN2k",
    ".fdf": "SIESTA", ".vesta": "VESTA", ".xtl": "CrystalMaker", ".cssr": "CSSR",
    ".mmcif": "mmCIF", ".traj": "ASE trajectory",
}  # fmt: skip
PHONOPY = "phonopy"
_BY_CONTENT = {
    "CASTEP": r"(?im)^[ \t]*%block[ \t]+(?:lattice_(?:cart|abc)|positions_(?:frac|abs))",
    "SIESTA": r"(?im)^[ \t]*%block[ \t]+(?:latticevectors|latticeparameters|atomiccoord)",
    "Quantum ESPRESSO": r"(?im)^[ \t]*(?:&(?:control|system)|atomic_positions|cell_parameters)\b",
    "SHELX": r"(?m)\ATITL .*(?:\n.*){0,20}\nCELL ",
    "PDB": r"(?m)^CRYST1 ",
    "XCrySDen": r"(?m)^[ \t]*(?:CRYSTAL|PRIMVEC|CONVVEC)[ \t]*$",
    "FHI-aims": r"(?m)^[ \t]*lattice_vector[ \t]",
    PHONOPY: r"(?m)^(?:phonopy|unit_cell|primitive_cell):",
    "VASP's XML": r"(?m)^<modeling>",
}
ARCHIVES = (".zip", ".tar", ".tgz", ".zst", ".7z", ".rar", ".z")
"""Suffixes of what is packed and not unpacked here."""


def program_of(name: str, text: str) -> str:
    """The program whose structure file this is, by its content or its name; empty if none's.

    Example:
        >>> program_of("a.txt", "%BLOCK LATTICE_CART"), program_of("a.res", ""), program_of("", "1")
        ('CASTEP', 'SHELX', '')
    """
    found = (program for program, form in _BY_CONTENT.items() if re.search(form, text))
    return next(found, "") or _BY_SUFFIX.get(Path(name).suffix.lower(), "")


def foreign_error(program: str, label: str) -> InputError:
    """The `InputError` of a structure file of another program."""
    name = Path(label).name if label else "FILE"
    if program == PHONOPY:
        return InputError(
            f"cannot read {label}",
            why="it is a file of phonopy, and no structure alone",
            fix="give the file itself, or its folder, to `debye dos`, `thermo`, `bands` or "
            "`invert rank`, or to debye.predict: they take its force constants",
        )
    return InputError(
        f"cannot read {label}",
        why=f"it is a structure file of {program}, and that format is not read here",
        fix="export it as CIF, or convert it: "
        f"python -c \"from ase.io import read; read({name!r}).write('{name}.extxyz')\"",
    )


def is_named_foreign(name: str | Path) -> bool:
    """Whether a name alone says that a structure is in the file, in a format that is not read.

    Example:
        >>> is_named_foreign("a.cell"), is_named_foreign("a.zip"), is_named_foreign("a.png")
        (True, True, False)
    """
    path = Path(name)
    return path.suffix.lower() in {*_BY_SUFFIX, *ARCHIVES} or path.name in (
        "geometry.in",
        "vasprun.xml",
    )
