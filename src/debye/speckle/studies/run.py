"""The published cases by name, and a whole study in one call."""

from __future__ import annotations

import time
from collections.abc import Callable

from torch import Tensor

from debye.errors import InputError
from debye.speckle.conclusions.extrapolate import frame_error
from debye.speckle.data.frames import Frames
from debye.speckle.fitting.fit import Fitting
from debye.speckle.fitting.fitted import FittedSystem
from debye.speckle.fitting.plan import Plan
from debye.speckle.studies.drift import DRIFT
from debye.speckle.studies.kuramoto import KURAMOTO
from debye.speckle.studies.patterns import GRAY_SCOTT, TURING
from debye.speckle.studies.scan import SCAN
from debye.speckle.studies.study import Case, Report, Row, Study, as_study, to_the_end
from debye.speckle.studies.swarm import SWARM

STUDIES: dict[str, Case] = {
    case.name: case for case in (SWARM, KURAMOTO, DRIFT, SCAN, GRAY_SCOTT, TURING)
}
"""Every case by its name."""


def study(name: str) -> Case:
    """The case of that name.

    Raises:
        InputError: There is none.

    Example:
        >>> study("drift")
        Study('drift': Fluctuating source)
    """
    if name not in STUDIES:
        raise InputError(
            f"unknown system {name!r}",
            why=f"there are {', '.join(STUDIES)}",
            fix="use one of them, or describe your own with debye.speckle.dynamics.systems",
        )
    return STUDIES[name]


def run_study(
    case: Case | str,
    *,
    quick: bool = False,
    photons: float = 0.0,
    seed: int = 0,
    plan: Plan | None = None,
    walk: Callable[[Fitting], None] = to_the_end,
) -> Report:
    """Simulate frames, fit the system behind them, and compare it with the truth on unseen states.

    Args:
        case: A study, or its name.
        quick: Follow the shortened plan and a shorter horizon.
        photons: Expected counts in the brightest pixel of the frames; 0 for no noise.
        seed: Seed of the training states and the noise; the unseen states have another.
        plan: How to fit, instead of the study's own plan.
        walk: Walks the fit to its end; one of your own can watch, save or resume it.

    Returns:
        The table, and all that the figures are drawn from. A fitted system that does not last to
        the horizon is compared as far as it goes; ``stopped`` says where and why.

    Raises:
        InputError: There is no such study, or nothing in it is to be fitted.
        ComputationError: The fit did not survive.
    """
    chosen = as_study(study(case) if isinstance(case, str) else case)
    plan = plan or (chosen.quick if quick else chosen.plan)
    data, fitting, seconds, extra = chosen.work(chosen, plan, photons, seed, walk)
    began = time.perf_counter()
    report = compare(chosen, FittedSystem.of(fitting, study=chosen.name), data, seed, quick=quick)
    count = len(data.times)
    report.until = float(data.times[max(stage.last_frame(count) for stage in plan.stages)])
    report.losses, report.extra = fitting.losses, extra
    report.rows = chosen.metrics(report)
    if report.stopped:
        where = f"error of the states at t = {float(report.times[-1]):.4g}, where it stopped"
        report.rows.append(Row(where, float(report.error[-1])))
    report.seconds = {**seconds, "compare": time.perf_counter() - began}
    return report


def compare(
    study: Study, fitted: FittedSystem, data: Frames, seed: int, *, quick: bool = False
) -> Report:
    """Follow truth and fitted system from unseen states to the horizon, or as far as it goes.

    Raises:
        ComputationError: The known system itself cannot be followed so far.
    """
    every = study.followed(study, quick)
    runs = min(study.runs_unseen, 2) if quick else study.runs_unseen
    true, specimen = study.unseen(runs, every, seed)
    trajectory = fitted.follow(true[:, 0], every)
    times, true = every[: len(trajectory)], true[:, : len(trajectory)]
    predicted = trajectory.states.transpose(0, 1)
    some, few = slice(0, None, max(len(times) // 40, 1)), slice(0, 2)
    horizon = float(every[-1])
    return Report(
        study=study,
        fitted=fitted,
        data=data,
        losses=[],
        times=times,
        true=true,
        predicted=predicted,
        error=study.error(predicted, true),
        seen=times[some],
        frame_error=_frame_error(fitted, predicted[few, some], true[few, some], specimen, data),
        specimen=specimen,
        until=float(data.times[-1]),
        horizon=horizon,
        stopped=trajectory.stopped and f"{trajectory.stopped}; the horizon is t = {horizon:g}",
    )


def _frame_error(
    fitted: FittedSystem, predicted: Tensor, true: Tensor, specimen: Tensor | None, data: Frames
) -> Tensor:
    """(time,) error of the frames of some unseen runs."""
    part = None if specimen is None else specimen[: len(true)]
    found, wanted = (fitted.frames(states, part) for states in (predicted, true))
    return frame_error(found, wanted, data.mask)
