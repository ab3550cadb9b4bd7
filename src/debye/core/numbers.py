"""Numbers as people and Fortran write them."""

from __future__ import annotations

import re

_EXPONENT = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+))[dDqQ]([-+]?\d+)")
"""A number with Fortran's exponent: 1.5D+00."""
_CROWDED = re.compile(r"([-+]?\d*\.\d*)([-+]\d{3})")
"""The same with an exponent that leaves no room for its letter: 1.5-100."""


def number_of(text: str) -> float:
    """The number that a text is, with an exponent of Fortran's and a printer's minus, too.

    Where it is none, a ValueError leaves it, as it does ``float``.

    Example:
        >>> number_of("1.5D+01"), number_of("2.0-100"), number_of("−3")
        (15.0, 2e-100, -3.0)
    """
    plain = text.strip().replace("−", "-")
    match = _EXPONENT.fullmatch(plain) or _CROWDED.fullmatch(plain)
    return float(f"{match[1]}e{match[2]}" if match else plain)
