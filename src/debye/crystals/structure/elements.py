"""The elements: symbols, masses and a few descriptors of their chemistry.

Symbols, IUPAC 2016 masses and the covalent radii of Cordero et al. (Dalton Trans. 2008, 2832)
come from ``ase.data``, which costs 7 ms to import. Deuterium ``D`` and tritium ``T`` are known
as isotopes: hydrogen to chemistry, with their own mass (AME2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
from ase.data import atomic_masses_iupac2016, chemical_symbols, covalent_radii
from numpy.typing import NDArray

SYMBOLS: tuple[str, ...] = tuple(chemical_symbols)
"""Symbol of each atomic number; number 0 is the placeholder ``X``, which is no element."""

ISOTOPES = {"D": 2.014101777844, "T": 3.01604928132}
"""Masses in u of the hydrogen isotopes that structure files name."""

ATOMIC_NUMBERS: dict[str, int] = {s: z for z, s in enumerate(SYMBOLS) if z} | dict.fromkeys(
    ISOTOPES, 1
)
"""Atomic number of each symbol; D and T are hydrogen."""

MASSES: dict[str, float] = {
    s: float(m) for s, m in zip(SYMBOLS[1:], atomic_masses_iupac2016[1:], strict=True)
} | ISOTOPES
"""Standard atomic mass of each symbol, u."""

# Pauling's scale as tabulated in the CRC Handbook (97th ed., 9-103), hydrogen to curium.
# Three noble gases form no bonds to be measured: He, Ne and Ar are Allen's values
# (J. Am. Chem. Soc. 1989, 111, 9003); Kr and Xe are from their fluorides.
# Gaps among the lanthanides (Pm, Eu, Tb, Yb) are interpolated; At, Rn and Fr are estimates.
# fmt: off
_PAULING = (
    2.20, 4.16,
    0.98, 1.57, 2.04, 2.55, 3.04, 3.44, 3.98, 4.79,
    0.93, 1.31, 1.61, 1.90, 2.19, 2.58, 3.16, 3.24,
    0.82, 1.00, 1.36, 1.54, 1.63, 1.66, 1.55, 1.83, 1.88,
    1.91, 1.90, 1.65, 1.81, 2.01, 2.18, 2.55, 2.96, 3.00,
    0.82, 0.95, 1.22, 1.33, 1.60, 2.16, 1.90, 2.20, 2.28,
    2.20, 1.93, 1.69, 1.78, 1.96, 2.05, 2.10, 2.66, 2.60,
    0.79, 0.89, 1.10, 1.12, 1.13, 1.14, 1.16, 1.17, 1.19,
    1.20, 1.21, 1.22, 1.23, 1.24, 1.25, 1.26, 1.27,
    1.30, 1.50, 2.36, 1.90, 2.20, 2.20, 2.28, 2.54, 2.00,
    1.62, 2.33, 2.02, 2.00, 2.20, 2.20,
    0.70, 0.90, 1.10, 1.30, 1.50, 1.38, 1.36, 1.28, 1.30, 1.30,
)
# fmt: on
_NOBLE_CORES = (0, 2, 10, 18, 36, 54, 86, 118)
_BLOCKS = "spdf"


def periodic_position(number: int) -> tuple[int, int, str]:
    """Period, group and block of an element.

    The f block (La to Yb, Ac to No) counts as group 3, of whose chemistry it mostly is;
    helium is group 18 in the s block.

    Args:
        number: Atomic number, 1 to 118.

    Example:
        >>> periodic_position(14), periodic_position(60)
        ((3, 14, 'p'), (6, 3, 'f'))
    """
    period = next(i for i, core in enumerate(_NOBLE_CORES) if number <= core)
    column = number - _NOBLE_CORES[period - 1]
    length = _NOBLE_CORES[period] - _NOBLE_CORES[period - 1]
    if column <= 2:
        return period, 18 if number == 2 else column, "s"
    if column > length - 6:
        return period, 18 - length + column, "p"
    if column > length - 16:
        return period, 18 - length + column, "d"
    return period, 3, "f"


def electronegativity(number: int) -> float:
    """Pauling electronegativity; beyond curium, where none is measured, curium's 1.30.

    Example:
        >>> electronegativity(8)
        3.44
    """
    return _PAULING[min(number, len(_PAULING)) - 1]


def covalent_radius(number: int) -> float:
    """Covalent radius of Cordero et al., Å; beyond curium, where none is given, curium's.

    Example:
        >>> covalent_radius(8)
        0.66
    """
    return float(covalent_radii[min(number, len(_PAULING))])


@cache
def descriptors() -> NDArray[np.float64]:
    """What chemistry knows of each element, for those a network saw rarely or never.

    Columns: period, group, Pauling electronegativity, Cordero covalent radius, and one-hot
    s, p, d, f block; each shifted and scaled to zero mean and unit variance over H to Cm.
    Imputed: electronegativities of He, Ne, Ar (Allen's scale), Pm, Eu, Tb, Yb (neighbours) and
    beyond Cm (as Cm), covalent radii beyond Cm (as Cm).

    Returns:
        Array (119, 8), row Z the element's; row 0 is zero. It is shared: read-only.

    Example:
        >>> descriptors().shape
        (119, 8)
    """
    rows = []
    for z in range(1, len(SYMBOLS)):
        period, group, block = periodic_position(z)
        rows.append(
            [
                period,
                group,
                electronegativity(z),
                covalent_radius(z),
                *(block == letter for letter in _BLOCKS),
            ]
        )
    table = np.array(rows, dtype=np.float64)  # [element, descriptor]
    known = table[: len(_PAULING)]
    scaled = np.vstack([np.zeros(table.shape[1]), (table - known.mean(0)) / known.std(0)])
    scaled.setflags(write=False)
    return scaled


_SYMBOLS = "H B C N O F Si P S Cl Ge As Se Br Sb Te I At He Ne Ar Kr Xe Rn"
NON_METALS = frozenset(_SYMBOLS.split())
"""Non-metals and metalloids; what holds none of them is, nearly always, a metal."""


def composition_vector(composition: Mapping[str, float]) -> NDArray[np.float64]:
    """Fraction of each element among the atoms, (119,), by atomic number.

    Args:
        composition: Atoms of each species, as `Crystal.composition` has them.

    Example:
        >>> composition_vector({"Na": 4.0, "Cl": 4.0})[[11, 17]]
        array([0.5, 0.5])
    """
    x = np.zeros(119)
    for symbol, amount in composition.items():
        x[ATOMIC_NUMBERS[symbol]] += amount
    return x / x.sum()
