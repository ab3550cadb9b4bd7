"""What follows from predicted force constants alone, as from those of a calculation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

from debye.crystals.data.born import Given, charged
from debye.crystals.lattice.force_constants import mean_force_constants
from debye.crystals.lattice.harmonic import PREDICTED, HarmonicCrystal
from debye.crystals.predict.predictor import Predictor
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.functional import to_pbesol
from debye.crystals.structure.symmetry import primitive
from debye.crystals.structure_io.read import FailedInput, attempt
from debye.errors import InputError


def harmonic(
    predictor: Predictor, crystal: Crystal | HarmonicCrystal, born: Given | None = None
) -> HarmonicCrystal:
    """The primitive cell of a crystal with its predicted force constants, the members' mean.

    Args:
        predictor: What predicts them.
        crystal: Whose; one with force constants keeps them.
        born: phonopy's BORN of its primitive cell, a file or its content; see
            `debye.crystals.lattice.polar`.

    Raises:
        InputError: The Born charges are not of the crystal, or what
            `Predictor.force_constants` refuses.
        ComputationError: The modes that its warnings are of cannot be found.
    """
    if isinstance(crystal, HarmonicCrystal):
        crystal = crystal.as_computed(predictor.lattice)
    else:
        cell = primitive(to_pbesol(crystal, predictor.lattice))
        members = predictor.force_constants(cell)
        notes = dict.fromkeys((PREDICTED, *cell.notes, *predictor.warnings_of_modes(crystal)))
        crystal = HarmonicCrystal(replace(cell, notes=tuple(notes)), mean_force_constants(members))
    return crystal if born is None else charged(crystal, born)


def polar(
    predictor: Predictor, structures: Iterable[Crystal | HarmonicCrystal | FailedInput], born: Given
) -> Iterator[HarmonicCrystal | FailedInput]:
    """The one crystal of some structures with its Born charges; all others fail.

    Args:
        predictor: What predicts force constants.
        structures: In their order.
        born: See `harmonic`.
    """
    for i, item in enumerate(structures):
        if isinstance(item, FailedInput):
            yield item
            continue
        crystal = item.crystal if isinstance(item, HarmonicCrystal) else item
        label = crystal.source or crystal.name or crystal.formula
        if i:
            why, fix = "Born charges are of one crystal", "give one structure with its BORN"
            error = InputError(f"cannot use the Born charges for {label} too", why=why, fix=fix)
            yield FailedInput(label, error)
        else:
            yield attempt(label, partial(harmonic, predictor, item, born))


def smooth_of(
    item: Crystal | HarmonicCrystal | FailedInput,
) -> Crystal | HarmonicCrystal | FailedInput:
    """Force constants whose spectrum is to be smoothed as the labels were; all else as it is."""
    return replace(item, smooth=True) if isinstance(item, HarmonicCrystal) else item
