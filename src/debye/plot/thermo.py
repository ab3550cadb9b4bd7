"""Draw heat capacity, entropy and free energy over temperature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from debye.crystals.dos.quantities import QUANTITIES
from debye.crystals.dos.thermo_table import Thermodynamics
from debye.errors import InputError
from debye.plot import GREY, PAGE, PALETTE, new_figure, style
from debye.plot.dos import Array, array, tint
from debye.plot.text import formula_text
from debye.units import R

COLOURS = {
    "heat_capacity": PALETTE[0],
    "entropy": PALETTE[2],
    "internal_energy": PALETTE[3],
    "helmholtz_energy": PALETTE[4],
}
"""Of each function of the temperature."""


def draw_heat_capacity(
    ax: Axes,
    temperatures: Tensor | ArrayLike,
    heat_capacity: Tensor | ArrayLike,
    *,
    basis: str = "per-atom",
    colour: str = PALETTE[0],
    band: tuple[Tensor, Tensor] | None = None,
    band_name: str = "",
) -> None:
    """Draw C_V(T), with the limit 3R of Dulong and Petit where it is per mole of atoms.

    Args:
        ax: Where to draw.
        temperatures: K, (T,).
        heat_capacity: J/K per amount, (T,).
        basis: What an amount is, as of `Thermodynamics`.
        colour: Of the line.
        band: Lower and upper heat capacity, (T,) each.
        band_name: What the band is called, if that is to be shown.

    Example:
        >>> ax = new_figure().subplots()
        >>> draw_heat_capacity(ax, [0, 150, 300], [0.0, 15.0, 21.0])
        >>> ax.get_ylabel()
        '$C_V$ (J/K/mol-atom)'
    """
    T, heat = (array(x) for x in (temperatures, heat_capacity))
    ax.plot(T, heat, color=colour, zorder=3)
    _fill(ax, T, band, colour, band_name)
    ax.set_xlim(0, T.max() or 1.0)
    ax.set_ylim(0, 1.1 * heat.max() or 1.0)
    if basis == "per-atom":
        ax.axhline(3 * R, color=GREY, linewidth=0.7, dashes=(3, 1.5), zorder=2)
        look: dict[str, Any] = {"xytext": (3, 2), "textcoords": "offset points", "fontsize": 6.5}
        ax.annotate("Dulong–Petit, 3R", (T.min(), 3 * R), color=GREY, **look)
        ax.set_ylim(0, 1.13 * max(3 * R, heat.max()))
    ax.set_xlabel("Temperature (K)")
    ax.set_ylabel(QUANTITIES["heat_capacity"].axis(basis))


def draw_quantity(
    ax: Axes, table: Thermodynamics, quantity: str = "heat_capacity", band_name: str = ""
) -> None:
    """Draw one function of the temperature, with its band where it is known.

    Args:
        ax: Where to draw.
        table: For one spectrum, quantities of shape (T,).
        quantity: ``heat_capacity``, ``entropy``, ``internal_energy`` or ``helmholtz_energy``.
        band_name: What the band is called, if that is to be shown.

    Raises:
        InputError: The table holds a batch, or there is no such quantity.

    Example:
        >>> from debye.crystals.dos.spectrum import Spectrum
        >>> from debye.crystals.dos.thermo_table import thermodynamics
        >>> dos = Spectrum([0, 100, 200], [0.0, 0.03, 0.0])
        >>> ax = new_figure().subplots()
        >>> draw_quantity(ax, thermodynamics(dos, [0.0, 150.0, 300.0]), "entropy")
        >>> ax.get_ylabel()
        '$S$ (J/K/mol-atom)'
    """
    if quantity not in COLOURS:
        why = f"the choices are {', '.join(COLOURS)}"
        raise InputError(f"cannot draw {quantity!r}", why=why, fix="choose one of them")
    if table.heat_capacity.dim() != 1:
        why = f"the table holds a batch of shape {tuple(table.heat_capacity.shape[:-1])}"
        raise InputError(
            "cannot draw the thermodynamics", why=why, fix="take one spectrum at a time"
        )
    band, colour = table.bounds.get(quantity), COLOURS[quantity]
    T, values = array(table.temperature), array(getattr(table, quantity))
    if quantity == "heat_capacity":
        look: dict[str, Any] = {"colour": colour, "band": band, "band_name": band_name}
        draw_heat_capacity(ax, T, values, basis=table.basis, **look)
        return
    ax.plot(T, values, color=colour)
    _fill(ax, T, band, colour, band_name)
    ax.set_xlim(0, T.max() or 1.0)
    ax.set_xlabel("Temperature (K)")
    ax.set_ylabel(QUANTITIES[quantity].axis(table.basis))
    if quantity == "entropy":
        ax.set_ylim(bottom=0)
    else:
        ax.axhline(0, color=GREY, linewidth=0.5, zorder=0)


def draw_thermodynamics(axes: Sequence[Axes], table: Thermodynamics, band_name: str = "") -> None:
    """Draw heat capacity, entropy and Helmholtz energy over temperature.

    Args:
        axes: Three.
        table: For one spectrum, quantities of shape (T,).
        band_name: What their bands are called, if that is to be shown.

    Raises:
        InputError: The table holds a batch.

    Example:
        >>> from debye.crystals.dos.spectrum import Spectrum
        >>> from debye.crystals.dos.thermo_table import thermodynamics
        >>> dos = Spectrum([0, 100, 200], [0.0, 0.03, 0.0])
        >>> axes = new_figure(PAGE).subplots(1, 3)
        >>> draw_thermodynamics(axes, thermodynamics(dos, [0.0, 150.0, 300.0]))
        >>> axes[2].get_ylabel()
        '$F$ (kJ/mol-atom)'
    """
    for ax, quantity in zip(axes, ("heat_capacity", "entropy", "helmholtz_energy"), strict=True):
        draw_quantity(ax, table, quantity, band_name)


def _fill(ax: Axes, T: Array, band: tuple[Tensor, Tensor] | None, colour: str, name: str) -> None:
    """The area between the lower and upper ends of intervals, and what it is called."""
    if band is None:
        return
    lower, upper = map(array, band)
    look: dict[str, Any] = {"facecolor": tint(colour, 0.3), "edgecolor": "none", "zorder": 1}
    area = ax.fill_between(T, lower, upper, label=name, **look)
    if name:
        ax.legend(handles=[area], loc="lower right")


def thermodynamics_figure(
    table: Thermodynamics, title: str = "", *, band_name: str = "", width: float = PAGE
) -> Figure:
    """C_V, S and F over temperature, side by side, or above one another in a column.

    Args:
        table: For one spectrum, quantities of shape (T,).
        title: A formula.
        band_name: What the bands are called, if that is to be shown.
        width: Inches.

    Raises:
        InputError: The table holds a batch.

    Example:
        >>> from debye.crystals.dos.spectrum import Spectrum
        >>> from debye.crystals.dos.thermo_table import thermodynamics
        >>> dos = Spectrum([0, 100, 200], [0.0, 0.03, 0.0])
        >>> len(thermodynamics_figure(thermodynamics(dos, [0.0, 300.0]), "Si").axes)
        3
    """
    with style():
        wide = width >= 5
        figure = new_figure(width, 0.34 * width if wide else 1.7 * width)
        axes = figure.subplots(1, 3) if wide else figure.subplots(3, 1)
        draw_thermodynamics(axes, table, band_name)
        figure.suptitle(formula_text(title), x=0.01, ha="left")
    return figure
