"""What a study found: its table, and all that its figures are drawn from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from debye.core import VERSION
from debye.core.training import Step
from debye.speckle.data.frames import Frames
from debye.speckle.fitting.model_file import FittedSystem
from debye.speckle.studies.cases import Study


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
    law: FittedSystem
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
            "version": VERSION,
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
