"""Figures of predictions, composed of what the other rooms of this package draw.

All that the crystal half draws can be had from here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike
from torch import Tensor

from debye.crystals.dos.spectrum import Spectrum
from debye.errors import InputError
from debye.plot import COLUMN, DARK, PAGE, new_figure, style
from debye.plot.alloy import draw_waterfall, waterfall_figure
from debye.plot.dos import band_patch, draw_dos, range_patch
from debye.plot.evaluation import (
    draw_error_quartiles,
    draw_training_curve,
    quartile_gallery,
    training_curve_figure,
)
from debye.plot.text import formula_text, plain_text, write_notes
from debye.plot.thermo import draw_heat_capacity, draw_thermodynamics, thermodynamics_figure

if TYPE_CHECKING:  # plotting a prediction does not need the network
    from debye.crystals.predict.prediction import Prediction

__all__ = [
    "dos_figure",
    "draw_dos",
    "draw_error_quartiles",
    "draw_heat_capacity",
    "draw_prediction",
    "draw_thermodynamics",
    "draw_training_curve",
    "draw_waterfall",
    "overview_figure",
    "prediction_figure",
    "quartile_gallery",
    "sideways_figure",
    "thermodynamics_figure",
    "training_curve_figure",
    "waterfall_figure",
]

MOST = 12
"""Panels of an overview."""


def dos_figure(
    total: Spectrum,
    partials: Spectrum | None = None,
    *,
    title: str = "",
    unit: str = "cm-1",
    sideways: bool = False,
    reference: Spectrum | None = None,
    band: tuple[Tensor, Tensor] | None = None,
    band_name: str = "",
    range_end: float | None = None,
    width: float = COLUMN,
) -> Figure:
    """One density of states at a column's width; arguments as of `draw_dos`.

    Raises:
        InputError: As of `draw_dos`.

    Example:
        >>> dos = Spectrum([0, 100, 200], [0.0, 0.03, 0.0])
        >>> dos_figure(dos, title="Si", unit="THz").axes[0].get_xlabel()
        'Frequency (THz)'
    """
    with style():
        figure = new_figure(width, width * (1.5 if sideways else 0.68))
        ax = figure.subplots()
        draw_dos(
            ax,
            total,
            partials,
            unit=unit,
            sideways=sideways,
            reference=reference,
            band=band,
            band_name=band_name,
            range_end=range_end,
            title=formula_text(title),
        )
    return figure


def prediction_figure(
    prediction: Prediction,
    temperatures: Tensor | ArrayLike | None = None,
    *,
    unit: str = "cm-1",
    reference: Spectrum | None = None,
    level: float = 0.9,
    width: float = PAGE,
) -> Figure:
    """What a model says of one crystal: density of states by element, and heat capacity.

    The prediction's warnings stand under the panels, so that they travel with the picture.

    Args:
        prediction: One.
        temperatures: K, (T,); 0 to 800 if None.
        unit: Of the frequency.
        reference: A known spectrum to lie over the prediction, (F,).
        level: Of the bands, which are drawn where the model is calibrated.
        width: Inches; under 5 the panels stand above one another.

    Raises:
        InputError: The unit is unknown, or a temperature or the level is out of range.

    Example:
        >>> from debye.crystals.structure.crystal import Crystal
        >>> from debye.crystals.predict.prediction import Prediction
        >>> iron = Crystal(["Fe"], [[0, 0, 0]], [[2.9, 0, 0], [0, 2.9, 0], [0, 0, 2.9]])
        >>> sites = Spectrum([0, 100, 200], [[0, 0.03, 0]], labels=("Fe1",))
        >>> only = Prediction(iron, sites, sites.density, ("density",), (), ())
        >>> prediction_figure(only).get_suptitle()
        'Fe'
    """
    T = torch.linspace(0, 800, 161) if temperatures is None else torch.as_tensor(temperatures)
    table = prediction.thermo(T, level=level)
    with style():
        wide = width >= 5
        figure = new_figure(width, 0.4 * width if wide else 1.4 * width)
        if wide:
            dos, heat = figure.subplots(1, 2, width_ratios=[1.6, 1])
        else:
            dos, heat = figure.subplots(2, 1, height_ratios=[1.2, 1])
        look: dict[str, Any] = {"unit": unit, "reference": reference, **_known(prediction, level)}
        draw_dos(dos, prediction.total, prediction.elements, **look)
        band = table.bounds.get("heat_capacity")
        name = f"{100 * level:g} % interval"
        draw_heat_capacity(heat, table.temperature, table.heat_capacity, band=band, band_name=name)
        figure.suptitle(_title(prediction, 11 * width), x=0.01, ha="left")
        write_notes(figure, prediction.warnings)
    return figure


def sideways_figure(
    prediction: Prediction,
    *,
    unit: str = "cm-1",
    reference: Spectrum | None = None,
    level: float = 0.9,
    width: float = 0.8 * COLUMN,
) -> Figure:
    """A predicted density of states upright, as beside a band structure, with its warnings.

    Args:
        prediction: One.
        unit: Of the frequency.
        reference: A known spectrum to lie over the prediction, (F,).
        level: Of the band, which is drawn where the model is calibrated.
        width: Inches.

    Raises:
        InputError: The unit is unknown, or the level is out of range.
    """
    with style():
        figure = new_figure(width, 1.6 * width)
        look = {"unit": unit, "sideways": True, "reference": reference}
        draw_prediction(figure.subplots(), prediction, level=level, **look)
        write_notes(figure, prediction.warnings, lines=12)
    return figure


def draw_prediction(ax: Axes, prediction: Prediction, *, level: float = 0.9, **how: Any) -> None:  # noqa: ANN401
    """Draw a predicted density of states by element, with its band.

    Args:
        ax: Where to draw.
        prediction: One.
        level: Of the band, which is drawn where the model is calibrated.
        how: As of `draw_dos`.

    Raises:
        InputError: The unit is unknown, or the level is out of range.
    """
    look = {"title": _title(prediction, 36), **_known(prediction, level), **how}
    draw_dos(ax, prediction.total, prediction.elements, **look)


def overview_figure(
    predictions: Sequence[Prediction],
    *,
    unit: str = "cm-1",
    level: float = 0.9,
    width: float = PAGE,
) -> Figure:
    """Densities of states of several crystals, side by side, with their warnings beneath.

    Args:
        predictions: Any number; the first 12 are drawn, and a note says so if there are more.
        unit: Of the frequency.
        level: Of the bands, which are drawn where the model is calibrated.
        width: Inches.

    Raises:
        InputError: There are none.

    Example:
        >>> from debye.crystals.structure.crystal import Crystal
        >>> from debye.crystals.predict.prediction import Prediction
        >>> iron = Crystal(["Fe"], [[0, 0, 0]], [[2.9, 0, 0], [0, 2.9, 0], [0, 0, 2.9]])
        >>> sites = Spectrum([0, 100, 200], [[0, 0.03, 0]], labels=("Fe1",))
        >>> one = Prediction(iron, sites, sites.density, ("density",), (), ())
        >>> len(overview_figure([one] * 3).axes)
        3
    """
    shown = list(predictions)[:MOST]
    if not shown:
        raise InputError("cannot draw an overview", why="there are no predictions", fix="give some")
    columns = 2 if width < 5 or len(shown) == 4 else min(3, len(shown))
    rows = -(-len(shown) // columns)
    with style():
        figure = new_figure(width, rows * min(2.2, 0.74 * width / columns) + 0.5)
        axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
        for ax, prediction in zip(axes, shown, strict=False):
            look: dict[str, Any] = {**_known(prediction, level), "band_name": "", "range_name": ""}
            look |= {"inside": len(shown) <= 3, "title": _title(prediction, 14 * width / columns)}
            draw_dos(ax, prediction.total, prediction.elements, unit=unit, **look)
        figure.supylabel(axes[0].get_ylabel(), fontsize=matplotlib.rcParams["axes.labelsize"])
        _label_once(figure, axes, len(shown), columns)
        _name_once(figure, shown, level)
        write_notes(figure, [*_overview_notes(shown, len(predictions))])
    return figure


def _known(prediction: Prediction, level: float) -> dict[str, Any]:
    """What `draw_dos` shall show of how well a spectrum is known."""
    return {
        "band": prediction.band(level),
        "band_name": f"{100 * level:g} % interval at each frequency",
        "range_end": prediction.range_end,
    }


def _name_once(figure: Figure, shown: Sequence[Prediction], level: float) -> None:
    """One legend for all panels, of what is not an element."""
    handles: list[Artist] = [Line2D([], [], color=DARK, label="total")]
    if any(prediction.uncertainty for prediction in shown):
        handles.append(band_patch(_known(shown[0], level)["band_name"]))
    if any(patch.get_hatch() for ax in figure.axes for patch in ax.patches):
        handles.append(range_patch())
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles))


def _title(prediction: Prediction, longest: float) -> str:
    """The formula, and the name where it says something else and there is room for it."""
    crystal = prediction.crystal
    formula = formula_text(crystal.formula, int(longest))
    room = int(longest) - len(crystal.formula) - 3
    name = crystal.name.replace("_", " ")
    if not name or Counter(name) == Counter(crystal.formula) or room < min(len(name), 12):
        return formula
    return f"{formula} ({plain_text(name, room)})"


def _label_once(figure: Figure, axes: Sequence[Axes], n: int, columns: int) -> None:
    """One density label for all, a frequency under each column; take away empty panels."""
    for i, ax in enumerate(axes):
        if i >= n:
            figure.delaxes(ax)
        ax.set_ylabel("")
        if i + columns < n:
            ax.set_xlabel("")


def _overview_notes(shown: Sequence[Prediction], n: int) -> list[str]:
    """Each different warning once, with the formulas it is for."""
    formulas: dict[str, list[str]] = {}
    for prediction in shown:
        for warning in prediction.warnings:
            formulas.setdefault(warning, []).append(prediction.crystal.formula)
    notes = [f"{', '.join(names)}: {warning}" for warning, names in formulas.items()]
    return [f"The first {len(shown)} of {n} structures.", *notes] if n > len(shown) else notes
