"""How each type of debye draws itself and looks in a notebook; `Displayed` leads here.

`plotted` draws on matplotlib's axes what `x.plot()` asks for; `html` is what a notebook shows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from html import escape
from typing import Any, cast

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.dos.thermo_table import Thermodynamics
from debye.crystals.lattice.bands import Bands
from debye.crystals.predict.prediction import Prediction
from debye.crystals.structure.crystal import Crystal
from debye.errors import InputError
from debye.plot import ShownFigure, new_figure, style
from debye.plot.bands import draw_bands
from debye.plot.crystals import draw_prediction
from debye.plot.dos import draw_dos
from debye.plot.fitted import draw_first_frame, draw_fitted, draw_goodness
from debye.plot.notebook import (
    bands_card,
    correlation_card,
    crystal_card,
    fitted_card,
    frames_card,
    prediction_card,
    spectrum_card,
    thermodynamics_card,
)
from debye.plot.speckle import study_figure
from debye.plot.structure import draw_crystal
from debye.plot.thermo import draw_quantity
from debye.plot.xpcs import correlation_figure, draw_correlation, draw_map, draw_relaxation
from debye.speckle.data.frames import Frames
from debye.speckle.fitting.fitted import FittedSystem
from debye.speckle.fitting.goodness import Goodness
from debye.speckle.studies.study import Report
from debye.speckle.xpcs.correlation import Correlation
from debye.speckle.xpcs.fit import Fit
from debye.speckle.xpcs.twotime import TwoTime


class ShownAxes(Axes):
    """Axes on a figure of their own, which a notebook shows when a cell ends in them."""

    def _repr_png_(self) -> bytes:
        return cast("ShownFigure", self.figure)._repr_png_()


@singledispatch
def plotted(shown: object, ax: Axes | None = None, **how: Any) -> Axes | Figure:  # noqa: ANN401 - of each type
    """Draw something on axes, or on a figure of its own where they are None.

    Args:
        shown: A crystal, spectrum, prediction, bands, thermodynamics, frames, fitted system,
            correlations or a study's report.
        ax: Where to draw.
        how: What the function of its type takes: `draw_crystal`, `draw_dos`, `draw_prediction`,
            `draw_bands`, `draw_quantity`, `draw_first_frame`, `draw_fitted`, `draw_goodness`,
            `draw_correlation`, `draw_relaxation`, `draw_map`.

    Returns:
        The axes drawn on; of a study's report, and of a correlation where there are none, the
        figure, which is a page.

    Raises:
        InputError: Nothing is known of how such a thing is drawn, or it is a batch that makes no
            single picture.
    """
    raise InputError(
        f"cannot draw a {type(shown).__name__}",
        why="debye knows no picture of it",
        fix="draw its arrays yourself",
    )


def _on(ax: Axes | None, draw: Callable[..., None], *what: object, **how: object) -> Axes:
    """Draw on given axes in the look they have, or on new ones in debye's."""
    if ax is not None:
        draw(ax, *what, **how)
        return ax
    with style():
        ax = new_figure().add_subplot(axes_class=ShownAxes)
        draw(ax, *what, **how)
    return ax


@plotted.register
def _(shown: Crystal, ax: Axes | None = None, **how: Any) -> Axes:  # noqa: ANN401
    return _on(ax, draw_crystal, shown, **how)


@plotted.register
def _(shown: Spectrum, ax: Axes | None = None, **how: Any) -> Axes:  # noqa: ANN401
    if shown.labels and len(shown.shape) == 1:  # partials, which add up to a total
        return _on(ax, draw_dos, shown.sum(), shown, **how)
    return _on(ax, draw_dos, shown, **how)


@plotted.register
def _(shown: Prediction, ax: Axes | None = None, **how: Any) -> Axes:  # noqa: ANN401
    return _on(ax, draw_prediction, shown, **how)


@plotted.register
def _(shown: Bands, ax: Axes | None = None, **how: Any) -> Axes:  # noqa: ANN401
    return _on(ax, draw_bands, shown, **how)


@plotted.register
def _(shown: Thermodynamics, ax: Axes | None = None, **how: Any) -> Axes:  # noqa: ANN401
    return _on(ax, draw_quantity, shown, **how)


@plotted.register
def _(shown: Correlation, ax: Axes | None = None, **how: Any) -> Axes | Figure:  # noqa: ANN401
    if ax is None:
        return correlation_figure(shown, **how)
    return _on(ax, draw_correlation, shown, **how)


@plotted.register
def _(shown: Fit, ax: Axes | None = None, **how: Any) -> Axes:  # noqa: ANN401
    return _on(ax, draw_relaxation, shown, **how)


@plotted.register
def _(shown: TwoTime, ax: Axes | None = None, **how: Any) -> Axes:  # noqa: ANN401
    return _on(ax, draw_map, shown, **how)


@plotted.register
def _(shown: Frames, ax: Axes | None = None, **how: Any) -> Axes:  # noqa: ANN401
    return _on(ax, draw_first_frame, shown, **how)


@plotted.register
def _(shown: FittedSystem, ax: Axes | None = None, **how: Any) -> Axes:  # noqa: ANN401
    return _on(ax, draw_fitted, shown, **how)


@plotted.register
def _(shown: Goodness, ax: Axes | None = None, **how: Any) -> Axes:  # noqa: ANN401
    return _on(ax, draw_goodness, shown, **how)


@plotted.register
def _(shown: Report, ax: Axes | None = None, **how: Any) -> Figure:  # noqa: ANN401
    if ax is None:
        return study_figure(shown, **how)
    raise InputError(
        "cannot draw a study on one pair of axes",
        why="it fills a page",
        fix="call plot() without axes, and save the figure",
    )


@singledispatch
def html(shown: object) -> str:
    """What a notebook shows of it: HTML of at most 5 kB, an inline SVG in it, no scripts."""
    return f"<pre>{escape(repr(shown))}</pre>"


html.register(Crystal, crystal_card)
html.register(Spectrum, spectrum_card)
html.register(Prediction, prediction_card)
html.register(Bands, bands_card)
html.register(Thermodynamics, thermodynamics_card)
html.register(Frames, frames_card)
html.register(FittedSystem, fitted_card)
html.register(Correlation, correlation_card)
