"""First states that are known roughly, and fitted with all the rest.

A first state has a Gaussian prior about what was given. Gauss–Newton steps eliminate the runs one
by one (`debye.speckle.fitting.arrow`), and so memory grows with one run alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from debye.speckle.data.frames import Window
from debye.speckle.fitting.arrow import Block, Eliminated
from debye.speckle.fitting.carried import check_start
from debye.speckle.fitting.experiment import Experiment
from debye.speckle.fitting.gauss_newton import GaussNewton, check_size, damped_step
from debye.speckle.fitting.slopes import FrameSlopes, frame_slopes


@dataclass(frozen=True)
class Starts:
    """What is known of first states beforehand: x = m + K (c − c_0) and a Gaussian about it.

    Attributes:
        given: Of each window's run, m.
        error: Standard deviation of each of its numbers, root mean square.
        precision: (n, n) the inverse of its covariance; 1/error² if nothing is told.
        slope: (n, P) how it follows what is shared, K; not at all if nothing is told.
        shared: (P,) what is shared, c_0, where it does.
    """

    given: dict[str, Tensor]
    error: float
    precision: dict[str, Tensor] = field(default_factory=dict)
    slope: dict[str, Tensor] = field(default_factory=dict)
    shared: Tensor | None = None

    @classmethod
    def of(cls, windows: Sequence[Window], error: float) -> Starts:
        """Those of windows, each number known by itself.

        Raises:
            InputError: A state has too many numbers.
        """
        given = {k: x for w in windows for k, x in zip(w.names, w.start, strict=True)}
        for state in given.values():
            check_start(state)
        return cls(given, error)

    def away(self, name: str, state: Tensor, shared: Tensor) -> Tensor:
        """(n,) how far a first state (…) is from where it is expected."""
        found = (state.detach() - self.given[name].to(state)).double().flatten()
        if self.shared is None or name not in self.slope:
            return found
        return found - self.slope[name].to(found) @ (shared - self.shared)

    def pull(self, name: str, away: Tensor) -> Tensor:
        """(n,) gradient of what that costs."""
        told = self.precision.get(name)
        return away / self.error**2 if told is None else told.to(away) @ away

    def add_to(self, block: Block, H: Tensor, g: Tensor, name: str, away: Tensor) -> None:
        """Add what is known of a first state to the curvature and gradient of frames.

        Args:
            block: Of the state.
            H: (P, P) of what is shared.
            g: (P,) likewise.
            name: Of the state.
            away: (n,) how far it is from where it is expected.
        """
        told = self.precision.get(name, torch.eye(len(away)) / self.error**2).to(away)
        pull = told @ away
        block.H += told
        block.g += pull
        if (K := self.slope.get(name)) is not None:
            block.cross -= told @ K
            H += K.T @ told @ K
            g -= K.T @ pull


@dataclass(eq=False)
class StartsToo(GaussNewton[Window]):
    """Gauss–Newton steps of an experiment whose first states are unknown too.

    ``curvature`` and ``prior`` are those of what is shared, first states marginalised.
    """

    starts: Starts = field(default_factory=lambda: Starts({}, 1.0))

    def count(self) -> int:
        """How many parameters are shared.

        Raises:
            InputError: There is nothing to fit.
        """
        check_size(self.model)
        return self.experiment.shared

    @property
    def experiment(self) -> Experiment:
        """The model."""
        return cast(Experiment, self.model)

    def cost(self, vector: Tensor) -> float:
        """What both priors add to the summed loss."""
        shared, found, first = vector[: self.size], super().cost(vector), self.size
        for name, state in self._free():
            last = first + state.numel()
            away = self.starts.away(name, vector[first:last].view_as(state), shared)
            found, first = found + 0.5 * float(away @ self.starts.pull(name, away)), last
        return found

    def _free(self) -> list[tuple[str, Tensor]]:
        """First states that are fitted, in the order of their parameters."""
        return [(name, p) for name, p in self.experiment.starts.items() if p.requires_grad]

    @torch.no_grad()
    def linearised(self, vector: Tensor, pieces: Sequence[Window]) -> tuple[Tensor, Tensor]:
        """Curvature and gradient of what is shared, first states eliminated."""
        H = vector.new_zeros(self.size, self.size)
        self.whole = H, H.new_zeros(self.size)
        self.blocks = {
            name: Block.zeros(state.numel(), self.size).to(vector) for name, state in self._free()
        }
        for piece in pieces:
            for frame in frame_slopes(self.experiment, piece, self.chunk):
                self._add(piece, frame)
        for name, state in self._free():
            away = self.starts.away(name, state, vector[: self.size])
            self.starts.add_to(self.blocks[name], *self.whole, name, away)
        return self._reduced([b.eliminated() for b in self.blocks.values()])

    def _add(self, piece: Window, frame: FrameSlopes) -> None:
        """Take in the frames of one time."""
        H, g = self.whole
        for run, name in enumerate(piece.names):
            rate, n = frame.rate[run][self.mask], frame.counts[run][self.mask]
            weight, residual = (
                f(rate, n) for f in (self.likelihood.weight, self.likelihood.residual)
            )
            shared = frame.shared[:, run, self.mask] * weight
            H += shared @ shared.T
            g += shared @ residual
            if frame.own is not None:
                self.blocks[name].add(frame.own[:, run, self.mask] * weight, shared, residual)

    def _reduced(self, runs: Sequence[Eliminated]) -> tuple[Tensor, Tensor]:
        H, g = self.whole
        for run in runs:
            H, g = run.from_shared(H, g)
        return H, g

    def _promised(self, vector: Tensor, H: Tensor, g: Tensor) -> float:
        """What is shared promises so much, and first states where that is held so much more."""
        own = sum(float(b.eliminated().pull.square().sum()) for b in self.blocks.values())
        return super()._promised(vector, H, g) + 0.5 * own

    def moved(self, vector: Tensor, H: Tensor, g: Tensor) -> Tensor:
        """Where a step of everything leads, damped as it now is."""
        runs = [block.eliminated(self.damping) for block in self.blocks.values()]
        shared = vector[: self.size]
        H, g = self._reduced(runs)
        P, g = self.known.precision.to(vector), g + self.known.slope(shared)
        held = self.known.held(shared, -g)
        step = damped_step(H, P, g, self.damping, held) if self.size else shared
        own = [run.step(step) for run in runs]
        to = self.known.within(shared + step)
        return torch.cat([to, vector[self.size :] + torch.cat(own)])
