"""How to fit: a plan that walks from short windows to long ones.

Over a short window any start leads downhill, over a long one small errors of the system have grown
large enough to see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from debye.core.training import check_numbers
from debye.errors import InputError
from debye.speckle.data.frames import Frames, Window
from debye.speckle.dynamics.learnable import Smooth
from debye.speckle.dynamics.particles import Particles
from debye.speckle.dynamics.systems import Drift, RigidMotion, System
from debye.speckle.values import OneLine

MOVING = (Drift, RigidMotion, Particles)
"""Systems of bodies, whose speckle changes wholly where they move by a speckle's resolution."""

METHODS = ("gauss-newton", "lbfgs", "adam")
"""Gauss–Newton for systems of tens of coefficients, Adam for networks, L-BFGS in between."""

LAST = 40
"""Steps at most of a default plan's last stage, whose end is the result."""

RANGES: dict[str, tuple[float, float]] = {
    "frames": (2, 1_000_000),
    "runs": (1, 1_000_000),
    "starts": (1, 1_000_000),
    "iterations": (1, 1_000_000),
    "portion": (1, 1_000_000),
    "q": (1e-3, 1.0),
    "rate": (1e-12, 1e3),
    "ridge": (0.0, 1e12),
    "seed": (0, 2**32 - 1),
    "start_error": (0.0, 1e12),
}
"""What each number of a `Stage` and a `Plan` may be."""


@dataclass(frozen=True, repr=False)
class Stage(OneLine):
    """One rung of the curriculum.

    Attributes:
        frames: Frames in a window, the given first one included.
        runs: Runs used, from the first.
        starts: Windows cut from each run, spread evenly over its length.
        iterations: Gauss–Newton or L-BFGS steps at most; epochs of Adam.
        portion: Runs whose derivatives are worked out together; smaller takes less memory.
        q: Fraction of the largest |q| along an axis up to which pixels are compared; 1 is all of
            them. Low q forgives the large errors of a beginning, where speckle would mislead.

    Raises:
        InputError: A number is no whole number or out of range.
    """

    frames: int
    runs: int
    starts: int = 1
    iterations: int = 10
    portion: int = 2
    q: float = 1.0

    def __post_init__(self) -> None:
        check_numbers("[[stages]]", self, RANGES)

    def first_frames(self, count: int) -> list[int]:
        """First frames of the windows in a series of ``count``.

        Example:
            >>> Stage(frames=11, runs=2, starts=3).first_frames(101)
            [0, 45, 90]
        """
        gap = max(count - self.frames, 0) / max(self.starts - 1, 1)
        return sorted({round(i * gap) for i in range(self.starts)})

    def last_frame(self, count: int) -> int:
        """Index of the last frame this stage sees."""
        return min(self.first_frames(count)[-1] + self.frames, count) - 1

    def windows(self, data: Frames) -> list[Window]:
        """The windows of this stage, a few runs in each.

        Raises:
            InputError: The states at their starts are not known.
        """
        runs = min(self.runs, len(data.data))
        parts = [slice(i, min(i + self.portion, runs)) for i in range(0, runs, self.portion)]
        starts = self.first_frames(data.count)
        found = [data.window(s, self.frames, part) for s in starts for part in parts]
        return [w for w in found if len(w.times) > 1]  # else no frame was left to compare with


@dataclass(frozen=True, repr=False)
class Plan(OneLine):
    """How to fit; every field can stand in a config file.

    Attributes:
        stages: The curriculum.
        method: ``gauss-newton`` for systems of tens of coefficients, ``lbfgs``, or ``adam`` for
            networks.
        likelihood: ``poisson``, ``amplitude``, ``exact`` or ``l1``; None takes ``poisson`` for
            counts and ``exact`` for frames without noise.
        rate: Highest learning rate of Adam.
        ridge: Pull of Gauss–Newton's coefficients towards 0.
        seed: Seed of the order of Adam's windows.
        smooth: Whether Gauss–Newton gives smooth terms a smoothness prior, whose strength and
            length the frames choose, instead of the ridge.

    Raises:
        InputError: The method is unknown, there are no stages, or a number is out of range.

    Example:
        >>> Plan((Stage(frames=3, runs=1), Stage(frames=6, runs=2)), method="lbfgs")
        Plan(stages=(Stage(frames=3, runs=1), Stage(frames=6, runs=2)), method='lbfgs')
    """

    stages: tuple[Stage, ...]
    method: str = "gauss-newton"
    likelihood: str | None = None
    rate: float = 1e-2
    ridge: float = 0.0
    seed: int = 0
    smooth: bool = True
    start_error: float = 0.0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(
                f"unknown method {self.method!r}",
                why="the methods are gauss-newton, lbfgs and adam",
                fix="use one of them",
            )
        if not self.stages or not all(isinstance(stage, Stage) for stage in self.stages):
            raise InputError(
                "there is nothing to do", why="the plan has no stages", fix="add a Stage"
            )
        check_numbers("the plan's", self, RANGES)

    @property
    def iterations(self) -> int:
        """Steps at most."""
        return sum(stage.iterations for stage in self.stages)

    def changed(self, changes: Mapping[str, Any]) -> Plan:
        """This plan with some of its fields changed, as a config file names them.

        Args:
            changes: Values by field; ``stages`` are tables of the fields of `Stage`.

        Raises:
            InputError: There is no such field, or a value does not fit.

        Example:
            >>> Plan((Stage(3, 1),)).changed({"stages": [{"frames": 6, "runs": 2}], "ridge": 1.0})
            Plan(stages=(Stage(frames=6, runs=2),), ridge=1.0)
        """
        try:
            made = dict(changes)
            if "stages" in made:
                made["stages"] = tuple(Stage(**stage) for stage in made["stages"])
            return replace(self, **made)
        except TypeError as error:
            raise InputError(
                "cannot follow this plan", why=str(error), fix="use the fields of Plan and Stage"
            ) from error


def default_plan(data: Frames, system: System | None = None) -> Plan:
    """Windows of three frames, then of twice as many, to 24 or the whole series.

    Of bodies that move under a spline, which is nothing to begin with, the first step is seen at
    low q before.

    Example:
        >>> import torch
        >>> [s.frames for s in default_plan(Frames(torch.ones(2, 10, 8, 8), range(10))).stages]
        [3, 6, 10]
    """
    runs, count = data.data.shape[:2]
    longest = min(count, 24)
    lengths = [n for n in (3, 6, 12) if n < longest] + [longest]
    walk = [*first_look(lengths[0], system), *((n, 1.0) for n in lengths)]
    stages = [Stage(n, min(runs, 8), 1 if count < 2 * n - 1 else 2, q=q) for n, q in walk]
    return Plan((*stages[:-1], replace(stages[-1], iterations=LAST)))


def first_look(frames: int, system: System | None) -> list[tuple[int, float]]:
    """Frames and part of q of the stages before a walk, whose first windows are of ``frames``.

    Of bodies that move under a spline, which is nothing to begin with, the first step is seen at
    low q; of others there are none.
    """
    moves = isinstance(system, MOVING) and isinstance(system.term, Smooth)
    return [(2, 0.2), (2, 0.4), (frames, 0.4)] if moves else []


def low_q(mask: Tensor, part: float) -> Tensor:
    """The open pixels of a mask (qy, qx) up to a part of the largest |q| along an axis.

    Example:
        >>> import torch
        >>> low_q(torch.ones(8, 8, dtype=torch.bool), 0.5).sum().item()
        13
    """
    if part >= 1:
        return mask
    y, x = (torch.arange(n, device=mask.device) - n // 2 for n in mask.shape)
    near = torch.hypot(y[:, None].double(), x[None].double()) <= part * min(mask.shape) / 2
    return mask & near
