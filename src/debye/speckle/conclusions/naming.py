"""A fitted term as a Gaussian, and sums of named functions held against it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

from debye.errors import InputError
from debye.speckle.conclusions.sparse import (
    MOST,
    WIDTH,
    Found,
    Gaussian,
    check_distinct,
    search,
    sized,
    trials,
)
from debye.speckle.dynamics.learnable import Smooth
from debye.speckle.dynamics.named import DISTANCES, POSITIONS, Named, NamedSum, named
from debye.speckle.dynamics.splines import PairSpline, SplineFlow
from debye.speckle.fitting.fitted import FittedSystem
from debye.speckle.fitting.gauss_newton import (
    damped_step,
    forward_slopes,
    from_vector,
    set_vector,
    to_vector,
)
from debye.speckle.fitting.prior import Prior, independent
from debye.speckle.fitting.smoothness import Block, Smoothness, blocks_of, reduced

KEPT = 4
"""Sums of each component that are combined with those of the others, and the best of each length:
a short one that is true seems worse than many long ones of the same shape."""
TRIED = 5
"""Sums of each length whose shapes are made the best before they are compared."""
GAIN = 3.0
"""By how much each further number must raise ln L, about 2.5 of its standard errors."""
TOLD = 2.0
"""Standard errors that an amplitude is from 0 where the frames tell its sign."""


class Component(NamedTuple):
    """One component of a fitted term.

    Attributes:
        at: (P,) which of the whitened coefficients are its own.
        project: (P, N) from values at the points to those.
    """

    at: Tensor
    project: Tensor


class Flexible(NamedTuple):
    """A fitted term in the coordinates z in which its prior is N(0, 1): c = L z, K = L Lᵀ.

    There the covariance of what is fitted is (1 + H)⁻¹ with H the curvature of the frames alone,
    which an inverse of the coefficients' own covariance would lose to rounding.

    Attributes:
        term: The term.
        gaussian: H and b of z.
        mean: (P,) the fitted z.
        points: (N, D), or (N,) distances, at which functions are compared with it.
        components: Its components.
        length: Its size.
        root: (P, P) L.
        at: (P,) which of the term's coefficients c are, in their order.
    """

    term: Smooth
    gaussian: Gaussian
    mean: Tensor
    points: Tensor
    components: list[Component]
    length: float
    root: Tensor
    at: Tensor

    @property
    def seen(self) -> float:
        """How many coefficients the frames tell."""
        values = torch.linalg.eigvalsh(self.gaussian.H)
        return float((values / (1 + values)).sum())

    def projected(self, values: Tensor) -> Tensor:
        """(P,) z of a function with values (N, component) at the points."""
        return torch.cat([one.project @ values[:, k] for k, one in enumerate(self.components)])


def flexible(fitted: FittedSystem) -> Flexible:
    """The Gaussian that a fitted system holds of its term.

    Raises:
        InputError: Its term is no spline, or it has no covariance.
    """
    term = fitted.system.term
    smooth = fitted.card.get("smoothness", {})
    known = isinstance(term, SplineFlow) or (isinstance(term, PairSpline) and term.columns == 1)
    if not known or fitted.covariance is None or not smooth:
        raise InputError(
            f"cannot put {fitted.system.term_name} into words",
            why=f"{term} has no smoothness prior and covariance to compare formulas with",
            fix="fit a SplineFlow, or a PairSpline of one column, by Gauss–Newton",
        )
    blocks = [b for b in blocks_of(fitted.system) if b.term is term]
    chosen = [Smoothness(*smooth[b.name]) for b in blocks]
    roots = [c.strength * b.root(c.length) for b, c in zip(blocks, chosen, strict=True)]
    every = torch.cat([b.at for b in blocks])
    root = torch.block_diag(*roots)
    half = torch.linalg.solve_triangular(
        root, fitted.covariance[every[:, None], every], upper=False
    )
    white = torch.linalg.solve_triangular(root, half.mT, upper=False)
    at = torch.cat([b.part for b in blocks])
    c = to_vector(term)[at]
    z = torch.linalg.solve_triangular(root, c[:, None], upper=False)[:, 0]
    values, vectors = torch.linalg.eigh(0.5 * (white + white.mT))
    told = (1 / values.clamp(min=1e-12) - 1).clamp(min=0)
    told = torch.where(told > 1e-6, told, 0.0)
    H = (vectors * told) @ vectors.mT
    b = vectors @ (torch.where(told > 0, 1 + told, 0.0) * (vectors.mT @ z))
    points, length = points_of(term)
    components = components_of(term, blocks, roots, points)
    return Flexible(term, Gaussian(H, b), z, points, components, length, root, at)


def points_of(term: Smooth) -> tuple[Tensor, float]:
    """Where functions are compared with a term, and the term's size."""
    if isinstance(term, SplineFlow):
        axes = [torch.linspace(a, b, 21).double() for a, b in zip(term.low, term.high, strict=True)]
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)
        return grid, 0.5 * max(b - a for a, b in zip(term.low, term.high, strict=True))
    assert isinstance(term, PairSpline)  # noqa: S101 - `flexible` saw to it
    step = term.cutoff / term.knots
    return torch.linspace(2 * step, term.cutoff - 3 * step, 400).double(), term.cutoff


def components_of(
    term: Smooth, blocks: Sequence[Block], roots: Sequence[Tensor], points: Tensor
) -> list[Component]:
    """The components of a term, each with the projection on its splines."""
    values = forward_slopes(
        lambda c: functional_call(term, from_vector(term, c), (points,)), to_vector(term), 64
    )
    values = values if values.ndim == 3 else values[..., None]
    found, first = [], 0
    for k, (block, root) in enumerate(zip(blocks, roots, strict=True)):
        B = root.mT @ values[block.part][..., k]  # [z, point]
        weak = 1e-10 * B.square().sum(1).max() * torch.eye(len(B)).to(B)
        at = torch.arange(first, first + len(B))
        found.append(Component(at, torch.linalg.solve(B @ B.mT + weak, B)))
        first += len(B)
    return found


def library_of(term: Smooth, chosen: Sequence[str | Named] | None) -> list[Named]:
    """The functions that may stand in a formula for a term.

    Raises:
        InputError: There is no function of a name.
    """
    of_distance = isinstance(term, PairSpline)
    every = DISTANCES if of_distance else POSITIONS
    return [named(f, of_distance) for f in (every if chosen is None else chosen)]


def sums_of(flexible: Flexible, library: Sequence[Named]) -> list[list[Found]]:
    """The best sums for each component, the others marginalised under their prior.

    Raises:
        InputError: Two functions of the library are one.
    """
    found = []
    for one in flexible.components:
        known = torch.eye(len(flexible.mean)).double(), torch.zeros_like(flexible.mean)
        own = Gaussian(*reduced(*flexible.gaussian, one.at, *known))
        z = flexible.mean[one.at]
        size = max(float(z @ own.H @ z), 1.0)
        columns = [
            sized(f, k_, one.project @ f.function(flexible.points, torch.tensor(k_)), own, size)
            for f in library
            for k_ in trials(f, flexible.length)
        ]
        check_distinct(columns, own)
        sums = search(columns, own, len(library))
        alone = flexible._replace(
            gaussian=own, mean=z, components=[Component(torch.arange(len(z)), one.project)]
        )
        lengths = [[s for s in sums if len(s.functions) == n][:TRIED] for n in range(1, MOST + 1)]
        tried = [
            (s, polished(alone, trial_of(alone, [s], len(library)))) for n in lengths for s in n
        ]
        kept = {id(w) for w in shortest([w for _, w in tried])}
        best = sorted((t for t in tried if id(t[1]) in kept), key=lambda t: -t[1].log_marginal)
        found.append([renewed(s, w) for s, w in chosen_of(best)])
    return found


def chosen_of(best: Sequence[tuple[Found, Weighed]]) -> list[tuple[Found, Weighed]]:
    """The first of each length, and as many others as are kept."""
    first = {len(s.functions): k for k, (s, _) in reversed(list(enumerate(best)))}
    return [best[k] for k in sorted({*first.values(), *range(min(KEPT, len(best)))})]


def renewed(found: Found, weighed: Weighed) -> Found:
    """A sum with the numbers that were made the best."""
    term = weighed.trial.term
    amplitudes, shapes = tuple(term.amplitudes.tolist()), tuple(term.shapes.tolist())
    return found._replace(amplitudes=amplitudes, shapes=shapes, log_marginal=weighed.log_marginal)


class Trial(NamedTuple):
    """A formula for all components.

    Attributes:
        term: Its sums, with their numbers: amplitudes, then shapes.
        prior: Of its numbers: amplitudes about 0, shapes between their bounds.
        widths: (n,) prior standard deviations of the amplitudes.
        choice: Logarithm of the prior density of these functions and shapes.
    """

    term: NamedSum
    prior: Prior
    widths: Tensor
    choice: float


def trials_of(flexible: Flexible, sums: Sequence[Sequence[Found]], functions: int) -> list[Trial]:
    """Every combination of the components' sums."""
    return [trial_of(flexible, chosen, functions) for chosen in product(*sums)]


def trial_of(flexible: Flexible, chosen: Sequence[Found], functions: int) -> Trial:
    """One sum for each component as a formula, and what is known of its numbers beforehand."""
    cutoff = getattr(flexible.term, "cutoff", None)
    term = NamedSum([one.functions for one in chosen], cutoff)
    numbers = [a for one in chosen for a in one.amplitudes]
    shapes = [k for one in chosen for k in one.shapes]
    set_vector(term, torch.tensor(numbers + shapes, dtype=torch.float64))
    bounds = [f.shape for one in chosen for f in one.functions if f.shape]
    low, high = ([b[k] / flexible.length for b in bounds] for k in (0, 1))
    widths = [WIDTH * s for one in chosen for s in one.scales]
    precision = [w**-2 for w in widths] + [0.0] * len(shapes)
    free = [math.inf] * len(numbers)
    least, most = (
        torch.tensor(x, dtype=torch.float64) for x in ([-x for x in free] + low, free + high)
    )
    prior = independent([0.0] * len(precision), precision)._replace(least=least, most=most)
    choice = -len(numbers) * math.log(functions)
    choice -= sum(math.log(k * math.log(b / a)) for k, a, b in zip(shapes, low, high, strict=True))
    return Trial(term, prior, torch.tensor(widths, dtype=torch.float64), choice)


class Weighed(NamedTuple):
    """A formula with its most probable numbers, ln L there, and the numbers' curvature."""

    trial: Trial
    log_likelihood: float
    curvature: Tensor

    @property
    def key(self) -> str:
        """Which functions it holds."""
        return key(self.trial)

    @property
    def log_marginal(self) -> float:
        """Ln Z in Laplace's approximation."""
        return log_marginal(self.trial, self.log_likelihood, self.curvature)


def key(trial: Trial) -> str:
    """Which functions a formula holds, in whatever order."""
    return "; ".join(" + ".join(sorted(map(repr, one))) for one in trial.term.functions)


def less(flexible: Flexible, trial: Trial, leave: int, functions: int) -> Trial:
    """A formula without one of its functions, its other numbers as they stand."""
    amplitudes = trial.term.amplitudes.tolist()
    shapes, scales = iter(trial.term.shapes.tolist()), (trial.widths / WIDTH).tolist()
    numbers, chosen = iter(range(len(amplitudes))), list[Found]()
    for one in trial.term.functions:
        held = [(f, next(numbers), [next(shapes)] if f.shape else []) for f in one]
        held = [h for h in held if h[1] != leave]
        chosen.append(
            Found(
                tuple(f for f, _, _ in held),
                tuple(k for _, _, shape in held for k in shape),
                tuple(amplitudes[n] for _, n, _ in held),
                tuple(scales[n] for _, n, _ in held),
                0.0,
            )
        )
    return trial_of(flexible, chosen, functions)


def shorter(flexible: Flexible, found: Weighed, functions: int) -> Trial | None:
    """A formula without the function that is missed least; None where each is worth its number."""
    values = worth(found)
    if len(values) < 2 or min(values) > GAIN:
        return None
    return less(flexible, found.trial, values.index(min(values)), functions)


def shortest(found: Sequence[Weighed]) -> list[Weighed]:
    """Those beside which none does as well with fewer numbers: what is more in them is not seen.

    A formula is held against those it contains, and against all where the frames do not tell its
    own numbers: −0.1(2) cos 2(2)x − 0.2(2) exp 2(2)x is any straight line.
    """
    kept: list[Weighed] = []
    for w in sorted(found, key=lambda w: len(w.curvature)):
        fewer = [(len(w.curvature) - len(k.curvature), k) for k in kept]
        more = [(n, k) for n, k in fewer if holds(w, k) or (n > 0 and untold(w))]
        if all(w.log_likelihood - k.log_likelihood > GAIN * n for n, k in more):
            kept.append(w)
    return kept


def untold(found: Weighed) -> bool:
    """Whether the frames do not tell even the sign of one of a formula's amplitudes."""
    return any(one < TOLD**2 / 2 for one in worth(found))


def worth(found: Weighed) -> list[float]:
    """What each function is worth: ½ (amplitude / its error)²."""
    amplitudes = found.trial.term.amplitudes.detach()
    variance = torch.linalg.pinv(found.curvature, hermitian=True).diagonal()
    value = 0.5 * amplitudes.square() / variance[: len(amplitudes)].clamp(min=1e-300)
    return [float(v) for v in value]


def holds(large: Weighed, small: Weighed) -> bool:
    """Whether a formula has all functions of another, in every component."""
    pairs = zip(large.trial.term.functions, small.trial.term.functions, strict=True)
    return all(not Counter(map(repr, b)) - Counter(map(repr, a)) for a, b in pairs)


def polished(flexible: Flexible, trial: Trial, steps: int = 6) -> Weighed:
    """Give a formula the most probable numbers; ln L there, and the numbers' curvature."""
    gaussian, prior = flexible.gaussian, trial.prior

    def coefficients(vector: Tensor) -> Tensor:
        values = functional_call(trial.term, from_vector(trial.term, vector), (flexible.points,))
        return flexible.projected(values if values.ndim == 2 else values[:, None])

    def cost(vector: Tensor) -> float:
        value = prior.cost(vector) - gaussian.log_likelihood(coefficients(vector))
        return value if math.isfinite(value) else math.inf

    vector = prior.within(to_vector(trial.term))
    best, A = cost(vector), torch.eye(len(vector)).double()
    for _ in range(steps):
        J = forward_slopes(coefficients, vector, 64)  # [number, z]
        H, g = J @ gaussian.H @ J.mT, J @ (gaussian.H @ coefficients(vector) - gaussian.b)
        A, g = H + prior.precision, g + prior.slope(vector)
        step = damped_step(H, prior.precision, g, 1e-9, prior.held(vector, -g))
        tried = [prior.within(vector + 0.5**n * step) for n in range(6)]
        lower = next((v for v in tried if cost(v) < best), None)
        if lower is None:
            break
        vector, best = lower, cost(lower)
    set_vector(trial.term, vector)
    return Weighed(trial, gaussian.log_likelihood(coefficients(vector)), A)


def log_marginal(trial: Trial, log_likelihood: float, A: Tensor) -> float:
    """Ln Z of a formula at its most probable numbers, in Laplace's approximation."""
    vector, count = to_vector(trial.term), len(trial.widths)
    prior = -trial.prior.cost(vector) - float(trial.widths.log().sum())
    prior -= 0.5 * count * math.log(2 * math.pi)
    return log_likelihood + prior + trial.choice + 0.5 * log_volume(trial, A)


def log_volume(trial: Trial, A: Tensor) -> float:
    """Ln |2π A⁻¹|, no shape being less certain than between its bounds."""
    assert trial.prior.least is not None  # noqa: S101 - `trial_of` saw to it
    assert trial.prior.most is not None  # noqa: S101
    span = trial.prior.most - trial.prior.least
    ranged = torch.where(span.isfinite(), 12 / span.square(), 0.0)
    return len(A) * math.log(2 * math.pi) - float(torch.logdet(A + ranged.diag()))
