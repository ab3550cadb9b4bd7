"""What a crystal is made of, as numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.elements import ATOMIC_NUMBERS

_SYMBOLS = "H B C N O F Si P S Cl Ge As Se Br Sb Te I At He Ne Ar Kr Xe Rn"
NON_METALS = frozenset(_SYMBOLS.split())
"""Non-metals and metalloids; what holds none of them is, nearly always, a metal."""


def composition_vector(crystal: Crystal) -> NDArray[np.float64]:
    """Share of each element among the atoms, (119,), by atomic number.

    Example:
        >>> salt = Crystal(["Na", "Cl"], [[0, 0, 0], [2.8, 2.8, 2.8]], 5.6 * np.eye(3))
        >>> composition_vector(salt)[[11, 17]]
        array([0.5, 0.5])
    """
    x = np.zeros(119)
    for symbol, amount in crystal.composition.items():
        x[ATOMIC_NUMBERS[symbol]] += amount / crystal.n_atoms
    return x
