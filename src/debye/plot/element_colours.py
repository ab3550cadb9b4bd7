"""The colour of each element, the same in every figure.

Oxygen, nitrogen, carbon, fluorine, phosphorus, sulphur and chlorine have those of chemists'
models, taken from near the palette of Okabe and Ito. The others were fitted around them, so that
elements which often meet in crystals are told apart in normal vision, deuteranopia and protanopia.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from debye.plot import PALETTE

# fmt: off
ELEMENT_COLOURS = {
    "H": "#BDBDBD", "He": "#B5DDD3",
    "Li": "#EDB9A7", "Be": "#CFDBB0", "B": "#EDC0ED", "C": "#555555", "N": "#0072B2",
    "O": "#D55E00", "F": "#56B4E9", "Ne": "#3CE7EC",
    "Na": "#8E57ED", "Mg": "#CCDC82", "Al": "#847FA8", "Si": "#B79268", "P": "#E69F00",
    "S": "#E3C800", "Cl": "#009E73", "Ar": "#52C7CD",
    "K": "#730CCC", "Ca": "#243CE5", "Sc": "#CFD2ED", "Ti": "#B59BC8", "V": "#2A99E2",
    "Cr": "#696069", "Mn": "#8F569E", "Fe": "#174D66", "Co": "#0860DB",
    "Ni": "#445934", "Cu": "#7A447F", "Zn": "#8A73ED", "Ga": "#95525B", "Ge": "#728D9A",
    "As": "#D496ED", "Se": "#7F8608", "Br": "#8C2008", "Kr": "#08B3C7",
    "Rb": "#510899", "Sr": "#1E267E", "Y": "#8CDEED", "Zr": "#9ACCC0", "Nb": "#7CA3B8",
    "Mo": "#5C7D98", "Tc": "#5C727C", "Ru": "#585195", "Rh": "#6E638F",
    "Pd": "#40688A", "Ag": "#BAA8AB", "Cd": "#DACDC3", "In": "#875678", "Sn": "#866D89",
    "Sb": "#9B89ED", "Te": "#554108", "I": "#7A2737", "Xe": "#0892B3",
    "Cs": "#3E0850", "Ba": "#28113C", "La": "#088C96", "Ce": "#8CE0C0", "Pr": "#85CBA0",
    "Nd": "#30DEC0", "Pm": "#29C9AC", "Sm": "#61B4A6", "Eu": "#8DBAB9", "Gd": "#13B299",
    "Tb": "#4B9D9F", "Dy": "#08A2BF", "Ho": "#088178", "Er": "#4E6D59", "Tm": "#087178",
    "Yb": "#086A59", "Lu": "#085645", "Hf": "#92AB93", "Ta": "#608FC6",
    "W": "#085F6B", "Re": "#4E5979", "Os": "#3F3F8C", "Ir": "#0C5D8D", "Pt": "#A88EA3",
    "Au": "#C5B008", "Hg": "#707DED", "Tl": "#5B354A", "Pb": "#404846", "Bi": "#6A4C69",
    "Po": "#6D5108", "At": "#6B2A0D", "Rn": "#087EA0",
    "Fr": "#3D2470", "Ra": "#081F38", "Ac": "#9CCAED", "Th": "#95A9ED", "Pa": "#7494ED",
    "U": "#948DC5", "Np": "#4186ED", "Pu": "#7A7FD0", "Am": "#3384C8", "Cm": "#5F70CE",
    "Bk": "#1876E0", "Cf": "#5161B2", "Es": "#175AAB", "Fm": "#4446B0", "Md": "#084C8F",
    "No": "#43446E", "Lr": "#163D73",
}
# fmt: on
"""By symbol; deuterium and tritium are drawn as hydrogen."""

_FIRST = re.compile(r"[A-Z][a-z]?")


def element_of(label: str) -> str:
    """The element that a label begins with; empty if there is none.

    Example:
        >>> element_of("O12"), element_of("Mg/Ca2"), element_of("D1"), element_of("rest")
        ('O', 'Mg', 'H', '')
    """
    found = _FIRST.match(label)
    symbol = found[0] if found else ""
    symbol = "H" if symbol in ("D", "T") else symbol
    return symbol if symbol in ELEMENT_COLOURS else ""


def element_colour(label: str) -> str | None:
    """The colour of an element, of a site such as ``O3`` or of a mixed one such as ``Mg/Ca2``.

    A mixed site is drawn as its first element; None for a name that begins with no element.

    Example:
        >>> element_colour("O"), element_colour("O12"), element_colour("D"), element_colour("rest")
        ('#D55E00', '#D55E00', '#BDBDBD', None)
    """
    return ELEMENT_COLOURS.get(element_of(label))


def colours_of(labels: Sequence[str]) -> list[str]:
    """A colour for each label: that of its element, or the next of the palette.

    Example:
        >>> colours_of(["O", "core", "shell"])
        ['#D55E00', '#0072B2', '#E69F00']
    """
    others = itertools.cycle(PALETTE)
    return [element_colour(label) or next(others) for label in labels]
