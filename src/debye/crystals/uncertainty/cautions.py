"""What sets a crystal apart from the training set, in plain words: there intervals may fail."""

from __future__ import annotations

from collections.abc import Iterator

from debye.crystals.structure.composition import composition_vector
from debye.crystals.structure.crystal import Crystal
from debye.crystals.uncertainty.training_set import METALS, TrainingSet, complexity

FEW = 0.05
"""Share of the training crystals below which a kind of crystal counts as unknown."""
DOUBTFUL = 0.95
"""Share of the training crystals of which a smaller error is expected, from which on to warn."""


def cautions(crystal: Crystal, bond: float, packing: float, known: TrainingSet) -> Iterator[str]:
    """In plain words, what sets a crystal apart from everything that the model was trained on.

    Elements never seen are not among them: every model tells those.
    """
    x = composition_vector(crystal)
    if not x[~METALS].any() and known.metals_only < FEW * len(known):
        yield (
            "it is made of metals only, as few of the training crystals are "
            f"({known.metals_only} of {len(known)})"
        )
    if not crystal.is_ordered and not known.mixed:
        yield "no training crystal has mixed or partly vacant sites"
    if complexity(crystal) > known.largest:
        yield (
            f"its formula unit has {complexity(crystal):g} atoms, and none of the training "
            f"crystals more than {known.largest:g}"
        )
    yield from _unlike("shortest bond", "the sum of the covalent radii", bond, known.bond)
    yield from _unlike("packing", "the cell's volume", packing, known.packing)


def _unlike(what: str, of: str, value: float, seen: tuple[float, float]) -> Iterator[str]:
    if not seen[0] <= value <= seen[1]:
        yield (
            f"its {what} is {value:.2f} of {of}, and that of the training crystals between "
            f"{seen[0]:.2f} and {seen[1]:.2f}"
        )


def doubt(error: float, rank: float) -> Iterator[str]:
    """That a large error is expected, where it is.

    Args:
        error: Expected, cm⁻¹.
        rank: Share of the training crystals of which a smaller one is expected.
    """
    if rank >= DOUBTFUL:
        yield (
            f"expected error {error:.3g} cm-1, worse than for {100 * rank:.0f} % of the training "
            "crystals"
        )
