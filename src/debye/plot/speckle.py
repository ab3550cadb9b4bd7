"""Figures of laws of motion: real space, speckle, the learned function, error against time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from debye.plot import DARK, GREY, PALETTE

if TYPE_CHECKING:
    from debye.core.training import Step
    from debye.speckle.fitting.model_file import FittedSystem
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


def draw_loss(ax: Axes, taken: Sequence[Step]) -> None:
    """Loss after each step, with the rungs of the curriculum."""
    losses, stages = [step.loss for step in taken], [step.epoch for step in taken]
    for stage in sorted(set(stages)):
        steps = [i + 1 for i, s in enumerate(stages) if s == stage]
        ax.plot(
            steps, [losses[i - 1] for i in steps], "o-", ms=2.5, color=PALETTE[stage % len(PALETTE)]
        )
    ax.set(xlabel="step", ylabel="mean loss per pixel", title="Fitting (a colour per stage)")
    if max(losses) > 5 * min(losses):  # else a logarithmic axis has no tick to show
        ax.set_yscale("log")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def error_band(law: FittedSystem, curve: Callable[[], Tensor]) -> np.ndarray:
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
    from debye.speckle.studies.metrics import pair_force

    r = torch.linspace(0.06, 0.9, 120, dtype=torch.float64)
    h, h0 = report.law.system.term, report.study.truth().term
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
    """H itself, on the branch that falls to 0 at the cutoff."""
    from debye.speckle.studies.metrics import falling_branch

    r = torch.linspace(0.05, 0.9, 300, dtype=torch.float64)
    h, h0 = report.law.system.term, report.study.truth().term
    ax.plot(*numbers(r, falling_branch(h0, r)), color=TRUE, lw=2.2, label="truth")
    ax.plot(*numbers(r, falling_branch(h, r)), color=LEARNED, label="learned")
    ax.axvline(float(h.cutoff), color=LEARNED, lw=0.6, ls=":")
    ax.set(
        xlabel="distance r",
        ylabel="interaction h(r)",
        title="h itself, the falling branch (dotted: its cutoff)",
    )
    ax.legend()


def draw_kernels(axes: list[Axes], report: Report) -> None:
    """True and learned kernel on one scale, and their transfer functions along κ_x."""
    from debye.speckle.dynamics.systems import transfer_function

    truth, found = report.study.truth(), report.law.system
    k0, k = (20 * s.term().detach() for s in (truth, found))
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
