"""A screening as a scatter: each structure's mean atomic mass, a quantity, and its warnings."""

from __future__ import annotations

from typing import Any

from debye import Screening
from debye.crystals.dos.quantities import PROPERTIES

MOST = 20_000
"""Rows that a page shows."""


def rows(screening: Screening, quantity: str) -> dict[str, Any]:
    """The rows of a screening by a quantity, the best first.

    Args:
        screening: Which.
        quantity: What to rank by, as in `Screening.top`.

    Raises:
        InputError: It was not screened for that, or a part is damaged.
    """
    found = screening.top(quantity, MOST)
    names = list(found[0]) if found else []
    wanted = PROPERTIES[quantity]
    column = next((n for n in names if n.startswith(wanted.quantity.name)), "")
    return {
        "structures": screening.structures,
        "failed": screening.failed,
        "column": column,
        "rows": [
            {
                "id": row["id"].rsplit("/", 1)[-1],
                "formula": row["formula"],
                "mass": row["mass_per_atom_u"],
                "value": row[column],
                "warnings": list(row["warnings"] or ()),
                "elements": list(row["elements"]),
            }
            for row in found
        ],
    }
