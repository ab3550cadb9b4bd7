"""What every JSON record has: a schema, and numbers of as many digits as they are worth."""

from __future__ import annotations

from collections.abc import Iterable

SCHEMA = 1
"""Of the records: raised when a key goes or changes its meaning, not when one comes."""
DIGITS = 7
"""What single precision holds, in which networks predict; further digits would be noise."""


def significant(value: float) -> float:
    """A number of seven digits.

    Example:
        >>> significant(705.4679565429688)
        705.468
    """
    return float(f"{value:.{DIGITS}g}")


def significants(values: Iterable[float]) -> list[float]:
    """Numbers of seven digits."""
    return [significant(value) for value in values]
