"""The unit of energy that the header of a measured spectrum names."""

from __future__ import annotations

import re
from collections.abc import Sequence

_UNITS = {
    "meV": r"(?<![a-zµμ])mev(?![a-z])",
    "THz": r"(?<![a-z])thz(?![a-z])",
    "cm-1": r"(?<![a-z])cm[ \t]*(?:\$?[*^]*[ \t]*\{?[ \t]*[-−–][ \t]*1\}?\$?|⁻¹)|1[ \t]*/[ \t]*cm\b"
    r"|(?<![a-z])wave[ \t]*numbers?(?![a-z])",
    "K": r"\([ \t]*k[ \t]*\)|\[[ \t]*k[ \t]*\]",
}
_OTHERS = r"(?<![a-z])(?:[µμun]?ev|kev|ghz|kj/mol|kcal/mol|hartree|ry|nm|rad/ps|1/ps|ps-1)(?![a-z])"
"""Units of energy that are not read."""
_BARE_K = r"(?<=[\d.])[ \t]*k(?![a-z])"
_NUMBER = r"[-+]?\d[\d.]*(?:e[-+]?\d+)?"
_ENERGY = r"(?:energy(?:[ \t]+transfer)?|frequency|omega|hbar\w*|[eνω]|nu|x|wave[ \t]*number)"
"""Words that a unit of energy follows."""


def unit_named(header: str) -> str | None:
    """The unit of the energies that a header names, if it names just one.

    A unit that has a value, of a temperature or of the incident energy, is none of the energies.

    Example:
        >>> unit_named("Energy transfer / cm^-1, S(Q,E)"), unit_named("x y")
        ('cm-1', None)
        >>> unit_named("T (K) = 5, Ei 100 meV; wavenumber, S")
        'cm-1'
    """
    found = units_named(header)
    return found[0] if len(found) == 1 else None


def units_named(header: str, names: Sequence[str] = ()) -> list[str]:
    """The units that a header names for the energies; more than one where it is not clear.

    Args:
        header: Its text.
        names: Of the columns, if known; the first is that of the energies.
    """
    text = _without_values(header)
    first = _beside_energy(names[0]) if names else []
    beside = _beside_energy(text)
    everywhere = _in(text)
    if len(everywhere) > 1 and re.search(rf"(?:temp\w*|\bt)[ \t]*(?:{_UNITS['K']})", text, re.I):
        everywhere.remove("K")
    return next((found for found in (first, beside) if len(found) == 1), everywhere)


def other_unit(header: str) -> str:
    """A unit of energy in a header that is not read; empty where there is none.

    Example:
        >>> other_unit("E (eV), S"), other_unit("E (meV), S")
        ('eV', '')
    """
    found = re.search(_OTHERS, _without_values(header), re.I)
    return found[0] if found else ""


def _in(text: str) -> list[str]:
    return [unit for unit, form in _UNITS.items() if re.search(form, text, re.I)]


def _beside_energy(text: str) -> list[str]:
    """The units right behind a word for energy."""
    return [
        unit
        for unit, form in _UNITS.items()
        if re.search(rf"(?<![a-z]){_ENERGY}[ \t]*[(\[/,_]?[ \t]*(?:{form})", text, re.I)
    ]


def _without_values(header: str) -> str:
    """A header without units that have a number: ``T = 5 K``, ``Ei (meV): 100``."""
    units = "|".join((*_UNITS.values(), _OTHERS))
    value = rf"[ \t]*[)\]]?[ \t]*[:=]?[ \t]*{_NUMBER}(?![\d.]*[ \t]*(?:{units}))"
    text = re.sub(rf"[(\[]?[ \t]*(?:{units}){value}", " ", header, flags=re.I)
    with_unit = rf"(?<![\w.-]){_NUMBER}[ \t]*[(\[]?(?:{units}|k\b)"
    return re.sub(with_unit, " ", text, flags=re.I)
