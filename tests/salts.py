"""Rock salts with made-up spectra: labelled data small enough to train on in a test."""

import csv
from pathlib import Path

from debye.crystals.data.labels import FREQUENCY
from debye.crystals.structure.elements import ATOMIC_NUMBERS, MASSES

PAIRS = ("LiF", "LiCl", "NaF", "NaCl", "NaBr", "KF", "KCl", "KBr", "MgO", "CaO", "SrO", "BaO")
SIDE = 4.6
"""Å; of the cubic cells, whose atoms lie 2.3 Å apart."""


def binary(formula):
    """The symbols of a rock salt."""
    cut = 2 if formula[:2] in ATOMIC_NUMBERS else 1
    return formula[:cut], formula[cut:]


def labelled_row(formula):
    """A row as the tutorial's CSV has it: a rock salt, and one peak that falls with its mass."""
    symbols = binary(formula)
    half = SIDE / 2
    peak = 2000 / sum(MASSES[s] for s in symbols) ** 0.5
    density = [max(0.0, 1 - abs(f - peak) / 60) for f in FREQUENCY]
    structure = {
        "numbers": [ATOMIC_NUMBERS[s] for s in symbols],
        "positions": [[0.0, 0.0, 0.0], [half, half, half]],
        "cell": [[0.0, half, half], [half, 0.0, half], [half, half, 0.0]],
        "pbc": [True, True, True],
    }
    spectrum = [d / max(density) for d in density]
    return {
        "mp_id": formula,
        "structure": str(structure),
        "phfreq": str(list(FREQUENCY)),
        "phdos": str(spectrum),
    }


def write_rows(path, rows):
    """A CSV of such rows."""
    with Path(path).open("w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, ["mp_id", "structure", "phfreq", "phdos"])
        table.writeheader()
        table.writerows(rows)
    return path
