"""A trajectory: where a system was, when, and how the solver fared.

Solve dy/dt = f(t, y) with explicit Runge–Kutta methods, differentiably and within a budget.

Gradients flow back through the steps that were taken, which is exact for the numbers returned;
the step sizes themselves are not differentiated.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute

from debye.errors import ComputationError, InputError
from debye.speckle.dynamics.tableaux import Tableau, tableau
from debye.speckle.values import ByValue, OneLine


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


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory(ByValue):
    """The states of a system at the requested times, and the solver's statistics.

    Args:
        times: (T,) the times reached.
        states: (T, …) the state at each of them.
        outcome: How the solve ended.
        steps: Accepted steps.
        retries: Steps tried again shorter, because their error was too large.
        evaluations: Calls of the right-hand side.
        seconds: Wall time.
    """

    times: Tensor  # [time]
    states: Tensor  # [time, ...]
    outcome: Outcome = Outcome.DONE
    steps: int = 0
    retries: int = 0
    evaluations: int = 0
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.times)

    @property
    def stopped(self) -> str:
        """Where and why it ended early, in words; empty if it did not."""
        if self.outcome is Outcome.DONE:
            return ""
        return (
            f"the integration stopped after t = {float(self.times[-1]):.4g}: {self.outcome.value}"
        )

    def __repr__(self) -> str:
        return (
            f"Trajectory({len(self)} times, t = {float(self.times[0]):g} … "
            f"{float(self.times[-1]):g}, states of {tuple(self.states.shape[1:])}, "
            f"{self.steps} steps: {self.outcome.value})"
        )


class SolveError(ComputationError):
    """An integration that did not reach its end; ``trajectory`` holds what it reached."""

    def __init__(self, trajectory: Trajectory, t: float, step: float, wanted: float) -> None:
        outcome = trajectory.outcome
        super().__init__(
            f"the integration stopped at t = {t:.6g} of {wanted:.6g}",
            why=f"{outcome.value} (step {step:.3g}, {trajectory.steps} steps done, "
            f"{trajectory.retries} tried again, {trajectory.seconds:.1f} s)",
            fix=ADVICE[outcome],
        )
        self.trajectory = trajectory


RightHandSide = Callable[[float, Tensor], Tensor]
"""f(t, y): a time and a state (…) to the state's rate of change (…)."""


@dataclass(frozen=True, repr=False)
class Solver(OneLine):
    """How to integrate: a method, its steps or tolerances, and a budget.

    Args:
        method: Name of a method (`debye.speckle.dynamics.tableaux.METHODS`) or a `Tableau`.
        step: Longest fixed step; None lets an adaptive method choose. Fixed steps are shortened
            so that they end on the requested times.
        rtol: Relative tolerance of an adaptive step.
        atol: Absolute tolerance of an adaptive step.
        max_steps: Budget of steps, tried ones included.
        max_seconds: Budget of wall time.
        save_memory: Keep only the state at each step and compute the stages again on the way
            back: about 1.3 times slower, several times smaller.

    Raises:
        InputError: The method is unknown, a number is out of range, or a method without an error
            estimate was given no step.

    Example:
        >>> decay = Solver("rk4", step=0.1).solve(lambda t, y: -y, torch.tensor([1.0]), [0.0, 1.0])
        >>> round(decay.states[-1].item(), 5), decay.steps
        (0.36788, 10)
    """

    method: str | Tableau = "tsit5"
    step: float | None = None
    rtol: float = 1e-6
    atol: float = 1e-8
    max_steps: int = 100_000
    max_seconds: float = math.inf
    save_memory: bool = False
    tableau: Tableau = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tableau", tableau(self.method))
        for name in ("step", "rtol", "atol", "max_steps", "max_seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(
                    f"cannot integrate with {name} = {value}",
                    why="it must be above 0",
                    fix=f"give a positive {name}",
                )
        if self.step is None and not self.tableau.adaptive:
            raise InputError(
                f"{self.tableau.name} needs a step",
                why="it does not estimate its own error",
                fix="give step=…, or use dopri5 or tsit5",
            )

    def finer(self, longest: float = math.inf) -> Solver:
        """The same with half the step, or a tenth of the tolerances.

        Args:
            longest: Step that a longer one is cut to anyway: that between the requested times.

        Example:
            >>> Solver("rk4", step=0.1).finer().step, Solver().finer().rtol
            (0.05, 1e-07)
        """
        if self.step is None:
            return replace(self, rtol=self.rtol / 10, atol=self.atol / 10)
        return replace(self, step=min(self.step, longest) / 2)

    def solve(
        self,
        rhs: RightHandSide,
        y0: Tensor,
        times: Tensor | list[float],
        *,
        control: Callable[[Tensor], Tensor] = lambda y: y,
    ) -> Trajectory:
        """Integrate from ``y0`` at ``times[0]`` and report at every one of ``times``.

        Args:
            rhs: The right-hand side f(t, y).
            y0: (…) initial state; leading axes may be a batch, which shares its steps.
            times: (T,) strictly rising, evenly spaced or not.
            control: The part of a state whose error decides on the steps.

        Returns:
            The states (T, …), the first being ``y0``.

        Raises:
            InputError: The times do not rise, or the initial state is not finite.
            SolveError: A budget ran out, the step collapsed, or the state blew up. Its
                ``trajectory`` holds the part that was reached.
        """
        grid = check_times(times)
        if not torch.isfinite(y0).all():
            raise InputError(
                "cannot integrate from this state",
                why="it holds NaN or infinity",
                fix="check the initial state",
            )
        run = _Run(self, rhs, grid, control)
        states = [y0]
        walk = run.fixed(y0) if self.step is not None else run.adaptive(y0)
        states.extend(walk)
        return run.report(states, times)


def check_times(times: Tensor | list[float]) -> list[float]:
    """The times as numbers, refused unless they are finite and rise.

    Raises:
        InputError: There are none, one is not finite, or one is not after the one before.

    Example:
        >>> check_times([0.0, 1.0, 0.5])
        Traceback (most recent call last):
        debye.errors.InputError: the times do not rise
          why: time 2 is 0.5, after 1
          fix: sort the frames by time and drop repeats
    """
    grid = [float(t) for t in times]
    if not grid or not all(map(math.isfinite, grid)):
        raise InputError(
            "the times are not usable",
            why="there are none, or some are not finite",
            fix="give at least one finite time",
        )
    for i in range(1, len(grid)):
        if grid[i] <= grid[i - 1]:
            raise InputError(
                "the times do not rise",
                why=f"time {i} is {grid[i]:g}, after {grid[i - 1]:g}",
                fix="sort the frames by time and drop repeats",
            )
    return grid


def solve(
    rhs: RightHandSide, y0: Tensor, times: Tensor | list[float], **options: object
) -> Trajectory:
    """Integrate once: ``Solver(**options).solve(rhs, y0, times)``.

    Raises:
        InputError: An option is out of range, the times do not rise, or the state is not finite.
        SolveError: The integration did not reach the last time.

    Example:
        >>> turn = solve(lambda t, y: torch.stack([y[1], -y[0]]), torch.tensor([0.0, 1.0]),
        ...              [0.0, torch.pi / 2], rtol=1e-8)
        >>> turn.states[-1].round(decimals=5).abs()
        tensor([1., 0.])
    """
    return Solver(**options).solve(rhs, y0, times)  # type: ignore[arg-type]


def weighted(y: Tensor, h: float, weights: tuple[float, ...], stages: list[Tensor]) -> Tensor:
    """Y + h Σ_s w_s k_s, skipping the zeros of the tableau."""
    for w, k in zip(weights, stages, strict=False):
        if w:
            y = torch.add(y, k, alpha=h * w)
    return y


class _Run:
    """One solve in progress: where it is and what it has spent."""

    def __init__(
        self,
        solver: Solver,
        rhs: RightHandSide,
        times: list[float],
        control: Callable[[Tensor], Tensor],
    ) -> None:
        self.solver, self.rhs, self.times, self.control = solver, rhs, times, control
        self.table = solver.tableau
        self.t, self.h = times[0], solver.step or 0.0
        self.steps = self.retries = self.evaluations = 0
        self.outcome = Outcome.DONE
        self.started = time.perf_counter()

    def slope(self, t: float, y: Tensor) -> Tensor:
        """f(t, y), counted."""
        self.evaluations += 1
        return self.rhs(t, y)

    def stages(self, t: float, y: Tensor, h: float, first: Tensor | None) -> tuple[Tensor, ...]:
        """The stages k_s of one step."""
        ks = [self.slope(t, y) if first is None else first]
        for a, c in zip(self.table.a[1:], self.table.c[1:], strict=True):
            ks.append(self.slope(t + c * h, weighted(y, h, a, ks)))
        return tuple(ks)

    def advance(self, t: float, y: Tensor, h: float, first: Tensor | None) -> tuple[Tensor, ...]:
        """The new state, then the stages; the stages are forgotten if memory is to be saved."""

        def step(y: Tensor, first: Tensor | None) -> tuple[Tensor, ...]:
            ks = self.stages(t, y, h, first)
            return (weighted(y, h, self.table.b, list(ks)), *ks)

        if self.solver.save_memory and torch.is_grad_enabled():
            return recompute(step, y, first, use_reentrant=False)
        return step(y, first)

    def spent(self) -> bool:
        """Whether a budget has run out; notes which."""
        if self.steps + self.retries >= self.solver.max_steps:
            self.outcome = Outcome.STEPS
        elif time.perf_counter() - self.started > self.solver.max_seconds:
            self.outcome = Outcome.SECONDS
        return self.outcome is not Outcome.DONE

    def fixed(self, y: Tensor) -> Iterator[Tensor]:
        """The states after the first, by equal steps between the requested times."""
        longest = self.solver.step or math.inf
        for t0, t1 in zip(self.times[:-1], self.times[1:], strict=True):
            # A hair of slack, or 0.3 − 0.2 would take two steps of 0.1.
            count = max(math.ceil((t1 - t0) / longest * (1 - 1e-9)), 1)
            self.h = (t1 - t0) / count
            for i in range(count):
                self.t = t0 + i * self.h
                if self.spent():
                    return
                y = self.advance(self.t, y, self.h, None)[0]
                self.steps += 1
            self.t = t1
            if not torch.isfinite(y).all():
                self.outcome = Outcome.BLEW_UP
                return
            yield y

    def adaptive(self, y: Tensor) -> Iterator[Tensor]:
        """The states after the first, by steps that keep the estimated error in tolerance."""
        if len(self.times) == 1:
            return
        slope, wanted = self.slope(self.t, y), 1
        self.h = self.first_step(y, slope)
        while not self.spent():
            h = min(self.h, self.times[-1] - self.t)
            new, *ks = self.advance(self.t, y, h, slope)
            error = self.error(y, new, h, ks)
            if not error <= 1:  # NaN is not
                self.retries += 1
                self.h = h * self.factor(error)
                if self.h < 1e-13 * max(abs(self.t), abs(self.times[-1])):
                    self.outcome = Outcome.COLLAPSED if math.isfinite(error) else Outcome.BLEW_UP
                    return
                continue
            self.steps += 1
            end = self.t + h
            # A hair of slack: rounding must not leave the last time a step of 1e-17 away.
            while wanted < len(self.times) and self.times[wanted] <= end * (1 + 1e-14) + 1e-300:
                theta = min((self.times[wanted] - self.t) / h, 1.0)
                yield new if theta == 1 else weighted(y, h, self.table.weights_at(theta), ks)
                wanted += 1
            if wanted == len(self.times):
                self.t = end
                return
            y, slope = new, ks[-1] if self.table.reuses_last else self.slope(end, new)
            self.t, self.h = end, h * self.factor(error)

    def factor(self, error: float) -> float:
        """How much longer the next step may be: 0.9·error^(−1/order), within [0.2, 5]."""
        if not math.isfinite(error):
            return 0.2
        return min(max(0.9 * max(error, 1e-10) ** (-1 / self.table.order), 0.2), 5.0)

    @torch.no_grad()
    def error(self, y: Tensor, new: Tensor, h: float, ks: list[Tensor]) -> float:
        """Largest over the state of |estimated error| / (atol + rtol·|y|), root mean square."""
        assert self.table.error is not None  # noqa: S101 - the constructor saw to it
        y, new, *ks = (self.control(x) for x in (y, new, *ks))
        estimate = weighted(torch.zeros_like(y), h, self.table.error, ks)
        return self.norm(estimate, torch.maximum(y.abs(), new.abs()))

    def norm(self, x: Tensor, size: Tensor) -> float:
        """Root mean square of x/(atol + rtol·size): 1 is just within tolerance."""
        scaled = x / (self.solver.atol + self.solver.rtol * size)
        return float(scaled.detach().square().mean().sqrt())

    @torch.no_grad()
    def first_step(self, y: Tensor, slope: Tensor) -> float:
        """A safe first step (Hairer, Nørsett & Wanner, Solving ODEs I, II.4)."""
        part = self.control(y)
        size = part.abs()
        slope, whole = self.control(slope), slope
        d0, d1 = self.norm(part, size), self.norm(slope, size)
        if not math.isfinite(d1):
            return 1e-12 * (self.times[-1] - self.times[0])  # the loop will say what is wrong
        guess = 1e-6 if min(d0, d1) < 1e-5 else 0.01 * d0 / d1
        change = self.control(self.slope(self.t + guess, torch.add(y, whole, alpha=guess))) - slope
        d2 = self.norm(change, size) / guess
        bend = max(d1, d2)
        limit = (
            max(1e-6, guess * 1e-3) if bend <= 1e-15 else (0.01 / bend) ** (1 / self.table.order)
        )
        return min(100 * guess, limit, self.times[-1] - self.times[0])

    def report(self, states: list[Tensor], times: Tensor | list[float]) -> Trajectory:
        """The trajectory, or the failure that carries it."""
        reached = torch.as_tensor(times)[: len(states)]
        trajectory = Trajectory(
            reached.detach(),
            torch.stack(states),
            self.outcome,
            self.steps,
            self.retries,
            self.evaluations,
            time.perf_counter() - self.started,
        )
        if self.outcome is not Outcome.DONE:
            kept = replace(trajectory, states=trajectory.states.detach())
            raise SolveError(kept, self.t, self.h, self.times[-1])
        return trajectory
