"""Figures: data in, drawn on given axes; the only package that imports matplotlib.

Functions named ``draw_*`` draw on axes they are given and return nothing; those named
``*_figure`` compose a whole `matplotlib.figure.Figure`, and `save` writes it. pyplot is not used
and rcParams are set inside `style` only, so importing debye changes nobody's plots.
"""

from __future__ import annotations

import io
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from debye.core import VERSION
from debye.core.files import atomic_write
from debye.errors import InputError

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442")
"""The colours of Okabe and Ito, told apart by colour-blind readers; black is kept for totals."""
DARK, GREY, WARNING = "#222222", "#8A8A8A", "#B34700"
COLUMN, PAGE = 3.4, 7.0
"""Widths of a journal's column and page, inches."""

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure everywhere
    "font.size": 7.0,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.0,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "figure.titlesize": 8.5,
    "axes.linewidth": 0.6,
    "axes.edgecolor": DARK,
    "axes.labelcolor": DARK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlepad": 4.0,
    "axes.formatter.use_mathtext": True,
    "axes.unicode_minus": True,
    "xtick.color": DARK,
    "ytick.color": DARK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.0,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "text.color": DARK,
    "text.usetex": False,
    "mathtext.fontset": "dejavusans",
    "mathtext.default": "regular",
    "pdf.fonttype": 42,  # journals refuse Type 3 fonts
    "svg.hashsalt": "debye",  # the same figure is the same file
}

_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": f"debye {VERSION}"},
    ".svg": {"Creator": f"debye {VERSION}", "Date": None},
    ".pdf": {"Creator": f"debye {VERSION}", "CreationDate": None},
}


def style() -> AbstractContextManager[None]:
    """The look of debye's figures, for the time of a ``with`` block.

    Example:
        >>> with style():
        ...     matplotlib.rcParams["font.size"]
        7.0
    """
    return matplotlib.rc_context(STYLE)


class ShownFigure(Figure):
    """A figure that a notebook shows when a cell ends in it, with nothing switched on."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        with style():
            self.savefig(stream, format="png", dpi=144)
        return stream.getvalue()


def new_figure(width: float = COLUMN, height: float | None = None) -> Figure:
    """An empty figure with constrained layout; make it and draw on it inside `style`.

    Args:
        width: Inches.
        height: Inches; the width over 1.5 if None.

    Example:
        >>> with style():
        ...     ax = new_figure().subplots()
    """
    return ShownFigure(figsize=(width, height or width / 1.5), layout="constrained")


def save(figure: Figure, path: str | os.PathLike[str], *, dpi: float = 200.0) -> Path:
    """Write a figure, whole or not at all.

    Args:
        figure: What to write.
        path: Where; ``.png``, ``.svg`` or ``.pdf`` says in which format.
        dpi: Pixels per inch of a PNG.

    Returns:
        The path written.

    Raises:
        InputError: The name ends in something else, or the file cannot be written.
        ComputationError: The disk fails while it is written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(new_figure(), Path(folder) / "empty.svg").stat().st_size > 0
        True
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _METADATA:
        why = f"its name ends in {suffix!r}" if suffix else "its name has no ending"
        fix = f"end it in {', '.join(_METADATA)}"
        raise InputError(f"cannot write the figure {Path(path)}", why=why, fix=fix)
    stream = io.BytesIO()
    with style():
        figure.savefig(stream, format=suffix[1:], dpi=dpi, metadata=_METADATA[suffix])
    return atomic_write(path, stream.getvalue())
