"""Conduct a study: simulate, learn, and judge the law on initial states it never saw."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from debye.core.training import Step
from debye.errors import InputError
from debye.speckle.data.frames import Frames
from debye.speckle.fitting.fit import Fitting, Plan, prepare
from debye.speckle.fitting.model_file import FittedSystem, from_fitting
from debye.speckle.studies import metrics as judge
from debye.speckle.studies.cases import Study
from debye.speckle.studies.making import make_frames, unseen_truth
from debye.speckle.studies.report import Report
from debye.speckle.studies.scan import conduct_scan
from debye.speckle.studies.tables import METRICS

Watch = Callable[[Step], None]


def conduct(
    study: Study,
    *,
    quick: bool = False,
    photons: float = 0.0,
    seed: int = 0,
    plan: Plan | None = None,
    watch: Watch = lambda step: None,
    keep: Callable[[Fitting], None] = lambda learning: None,
) -> Report:
    """Simulate frames, learn the law from them, judge it on unseen states, extrapolate.

    Args:
        study: The case, of `debye.speckle.studies.cases`.
        quick: Follow the shortened plan and a shorter horizon.
        photons: λ_max of the frames; 0 for no noise.
        seed: Seed of the training states and the noise; the unseen states have another.
        plan: How to learn, instead of the study's own plan.
        watch: Called after every step of the learning.
        keep: Called with what was learned before it is judged, which a poor law may not survive.

    Raises:
        InputError: The study has nothing to learn.
        ComputationError: The learning did not survive.
    """
    if study.model is None or study.plan is None or study.quick is None:
        raise InputError(
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
    keep(learning)
    law = from_fitting(learning, study=study.name)
    began = time.perf_counter()
    report = evaluate(study, law, data, seed, quick=quick)
    count = len(data.times)
    report.until = float(data.times[max(stage.last_frame(count) for stage in plan.stages)])
    report.steps, report.extra = steps, {**report.extra, **extra}
    report.rows = METRICS[study.name](report)
    report.seconds = {**seconds, "judge": time.perf_counter() - began}
    return report


def train(
    study: Study, plan: Plan, photons: float, seed: int, watch: Watch
) -> tuple[Frames, Fitting, list[Step], dict[str, float]]:
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


def evaluate(
    study: Study, law: FittedSystem, data: Frames, seed: int, *, quick: bool = False
) -> Report:
    """Follow truth and law from unseen states to the horizon, and compare states and frames."""
    runs = min(study.unseen, 2) if quick else study.unseen
    times = landmarks(study, quick=quick)
    truth, specimen = unseen_truth(study, runs, times, seed)
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


def shortened(study: Study, **changes: Any) -> Study:  # noqa: ANN401
    """A study with some of its numbers changed, for tests and tables."""
    return replace(study, **changes)
