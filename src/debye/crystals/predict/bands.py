"""Bands of predicted force constants, with intervals around the branches if the model has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from debye.crystals.lattice.bands import Bands
from debye.crystals.lattice.force_constants import ForceConstants
from debye.crystals.lattice.path import QPath
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.symmetry import primitive
from debye.crystals.uncertainty.uncertainty import LEVEL, Uncertainty

NOT_TRAINED = (
    "the bands follow from what was learned of densities of states alone: no branch, wave vector "
    "or velocity was ever trained on"
)


def predicted_bands(
    crystal: Crystal,
    force_constants_of: Callable[[Crystal], Sequence[ForceConstants]],
    path: str = "auto",
    points: int = 300,
    *,
    velocities: bool = False,
    warnings: Sequence[str] = (),
    range_end: float | None = None,
    taught: bool = False,
    known: Uncertainty | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Bands:
    """The bands of a crystal in its primitive cell, from predicted force constants.

    Args:
        crystal: In whatever cell.
        force_constants_of: The estimates of a crystal's force constants, such as
            `Predictor.force_constants`; it is given the primitive cell.
        path: ``auto`` for the lattice's standard path, ``seekpath`` for the space group's, or
            labels such as ``G X W | L G``.
        points: About how many.
        velocities: Whether to find group velocities too.
        warnings: What is known of the prediction.
        range_end: Highest frequency of the spectra that the force constants were learned from.
        taught: Whether force constants were among what the model learned from.
        known: The uncertainty of the crystal's prediction, for intervals around the branches.
        progress: Is told how many wave vectors are done, and of how many.

    Raises:
        InputError: The lattice has no such path, or what ``force_constants_of`` raises.
        ComputationError: See `solved`.
    """
    cell = primitive(crystal)
    way, members = QPath.of_crystal(cell, path, points), force_constants_of(cell)
    total = len(way.q) * (1 + velocities + (len(members) if len(members) > 1 else 0))
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, total)

    notes = (*(() if taught else (NOT_TRAINED,)), *warnings)
    how: dict[str, Any] = {"velocities": velocities, "notes": notes, "range_end": range_end}
    bands = _with_intervals(Bands.of(cell, members, way, progress=advance, **how), known)
    if cell.n_sites == crystal.n_sites:
        return bands
    smaller = (
        f"the cell holds {crystal.n_sites} sites, the primitive one {cell.n_sites}: "
        "the bands are those of the primitive cell"
    )
    return replace(bands, notes=(*bands.notes, smaller))


def _with_intervals(bands: Bands, known: Uncertainty | None, level: float = LEVEL) -> Bands:
    """The same bands; their range where the truth lies as often as the level says, if known."""
    if known is None or known.calibration.modes is None:
        return bands
    half = known.calibration.modes.half(bands.frequency, known.expected_error, level)
    ends = bands.frequency - half, bands.frequency + half
    return replace(bands, range=ends, level=level)
