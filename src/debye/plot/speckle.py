"""Figures of laws of motion: real space, speckle, the learned function, error against time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from debye.plot import DARK, GREY, PAGE, PALETTE, new_figure, style

if TYPE_CHECKING:
    from debye.speckle.learning.law import Law
    from debye.speckle.studies.report import Report

TRUE, LEARNED = DARK, PALETTE[4]
TRAINED, BEYOND = PALETTE[0], PALETTE[3]
"""Colours of the trained window and of what lies beyond it."""
LIGHT, CYCLE = "viridis", "twilight"
"""Perceptually uniform maps: of intensities, and of angles."""


def numbers(*values: Tensor) -> list[np.ndarray]:
    """Tensors as matplotlib wants them."""
    return [x.detach().numpy() for x in values]


def bare(ax: Axes) -> None:
    """A panel without ticks, framed all around."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(True)


def draw_particles(ax: Axes, points: Tensor, half: float, color: str) -> None:
    """Particles (N, 2) in a box of half width ``half``."""
    x, y = points.numpy().T[:2]
    ax.scatter(x, y, s=1.2, c=color, linewidths=0)
    ax.set(xlim=(-half, half), ylim=(-half, half), aspect="equal")
    bare(ax)


def draw_phases(ax: Axes, theta: Tensor) -> Any:  # noqa: ANN401 - matplotlib's image
    """Phases (y, x) on a cyclic map."""
    bare(ax)
    wrapped = np.mod(theta.numpy(), 2 * np.pi)
    return ax.imshow(
        wrapped, cmap=CYCLE, vmin=0, vmax=2 * np.pi, origin="lower", interpolation="nearest"
    )


def draw_frame(ax: Axes, frame: Tensor, mask: Tensor, limits: tuple[float, float]) -> Any:  # noqa: ANN401
    """A detector frame (qy, qx) on a log scale; masked pixels stay white."""
    shown = np.ma.array(np.clip(frame.numpy(), limits[0], None), mask=~mask.numpy())
    bare(ax)
    return ax.imshow(
        shown, cmap=LIGHT, norm=LogNorm(*limits), origin="lower", interpolation="nearest"
    )


def frame_limits(frames: Tensor, mask: Tensor) -> tuple[float, float]:
    """Four decades below the brightest open pixel, or fewer if nothing is so dark."""
    top = float((frames * mask).max())
    return max(top * 1e-4, float(frames[..., mask].clamp(min=1e-12).min())), top


def draw_error(ax: Axes, times: Tensor, error: Tensor, until: float, label: str) -> None:
    """Error against time: solid within the trained window, dashed beyond it."""
    inside = times <= until
    ax.axvspan(float(times[0]), max(until, float(times[0])), color=TRAINED, alpha=0.12, lw=0)
    ax.plot(*numbers(times[inside], error[inside]), color=TRAINED)
    ax.plot(*numbers(times[~inside], error[~inside]), color=BEYOND, ls="--")
    high = float(error.max()) or 1.0
    if float(error[error > 0].min() if (error > 0).any() else 1) < 0.05 * high:
        ax.set_yscale("log")
    ax.set(xlabel="time", ylabel=label, xlim=(float(times[0]), float(times[-1])))
    ax.set_title("trained", color=TRAINED, loc="left")
    if (~inside).any():
        ax.set_title("extrapolated", color=BEYOND, loc="right")


def draw_loss(ax: Axes, losses: list[float], stages: list[int]) -> None:
    """Loss after each step, with the rungs of the curriculum."""
    for stage in sorted(set(stages)):
        steps = [i + 1 for i, s in enumerate(stages) if s == stage]
        ax.plot(
            steps, [losses[i - 1] for i in steps], "o-", ms=2.5, color=PALETTE[stage % len(PALETTE)]
        )
    ax.set(xlabel="step", ylabel="mean loss per pixel", title="Learning (a colour per stage)")
    if max(losses) > 5 * min(losses):  # else a logarithmic axis has no tick to show
        ax.set_yscale("log")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def error_band(law: Law, curve: Callable[[], Tensor]) -> np.ndarray:
    """Standard deviation of each point of a curve that depends on the law's coefficients."""
    if law.covariance is None:
        return np.zeros(len(curve()))
    parameters = list(law.system.parameters())
    rows = []
    for value in curve():
        slopes = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        rows.append(
            torch.cat(
                [
                    (torch.zeros_like(p) if g is None else g).flatten()
                    for g, p in zip(slopes, parameters, strict=True)
                ]
            )
        )
    J = torch.stack(rows).double()
    return ((J @ law.covariance) * J).sum(-1).clamp(min=0).sqrt().numpy()


def draw_force(ax: Axes, report: Report) -> None:
    """The swarm's pair force over the truth, with the error bar its photons allow."""
    from debye.speckle.studies.judge import pair_force

    r = torch.linspace(0.06, 0.9, 120, dtype=torch.float64)
    h, h0 = report.law.system.hole, report.study.truth().hole
    found = pair_force(h, r)
    ax.axhline(0, color=GREY, lw=0.5)
    if report.data.photons:
        band = error_band(report.law, lambda: pair_force(h, r))
        middle = found.detach().numpy()
        ax.fill_between(
            r.numpy(), middle - 2 * band, middle + 2 * band, color=LEARNED, alpha=0.25, lw=0
        )
    ax.plot(*numbers(r, pair_force(h0, r)), color=TRUE, lw=2.2, label="truth")
    ax.plot(*numbers(r, found), color=LEARNED, label="learned")
    ax.set(
        xlabel="distance r", ylabel="force f = h(1 − h) r", title="Learned law", ylim=(-0.1, 0.06)
    )
    ax.legend(loc="lower right")


def draw_h(ax: Axes, report: Report) -> None:
    """H itself, on the branch that falls to 0 at the reach."""
    from debye.speckle.studies.judge import falling_branch

    r = torch.linspace(0.05, 0.9, 300, dtype=torch.float64)
    h, h0 = report.law.system.hole, report.study.truth().hole
    ax.plot(*numbers(r, falling_branch(h0, r)), color=TRUE, lw=2.2, label="truth")
    ax.plot(*numbers(r, falling_branch(h, r)), color=LEARNED, label="learned")
    ax.axvline(float(h.reach), color=LEARNED, lw=0.6, ls=":")
    ax.set(
        xlabel="distance r",
        ylabel="interaction h(r)",
        title="h itself, the falling branch (dotted: its reach)",
    )
    ax.legend()


def draw_kernels(axes: list[Axes], report: Report) -> None:
    """True and learned kernel on one scale, and their transfer functions along κ_x."""
    from debye.speckle.dynamics.lattices import transfer_function

    truth, found = report.study.truth(), report.law.system
    k0, k = (20 * s.hole().detach() for s in (truth, found))
    top = float(k0.abs().max())
    for ax, kernel, name in ((axes[0], k0, "true kernel"), (axes[1], k, "learned kernel")):
        image = ax.imshow(kernel.numpy(), cmap="RdBu_r", vmin=-top, vmax=top, origin="lower")
        bare(ax)
        ax.set_title(name)
    axes[1].figure.colorbar(image, ax=list(axes[:2]), shrink=0.8, label="K k")
    T0, T = (transfer_function(x, (80, 80)).real[0, :41] for x in (k0, k))
    axes[2].plot(T0.numpy(), color=TRUE, lw=2.2, label="truth")
    axes[2].plot(T.numpy(), color=LEARNED, label="learned")
    axes[2].set(xlabel="wave number (cycles per box)", ylabel="transfer function")
    axes[2].legend()


def draw_flow(ax: Axes, report: Report, speed_of: Callable[[Tensor], Tensor], title: str) -> None:
    """A velocity field in arrows over its speed, with the true orbit."""
    path = report.truth[0]
    low, high = path.amin(0) - 0.15, path.amax(0) + 0.15
    x, y = (torch.linspace(float(a), float(b), 15).double() for a, b in zip(low, high, strict=True))
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
    with torch.no_grad():
        v = speed_of(grid)
    ax.quiver(
        *numbers(x, y, v[..., 0], v[..., 1], v.norm(dim=-1)), cmap=LIGHT, scale=8, width=0.006
    )
    ax.plot(*path[:80].numpy().T, color=PALETTE[4], lw=0.8)
    ax.set(title=title, xlabel="x", ylabel="y", aspect="equal")


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
    from debye.speckle.studies.judge import cluster_sizes

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
        draw_loss(loss, [s.loss for s in report.steps], [s.epoch for s in report.steps])
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
        draw_loss(loss, [s.loss for s in report.steps], [s.epoch for s in report.steps])
        titled(figure, report)
    return figure


def drift_figure(report: Report) -> Figure:
    """Speckle, fields, coordinates, errors."""
    with style():
        figure = new_figure(PAGE, 7.6)
        light, fields, series, late = stacked(figure, [1.3, 1.6, 1.0, 1.1])
        draw_speckle(light, report, len(report.times) - 1)
        left, right = fields.subplots(1, 2)
        draw_flow(left, report, report.study.truth().hole, "True velocity, and the orbit")
        draw_flow(right, report, report.law.system.hole, "Learned velocity")
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
        draw_loss(loss, [s.loss for s in report.steps], [s.epoch for s in report.steps])
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
        draw_loss(loss, [s.loss for s in report.steps], [s.epoch for s in report.steps])
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
