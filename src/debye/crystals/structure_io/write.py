"""Crystals as text: CIF and JSON for any, extended xyz and POSCAR for ordered ones."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import combinations, groupby

import numpy as np

from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure_io.cif import CELL_PARAMETERS


def to_cif(crystal: Crystal, name: str = "") -> str:
    """The crystal as a CIF text in P 1, with occupancies.

    CIF knows lengths and angles but not the orientation: read back, a lies along x and b in the
    xy plane. A left-handed cell is written by its negative, which spans the same lattice.

    Args:
        crystal: Ordered or not.
        name: Of the data block; the crystal's own where empty.

    Example:
        >>> text = to_cif(Crystal([{"Si": 0.5, "Ge": 0.5}], [[0, 0, 0]], 2.5 * np.eye(3)))
        >>> print(text.splitlines()[-1])
        Ge1 Ge 0.000000000000 0.000000000000 0.000000000000 0.5
    """
    hand = np.sign(np.linalg.det(crystal.cell))
    cell, fractional = hand * crystal.cell, hand * crystal.fractional
    lengths = np.linalg.norm(cell, axis=1)
    angles = [
        float(np.rad2deg(np.arccos(cell[i] @ cell[j] / lengths[i] / lengths[j])))
        for j, i in reversed(list(combinations(range(3), 2)))
    ]
    title = re.sub(r"[^\x21-\x7e]+", "_", name or crystal.name or crystal.formula)
    lines = [f"data_{title}"]
    amounts = " ".join(f"{s}{x:.6g}" for s, x in sorted(crystal.composition.items()))
    lines.append(f"_chemical_formula_sum '{amounts}'")
    for tag, number in zip(CELL_PARAMETERS, [*lengths, *angles], strict=True):
        lines.append(f"_cell_{tag} {number:.12g}")
    lines.append("_space_group_name_H-M_alt 'P 1'")
    lines.extend(["loop_", "_space_group_symop_operation_xyz", "x,y,z", "loop_"])
    for column in ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy"):
        lines.append(f"_atom_site_{column}")
    for i, (site, position) in enumerate(zip(crystal.species, fractional, strict=True), 1):
        at = " ".join(f"{x:.12f}" for x in position)
        lines.extend(f"{s}{i} {s} {at} {x:.10g}" for s, x in site.items())
    return "\n".join(lines) + "\n"


def to_xyz(crystal: Crystal) -> str:
    """An ordered crystal as a frame of extended xyz; numbers keep every digit.

    Raises:
        InputError: A site is mixed or partly vacant.

    Example:
        >>> print(to_xyz(Crystal(["Po"], [[0, 0, 0]], 3.36 * np.eye(3))), end="")
        1
        Lattice="3.36 0.0 0.0 0.0 3.36 0.0 0.0 0.0 3.36" Properties=species:S:1:pos:R:3 pbc="T T T"
        Po 0.0 0.0 0.0
    """
    symbols = crystal.symbols("extended xyz")
    lattice = " ".join(map(str, crystal.cell.ravel().tolist()))
    name = re.sub(r'["\s]+', " ", crystal.name).strip()
    comment = f'Lattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="T T T"'
    rows = [
        f"{s} {x} {y} {z}" for s, (x, y, z) in zip(symbols, crystal.positions.tolist(), strict=True)
    ]
    head = [str(crystal.n_sites), comment + (f' name="{name}"' if name else "")]
    return "\n".join([*head, *rows]) + "\n"


def to_poscar(crystal: Crystal) -> str:
    """An ordered crystal as a VASP 5 POSCAR, in the order of its sites.

    Raises:
        InputError: A site is mixed or partly vacant.

    Example:
        >>> print(to_poscar(Crystal(["Po"], [[0, 0, 0]], 3.36 * np.eye(3))).splitlines()[5:7])
        ['Po', '1']
    """
    runs = [(s, len(list(run))) for s, run in groupby(crystal.symbols("POSCAR"))]
    title = " ".join((crystal.name or crystal.formula).split())
    lines = [title, "1.0", *(" ".join(map(str, row)) for row in crystal.cell.tolist())]
    lines += [" ".join(s for s, _ in runs), " ".join(str(n) for _, n in runs), "Direct"]
    lines += [" ".join(map(str, row)) for row in crystal.fractional.tolist()]
    return "\n".join(lines) + "\n"


def to_json(crystals: Sequence[Crystal]) -> str:
    """Crystals as pymatgen ``Structure`` JSON: one dict, or a list of several.

    Example:
        >>> to_json([Crystal(["Po"], [[0, 0, 0]], 3.36 * np.eye(3))])[:40]
        '{"@module": "pymatgen.core.structure", "'
    """
    records = [{**c.to_dict(), **({"name": c.name} if c.name else {})} for c in crystals]
    return json.dumps(records[0] if len(records) == 1 else records) + "\n"
