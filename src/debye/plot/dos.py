"""Draw a phonon density of states: total, partials by element, a reference, a band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from debye.crystals.dos.checks import check_same_axis
from debye.crystals.dos.spectrum import Spectrum
from debye.errors import InputError
from debye.plot import DARK
from debye.plot.element_colours import colours_of, element_of
from debye.plot.text import FREQUENCY_LABELS, density_label, plain_text
from debye.units import frequency_factor

WEIGHT = 5e-3
"""Fraction of the peak above which a density is worth a place on the axis."""
ROW = 9.5
"""Height of a row of names above the axes, points."""
BAND = "#DEDEDE"
"""Colour of a band, which lies behind everything."""
NAME = 7.5
"""Size of a name inside its area, points."""
MOST_PARTS = 12
"""Partials that are drawn one by one; more are added up by element."""
BEYOND = "beyond the model's range"

Array = NDArray[np.float64]


def draw_dos(
    ax: Axes,
    total: Spectrum,
    partials: Spectrum | None = None,
    *,
    unit: str = "cm-1",
    sideways: bool = False,
    reference: Spectrum | None = None,
    band: tuple[Tensor, Tensor] | None = None,
    band_name: str = "",
    range_end: float | None = None,
    range_name: str = BEYOND,
    names: tuple[str, str] = ("predicted", "reference"),
    inside: bool = True,
    title: str = "",
) -> None:
    """Draw a density of states in its own normalisation.

    Partials are stacked in the colours of their elements, so that their areas add up to the total;
    each is named inside its area where all names fit, else above the axes. A band lies behind
    them, its lower edge a thin line before them. The frequency axis ends where the last states
    are; imaginary modes, where there are any, lie left of 0.

    Args:
        ax: Where to draw.
        total: Density of states, shape (F,).
        partials: Parts of the total, (P, F) on its axis, with labels.
        unit: ``cm-1``, ``THz``, ``meV`` or ``K``.
        sideways: Frequency upwards, as beside a band structure.
        reference: Another spectrum, (F',), drawn dashed for as many atoms as the total.
        band: Lower and upper density around the total, (F,) each, as ``total.density``.
        band_name: What the band is called, if that is to be shown.
        range_end: Highest frequency that the model can predict, cm⁻¹; what lies beyond is hatched
            if the axis goes so far.
        range_name: What that is called, if it is to be shown.
        names: What the total and the reference are called; shown with a reference only.
        inside: Name partials inside their areas where all names fit; above the axes if not.
        title: Above the axes and the names, ready for matplotlib.

    Raises:
        InputError: A spectrum is a batch, partials have no labels or another axis, or the unit is
            unknown.

    Example:
        >>> from debye.plot import new_figure
        >>> sites = Spectrum([0, 100, 200], [[0, 0.03, 0], [0, 0.03, 0]], labels=("Ga", "N"))
        >>> ax = new_figure().subplots()
        >>> draw_dos(ax, sites.sum(), sites)
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('Frequency (cm⁻¹)', 'DoS (states / cm⁻¹ / cell)')
    """
    check_single(total, "the total")
    pen = _Pen(ax, sideways)
    curves = [numbers(total, unit)]
    if reference is not None:
        curves.append(numbers(alike(reference, total), unit))
    parts = _stacked(total, partials, unit) if partials is not None else []
    edges = _in_unit(band, total, unit) if band is not None else None
    lines = _draw_states(pen, curves, parts, edges, names)
    reached = _limit(pen, curves, edges, range_end and range_end * frequency_factor("cm-1", unit))
    pen.axis_labels(FREQUENCY_LABELS[unit], density_label(total.normalisation, unit))
    areas = [] if inside and _name_areas(pen, curves[0][0], parts) else _patches(parts)
    if edges is not None and band_name:
        areas.append(band_patch(band_name))
    if reached and range_name:
        areas.append(range_patch(range_name))
    rows = _legends(pen, lines if len(lines) > 1 else [], areas)
    if title:
        ax.set_title(title, loc="left", pad=4 + ROW * rows)


def band_patch(name: str) -> Patch:
    """How a band is shown in a legend."""
    return Patch(facecolor=BAND, edgecolor=tint(DARK, 0.5), linewidth=0.4, label=plain_text(name))


def range_patch(name: str = BEYOND) -> Patch:
    """How what lies beyond the model's range is shown in a legend."""
    return Patch(label=plain_text(name), **HATCH)


HATCH: dict[str, Any] = {
    "facecolor": "none",
    "edgecolor": "#B0B0B0",
    "hatch": "/////",
    "linewidth": 0,
}
"""Look of what lies beyond a model's range."""


def check_single(spectrum: Spectrum, what: str) -> None:
    """Refuse a batch where one spectrum is meant.

    Raises:
        InputError: It is a batch.
    """
    if spectrum.shape:
        why = f"it is a batch of shape {tuple(spectrum.shape)}"
        raise InputError(f"cannot draw {what} as one curve", why=why, fix="give one row of it")


def numbers(spectrum: Spectrum, unit: str) -> tuple[Array, Array]:
    """Frequency (F,) and density (..., F) in a unit, as arrays without gradient."""
    omega, density = (array(x) for x in spectrum.in_unit(unit))
    return omega, density


def array(values: Tensor | ArrayLike) -> Array:
    """Values as an array without gradient."""
    return torch.as_tensor(values).detach().cpu().double().numpy()


def alike(spectrum: Spectrum, other: Spectrum) -> Spectrum:
    """One spectrum in the normalisation of another and for as many atoms, to lie over it.

    Raises:
        InputError: The spectrum is a batch.
    """
    check_single(spectrum, "the reference")
    if other.normalisation != "3N":
        return spectrum.to(other.normalisation)
    atoms = other.n_atoms.to(spectrum.density)
    return Spectrum(spectrum.frequency, spectrum.to("3").density * atoms, atoms)


def frequency_limits(curves: Sequence[tuple[Array, Array]]) -> tuple[float, float]:
    """From 0, or the first imaginary mode, to the last states of curves (ω, g), rounded outwards.

    Example:
        >>> omega = np.array([0.0, 85.0, 170.0, 800.0])
        >>> frequency_limits([(omega, np.array([0.0, 1.0, 0.0, 0.0]))])
        (0.0, 180.0)
    """
    ends = []
    for omega, density in curves:
        rows = np.atleast_2d(density)
        carrying = np.flatnonzero((rows > WEIGHT * rows.max(-1, keepdims=True)).any(0))
        # One point further: there the line comes down to zero.
        ends += [omega[max(carrying[0] - 1, 0)], omega[min(carrying[-1] + 1, len(omega) - 1)]]
    ticks = MaxNLocator(nbins=10, steps=[1, 2, 5, 10]).tick_values(min(0.0, *ends), max(ends))
    low, high = min(omega[0] for omega, _ in curves), max(omega[-1] for omega, _ in curves)
    return float(max(ticks[0], min(low, 0.0))), float(min(ticks[-1], high))


def tint(colour: str | tuple[float, ...], strength: float = 0.5) -> tuple[float, ...]:
    """A colour mixed with white; opaque, so that stacked areas do not mix."""
    return tuple(1 - strength * (1 - c) for c in to_rgb(colour))


def _in_unit(band: tuple[Tensor, Tensor], total: Spectrum, unit: str) -> tuple[Array, Array]:
    factor = 1.0 if total.normalisation == "max" else frequency_factor("cm-1", unit)
    return array(band[0]) / factor, array(band[1]) / factor


class _Part(NamedTuple):
    """A partial density between the one below it and the one above."""

    name: str
    lower: Array
    upper: Array
    fill: tuple[float, ...]


def _stacked(total: Spectrum, partials: Spectrum, unit: str) -> list[_Part]:
    """The partials, one upon the other."""
    if len(partials.shape) != 1 or not partials.labels:
        why = f"their shape is {tuple(partials.shape)} and their labels are {partials.labels}"
        fix = "give one row per element or site, with labels"
        raise InputError("cannot draw the partial spectra", why=why, fix=fix)
    check_same_axis(total.frequency, partials.frequency)
    partials = fewer(partials)
    # States are divided in the count of the whole: per atom each would have its own atoms.
    scale = (total.integral / total.to("3N").integral).item()
    factor = 1.0 if total.normalisation == "max" else frequency_factor("cm-1", unit)
    upper = array(partials.to("3N").density).cumsum(0) * (scale / factor)
    lower = np.vstack([np.zeros_like(upper[:1]), upper[:-1]])
    return list(map(_Part, partials.labels, lower, upper, _fills(partials.labels)))


def fewer(partials: Spectrum) -> Spectrum:
    """Partials as they are, or those of each element added up if they are too many to be told.

    Example:
        >>> sites = Spectrum([0, 200], [[0.015, 0.015]] * 20, labels=[f"O{k}" for k in range(20)])
        >>> fewer(sites).labels, fewer(sites[:3]).labels
        (('O',), ('O0', 'O1', 'O2'))
    """
    if len(partials.labels) <= MOST_PARTS:
        return partials
    names = [element_of(label) or "others" for label in partials.labels]
    labels = tuple(dict.fromkeys(names))
    member = torch.tensor([[float(a == b) for b in names] for a in labels]).to(partials.density)
    states = partials.to("3N")
    return Spectrum(
        states.frequency, member @ states.density, member @ states.n_atoms, labels=labels
    )


def _fills(labels: Sequence[str]) -> list[tuple[float, ...]]:
    """The colours of labels; sites of one element, whose colour is one, differ in strength."""
    colours = colours_of(labels)
    return [tint(c, (0.75, 0.5, 0.3)[colours[:i].count(c) % 3]) for i, c in enumerate(colours)]


def _draw_states(
    pen: _Pen,
    curves: Sequence[tuple[Array, Array]],
    parts: Sequence[_Part],
    edges: tuple[Array, Array] | None,
    names: tuple[str, str],
) -> list[Line2D]:
    """The band, the partials before it, and the lines, which are returned."""
    omega = curves[0][0]
    for part in parts:
        pen.area(omega, part.lower, part.upper, part.fill)
    lines = [pen.line(*curves[0], plain_text(names[0]))]
    lines += [pen.line(*curve, plain_text(names[1]), dashed=True) for curve in curves[1:]]
    if edges is not None:
        pen.band(omega, *edges)
    return lines


def _limit(
    pen: _Pen,
    curves: Sequence[tuple[Array, Array]],
    edges: tuple[Array, Array] | None,
    end: float | None,
) -> bool:
    """Set the limits of both axes; whether the end of the model's range is reached, and marked."""
    low, high = frequency_limits(curves)
    top = max(g.max() for g in [*(g for _, g in curves), *(edges or ())])
    reached = end is not None and high >= 0.999 * end
    if end is not None and reached:
        high = max(high, 1.04 * end)
        pen.hatch(end, high)
    pen.limits(low, high, 1.06 * top)
    return reached


@dataclass
class _Pen:
    """Draws upright or sideways: ω and g on whichever axis they belong."""

    ax: Axes
    sideways: bool

    def area(self, omega: Array, lower: Array, upper: Array, colour: tuple[float, ...]) -> None:
        fill = self.ax.fill_betweenx if self.sideways else self.ax.fill_between
        fill(omega, lower, upper, facecolor=colour, edgecolor="none", linewidth=0)

    def band(self, omega: Array, lower: Array, upper: Array) -> None:
        """An area behind the others; its lower edge is seen before them."""
        fill = self.ax.fill_betweenx if self.sideways else self.ax.fill_between
        fill(omega, lower, upper, facecolor=BAND, edgecolor="none", linewidth=0, zorder=0.5)
        for edge in (lower, upper):
            x, y = (edge, omega) if self.sideways else (omega, edge)
            self.ax.plot(x, y, color=DARK, linewidth=0.35, alpha=0.6, zorder=1.5)

    def hatch(self, start: float, stop: float) -> None:
        """Mark a stretch of the frequency axis."""
        span = self.ax.axhspan if self.sideways else self.ax.axvspan
        span(start, stop, zorder=0.4, **HATCH)

    def line(self, omega: Array, density: Array, label: str, *, dashed: bool = False) -> Line2D:
        x, y = (density, omega) if self.sideways else (omega, density)
        (line,) = self.ax.plot(x, y, color=DARK, label=label)
        if dashed:
            line.set(dashes=(3, 1.5), linewidth=0.8)
        return line

    def limits(self, low: float, high: float, top: float) -> None:
        x, y = ((0, top), (low, high)) if self.sideways else ((low, high), (0, top))
        self.ax.set_xlim(*x)
        self.ax.set_ylim(*y)

    def axis_labels(self, frequency: str, density: str) -> None:
        x, y = (density, frequency) if self.sideways else (frequency, density)
        self.ax.set_xlabel(x)
        self.ax.set_ylabel(y)

    def inches(self) -> tuple[float, float]:
        """Width and height of the axes, before the layout moves them a little."""
        box = self.ax.bbox
        return float(box.width / self.ax.figure.dpi), float(box.height / self.ax.figure.dpi)

    def text_size(self, text: str, points: float) -> tuple[float, float]:
        """About how far a text reaches along ω and along g, in their units."""
        width, height = self.inches()
        x0, x1 = self.ax.get_xlim()
        y0, y1 = self.ax.get_ylim()
        along_x = (0.75 * len(text) + 0.35) * points / 72 / width * (x1 - x0)
        along_y = 1.35 * points / 72 / height * (y1 - y0)
        return (along_y, along_x) if self.sideways else (along_x, along_y)

    def write(self, text: str, omega: float, density: float, colour: str) -> None:
        x, y = (density, omega) if self.sideways else (omega, density)
        look: dict[str, Any] = {"ha": "center", "va": "center_baseline", "fontsize": NAME}
        self.ax.text(x, y, text, color=colour, **look)


def _name_areas(pen: _Pen, omega: Array, parts: Sequence[_Part]) -> bool:
    """Name the areas inside them, if there is room for every name."""
    places = [_room_for(omega, p.lower, p.upper, pen.text_size(p.name, NAME)) for p in parts]
    found = [place for place in places if place is not None]
    if len(found) < len(parts):
        return False
    for part, (x, y) in zip(parts, found, strict=True):
        pen.write(plain_text(part.name), x, y, _ink(part.fill))
    return True


def _ink(ground: tuple[float, ...]) -> str:
    """What is legible on a colour: dark or white."""
    return DARK if np.dot(ground, (0.299, 0.587, 0.114)) > 0.5 else "white"


def _patches(parts: Sequence[_Part]) -> list[Artist]:
    return [Patch(color=part.fill, label=plain_text(part.name)) for part in parts]


def _room_for(
    omega: Array, lower: Array, upper: Array, size: tuple[float, float]
) -> tuple[float, float] | None:
    """Centre of the roomiest place inside an area where a text fits, if there is one."""
    fine = np.linspace(omega[0], omega[-1], 400)
    below, above = np.interp(fine, omega, lower), np.interp(fine, omega, upper)
    half_width = max(1, int(np.ceil(0.5 * size[0] / (fine[1] - fine[0]))))
    if 2 * half_width + 1 > len(fine):
        return None
    windows = np.lib.stride_tricks.sliding_window_view
    floor = windows(below, 2 * half_width + 1).max(-1)
    ceiling = windows(above, 2 * half_width + 1).min(-1)
    best = int((ceiling - floor).argmax())
    if ceiling[best] - floor[best] < size[1]:
        return None
    return float(fine[best + half_width]), float((ceiling[best] + floor[best]) / 2)


def _legends(pen: _Pen, lines: Sequence[Artist], areas: Sequence[Artist]) -> int:
    """Name curves and areas in rows above the axes, where they cover nothing; count the rows."""
    width = 72 * pen.inches()[0]
    rows = _rows([*lines, *areas], width)
    if len(rows) > 1:
        rows = [*_rows(lines, width), *_rows(areas, width)]
    inch = pen.ax.figure.dpi_scale_trans
    for above, row in enumerate(reversed(rows)):
        legend = Legend(
            pen.ax,
            row,
            [str(handle.get_label()) for handle in row],
            loc="lower left",
            bbox_to_anchor=(0, 1),
            bbox_transform=pen.ax.transAxes + ScaledTranslation(0, above * ROW / 72, inch),
            ncols=len(row),
            borderaxespad=0.2,
            borderpad=0.0,
            handlelength=1.2,
            handleheight=0.7,
            handletextpad=0.4,
            columnspacing=0.9,
        )
        pen.ax.add_artist(legend).set_clip_on(False)  # clipped things get no room in the layout
    return len(rows)


def _rows(handles: Sequence[Artist], width: float) -> list[list[Artist]]:
    """Share names out to rows of a width in points."""
    rows: list[list[Artist]] = []
    room = 0.0
    for handle in handles:
        needed = 18 + 4.2 * len(str(handle.get_label()))
        if not rows or needed > room:
            rows.append([])
            room = width
        rows[-1].append(handle)
        room -= needed
    return rows
