"""Numbers that runs are compared by, and how parameters follow from them, with their errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.xpcs.correlation import Correlation

DELAYS = 12
"""Delays that are compared, at most."""
AGES = 4
"""Stretches of age at which two-time maps are compared, at most; each is as long as all before it,
for the young change fastest, and is compared at delays shorter than itself."""
FEWEST = 3
"""Runs below which their scatter says nothing, and that of the simulation stands for it."""
FAINTEST = 0.1
"""Of what slopes seem to tell in a direction, which noise may all be, so much is believed."""
DRAWS = 4000
"""Residuals that are drawn to see how large they may be."""


class Statistics(NamedTuple):
    """Numbers that runs are compared by.

    Attributes:
        values: (run, S) ln I(q) less its mean over the N rings, then g2 − 1, or c − 1 of two-time
            maps, at D delays (and ages), ring by ring; S = N (1 + D).
        bins: N.
        what: What is compared of a ring.
    """

    values: Tensor
    bins: int
    what: str

    @property
    def parts(self) -> dict[str, slice]:
        """Where the numbers of each kind stand."""
        n, size = self.bins, self.values.shape[-1] // self.bins - 1
        rings = {f"{self.what} of ring {k}": n + k * size for k in range(n)}
        each = {name: slice(first, first + size) for name, first in rings.items()}
        return {"the mean intensity": slice(0, n)} | each


@dataclass(frozen=True)
class Compared:
    """What of the correlations of runs is compared.

    Attributes:
        delays: In frames; or, for each stretch of age, in rows of the maps.
        ages: Edges of the ages of maps, s from the first frame; none where g2 is compared.
        binned: Frames in a row of the maps.
    """

    delays: tuple[tuple[int, ...], ...]
    ages: tuple[float, ...] = ()
    binned: int = 1

    @classmethod
    def of(cls, runs: Sequence[Correlation], frames: int, *, maps: bool) -> Compared:
        """Delays that all runs have, about evenly in their logarithm.

        Args:
            runs: Measured.
            frames: Of a run that is simulated.
            maps: Whether two-time maps are compared, which all runs must then have.

        Raises:
            InputError: There is none, or a run has no map of every ring.
        """
        if not maps:
            return cls((compared_delays(runs, frames),))
        if not all(has_maps(run) for run in runs):
            raise InputError(
                "cannot compare two-time maps",
                why="not every run has those of all its rings",
                fix="correlate with two-time maps of every bin, or compare g2",
            )
        step = runs[0].two_time.frame_time
        rows = min(len(run.two_time.maps[0]) for run in runs)
        count = max(min(AGES, rows.bit_length() - 2), 1)
        ends = [0, *(rows / 2**k for k in reversed(range(count)))]
        lengths = [int(b - a) for a, b in pairwise(ends)]
        delays = tuple(spaced(range(1, max(n, 2)), DELAYS // 2) for n in lengths)
        return cls(delays, tuple(n * step for n in ends), round(step / runs[0].frame_time))

    def statistics(self, runs: Sequence[Correlation]) -> Statistics:
        """The numbers of runs of one q-map that are compared."""
        rows = []
        for run in runs:
            saxs = run.sector_saxs().double().log()
            rows.append(torch.cat([saxs - saxs.mean(), (self._correlated(run) - 1).flatten()]))
        what = "two-time map" if self.ages else "g2"
        return Statistics(torch.stack(rows), len(runs[0].qmap), what)

    def _correlated(self, run: Correlation) -> Tensor:
        """(N, D) of each ring."""
        if not self.ages:
            every = run.delay.tolist()
            return run.g2[:, [every.index(d) for d in self.delays[0]]]
        found = run.two_time.at_age(self.ages).unbind(1)
        ages = zip(found, self.delays, strict=True)
        return torch.cat([one[:, torch.tensor(d) - 1] for one, d in ages], 1)


def has_maps(run: Correlation) -> bool:
    """Whether a run has a two-time map of every ring, known throughout but for the diagonal."""
    maps = run.two_time
    if maps is None or len(maps.bins) != len(run.qmap):
        return False
    return bool(maps.maps.triu(1).isfinite().all())


def compared_delays(runs: Sequence[Correlation], frames: int) -> tuple[int, ...]:
    """Delays that all runs have, to half of ``frames``, about evenly in their logarithm.

    Args:
        runs: Measured.
        frames: Of a run that is simulated.

    Raises:
        InputError: There is none.
    """
    common = set.intersection(*(set(_known(run)) for run in runs))
    there = sorted(d for d in common if d <= frames / 2)
    if not there:
        raise InputError(
            "cannot compare these correlations",
            why=f"no delay up to {frames // 2} frames has a g2 in every ring of every run",
            fix="ask for fewer rings, or take more frames a run",
        )
    return spaced(there, DELAYS)


def spaced(there: Sequence[int], count: int) -> tuple[int, ...]:
    """Up to a number of rising delays, about evenly in their logarithm.

    Example:
        >>> spaced(range(1, 65), 4)
        (1, 4, 16, 64)
    """
    ratio = (there[-1] / there[0]) ** (1 / (count - 1))
    wanted = [there[0] * ratio**k for k in range(count)]
    return tuple(sorted({min(there, key=lambda d: abs(d - w)) for w in wanted}))


def _known(run: Correlation) -> list[int]:
    """Delays at which every ring has a g2."""
    return [d for d, ok in zip(run.delay.tolist(), run.g2.isfinite().all(0), strict=True) if ok]


def shrunk(values: Tensor) -> Tensor:
    """Covariance of rows (run, S), its correlations drawn towards 0 as far as few runs demand.

    Reference:
        Chen, Wiesel, Eldar & Hero, IEEE Trans. Signal Process. 58, 5016 (2010): OAS.

    Example:
        >>> many = torch.randn(50, 80, generator=torch.Generator().manual_seed(0)).double()
        >>> bool(torch.linalg.cond(shrunk(many)) < 10)  # 50 runs of 80 numbers: of no rank
        True
    """
    away = values - values.mean(0)
    n, p = len(values) - 1, values.shape[1]
    spread = (away.square().sum(0) / n).sqrt().clamp(min=1e-12)
    R = (away / spread).T @ (away / spread) / n
    both, trace = float(R.square().sum()), float(R.trace())
    above = (1 - 2 / p) * both + trace**2
    part = min(1.0, above / max((n + 1 - 2 / p) * (both - trace**2 / p), 1e-300))
    mixed = (1 - part) * R + part * torch.eye(p).to(R)
    return spread[:, None] * mixed * spread


def above(found: Tensor, most: Tensor) -> Tensor:
    """A symmetric matrix, held to at least a part of a positive one in every direction.

    Args:
        found: (P, P).
        most: (P, P), of which `FAINTEST` is left.

    Example:
        >>> one = torch.eye(2, dtype=torch.float64)
        >>> above(torch.diag(torch.tensor([0.8, -0.3], dtype=torch.float64)), one).diagonal()
        tensor([0.8000, 0.1000], dtype=torch.float64)
    """
    root = torch.linalg.cholesky(most)
    inverse = torch.linalg.inv(root)
    values, vectors = torch.linalg.eigh(inverse @ found @ inverse.T)
    back = root @ vectors
    return (back * values.clamp(min=FAINTEST)) @ back.T


class Linear:
    """Statistics about a point: their slopes, their scatter and what the data differ by.

    Parameters follow the statistics as θ = θ₀ + G (s − m), G = (JᵀWJ)⁻¹ JᵀW. Their covariance is
    G C Gᵀ whatever the weight W: C is the scatter of s − m from run to run, which is what drawing
    the runs again and again (a bootstrap) would give.

    W is taken from other runs than C is, or G would fit their chance correlations. Slopes of
    simulated statistics are rough, and JᵀWJ would count their noise as knowledge: its errors were
    too short and its steps too, most where two parameters are told together. The slopes of one half
    of the runs know nothing of the noise in the other half, and J₁ᵀWJ₂ is JᵀWJ in the mean.

    Args:
        slopes: (2, S, P) of the statistics, by either half of the runs; J is their mean.
        nearby: (run, S) statistics of runs simulated near the point, each set less its mean.
        simulated: (run, S) statistics of runs simulated at the point.
        measured: (run, S) those of the data.
        prior: (P, P) what is known of the parameters, an inverse covariance.
        away: (P,) how far they are from where that holds them.
        weight: (S, S) W, if it is known already.
    """

    def __init__(
        self,
        slopes: Tensor,
        nearby: Tensor,
        simulated: Tensor,
        measured: Tensor,
        prior: Tensor,
        away: Tensor,
        weight: Tensor | None = None,
    ) -> None:
        self.J = J = slopes.mean(0)
        self.simulated, self.measured, self.prior = simulated, measured, prior
        both = 1 / len(measured) + 1 / len(simulated)
        self.weight = torch.linalg.inv(shrunk(nearby) * both) if weight is None else weight
        self.residual = measured.mean(0) - simulated.mean(0)
        across = slopes[0].T @ self.weight @ slopes[1]
        self.information = above(0.5 * (across + across.T), J.T @ self.weight @ J) + prior
        self.gradient = J.T @ self.weight @ self.residual - prior @ away

    def chi2(self, residual: Tensor) -> float:
        """RᵀWr of a residual (S,)."""
        return float(residual @ self.weight @ residual)

    @property
    def step(self) -> Tensor:
        """(P,) to the least χ², were all linear."""
        return torch.linalg.solve(self.information, self.gradient)

    @cached_property
    def gain(self) -> Tensor:
        """(P, S) the matrix G."""
        return torch.linalg.solve(self.information, self.J.T @ self.weight)

    @cached_property
    def scatter(self) -> Tensor:
        """(S, S) the covariance C of the residual."""
        runs = [self.simulated]
        if len(self.measured) >= FEWEST:
            runs.append(self.measured)
        away = torch.cat([r - r.mean(0) for r in runs])
        one = away.T @ away / (len(away) - len(runs))
        return one * (1 / len(self.measured) + 1 / len(self.simulated))

    @property
    def covariance(self) -> Tensor:
        """(P, P) of the parameters, what the prior leaves open included."""
        open_still = torch.linalg.solve(self.information, self.prior)
        left = open_still @ torch.linalg.inv(self.information)
        return self.gain @ self.scatter @ self.gain.T + left

    def p_values(self, residual: Tensor, parts: dict[str, slice]) -> dict[str, float]:
        """How often each part of a residual would be as large if the law were true.

        Args:
            residual: (S,) left by the fitted parameters.
            parts: Of the statistics.
        """
        left = torch.eye(len(self.residual)).to(self.J) - self.J @ self.gain
        values, vectors = torch.linalg.eigh(left @ self.scatter @ left.T)
        root = vectors * values.clamp(min=0).sqrt()
        random = torch.Generator().manual_seed(0)
        drawn = torch.randn(DRAWS, len(root), generator=random, dtype=root.dtype) @ root.T
        size = drawn.std(0).clamp(min=1e-12)
        known, found = (drawn / size).square(), (residual / size).square()
        return {
            name: (1 + int((known[:, k].sum(1) >= found[k].sum()).sum())) / (1 + DRAWS)
            for name, k in parts.items()
        }
