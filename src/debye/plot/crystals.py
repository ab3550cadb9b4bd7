"""Figures of predictions, composed of what the other rooms of this package draw.

All that the crystal half draws can be had from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.dos.thermo_table import thermodynamics
from debye.errors import InputError
from debye.plot import COLUMN, PAGE, PALETTE, new_figure, style
from debye.plot.alloy import draw_waterfall, waterfall_figure
from debye.plot.dos import draw_dos
from debye.plot.evaluation import (
    draw_error_quartiles,
    draw_learning_curve,
    learning_curve_figure,
    quartile_gallery,
)
from debye.plot.text import formula_text, plain_text, write_notes
from debye.plot.thermo import draw_heat_capacity, draw_thermodynamics, thermodynamics_figure

if TYPE_CHECKING:  # plotting a prediction does not need the network
    from debye.crystals.predict.predictor import Prediction

__all__ = [
    "dos_figure",
    "draw_dos",
    "draw_error_quartiles",
    "draw_heat_capacity",
    "draw_learning_curve",
    "draw_thermodynamics",
    "draw_waterfall",
    "learning_curve_figure",
    "overview_figure",
    "prediction_figure",
    "quartile_gallery",
    "thermodynamics_figure",
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
    width: float = COLUMN,
) -> Figure:
    """One density of states at a column's width; arguments as of `draw_dos`.

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

    Example:
        >>> from debye.crystals.structure.crystal import Crystal
        >>> from debye.crystals.predict.predictor import Prediction
        >>> iron = Crystal(["Fe"], [[0, 0, 0]], [[2.9, 0, 0], [0, 2.9, 0], [0, 0, 2.9]])
        >>> sites = Spectrum([0, 100, 200], [[0, 0.03, 0]], labels=("Fe1",))
        >>> only = Prediction(iron, sites, sites.density, ("density",), (), ())
        >>> prediction_figure(only).get_suptitle()
        'Fe'
    """
    T = torch.linspace(0, 800, 161) if temperatures is None else torch.as_tensor(temperatures)
    sure = prediction.uncertainty
    kelvin = T.tolist()
    bounds = {"heat_capacity": sure.interval("heat_capacity", kelvin, level=level)} if sure else {}
    table = thermodynamics(prediction.total, T, bounds=bounds)
    with style():
        wide = width >= 5
        figure = new_figure(width, 0.4 * width if wide else 1.4 * width)
        if wide:
            dos, heat = figure.subplots(1, 2, width_ratios=[1.6, 1])
        else:
            dos, heat = figure.subplots(2, 1, height_ratios=[1.2, 1])
        look: dict[str, Any] = {"unit": unit, "reference": reference, "band_name": _named(level)}
        draw_dos(dos, prediction.total, prediction.elements, band=prediction.band(level), **look)
        band = table.bounds.get("heat_capacity")
        draw_heat_capacity(heat, table.temperature, table.heat_capacity, band=band)
        figure.suptitle(_title(prediction, int(11 * width)), x=0.01, ha="left")
        write_notes(figure, prediction.warnings)
    return figure


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
        >>> from debye.crystals.predict.predictor import Prediction
        >>> iron = Crystal(["Fe"], [[0, 0, 0]], [[2.9, 0, 0], [0, 2.9, 0], [0, 0, 2.9]])
        >>> sites = Spectrum([0, 100, 200], [[0, 0.03, 0]], labels=("Fe1",))
        >>> one = Prediction(iron, sites, sites.density, ("density",), (), ())
        >>> len(overview_figure([one] * 3).axes)
        3
    """
    shown = list(predictions)[:MOST]
    if not shown:
        raise InputError("cannot draw an overview", why="there are no predictions", fix="give some")
    most = 2 if width < 5 else (4 if len(shown) > 9 else 3)
    columns = 2 if len(shown) == 4 else min(most, len(shown))
    rows = -(-len(shown) // columns)
    with style():
        figure = new_figure(width, rows * min(2.4, 0.85 * width / columns) + 0.3)
        axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
        colours = _shared_colours(shown)
        for ax, prediction in zip(axes, shown, strict=False):
            title = _title(prediction, int(13 * width / columns))
            look: dict[str, Any] = {"colours": colours, "inside": len(shown) <= 3, "title": title}
            look["band"] = prediction.band(level)
            draw_dos(ax, prediction.total, prediction.elements, unit=unit, **look)
        figure.supylabel(axes[0].get_ylabel(), fontsize=matplotlib.rcParams["axes.labelsize"])
        _share_labels(figure, axes, len(shown), columns)
        write_notes(figure, [*_overview_notes(shown, len(predictions))])
    return figure


def _named(level: float) -> str:
    """What a band of a level is called."""
    return f"{100 * level:g} % at each frequency"


def _title(prediction: Prediction, longest: int) -> str:
    """The formula, and the name where it says something else."""
    crystal = prediction.crystal
    formula = formula_text(crystal.formula, longest)
    room = longest - len(crystal.formula) - 3
    if not crystal.name or crystal.name == crystal.formula or room < 4:
        return formula
    return f"{formula} ({plain_text(crystal.name, room)})"


def _shared_colours(predictions: Sequence[Prediction]) -> dict[str, str] | None:
    """One colour per element in all panels, while the palette lasts."""
    elements = list(dict.fromkeys(e for p in predictions for e in p.crystal.elements))
    return dict(zip(elements, PALETTE, strict=False)) if len(elements) <= len(PALETTE) else None


def _share_labels(figure: Figure, axes: Sequence[Axes], n: int, columns: int) -> None:
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
