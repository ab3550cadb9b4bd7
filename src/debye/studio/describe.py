"""What the studio tells a page of a prediction and of bands: numbers with all their digits."""

from __future__ import annotations

from math import pi
from typing import Any

import numpy as np

from debye import Bands, Crystal, FailedInput, Prediction, Predictor
from debye.crystals.lattice.bands import Modes
from debye.crystals.structure.elements import (
    ATOMIC_NUMBERS,
    SYMBOLS,
    covalent_radius,
    periodic_position,
)
from debye.crystals.uncertainty.uncertainty import Interval
from debye.plot.element_colours import ELEMENT_COLOURS

TEMPERATURES = [float(T) for T in range(0, 1001, 10)]
"""K, of what is shown against temperature."""


def about(predictor: Predictor) -> dict[str, Any]:
    """The model, what it has seen, and how elements look."""
    data = predictor.card.get("data")
    return {
        "model": repr(predictor),
        "data": data.get("name", "") if isinstance(data, dict) else "",
        "bands": "force_constants" in predictor.model.kinds,
        "seen": sorted(predictor.seen),
        "elements": {symbol: element(symbol) for symbol in SYMBOLS[1:]}
        | {isotope: element("H") for isotope in ("D", "T")},
        "temperature": TEMPERATURES,
    }


def element(symbol: str) -> dict[str, Any]:
    """Where an element stands, and how it looks."""
    number = ATOMIC_NUMBERS[symbol]
    period, group, block = periodic_position(number)
    return {
        "number": number,
        "period": period,
        "group": group,
        "block": block,
        "colour": ELEMENT_COLOURS.get(symbol, "#888888"),
        "radius": covalent_radius(number),
    }


def structure(found: Prediction | FailedInput, index: int) -> dict[str, Any]:
    """All that is shown of one structure at once, or why it failed."""
    if isinstance(found, FailedInput):
        error = found.error
        told = {"what": error.what, "why": error.why, "fix": error.fix}
        return {"index": index, "source": found.source, "error": told}
    crystal, total, band = found.crystal, found.total, found.band()
    return {
        "index": index,
        "source": crystal.source,
        **cell(crystal),
        "given": found.given is not None,
        "frequency": total.frequency.tolist(),
        "dos": total.density.tolist(),
        "band": _ends(band),
        "elements": dict(zip(found.elements.labels, found.elements.density.tolist(), strict=True)),
        "site_dos": dict(zip(found.sites.labels, found.sites.density.tolist(), strict=True)),
        "warnings": list(found.warnings),
        "unseen": list(found.elements_unseen),
        **_numbers(found),
    }


def cell(crystal: Crystal) -> dict[str, Any]:
    """A crystal as it is drawn."""
    return {
        "name": crystal.name,
        "formula": crystal.formula,
        "composition": crystal.composition,
        "n_sites": crystal.n_sites,
        "n_atoms": crystal.n_atoms,
        "volume": crystal.volume,
        "cell": crystal.cell.tolist(),
        "positions": crystal.positions.tolist(),
        "fractional": crystal.fractional.tolist(),
        "species": [dict(site) for site in crystal.species],
        "masses": crystal.masses.tolist(),
    }


def _numbers(found: Prediction) -> dict[str, Any]:
    """Means, and what depends on temperature, with their intervals."""
    table, known = found.thermo(TEMPERATURES), found.uncertainty
    told: dict[str, Any] = {
        "mean_frequency": found.total.mean_frequency.item(),
        "zero_point_energy": table.zero_point_energy.item(),
        "heat_capacity": table.heat_capacity.tolist(),
        "entropy": table.entropy.tolist(),
        "bounds": {name: _ends(Interval(*ends)) for name, ends in table.bounds.items()},
        "displacement": _displacements(found),
    }
    if known is not None:
        told["mean_frequency_ends"] = [end.item() for end in known.interval("mean_frequency")]
        told["expected_error"], told["rank"] = known.expected_error.item(), known.rank
        if known.applicability is not None:
            told["nearest"] = known.applicability.nearest
    return told


def _displacements(found: Prediction) -> list[list[float | None]]:
    """⟨u²⟩ of each site against temperature, Å²; None where a soft mode makes it infinite."""
    values = np.asarray(found.b_factors(TEMPERATURES), float) / (8 * pi**2)
    return [[x if np.isfinite(x) else None for x in row] for row in values.tolist()]


def _ends(interval: Interval | None) -> list[list[float]] | None:
    return None if interval is None else [end.tolist() for end in interval]


def bands(found: Bands) -> dict[str, Any]:
    """Bands, and the primitive cell that they are of."""
    path = found.path
    return {
        **cell(found.crystal),
        "q": path.q.tolist(),
        "distance": path.distance.tolist(),
        "labels": list(path.labels),
        "segments": list(path.lengths),
        "frequency": found.frequency.tolist(),
        "range": None if found.range is None else [edge.tolist() for edge in found.range],
        "range_end": found.range_end,
        "notes": list(found.notes),
    }


def modes(found: Modes) -> dict[str, Any]:
    """Modes at one wave vector with their eigenvectors, real and imaginary parts apart."""
    return {
        "q": found.q.tolist(),
        "frequency": found.frequency.tolist(),
        "real": found.vectors.real.tolist(),
        "imaginary": found.vectors.imag.tolist(),
    }
