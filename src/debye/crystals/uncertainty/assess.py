"""From a batch's readings to the uncertainty of each prediction, and what to say of it."""

from __future__ import annotations

from collections.abc import Sequence

from debye.crystals.graph import Graph
from debye.crystals.structure.crystal import Crystal
from debye.crystals.uncertainty.calibration import Calibration
from debye.crystals.uncertainty.cautions import cautions, doubt
from debye.crystals.uncertainty.evidence import Evidence, Readings
from debye.crystals.uncertainty.training_set import Shape
from debye.crystals.uncertainty.uncertainty import Uncertainty

Doubt = tuple[Uncertainty | None, tuple[str, ...]]
"""The uncertainty of a prediction, if it is known, and words of caution."""


def assess(
    calibration: Calibration,
    crystals: Sequence[Crystal],
    graph: Graph,
    readings: Readings,
) -> list[Doubt]:
    """How far the predictions of a batch can be trusted.

    A part of the model, such as its fastest member with one readout of two, disagrees with
    nobody; its uncertainty is not known.

    Args:
        calibration: Of the model.
        crystals: B of them.
        graph: Theirs.
        readings: Of the model's networks.
    """
    known = calibration.training
    novelties = [known.novelty(crystal) for crystal in crystals]
    bond, packing = (values.tolist() for values in Shape.of(graph))
    spoken = [tuple(cautions(*each, known)) for each in zip(crystals, bond, packing, strict=True)]
    if set(readings.kinds) != set(calibration.kinds):
        return [(None, words) for words in spoken]
    evidence = Evidence.of(readings, calibration.frequency, novelties)
    batch = Uncertainty.of(calibration, evidence)
    found = [batch.row(i, novelty) for i, novelty in enumerate(novelties)]
    return [
        (each, (*words, *doubt(each.expected_error.item(), each.rank)))
        for each, words in zip(found, spoken, strict=True)
    ]
