"""Draw phonon bands along a path, and their density of states beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.lattice.bands import Bands
from debye.plot import DARK, GREY, PAGE, PALETTE, WARNING, new_figure, style
from debye.plot.dos import HATCH, array, draw_dos, tint
from debye.plot.text import FREQUENCY_LABELS, formula_text, write_notes
from debye.units import frequency_factor


def draw_bands(
    ax: Axes,
    bands: Bands,
    *,
    unit: str = "cm-1",
    reference: Bands | None = None,
    title: str = "",
) -> None:
    """Draw frequencies against the way through the Brillouin zone.

    Imaginary modes lie below zero, on a tinted ground; the range of several estimates is shaded;
    what lies beyond the spectra that a model learned from is hatched.

    Args:
        ax: Where to draw.
        bands: What to draw.
        unit: ``cm-1``, ``THz``, ``meV`` or ``K``.
        reference: Bands along the same path, drawn dashed.
        title: Above the axes, ready for matplotlib.

    Raises:
        InputError: The unit is unknown.
    """
    factor = frequency_factor("cm-1", unit)
    way = array(bands.path.distance)
    for branch in _runs(bands, array(bands.frequency) * factor):
        ax.plot(*branch, color=PALETTE[0], linewidth=0.9, solid_capstyle="butt")
    if bands.range is not None:
        low, high = (array(edge) * factor for edge in bands.range)
        for j in range(low.shape[1]):
            ax.fill_between(way, low[:, j], high[:, j], color=tint(PALETTE[0], 0.25), linewidth=0)
    if reference is not None:
        for branch in _runs(reference, array(reference.frequency) * factor):
            ax.plot(*branch, color=DARK, linewidth=0.7, dashes=(3, 1.5))
    _decorate(ax, bands, unit)
    if title:
        ax.set_title(title, loc="left")


def _runs(bands: Bands, omega: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each segment with all its branches: (way, frequencies)."""
    ends = np.cumsum(bands.path.lengths)[:-1]
    return list(
        zip(
            np.split(array(bands.path.distance), ends),
            np.split(omega, ends),
            strict=True,
        )
    )


def _decorate(ax: Axes, bands: Bands, unit: str) -> None:
    """Labels of points, verticals through them, zero, and the ground of imaginary modes."""
    places, labels = zip(*bands.path.ticks, strict=True)
    ax.set_xlim(places[0], places[-1])
    ax.set_xticks(places, [label.replace("G", "Γ") for label in labels])
    ax.tick_params(axis="x", length=0)
    for place in places:
        ax.axvline(place, color=GREY, linewidth=0.4, zorder=0)
    ax.set_ylabel(FREQUENCY_LABELS[unit])
    ax.set_ylim(*_limits(bands, unit))
    if _draw_grounds(ax, bands, unit):
        ax.set_title("hatched: extrapolated", loc="right", fontsize=6.5)


def _draw_grounds(ax: Axes, bands: Bands, unit: str) -> bool:
    """The ground of imaginary modes, and of those beyond the model's range, if there are any."""
    low, high = ax.get_ylim()
    if low < 0:
        ax.axhline(0, color=DARK, linewidth=0.6)
        ax.axhspan(low, 0, color=tint(WARNING, 0.1), zorder=0, linewidth=0)
    end = (bands.range_end or np.inf) * frequency_factor("cm-1", unit)
    if end >= high:
        return False
    ax.axhspan(end, high, zorder=0, **HATCH)
    return True


def _limits(bands: Bands, unit: str) -> tuple[float, float]:
    """From zero, or below the lowest imaginary mode, to above the highest."""
    factor = frequency_factor("cm-1", unit)
    parts = [bands.frequency, *(bands.range or ())]
    low = min(part.min().item() for part in parts) * factor
    high = max(part.max().item() for part in parts) * factor
    span = high - min(low, 0.0) or 1.0
    return (low - 0.05 * span if bands.imaginary else 0.0), high + 0.05 * span


def bands_figure(
    bands: Bands,
    total: Spectrum | None = None,
    partials: Spectrum | None = None,
    *,
    unit: str = "cm-1",
    notes: Sequence[str] = (),
    reference: Bands | None = None,
    width: float = PAGE,
) -> Figure:
    """Bands, and their density of states sideways on the same frequency axis.

    Args:
        bands: What to draw.
        total: Density of states of the same force constants; left out if None.
        partials: Its parts by element, with labels.
        unit: Of the frequency.
        notes: What a reader should know, written under the figure.
        reference: Bands along the same path, drawn dashed.
        width: Inches.

    Raises:
        InputError: The unit is unknown, or the density of states is a batch.
    """
    with style():
        figure = new_figure(width, 0.52 * width)
        title = formula_text(bands.crystal.formula)
        if total is None:
            ax = figure.subplots()
        else:
            ax, beside = figure.subplots(1, 2, width_ratios=[3.6, 1], sharey=True)
            draw_dos(beside, total, partials, unit=unit, sideways=True)
            beside.set_ylabel("")
            beside.tick_params(labelleft=False)
        draw_bands(ax, bands, unit=unit, reference=reference, title=title)
        if total is not None:
            _draw_grounds(beside, bands, unit)
        write_notes(figure, notes)
    return figure
