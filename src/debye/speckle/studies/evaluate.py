"""Conduct a study: simulate, learn, and judge the law on initial states it never saw."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from debye import __version__
from debye.errors import Refusal
from debye.fit import Step
from debye.speckle.data.frames import Frames, simulate
from debye.speckle.learning.law import Law, from_learning
from debye.speckle.learning.learn import Learning, Plan, prepare
from debye.speckle.studies import judge
from debye.speckle.studies.cases import Study
from debye.speckle.studies.scan import conduct_scan

Watch = Callable[[Step], None]
UNSEEN = 1_000_003
"""Added to the seed for the initial states the law is judged on."""


@dataclass(frozen=True)
class Row:
    """One line of a study's table."""

    quantity: str
    value: float
    target: float | None = None
    published: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        return None if self.target is None else self.value <= self.target


@dataclass
class Report:
    """What a study found.

    Attributes:
        study: The case.
        law: What was learned.
        data: The frames it learned from.
        steps: The course of the learning.
        times: (time,) at which it was judged.
        truth: (run, time, …) true states of the unseen runs.
        found: The same by the learned law.
        error: (time,) error of the states.
        blur: (time,) relative error of the frame amplitudes at ``seen``.
        seen: Times of ``blur``.
        specimen: Of the unseen runs.
        until: Last time that was trained on.
        rows: The table.
        seconds: Wall time of each part.
        extra: Arrays that only one figure needs.
    """

    study: Study
    law: Law
    data: Frames
    steps: list[Step]
    times: Tensor
    truth: Tensor
    found: Tensor
    error: Tensor
    blur: Tensor
    seen: Tensor
    specimen: Tensor | None
    until: float
    rows: list[Row] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Every number of the table, and where it came from."""
        return {
            "study": self.study.name,
            "version": __version__,
            "about": self.data.about,
            "table": [{**asdict(row), "met": row.met} for row in self.rows],
            "seconds": {k: round(v, 2) for k, v in self.seconds.items()},
            "error": {f"{t:g}": float(e) for t, e in self.landmarks()},
        }

    def landmarks(self) -> list[tuple[float, float]]:
        """At most a dozen (time, error) points."""
        stride = max(len(self.times) // 12, 1)
        return [
            (float(t), float(e))
            for t, e in zip(self.times[::stride], self.error[::stride], strict=True)
        ]


def starts(study: Study, runs: int, seed: int) -> tuple[Tensor, Tensor | None]:
    """Initial states of a seed; other seeds share nothing with them."""
    return study.starts(runs, torch.Generator().manual_seed(seed))


def make_frames(
    study: Study,
    *,
    runs: int | None = None,
    photons: float = 0.0,
    seed: int = 0,
    until: float | None = None,
) -> Frames:
    """The frames of a study: ``runs`` initial states, counted with ``photons``."""
    y0, specimen = starts(study, runs or study.runs, seed)
    about = {"study": study.name, "seed": seed, "photons": photons, "version": __version__}
    return simulate(
        study.truth(),
        study.scattering(),
        y0,
        study.grid(until),
        solver=study.careful,
        photons=photons,
        specimen=specimen,
        seed=seed,
        about=about,
    )


def conduct(
    study: Study,
    *,
    quick: bool = False,
    photons: float = 0.0,
    seed: int = 0,
    plan: Plan | None = None,
    watch: Watch = lambda step: None,
) -> Report:
    """Simulate frames, learn the law from them, judge it on unseen states, extrapolate.

    Args:
        study: The case, of `debye.speckle.studies.cases`.
        quick: Follow the shortened plan and a shorter horizon.
        photons: λ_max of the frames; 0 for no noise.
        seed: Seed of the training states and the noise; the unseen states have another.
        plan: How to learn, instead of the study's own plan.
        watch: Called after every step of the learning.

    Raises:
        Refusal: The study has nothing to learn.
        Failure: The learning did not survive.
    """
    if study.model is None or study.plan is None or study.quick is None:
        raise Refusal(
            f"there is no study of {study.name}",
            why="nothing in it is to be learned",
            fix="use debye simulate, or the studies swarm, kuramoto, drift, scan",
        )
    plan = plan or (study.quick if quick else study.plan)
    if study.name == "scan":
        data, learning, steps, seconds, extra = conduct_scan(study, plan, photons, seed, watch)
    else:
        data, learning, steps, seconds = train(study, plan, photons, seed, watch)
        extra = {}
    law = from_learning(learning, study=study.name)
    began = time.perf_counter()
    report = evaluate(study, law, data, seed, quick=quick)
    count = len(data.times)
    report.until = float(data.times[max(stage.last_frame(count) for stage in plan.stages)])
    report.steps, report.extra = steps, {**report.extra, **extra}
    report.rows = JUDGES[study.name](report)
    report.seconds = {**seconds, "judge": time.perf_counter() - began}
    return report


def train(
    study: Study, plan: Plan, photons: float, seed: int, watch: Watch
) -> tuple[Frames, Learning, list[Step], dict[str, float]]:
    """Make the frames and learn from them."""
    assert study.model is not None  # noqa: S101 - the caller saw to it
    began = time.perf_counter()
    runs = max(stage.runs for stage in plan.stages)
    data = make_frames(study, runs=runs, photons=photons, seed=seed)
    simulated = time.perf_counter()
    learning = prepare(study.model(), data, plan, solver=study.solver)
    steps = []
    for step in learning.run():
        watch(step)
        steps.append(step)
    seconds = {"simulate": simulated - began, "learn": time.perf_counter() - simulated}
    return data, learning, steps, seconds


def evaluate(study: Study, law: Law, data: Frames, seed: int, *, quick: bool = False) -> Report:
    """Follow truth and law from unseen states to the horizon, and compare states and frames."""
    runs = min(study.unseen, 2) if quick else study.unseen
    y0, specimen = starts(study, runs, seed + UNSEEN)
    times = landmarks(study, quick=quick)
    hidden = (
        torch.cat([torch.zeros(1).double(), times])
        if times[0] > 0 and study.name != "scan"
        else times
    )
    with torch.no_grad():
        truth = (
            study.careful.solve(study.truth().field(), y0, hidden)
            .states[-len(times) :]
            .transpose(0, 1)
        )
        found = law.extrapolate(truth[:, 0], times).states.transpose(0, 1)
    stride = max(len(times) // 40, 1)
    some = slice(0, None, stride)
    few = slice(0, 2)
    part = None if specimen is None else specimen[few]
    seen = [law.frames(x[few, some], part) for x in (found, truth)]
    error = (judge.phase_error if study.name == "kuramoto" else judge.position_error)(found, truth)
    blur = judge.frame_error(seen[0], seen[1], data.mask)
    until = float(data.times[-1])
    return Report(
        study, law, data, [], times, truth, found, error, blur, times[some], specimen, until
    )


def landmarks(study: Study, *, quick: bool) -> Tensor:
    """Times at which a study is judged, to its horizon."""
    first, last, _ = study.times
    if study.name == "scan":
        return study.grid()
    if study.name == "drift":
        return torch.arange(0, (100 if quick else study.horizon) + 0.25, 0.25, dtype=torch.float64)
    if quick:
        return torch.linspace(first, last, 51, dtype=torch.float64)
    late = torch.linspace(last, study.horizon, 41, dtype=torch.float64)[1:]
    return torch.cat([torch.linspace(first, last, 51, dtype=torch.float64), late])


def at(report: Report, t: float) -> float:
    """Error of the states at the time nearest to ``t``."""
    return float(report.error[(report.times - t).abs().argmin()])


def judge_swarm(report: Report) -> list[Row]:
    """Force, reach, positions, clusters."""
    h, h0 = report.law.system.hole, report.study.truth().hole
    r = torch.linspace(0.1, 0.8, 701, dtype=torch.float64)
    force = judge.relative(judge.pair_force(h, r), judge.pair_force(h0, r))
    rows = [
        Row("relative RMS error of the force f(r), 0.1 ≤ r ≤ 0.8", force, 0.05, "by eye"),
        Row("mean position error, unseen, t = 2", at(report, 2), 0.006, "by eye"),
        Row("mean position error, unseen, t = 6", at(report, 6), 0.015, "by eye"),
        Row("mean position error, unseen, t = 10", at(report, 10)),
        Row("reach where |f| is 1 % of its maximum, learned", judge.effective_reach(h, 0.9)),
        Row("the same, true", judge.effective_reach(h0, 0.9)),
        Row("reach parameter of the spline (true cutoff 0.75)", float(h.reach), None, "0.83"),
    ]
    if float(report.times[-1]) >= 50:
        sizes = [judge.cluster_sizes(x[:, -1]) for x in (report.found, report.truth)]
        apart = 0.5 * float((sizes[0] - sizes[1]).abs().sum())
        rows.append(Row("cluster-size histogram at t = 50, share misplaced", apart, 0.05, "by eye"))
        rows.append(Row("mean position error, unseen, t = 50", at(report, 50)))
    return rows


def judge_kuramoto(report: Report) -> list[Row]:
    """Transfer function, kernel, frames, phases."""
    found, truth = report.law.system, report.study.truth()
    states = report.data.states
    assert states is not None  # noqa: S101 - simulated frames have states
    transfer = judge.transfer_error(found, truth, states)  # type: ignore[arg-type]
    k, k0 = found.hole().detach(), truth.hole()
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


def judge_drift(report: Report) -> list[Row]:
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


def judge_scan(report: Report) -> list[Row]:
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


JUDGES: dict[str, Callable[[Report], list[Row]]] = {
    "swarm": judge_swarm,
    "kuramoto": judge_kuramoto,
    "drift": judge_drift,
    "scan": judge_scan,
}


def shortened(study: Study, **changes: Any) -> Study:  # noqa: ANN401
    """A study with some of its numbers changed, for tests and tables."""
    return replace(study, **changes)
