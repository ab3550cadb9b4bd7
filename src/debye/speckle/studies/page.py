"""What the figures of several studies show: states, speckle, errors, the course of the fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from debye.speckle.panels import Curve, Curves, Image, Scene, Strip
from debye.speckle.studies.study import Report


def moments(report: Report) -> list[int]:
    """Indices of the four times shown: the start, the end of a long training, the last."""
    last = len(report.times) - 1
    end = int((report.times <= report.until).sum()) - 1
    if end < last // 4 or end == last:
        return [0, last // 3, 2 * last // 3, last]
    return [0, end // 2, end, last]


def stamp(report: Report, i: int) -> str:
    """Time of a panel, and whether it was trained on."""
    t = float(report.times[i])
    return f"t = {t:g}" + (" (beyond)" if t > report.until else "")


def titled(report: Report) -> str:
    """The study, and where its data came from."""
    photons = report.data.photons
    counted = f"{photons:g} photons in the brightest pixel" if photons else "no noise"
    return f"{report.study.title}: {counted}, seed {report.data.about.get('seed', 0)}"


def states_strip(report: Report, title: str, height: float = 2.1) -> Strip:
    """Truth above prediction at four times, of one unseen run."""
    shown = moments(report)
    rows: list[list[Scene]] = []
    for name, states in (("truth", report.true), ("prediction", report.predicted)):
        top = states is report.true
        panels = [
            replace(report.study.scene(report, states, i), title=stamp(report, i) if top else "")
            for i in shown
        ]
        rows.append([replace(panels[0], label=name), *panels[1:]])
    return Strip(rows, title, height)


def speckle_strip(
    report: Report, i: int, name: str = "Speckle of an unseen run", height: float = 1.3
) -> Strip:
    """Truth and prediction at one time on one scale, and their difference on its own."""
    true, found = (report.counts(states, i) for states in (report.true, report.predicted))
    mask, difference = report.data.mask, (found - true).abs()
    limits = decades(true, mask)
    panels = [
        Image(true, "intensity", "truth", mask=mask, limits=limits),
        Image(found, "intensity", "prediction", bar="photons", mask=mask, limits=limits),
        Image(difference, "difference", "|difference|, its own scale", bar="photons", mask=mask,
              limits=decades(difference, mask)),
    ]  # fmt: skip
    if report.data.photons:
        nearest = int((report.data.times - report.times[i]).abs().argmin())
        title = f"recorded in training, t = {float(report.data.times[nearest]):g}"
        recorded = report.data.data[0, nearest]
        panels.insert(0, Image(recorded, "intensity", title, mask=mask, limits=limits))
    return Strip([panels], f"{name}, {stamp(report, i)}", height)


def decades(frame: Tensor, mask: Tensor, count: int = 4) -> tuple[float, float]:
    """Some decades below the brightest open pixel, or fewer if nothing is so dark."""
    top = float((frame * mask).max()) or 1.0
    return max(top * 10**-count, float(frame[mask].clamp(min=1e-12 * top).min())), top


def error_panel(report: Report, times: Tensor, error: Tensor, label: str, **more: Curve) -> Curves:
    """Error against time: within the trained window, beyond it, and where nothing was reached."""
    inside, positive = times <= report.until, error[error > 0]
    curves = [
        Curve(times[inside], error[inside], role="trained"),
        Curve(times[~inside], error[~inside], role="beyond", mark="--"),
    ]
    end = float(report.times[-1])
    return Curves(
        [*more.values(), *curves],
        x="time",
        y=label,
        log=len(positive) > 0 and float(positive.min()) < 0.05 * float(positive.max()),
        trained=(float(report.times[0]), max(report.until, float(report.times[0]))),
        lost=(end, report.horizon) if report.stopped else None,
    )


def loss_panel(steps: Sequence[tuple[int, float]]) -> Curves:
    """Loss after each step, a curve for each rung of the curriculum."""
    stages = torch.tensor([stage for stage, _ in steps])
    losses = torch.tensor([loss for _, loss in steps], dtype=torch.float64)
    number = torch.arange(1, len(steps) + 1)
    curves = [
        Curve(
            number[stages == k],
            losses[stages == k],
            f"stage {int(k) + 1}",
            role="series",
            mark="o-",
        )
        for k in stages.unique()
    ]
    # Over less than half a decade a logarithmic axis has no tick to show.
    log = len(losses) > 0 and float(losses.max()) > 5 * float(losses.min())
    return Curves(curves, x="step", y="mean loss per pixel", title="Fit", log=log)
