"""Model files: those that come with debye, and what a card says of the model in its file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from debye.core import VERSION, checkpoint
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.graph import Graph
from debye.crystals.model.ensemble import Ensemble
from debye.crystals.model.network import PhononNet
from debye.crystals.structure.crystal import Crystal
from debye.crystals.uncertainty.calibration import Calibration
from debye.errors import InputError

DATA = Path(__file__).parents[2] / "data"
SHIPPED = DATA / "phonon-ensemble.safetensors"
"""The ensemble that comes with debye."""
FAST = DATA / "phonon-fast.safetensors"
"""The single network that comes with debye: less accurate, several times faster."""
LABELS = DATA / "phonon-labels.safetensors"
"""The ensemble of spectra by density-functional theory alone, with no potential for a teacher."""
TAUGHT = "force_constants"
"""In a card's data: of how many crystals force constants were taught, which know no range."""
TAUGHT_BEYOND = "force_constants_beyond_rows"
"""In a card's data: formulas of the crystals among them that had no spectrum."""
NAMED = {"ensemble": SHIPPED, "fast": FAST, "labels": LABELS}


def model_path(given: str | os.PathLike[str] | None) -> Path:
    """The file of a model: None is the shipped ensemble, and others that come have names.

    Raises:
        InputError: It is the name of none.

    Example:
        >>> model_path("fast").name, model_path("run/best.safetensors").name
        ('phonon-fast.safetensors', 'best.safetensors')
    """
    if given is None:
        return SHIPPED
    name = os.fspath(given)
    path = NAMED.get(name, Path(name).expanduser())
    if not path.exists() and not path.suffix:
        raise InputError(
            f"there is no model {name!r}",
            why=f"it is neither a file nor one of those that come with debye: {', '.join(NAMED)}",
            fix="give the path of a .safetensors file, or one of these names",
        )
    return path


def grid(card: Mapping[str, Any]) -> list[float]:
    """Frequencies of the model of a card, cm⁻¹."""
    arguments = card["arguments"]
    return list(arguments.get("members", [arguments])[0]["frequency"])


def probe_crystal() -> Crystal:
    """A small crystal on which a model's predictions are compared with those of its maker."""
    cell = 2.8201 * np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    return Crystal(["Na", "Cl"], [[0.0, 0.0, 0.0], [2.8201, 2.8201, 2.8201]], cell, name="probe")


@torch.no_grad()
def probe(model: PhononNet | Ensemble) -> float:
    """Mean frequency predicted for the probe crystal, cm⁻¹.

    Raises:
        InputError: The model's cutoff leaves its sites without neighbours.
    """
    total = model.eval()(Graph.of(probe_crystal(), model.cutoff)).total[0].cpu()
    return Spectrum(model.frequency, total, 2.0).mean_frequency.item()


def calibration_of(model: Ensemble, card: Mapping[str, Any]) -> Calibration | None:
    """The calibration in a card, if there is one.

    Raises:
        InputError: It is of another model.
    """
    if "calibration" not in card:
        return None
    return Calibration.from_card(card["calibration"], checkpoint.fingerprint(model))


def check_card(model: PhononNet | Ensemble, card: Mapping[str, Any], path: Path) -> None:
    """Refuse a model that does not predict what its card says.

    Raises:
        InputError: It does not, or the card does not say.
    """
    expected, found = card.get("probe_mean_frequency_cm-1"), probe(model)
    if "elements" not in card or not isinstance(expected, float):
        why = "its card names no elements, or no probe prediction"
    elif abs(found - expected) <= 1e-3 * expected:
        return
    else:
        why = f"its probe prediction is {found:.2f} cm⁻¹ where its maker had {expected:.2f} cm⁻¹"
    raise InputError(
        f"will not use the model {path}",
        why=why,
        fix="use it with the debye version named in its card, or train it again",
    )


def model_card(model: PhononNet | Ensemble, **facts: object) -> dict[str, Any]:
    """The card of a model: what was trained on what, and a probe prediction to check it by.

    Raises:
        InputError: The model's cutoff leaves the probe's sites without neighbours.
    """
    return {
        **facts,
        "parameters": sum(p.numel() for p in model.parameters()),
        "frequency_unit": "cm-1",
        "debye_version": VERSION,
        "probe_mean_frequency_cm-1": probe(model),
    }
