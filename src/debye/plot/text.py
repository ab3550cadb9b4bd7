"""Words on figures: formulas with subscripts, units, notes that fit."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from functools import cache

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from debye.plot import STYLE, WARNING

UNIT_NAMES = {"cm-1": "cm⁻¹", "THz": "THz", "meV": "meV", "K": "K"}
FREQUENCY_LABELS = {
    "cm-1": "Frequency (cm⁻¹)",
    "THz": "Frequency (THz)",
    "meV": "Energy (meV)",
    "K": "Energy / k$_B$ (K)",
}
_PART = re.compile(r"([A-Z][a-z]?)(\d+(?:\.\d+)?)?")
_FORMULA = re.compile(rf"(?:{_PART.pattern})+")


def formula_text(name: str, longest: int = 48) -> str:
    r"""A formula with subscripts, or any other name as it is, safe for matplotlib.

    Args:
        name: ``Mg3Bi0.5Sb1.5``, or anything.
        longest: Characters from which on the rest becomes an ellipsis.

    Example:
        >>> formula_text("Mg3Bi0.5Sb1.5")
        'Mg$_{3}$Bi$_{0.5}$Sb$_{1.5}$'
        >>> formula_text("cost_in_$")
        'cost_in_\\$'
    """
    if not _FORMULA.fullmatch(name):
        return plain_text(name, longest)
    text, length = "", 0
    for part in _PART.finditer(name):
        length += len(part[0])
        if length > longest:
            return text + "…"
        text += part[1] + (f"$_{{{part[2]}}}$" if part[2] else "")
    return text


def plain_text(text: str, longest: int = 1000) -> str:
    """Text on one line that matplotlib neither parses nor lacks the glyphs of."""
    shown = " ".join(text.split())
    shown = shown if len(shown) <= longest else shown[: longest - 1] + "…"
    return "".join(c if _drawable(c) else "\N{WHITE SQUARE}" for c in shown).replace("$", r"\$")


@cache
def _drawable(character: str) -> bool:
    """Whether the style's font has the glyph; a missing one would be a warning when drawn."""
    font = get_font(findfont(FontProperties(family=STYLE["font.family"])))
    return font.get_char_index(ord(character)) != 0


def density_label(normalisation: str, unit: str) -> str:
    """Label of a density of states, saying what it counts.

    Example:
        >>> density_label("3N", "THz")
        'DoS (states / THz / cell)'
    """
    name = UNIT_NAMES[unit]
    return {
        "3N": f"DoS (states / {name} / cell)",
        "3": f"DoS (states / {name} / atom)",
        "1": f"DoS, integral 1 (1 / {name})",
        "max": "DoS / maximum",
    }[normalisation]


def write_notes(figure: Figure, notes: Sequence[str], lines: int = 5) -> None:
    """Write notes under a figure, small and wrapped to its width; the layout makes room.

    Args:
        figure: With constrained layout.
        notes: One paragraph each; nothing is written for none.
        lines: At most so many, the last telling how many notes are cut.
    """
    size = 6.0
    width = int(figure.get_figwidth() * 72 / (0.58 * size))
    wrapped = [
        textwrap.wrap(plain_text(note), width, subsequent_indent="  ")
        for note in dict.fromkeys(notes)
    ]
    kept = [line for note in wrapped for line in note]
    if len(kept) > lines:
        kept = [*kept[: lines - 1], f"… ({len(wrapped)} notes in all)"]
    if kept:
        figure.supxlabel(
            "\n".join(kept), x=0.01, ha="left", fontsize=size, color=WARNING, linespacing=1.3
        )
