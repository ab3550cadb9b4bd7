"""A trajectory: where a system was, when, and how the solver fared."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from debye.errors import Failure


class Outcome(Enum):
    """How a solve ended, as a sentence."""

    DONE = "every requested time was reached"
    STEPS = "the budget of steps ran out"
    SECONDS = "the budget of wall time ran out"
    COLLAPSED = "the step size collapsed: the equation is stiff or singular here"
    BLEW_UP = "the state stopped being finite"


ADVICE = {
    Outcome.STEPS: "raise max_steps, loosen rtol and atol, or shorten the time span",
    Outcome.SECONDS: "raise max_seconds, or give a fixed step",
    Outcome.COLLAPSED: "loosen rtol and atol, give a fixed step, or soften the equation there",
    Outcome.BLEW_UP: "use a smaller step, or an equation that stays bounded",
}
"""What to try after each bad end."""


@dataclass(frozen=True)
class Trajectory:
    """The states of a system at the requested times, and the solver's statistics.

    Args:
        times: (T,) the times reached.
        states: (T, …) the state at each of them.
        outcome: How the solve ended.
        steps: Accepted steps.
        rejected: Steps tried and thrown away.
        evaluations: Calls of the right-hand side.
        seconds: Wall time.
    """

    times: Tensor  # [time]
    states: Tensor  # [time, ...]
    outcome: Outcome = Outcome.DONE
    steps: int = 0
    rejected: int = 0
    evaluations: int = 0
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.times)


class SolveFailure(Failure):
    """An integration that did not reach its end; ``trajectory`` holds what it reached."""

    def __init__(self, trajectory: Trajectory, t: float, step: float, wanted: float) -> None:
        outcome = trajectory.outcome
        super().__init__(
            f"the integration stopped at t = {t:.6g} of {wanted:.6g}",
            why=f"{outcome.value} (step {step:.3g}, {trajectory.steps} steps done, "
            f"{trajectory.rejected} rejected, {trajectory.seconds:.1f} s)",
            fix=ADVICE[outcome],
        )
        self.trajectory = trajectory
