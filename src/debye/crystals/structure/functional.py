"""Cells as other functionals, or experiments, have them, brought to those of PBEsol.

debye's networks learned on cells relaxed with PBEsol. A lattice that is one percent too long looks
to them like one that has expanded, and they answer with frequencies some percent too low. Each
kind of cell is therefore longer or shorter by one factor for all crystals:

    a(PBEsol) = a · (1 + e_PBEsol) / (1 + e),

where e is the mean error of a functional's lattice constants, relative to measured ones without
their zero-point expansion: LDA −1.5 %, PBE +1.1 %, PBEsol −0.1 % (F. Tran, J. Stelzl and P. Blaha,
*J. Chem. Phys.* 144, 204120 (2016), 44 solids). Measured cells are those at room temperature, with
both expansions in them; these were held against the training data (see docs/lattice.md).
"""

from __future__ import annotations

from dataclasses import replace

from debye.crystals.structure.crystal import Crystal
from debye.errors import InputError

PBESOL_ERROR = -0.001
"""Mean relative error of PBEsol's lattice constants."""
FACTORS = {
    "given": 1.0,
    "pbe": (1 + PBESOL_ERROR) / (1 + 0.011),
    "lda": (1 + PBESOL_ERROR) / (1 - 0.015),
    "measured": 1 / 1.006,
}
"""By what lengths are multiplied: 1, 0.988, 1.014, 0.994."""
NAMES = {"pbe": "PBE", "lda": "LDA", "measured": "measured"}


def check_lattice(lattice: str) -> None:
    """Refuse a name that is none of `FACTORS`.

    Raises:
        InputError: It is none.
    """
    if lattice not in FACTORS:
        why = f"the choices are {', '.join(FACTORS)}"
        raise InputError(f"unknown lattice {lattice!r}", why=why, fix="choose one of them")


def to_pbesol(crystal: Crystal, lattice: str) -> Crystal:
    """A crystal with its lengths as PBEsol would have them, fractional positions as they are.

    Args:
        crystal: In the cell that is given.
        lattice: What cell that is: ``pbe``, ``lda`` or ``measured``; ``given`` to leave it.

    Raises:
        InputError: It is none of these.

    Example:
        >>> silicon = Crystal(["Si"], [[0, 0, 0]], [[5.47, 0, 0], [0, 5.47, 0], [0, 0, 5.47]])
        >>> to_pbesol(silicon, "pbe").cell[0, 0].round(3).item()
        5.405
    """
    check_lattice(lattice)
    if lattice == "given":
        return crystal
    factor = FACTORS[lattice]
    note = f"its {NAMES[lattice]} lengths are multiplied by {factor:.4f}, to be PBEsol's"
    return replace(
        crystal,
        cell=crystal.cell * factor,
        positions=crystal.positions * factor,
        notes=(*crystal.notes, note),
    )
