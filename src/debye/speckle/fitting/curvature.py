"""Add up what all frames say of all unknowns, and eliminate those of one run each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from debye.speckle.data.frames import Window
from debye.speckle.fitting.arrow import Block, Eliminated
from debye.speckle.fitting.experiment import Experiment
from debye.speckle.fitting.gauss_newton import to_vector
from debye.speckle.fitting.slopes import FrameSlopes, frame_slopes
from debye.speckle.fitting.starts import Starts

FAINT = 1e-6
"""Expected counts below which a weight 1/λ does not grow any more."""


class Curvature:
    """Sums over frames of counts, as they are where an experiment now stands.

    Args:
        experiment: All its free parameters count.
        windows: The frames.
        mask: (qy, qx) open pixels.
        ring: (open pixel,) which ring each belongs to.
        count: How many there are.
        fitted: Which of the shared unknowns were fitted.
        starts: What is known of first states, where these are free.

    Attributes:
        H: (P, P) curvature of what all runs share, first states marginalised.
        g: (P,) gradient, likewise.
        scores: Of each frame of a run, its part of the gradient.
        ring_slopes: (P, ring) slopes of the counts of each ring.
        taken: (ring,) what first states take of the variance of those counts.
        eliminated: First states, by the names of their windows.

    Raises:
        ComputationError: The system does not last through a window.
    """

    def __init__(
        self,
        experiment: Experiment,
        windows: Sequence[Window],
        mask: Tensor,
        ring: Tensor,
        count: int,
        fitted: Tensor,
        starts: Starts | None = None,
    ) -> None:
        self.experiment, self.mask, self.ring, self.starts = experiment, mask, ring, starts
        size = to_vector(experiment).new_zeros(experiment.shared)
        self.H, self.scores = torch.zeros_like(size.diag()), list[Tensor]()
        self.ring_slopes, self.taken = size.new_zeros(len(size), count), size.new_zeros(count)
        self.blocks, self.own_rings = dict[str, Block](), dict[str, Tensor]()
        self.own_scores: list[tuple[str, Tensor]] = []
        for window in windows:
            for frame in frame_slopes(experiment, window):
                for run, name in enumerate(window.names):
                    self._add(name, frame, run)
        self.g = torch.stack(self.scores).sum(0)
        self.eliminated: dict[str, Eliminated] = {}
        if starts is not None:
            self._eliminate(starts, fitted)

    def _add(self, name: str, frame: FrameSlopes, run: int) -> None:
        """Take in one frame of one run."""
        J = frame.shared[:, run, self.mask]  # [unknown, pixel]
        rate, n = frame.rate[run, self.mask], frame.counts[run, self.mask]
        w = rate.clamp(min=FAINT).rsqrt()
        weighed, residual = J * w, w * (rate - n)
        self.H += weighed @ weighed.T
        self.scores.append(weighed @ residual)
        self.ring_slopes.index_add_(1, self.ring, J)
        if frame.own is None:
            return
        own = frame.own[:, run, self.mask]
        if name not in self.blocks:
            self.blocks[name] = Block.zeros(len(own), len(J)).to(J)
            self.own_rings[name] = J.new_zeros(len(own), len(self.taken))
        self.blocks[name].add(own * w, weighed, residual)
        self.own_rings[name].index_add_(1, self.ring, own)
        self.own_scores.append((name, (own * w) @ residual))

    def _eliminate(self, starts: Starts, fitted: Tensor) -> None:
        """Express first states by what is shared, in all that was added up."""
        shared = to_vector(self.experiment)[fitted]
        for name, block in self.blocks.items():
            away = starts.away(name, self.experiment.starts[name], shared)
            H, g = self.H.new_zeros(len(shared), len(shared)), shared.new_zeros(len(shared))
            own = Block(block.H, block.cross[:, fitted], block.g)
            starts.add_to(own, H, g, name, away)
            block.cross[:, fitted] = own.cross
            self.H[fitted[:, None], fitted] += H
            self.g[fitted] += g
            run = self.eliminated[name] = block.eliminated()
            self.H, self.g = run.from_shared(self.H, self.g)
            white = run.whitened(self.own_rings[name])
            self.ring_slopes = run.reduced(self.ring_slopes, white)
            self.taken += white.square().sum(0)
        pairs = zip(self.scores, self.own_scores, strict=True)
        self.scores = [
            self.eliminated[name].reduced(
                score[:, None], self.eliminated[name].whitened(own[:, None])
            )[:, 0]
            for score, (name, own) in pairs
        ]
