"""How to learn: a curriculum of windows, a method, a likelihood. Plain data, fit for a file."""

from __future__ import annotations

from dataclasses import dataclass

from debye.errors import Refusal
from debye.speckle.data.frames import Frames, Window


@dataclass(frozen=True)
class Stage:
    """One rung of the curriculum.

    Attributes:
        frames: Frames in a window, the given first one included.
        runs: Runs used, from the first.
        starts: Windows cut from each run, spread evenly over its length.
        iterations: Gauss–Newton or L-BFGS steps at most; epochs of Adam.
        portion: Runs whose derivatives are worked out together; smaller takes less memory.
    """

    frames: int
    runs: int
    starts: int = 1
    iterations: int = 10
    portion: int = 2

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
        """The windows of this stage, a few runs in each."""
        runs = min(self.runs, len(data.data))
        parts = [slice(i, min(i + self.portion, runs)) for i in range(0, runs, self.portion)]
        starts = self.first_frames(len(data.times))
        return [data.window(s, self.frames, part) for s in starts for part in parts]


@dataclass(frozen=True)
class Plan:
    """How to learn; every field can stand in a config file.

    Attributes:
        stages: The curriculum.
        method: ``gauss-newton`` for laws of tens of coefficients, ``lbfgs``, or ``adam`` for
            networks.
        likelihood: ``poisson``, ``amplitude``, ``exact`` or ``l1``; None takes ``poisson`` for
            counts and ``exact`` for frames without noise.
        rate: Highest learning rate of Adam.
        ridge: Pull of Gauss–Newton's coefficients towards 0.
        seed: Seed of the order of Adam's windows.
    """

    stages: tuple[Stage, ...]
    method: str = "gauss-newton"
    likelihood: str | None = None
    rate: float = 1e-2
    ridge: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in ("gauss-newton", "lbfgs", "adam"):
            raise Refusal(
                f"unknown method {self.method!r}",
                why="the methods are gauss-newton, lbfgs and adam",
                fix="use one of them",
            )
        if not self.stages:
            raise Refusal("there is nothing to do", why="the plan has no stages", fix="add a Stage")
