"""Figures of how good a model is: errors by quartile and against rejection, a training curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.uncertainty.uncertainty import rejection_curve
from debye.errors import InputError
from debye.plot import COLUMN, GREY, PAGE, PALETTE, new_figure, style
from debye.plot.dos import array, frequency_limits, numbers, tint
from debye.plot.text import FREQUENCY_LABELS, formula_text

if TYPE_CHECKING:  # drawing a history does not need what made it
    from debye.crystals.training.run import Epoch

QUARTILES = (PALETTE[2], PALETTE[0], PALETTE[1], PALETTE[4])
"""Colours from the best quarter to the worst."""


def quartile_gallery(
    true: Spectrum,
    predicted: Spectrum,
    errors: Tensor | ArrayLike,
    names: Sequence[str],
    *,
    measure: str = "MSE (max-1 view)",
    unit: str = "cm-1",
    columns: int = 5,
    seed: int | None = None,
    width: float = PAGE,
) -> Figure:
    """Spectra from each quarter of the errors, best to worst, beside how errors are distributed.

    Both spectra are drawn scaled to a maximum of 1: the true one filled, the predicted a line.

    Args:
        true: (R, F).
        predicted: (R, F).
        errors: One a row, (R,).
        names: One a row; formulas get subscripts.
        measure: What the errors are.
        unit: Of the frequency.
        columns: Examples of each quarter.
        seed: Draw the examples at random with it; evenly spaced by error if None.
        width: Inches.

    Raises:
        InputError: There are fewer than four rows, or not one error and name each.

    Example:
        >>> dos = Spectrum([0, 100, 200], [[0, 0.03, 0]] * 8)
        >>> figure = quartile_gallery(dos, dos, range(8), ["Si"] * 8, columns=2)
        >>> len(figure.axes)
        9
    """
    found = array(errors)
    _check_rows(true, predicted, found, names)
    quarters = np.array_split(np.argsort(found, kind="stable"), 4)
    (omega, known), (at, guess) = (numbers(s.to("max"), unit) for s in (true, predicted))
    limits = frequency_limits([(omega, known)])
    with style():
        figure = new_figure(width, 0.62 * width)
        figure.set_layout_engine("constrained", w_pad=0.05)  # room between the last ticks
        left, right = figure.subfigures(1, 2, width_ratios=[1, 0.75 * columns], squeeze=False)[0]
        draw_error_quartiles(left.subplots(), found, measure)
        axes = right.subplots(4, columns, sharex=True, sharey=True, squeeze=False)
        for row, quarter, colour in zip(axes, quarters, QUARTILES, strict=True):
            for ax, i in zip(row, _examples(quarter, columns, seed), strict=False):
                ax.fill_between(omega, known[i], facecolor=tint(GREY, 0.55), edgecolor="none")
                ax.plot(at, guess[i], color=colour)
                ax.set_title(formula_text(names[i], 20), fontsize=6.5, pad=2)
        axes[0, 0].set_xlim(*limits)
        axes[0, 0].set_ylim(0, 1.08)
        axes[0, 0].set_yticks([0, 1])
        right.supxlabel(FREQUENCY_LABELS[unit], fontsize=7)
        right.supylabel("DoS / maximum (true: filled, predicted: line)", fontsize=7)
    return figure


def draw_error_quartiles(ax: Axes, errors: NDArray[np.float64], measure: str) -> None:
    """Draw errors in order, best on top, each quarter of the rows in its colour.

    The fraction of the rows is the vertical axis, so that a quarter is as high as its row of a
    gallery.

    Args:
        ax: Where to draw.
        errors: (R,).
        measure: What they are.

    Example:
        >>> ax = new_figure().subplots()
        >>> draw_error_quartiles(ax, np.linspace(0, 0.1, 41), "MSE")
        >>> [text.get_text() for text in ax.texts]
        ['0.025', '0.05', '0.075', '0.1']
    """
    fraction = np.linspace(0, 100, len(errors))
    for start, colour in zip((0, 25, 50, 75), QUARTILES, strict=True):
        part = np.linspace(start, start + 25, 101)
        edge = np.interp(part, fraction, np.sort(errors))
        ax.fill_betweenx(part, 0, edge, facecolor=tint(colour, 0.75), edgecolor="none")
        ax.plot(edge, part, color=colour, linewidth=1.5)
        look: dict[str, Any] = {"xytext": (3, 1), "textcoords": "offset points", "fontsize": 6.5}
        ax.annotate(f"{edge[-1]:.2g}", (edge[-1], part[-1]), va="bottom", **look)
    ax.set_xlim(0, 1.3 * (errors.max() or 1.0))
    ax.set_ylim(100, 0)
    ax.set_yticks([0, 25, 50, 75, 100])
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.set_xlabel(measure)
    ax.set_ylabel("Crystals, best to worst (%)")


def draw_training_curve(ax: Axes, history: Sequence[Epoch]) -> None:
    """Draw training and validation loss over the epochs, and mark the best epoch.

    Args:
        ax: Where to draw.
        history: Rows as of `debye.crystals.training.run.TrainingRun.history`.

    Raises:
        InputError: The history is empty.

    Example:
        >>> from types import SimpleNamespace as Row
        >>> rows = [Row(epoch=n, train_loss=1 / n, valid_loss=2 / n) for n in (1, 2, 3)]
        >>> ax = new_figure().subplots()
        >>> draw_training_curve(ax, rows)
        >>> ax.get_yscale()
        'log'
    """
    if not history:
        why = "the history has no epoch"
        raise InputError("cannot draw a training curve", why=why, fix="train for one epoch first")
    epochs = [row.epoch for row in history]
    ax.plot(epochs, [row.train_loss for row in history], color=GREY, label="training")
    ax.plot(epochs, [row.valid_loss for row in history], color=PALETTE[0], label="validation")
    best = min(history, key=lambda row: row.valid_loss)
    ax.plot(best.epoch, best.valid_loss, "o", color=PALETTE[4], markersize=4, zorder=3,
            label=f"best: epoch {best.epoch}, {best.valid_loss:.3g}")  # fmt: skip
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.set_xlabel("Epoch")
    ax.set_ylabel("Loss")
    ax.legend()


def training_curve_figure(history: Sequence[Epoch], width: float = COLUMN) -> Figure:
    """The training curve at a column's width.

    Args:
        history: As for `draw_training_curve`.
        width: Inches.

    Raises:
        InputError: The history is empty.

    Example:
        >>> from types import SimpleNamespace as Row
        >>> figure = training_curve_figure([Row(epoch=1, train_loss=0.2, valid_loss=0.3)])
    """
    with style():
        figure = new_figure(width)
        draw_training_curve(figure.subplots(), history)
    return figure


def draw_rejection(ax: Axes, score: Tensor | ArrayLike, error: Tensor | ArrayLike) -> None:
    """Draw the mean error of the rows kept as those of the largest expected error are left out.

    Between rejecting at random, which leaves the mean as it is, and by the error itself.

    Args:
        ax: Where to draw.
        score: Expected errors, (n,).
        error: Errors found, (n,), cm⁻¹.

    Example:
        >>> ax = new_figure().subplots()
        >>> draw_rejection(ax, [1.0, 3.0, 2.0], [10.0, 30.0, 25.0])
        >>> ax.get_xlabel()
        'Crystals left out (%)'
    """
    expected, found = (torch.as_tensor(x, dtype=torch.float64) for x in (score, error))
    fraction = 100 * np.arange(len(found)) / len(found)
    for by, colour, label in (
        (expected, PALETTE[0], "by expected error"),
        (found, GREY, "by the error itself, the best there can be"),
    ):
        ax.plot(fraction, array(rejection_curve(by, found)), color=colour, label=label)
    ax.axhline(found.mean().item(), color=GREY, linewidth=0.7, dashes=(3, 1.5), label="at random")
    ax.set_xlim(0, 100)
    ax.set_ylim(0, 1.15 * found.mean().item())
    ax.set_xlabel("Crystals left out (%)")
    ax.set_ylabel("Mean error of the others (cm⁻¹)")
    ax.legend(loc="lower left")


def rejection_figure(
    score: Tensor | ArrayLike, error: Tensor | ArrayLike, width: float = COLUMN
) -> Figure:
    """The curve of `draw_rejection` at a column's width.

    Example:
        >>> figure = rejection_figure([1.0, 3.0, 2.0], [10.0, 30.0, 25.0])
    """
    with style():
        figure = new_figure(width)
        draw_rejection(figure.subplots(), score, error)
    return figure


def _examples(quarter: NDArray[np.int64], n: int, seed: int | None) -> list[int]:
    """Rows of a quarter, in order of error: at random, or evenly spaced."""
    n = min(n, len(quarter))
    if seed is None:
        picked = np.linspace(0, len(quarter) - 1, n).round().astype(int)
    else:
        picked = np.sort(np.random.default_rng(seed).choice(len(quarter), n, replace=False))
    return [int(i) for i in quarter[picked]]


def _check_rows(
    true: Spectrum, predicted: Spectrum, errors: NDArray[np.float64], names: Sequence[str]
) -> None:
    sizes = [tuple(true.shape), tuple(predicted.shape), errors.shape, (len(names),)]
    if len(set(sizes)) > 1 or errors.size < 4:
        why = "true, predicted, errors and names are of shapes " + ", ".join(map(str, sizes))
        fix = "give one of each per row, and four rows or more"
        raise InputError("cannot draw the quartiles", why=why, fix=fix)
