"""How each type of debye draws itself and looks in a notebook; `Displayed` leads here."""

from __future__ import annotations

from functools import singledispatch
from html import escape
from typing import Any

from debye.errors import InputError


@singledispatch
def plotted(shown: object, ax: Any, **how: Any) -> Any:  # noqa: ANN401 - matplotlib's axes
    """Draw something on axes, or on a figure of its own where they are None.

    Raises:
        InputError: Nothing is known of how such a thing is drawn.
    """
    raise InputError(
        f"cannot draw a {type(shown).__name__}",
        why="debye knows no picture of it",
        fix="draw its arrays yourself",
    )


@singledispatch
def html(shown: object) -> str:
    """What a notebook shows of it: HTML of at most 5 kB, an inline SVG in it, no scripts."""
    return f"<pre>{escape(repr(shown))}</pre>"
