"""A page of figures for each study: real space, speckle, the learned law, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from debye.plot import GREY, PAGE, PALETTE, new_figure, style
from debye.plot.speckle import (
    BEYOND,
    LEARNED,
    TRAINED,
    TRUE,
    bare,
    draw_error,
    draw_flow,
    draw_force,
    draw_frame,
    draw_h,
    draw_kernels,
    draw_loss,
    draw_particles,
    draw_phases,
    frame_limits,
    numbers,
)

if TYPE_CHECKING:
    from debye.speckle.studies.report import Report


def study_figure(report: Report) -> Figure:
    """One page: real space, speckle, the learned law, error against time."""
    return {
        "swarm": swarm_figure,
        "kuramoto": kuramoto_figure,
        "drift": drift_figure,
        "scan": scan_figure,
    }[report.study.name](report)


def moments(report: Report) -> list[int]:
    """Indices of the four times shown: the start, the end of a long training, the horizon."""
    last = len(report.times) - 1
    end = int((report.times <= report.until).sum()) - 1
    if end < last // 4 or end == last:
        return [0, last // 3, 2 * last // 3, last]
    return [0, end // 2, end, last]


def stamp(report: Report, i: int) -> str:
    """Time of a panel, and whether it was trained on."""
    t = float(report.times[i])
    return f"t = {t:g}" + (" (beyond)" if t > report.until else "")


def draw_speckle(figure: SubFigure, report: Report, i: int) -> None:
    """Truth, prediction and their difference at one time, on one log scale."""
    specimen = None if report.specimen is None else report.specimen[:1]
    truth, found = (
        report.law.frames(x[:1, i : i + 1], specimen)[0, 0] for x in (report.truth, report.found)
    )
    mask = report.data.mask
    limits = frame_limits(truth, mask)
    panels = [("truth", truth), ("prediction", found), ("|difference|", (found - truth).abs())]
    if report.data.photons:
        nearest = int((report.data.times - report.times[i]).abs().argmin())
        panels.insert(0, ("recorded (a training run)", report.data.data[0, nearest]))
    axes = figure.subplots(1, len(panels))
    for ax, (name, frame) in zip(axes, panels, strict=True):
        image = draw_frame(ax, frame, mask, limits)
        ax.set_title(name)
    figure.colorbar(image, ax=list(axes), shrink=0.85, label="photons", pad=0.01)
    what = "Diffraction" if report.study.name == "scan" else "Speckle of an unseen run"
    figure.suptitle(f"{what}, {stamp(report, i)}")


def titled(figure: Figure, report: Report) -> None:
    """Name the study and where its data came from."""
    photons = report.data.photons
    light = f"{photons:g} photons in the brightest pixel" if photons else "no noise"
    figure.suptitle(
        f"{report.study.title}: {light}, seed {report.data.about.get('seed', 0)}", fontweight="bold"
    )


def rows_of(
    figure: SubFigure, report: Report, draw: Callable[[Axes, Tensor], Any], label: str
) -> None:
    """Truth above prediction at four times, of one unseen run."""
    shown = moments(report)
    axes = figure.subplots(2, len(shown))
    for row, (name, states) in enumerate((("truth", report.truth), ("prediction", report.found))):
        for ax, i in zip(axes[row], shown, strict=True):
            draw(ax, states[0, i])
            if row == 0:
                ax.set_title(stamp(report, i))
        axes[row, 0].set_ylabel(name)
    figure.suptitle(label)


def stacked(figure: Figure, heights: list[float]) -> list[SubFigure]:
    """Parts of a page, one below the other, of relative heights."""
    parts = figure.subfigures(len(heights), 1, height_ratios=heights)
    return list(np.asarray(parts).flat)


def swarm_figure(report: Report) -> Figure:
    """Particles, speckle, force, h, clusters, errors."""
    from debye.speckle.studies.metrics import cluster_sizes

    with style():
        figure = new_figure(PAGE, 8.6)
        space, light, law, late = stacked(figure, [2.1, 1.25, 1.25, 1.15])
        rows_of(
            space, report, lambda ax, y: draw_particles(ax, y, 2.6, TRUE), "Real space, unseen run"
        )
        draw_speckle(light, report, moments(report)[2])
        left, right = law.subplots(1, 2)
        draw_force(left, report)
        draw_h(right, report)
        clusters, error, loss = late.subplots(1, 3)
        for name, states, color in (
            ("truth", report.truth, TRUE),
            ("learned", report.found, LEARNED),
        ):
            clusters.step(
                range(30),
                cluster_sizes(states[:, -1]).numpy(),
                where="mid",
                color=color,
                label=name,
            )
        clusters.set(
            xlabel="neighbours within 0.15 (last: 29 or more)",
            ylabel="share",
            title=f"Clusters at t = {float(report.times[-1]):g}",
        )
        clusters.legend()
        draw_error(error, report.times[1:], report.error[1:], report.until, "mean position error")
        draw_loss(loss, report.steps)
        titled(figure, report)
    return figure


def kuramoto_figure(report: Report) -> Figure:
    """Phases, speckle, kernels, transfer function, errors."""
    with style():
        figure = new_figure(PAGE, 8.6)
        space, light, law, late = stacked(figure, [2.1, 1.25, 1.1, 1.1])
        rows_of(space, report, draw_phases, "Phases, unseen run (cyclic map, 0 to 2π)")
        draw_speckle(light, report, moments(report)[2])
        draw_kernels(list(law.subplots(1, 3)), report)
        phases, frames, loss = late.subplots(1, 3)
        draw_error(phases, report.times, report.error, report.until, "mean 1 − cos(phase error)")
        draw_error(frames, report.seen, report.blur, report.until, "frame amplitude error")
        draw_loss(loss, report.steps)
        titled(figure, report)
    return figure


def drift_figure(report: Report) -> Figure:
    """Speckle, fields, coordinates, errors."""
    with style():
        figure = new_figure(PAGE, 7.6)
        light, fields, series, late = stacked(figure, [1.3, 1.6, 1.0, 1.1])
        draw_speckle(light, report, len(report.times) - 1)
        left, right = fields.subplots(1, 2)
        draw_flow(left, report, report.study.truth().term, "True velocity, and the orbit")
        draw_flow(right, report, report.law.system.term, "Learned velocity")
        early, end = series.subplots(1, 2, sharey=True)
        for ax, span in ((early, report.times <= 50), (end, report.times >= report.times[-1] - 50)):
            for k, name in enumerate("xy"):
                color = PALETTE[2 * k]
                t, truth, found = numbers(
                    report.times[span], report.truth[0, span, k], report.found[0, span, k]
                )
                ax.plot(t, truth, color=color, lw=2.4, alpha=0.4, label=f"{name}, truth")
                ax.plot(t, found, color=color, ls="--", lw=0.9, label=f"{name}, learned")
            ax.set(xlabel="time", ylabel="centre")
        early.axvspan(0, report.until, color=TRAINED, alpha=0.12, lw=0)
        end.legend(ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.0))
        error, loss = late.subplots(1, 2)
        draw_error(error, report.times[1:], report.error[1:], report.until, "mean position error")
        draw_loss(loss, report.steps)
        titled(figure, report)
    return figure


def scan_figure(report: Report) -> Figure:
    """Object, path, speckle, errors of law and free fit."""
    with style():
        figure = new_figure(PAGE, 6.6)
        top, light, late = stacked(figure, [1.9, 1.3, 1.1])
        thing, path = top.subplots(1, 2)
        scan: Any = report.law.scattering
        image = thing.imshow(scan.specimen.abs().numpy(), cmap="gray", origin="lower")
        top.colorbar(image, ax=thing, shrink=0.8, label="|object|")
        bare(thing)
        thing.set_title("Object")
        draw_scan_path(path, report)
        draw_speckle(light, report, len(report.times) * 2 // 3)
        error, loss = late.subplots(1, 2)
        free = (report.extra["free"] - report.truth[0]).norm(dim=-1)
        error.plot(*numbers(report.times, free), ".", ms=2, color=GREY)
        draw_error(
            error,
            report.times[1:],
            report.error[1:].clamp(min=1e-4),
            report.until,
            "position error, pixels",
        )
        error.set_yscale("log")
        error.set_title("grey: free per-frame fit", color=GREY)
        draw_loss(loss, report.steps)
        titled(figure, report)
    return figure


def draw_scan_path(ax: Axes, report: Report) -> None:
    """Recorded, true and learned positions."""
    inside = report.times <= report.until
    recorded = report.extra["recorded"]
    ax.plot(*recorded.numpy().T, "+", ms=3, mew=0.5, color=GREY, label="recorded")
    truth = report.truth[0].numpy().T
    ax.plot(*truth, "o", ms=3.2, mfc="none", mec=TRUE, mew=0.5, label="truth")
    for part, color, name in (
        (inside, TRAINED, "law, trained"),
        (~inside, BEYOND, "law, extrapolated"),
    ):
        ax.plot(*report.found[0, part].numpy().T, ".", ms=2, color=color, label=name)
    ax.set(xlabel="x (pixels)", ylabel="y (pixels)", aspect="equal", title="Path of the probe")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
