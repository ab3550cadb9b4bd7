"""How much longer cubic crystals are at room temperature than in their PBEsol cells.

    python benchmarks/measured_cells.py DATA.csv

DATA is labelled data whose cells are relaxed with PBEsol, as for `debye train`. Lattice constants
are those of R. W. G. Wyckoff, *Crystal Structures* (1963), and of Landolt-Börnstein, rounded.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import spglib

from debye.crystals.data.dataset import read_labelled

MEASURED = {
    227: {"Si": 5.431, "Ge": 5.658, "C": 3.567},
    216: {
        "GaAs": 5.653, "AlAs": 5.661, "GaP": 5.451, "InP": 5.869, "InAs": 6.058, "InSb": 6.479,
        "GaSb": 6.096, "AlSb": 6.136, "AlP": 5.464, "ZnS": 5.409, "ZnSe": 5.668, "ZnTe": 6.103,
        "CdTe": 6.482, "CdS": 5.818, "BN": 3.615, "BP": 4.538, "SiC": 4.360, "CuCl": 5.416,
    },
    225: {
        "MgO": 4.212, "CaO": 4.811, "SrO": 5.160, "BaO": 5.536, "NaCl": 5.640, "KCl": 6.293,
        "LiF": 4.027, "LiCl": 5.140, "LiBr": 5.501, "NaF": 4.634, "NaBr": 5.977, "NaI": 6.473,
        "KBr": 6.600, "KF": 5.347, "KI": 7.066, "RbCl": 6.581, "CaF2": 5.463, "SrF2": 5.800,
        "BaF2": 6.200, "MgS": 5.200, "CaS": 5.695, "SrS": 6.020, "PbS": 5.936, "PbTe": 6.462,
        "Mg2Si": 6.351, "Li2O": 4.619, "Na2O": 5.55,
    },
    221: {"CsCl": 4.123, "CsBr": 4.296, "CsI": 4.568},
}  # fmt: skip
"""Å at room temperature, by space group and formula."""


def ratios(data: Path) -> dict[str, float]:
    """Measured lattice constant over that of the data, by formula."""
    found = {}
    for crystal in read_labelled(data, None).rows.crystals:
        numbers = [crystal.elements.index(s) for s in crystal.symbols()]
        cell = (crystal.cell, crystal.fractional, numbers)
        known = spglib.get_symmetry_dataset(cell, 1e-2)
        if known and crystal.formula in MEASURED.get(known.number, {}):
            constant = np.linalg.norm(known.std_lattice[0])
            found[crystal.formula] = MEASURED[known.number][crystal.formula] / constant
    return found


if __name__ == "__main__":
    table = ratios(Path(sys.argv[1]))
    for formula, ratio in sorted(table.items(), key=lambda item: item[1]):
        print(f"{formula:<6} {ratio:.4f}")
    each = np.array(list(table.values()))
    print(f"{len(each)} crystals: mean {each.mean():.4f}, standard deviation {each.std():.4f}")
