"""The tables of the studies: distances to the truth, beside their targets."""

from __future__ import annotations

from collections.abc import Callable

import torch

from debye.speckle.studies import metrics as judge
from debye.speckle.studies.report import Report, Row


def at(report: Report, t: float) -> float:
    """Error of the states at the time nearest to ``t``."""
    return float(report.error[(report.times - t).abs().argmin()])


def swarm_metrics(report: Report) -> list[Row]:
    """Force, reach, positions, clusters."""
    h, h0 = report.law.system.term, report.study.truth().term
    r = torch.linspace(0.1, 0.8, 701, dtype=torch.float64)
    force = judge.relative(judge.pair_force(h, r), judge.pair_force(h0, r))
    rows = [
        Row("relative RMS error of the force f(r), 0.1 ≤ r ≤ 0.8", force, 0.05, "by eye"),
        Row("mean position error, unseen, t = 2", at(report, 2), 0.006, "by eye"),
        Row("mean position error, unseen, t = 6", at(report, 6), 0.015, "by eye"),
        Row("mean position error, unseen, t = 10", at(report, 10)),
        Row("distance where |f| is 1 % of its maximum, learned", judge.effective_cutoff(h, 0.9)),
        Row("the same, true", judge.effective_cutoff(h0, 0.9)),
        Row("reach parameter of the spline (true cutoff 0.75)", float(h.cutoff), None, "0.83"),
    ]
    if float(report.times[-1]) >= 50:
        sizes = [judge.cluster_sizes(x[:, -1]) for x in (report.found, report.truth)]
        apart = 0.5 * float((sizes[0] - sizes[1]).abs().sum())
        rows.append(Row("cluster-size histogram at t = 50, share misplaced", apart, 0.05, "by eye"))
        rows.append(Row("mean position error, unseen, t = 50", at(report, 50)))
    return rows


def kuramoto_metrics(report: Report) -> list[Row]:
    """Transfer function, kernel, frames, phases."""
    found, truth = report.law.system, report.study.truth()
    states = report.data.states
    assert states is not None  # noqa: S101 - simulated frames have states
    transfer = judge.transfer_error(found, truth, states)  # type: ignore[arg-type]
    k, k0 = found.term().detach(), truth.term()
    rows = [
        Row("relative L2 error of the transfer function (99 % of the signal)", transfer, 0.05),
        Row("relative L2 error of the kernel", judge.relative(k, k0)),
        Row("K Σk, learned (true −1.206)", 20 * float(k.sum()), None, "−1.35"),
    ]
    for t in (10, 30, 55, 105, 250):
        if t <= float(report.times[-1]):
            rows.append(
                Row(
                    f"frame amplitude error, unseen, {t - 5} after the start",
                    float(report.blur[(report.seen - t).abs().argmin()]),
                )
            )
    return rows


def drift_metrics(report: Report) -> list[Row]:
    """Largest error over the last period, and the period."""
    rows = []
    for t, target, published in ((100, 0.02, "< 0.1"), (500, 0.1, "0.35")):
        if t <= float(report.times[-1]):
            span = (report.times <= t) & (report.times > t - 16.05)
            worst = float(report.error[span].max())
            rows.append(
                Row(
                    f"position error at t = {t} (worst of the last period)",
                    worst,
                    target,
                    published,
                )
            )
    gaps = [
        abs(judge.period(report.times, f) / judge.period(report.times, x) - 1)
        for f, x in zip(report.found[..., 0], report.truth[..., 0], strict=True)
    ]
    rows.append(
        Row("relative error of the period, mean over unseen runs", sum(gaps) / len(gaps), 5e-4)
    )
    return rows


def scan_metrics(report: Report) -> list[Row]:
    """Position errors of both halves, beside a free fit of every position."""
    learned = report.times <= report.until
    truth, rms = report.truth[0], lambda d: float(d.square().sum(-1).mean().sqrt())
    rows = []
    for name, path in (
        ("law", report.found[0]),
        ("free per-frame fit", report.extra["free"]),
        ("recorded positions", report.extra["recorded"]),
    ):
        first, second = rms((path - truth)[learned]), rms((path - truth)[~learned])
        target = 0.5 if name == "law" else None
        rows.append(Row(f"RMS position error, {name}, learned half, pixels", first, target))
        rows.append(Row(f"RMS position error, {name}, second half, pixels", second))
    return rows


METRICS: dict[str, Callable[[Report], list[Row]]] = {
    "swarm": swarm_metrics,
    "kuramoto": kuramoto_metrics,
    "drift": drift_metrics,
    "scan": scan_metrics,
}
