"""Draw what is learned of motion: a fitted term with its errors, how frames follow it, a frame."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from numpy.typing import NDArray

from debye.errors import InputError
from debye.plot import DARK, GREY, PALETTE
from debye.plot.dos import array
from debye.plot.speckle import draw_panel
from debye.speckle.data.frames import Frames
from debye.speckle.dynamics.splines import PairSpline, SplineFlow
from debye.speckle.fitting.fitted import FittedSystem
from debye.speckle.fitting.goodness import Goodness
from debye.speckle.panels import Arrows

ACROSS = 15
"""Arrows along each side of a flow."""
LEVEL_90 = 1.645
"""Standard errors on both sides of a value that hold 90 %."""


def draw_fitted(ax: Axes, fitted: FittedSystem) -> None:
    """Draw a fitted term as what it is, where it is known.

    A spline of a distance is a curve with its 90 % band, a spline of a position in the plane a
    field of arrows, the fainter the less is known of it; of any other term, and where no errors
    are known, the coefficients are drawn.

    Example:
        >>> from debye.plot import new_figure
        >>> from debye.speckle import Cloud, Detector, GaussianProbe, Particles, Solver
        >>> seen = Cloud(Detector(8, 0.5, 2.0), GaussianProbe(0.5, 2.0), R=0.07)
        >>> force = PairSpline(cutoff=0.5, knots=4)
        >>> known = 0.01 * torch.eye(4, dtype=torch.float64)
        >>> fitted = FittedSystem(Particles(force), seen, Solver(), covariance=known)
        >>> ax = new_figure().subplots()
        >>> draw_fitted(ax, fitted)
        >>> ax.get_xlabel()
        'Distance r'
    """
    term = fitted.system.term
    if fitted.covariance is None:
        draw_coefficients(ax, fitted)
    elif isinstance(term, PairSpline):
        _draw_pair(ax, fitted, term)
    elif isinstance(term, SplineFlow) and len(term.low) == term.coefficients.shape[-1] == 2:
        _draw_flow(ax, fitted, term)
    else:
        draw_coefficients(ax, fitted)


def _draw_pair(ax: Axes, fitted: FittedSystem, term: PairSpline) -> None:
    """Functions of a distance with their bands; the axis ends where nothing is known of them."""
    r = torch.linspace(term.cutoff / 100, term.cutoff, 100, dtype=torch.float64)
    value = term(r).detach().reshape(len(r), -1)
    error = fitted.error_of(lambda: term(r).flatten()).view_as(value)
    middle, band = array(value), LEVEL_90 * array(error)
    for k, (y, e) in enumerate(zip(middle.T, band.T, strict=True)):
        name = f"column {k + 1}" if term.columns > 1 else None
        ax.fill_between(r, y - e, y + e, color=PALETTE[k], alpha=0.25, lw=0)
        ax.plot(r, y, color=PALETTE[k], lw=1.0, label=name)
    known = band <= 3 * np.median(band)
    low, high = (middle - band)[known].min(), (middle + band)[known].max()
    room = 0.1 * (high - low) or 1.0
    ax.axhline(0.0, color=GREY, linewidth=0.6, zorder=0)
    ax.set(xlim=(0, term.cutoff), ylim=(low - room, high + room))
    ax.set(xlabel="Distance r", ylabel=f"{fitted.system.term_name} f(r), with its 90 % band")
    if term.columns > 1:
        ax.legend()


def _draw_flow(ax: Axes, fitted: FittedSystem, term: SplineFlow) -> None:
    """A velocity as arrows, half as strong where its error is a third of the usual speed."""
    x, y = (
        torch.linspace(a, b, ACROSS + 2, dtype=torch.float64)[1:-1]
        for a, b in zip(term.low, term.high, strict=True)
    )
    points = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
    velocity = term(points).detach()
    error = fitted.error_of(lambda: term(points).flatten()).view_as(velocity).norm(dim=-1)
    speed = velocity.norm(dim=-1)
    sure = error <= error.median()
    typical = speed[sure].square().mean().sqrt().clamp(min=1e-300)
    known = 1 / (1 + (3 * error / typical) ** 2)
    fastest = float(speed[known > 0.5].max()) if (known > 0.5).any() else 0.0
    title = f"{fitted.system.term_name}, faint where it is not known"
    colours = draw_panel(Arrows(x, y, velocity, known, title, fastest=fastest), ax)
    if colours is not None:
        ax.figure.colorbar(colours, ax=ax, label="speed")


Coefficients = tuple[list[str], NDArray[np.float64], NDArray[np.float64] | None]


def coefficients(fitted: FittedSystem) -> Coefficients:
    """Names, values (P,) and standard errors (P,) of what was fitted; None if they are not known.

    The names are those of the parameters, numbered where one holds several.
    """
    names, values = list[str](), list[torch.Tensor]()
    for name, parameter in fitted.system.named_parameters():
        last = name.rsplit(".", 1)[-1]
        count = parameter.numel()
        names += [last] if count == 1 else [f"{last} {k + 1}" for k in range(count)]
        values.append(parameter.detach().flatten())
    found = array(torch.cat(values)) if values else np.zeros(0)
    if fitted.covariance is None:
        return names, found, None
    return names, found, np.sqrt(np.clip(array(fitted.covariance.diagonal()), 0, None))


def draw_coefficients(ax: Axes, fitted: FittedSystem) -> None:
    """Draw the coefficients of a fitted term in order, with their standard errors."""
    names, values, errors = coefficients(fitted)
    places = np.arange(len(values))
    ax.axhline(0.0, color=GREY, linewidth=0.6)
    ax.errorbar(places, values, errors, fmt="o", markersize=3.5, color=PALETTE[0], linewidth=1.0)
    if len(names) <= 12:
        ax.set_xticks(places, names, rotation=45, ha="right")
    else:
        ax.set_xlabel("Coefficient")
    ax.set_ylabel(f"{type(fitted.system.term).__name__}, value ± standard error")


def draw_goodness(ax: Axes, goodness: Goodness) -> None:
    """Draw how far the deviance by time, by run and by ring stands from what it should be.

    Bars are in standard deviations, those beyond the band of three coloured.

    Raises:
        InputError: The frames had no counting noise to hold the deviance against.
    """
    groups = {"time": goodness.by_time, "run": goodness.by_run, "ring": goodness.by_q}
    if not any(groups.values()):
        raise InputError(
            "cannot draw this goodness of fit",
            why="nothing was held against counting noise",
            fix="fit counts, by Gauss–Newton",
        )
    first, ticks, labels = 0, list[float](), list[str]()
    ax.axhspan(-3, 3, color=GREY, alpha=0.15, linewidth=0)
    for name, parts in groups.items():
        z = np.array([part.z for part in parts])
        places = first + np.arange(len(z))
        ax.bar(places, z, color=np.where(np.abs(z) > 3, PALETTE[1], PALETTE[0]), width=0.8)
        ticks.append(first + (len(z) - 1) / 2)
        labels.append(f"by {name}")
        first += len(z) + 2
    ax.axhline(0.0, color=DARK, linewidth=0.6)
    ax.set_xticks(ticks, labels)
    ax.tick_params(axis="x", length=0)
    ax.set_ylabel("Deviance, in standard deviations")
    if goodness.p is not None:
        verdict = "follow" if goodness.fits else "do not follow"
        ax.set_title(f"The frames {verdict} the law, p = {goodness.p:.2g}", loc="left")


def draw_first_frame(ax: Axes, frames: Frames, run: int = 0, index: int = 0) -> None:
    """Draw a frame on a logarithmic scale; masked pixels stay white.

    Args:
        ax: Where to draw.
        frames: Of which one is drawn.
        run: Which run.
        index: Which of its frames.
    """
    frame = np.ma.array(array(frames.data[run, index]), mask=~frames.mask.numpy(force=True))
    top = float(frame.max()) or 1.0
    seen = frame.compressed()
    low = max(1e-4 * top, float(seen[seen > 0].min(initial=top)))
    norm = LogNorm(min(low, 0.5 * top), top)
    shown = np.ma.clip(frame, norm.vmin, None)
    image = ax.imshow(shown, cmap="viridis", norm=norm, origin="lower", interpolation="nearest")
    ax.figure.colorbar(image, ax=ax, label="Counts" if frames.photons else "Intensity")
    ax.set(xlabel="q$_x$ (pixels)", ylabel="q$_y$ (pixels)")
    ax.set_title(f"t = {float(frames.times[index]):g}", loc="left")
