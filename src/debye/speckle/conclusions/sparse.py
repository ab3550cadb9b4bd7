"""Sums of few functions that say what a Gaussian in many coefficients says: the search for them.

The Gaussian is ln L(c) = bᵀ c − ½ cᵀ H c. A sum of functions whose coefficients are the columns of
C has, with amplitudes a ~ N(0, S²),

    ln Z = ½ vᵀ A⁻¹ v − ½ ln |A| − n ln M,   A = 1 + S CᵀHC S,  v = S Cᵀ b

with M functions to choose n from. Each function counts in units of what makes it as large as the
whole; S is `WIDTH` of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.dynamics.named import Named

MOST = 4
"""Functions in a sum, at most."""
BEAM = 24
"""Sums of each length from which longer ones are made."""
SHAPES = 16
"""Values of k that are tried of each function that has one."""
WIDTH = 3.0
"""Prior width of an amplitude, in units of what makes its function as large as the law."""


class Gaussian(NamedTuple):
    """ln L(c) = bᵀ c − ½ cᵀ H c, up to a constant."""

    H: Tensor
    b: Tensor

    def log_likelihood(self, c: Tensor) -> float:
        """Its value at coefficients (P,)."""
        return float(self.b @ c - 0.5 * c @ self.H @ c)


class Column(NamedTuple):
    """A function at one shape, as coefficients (P,) of the term, as large as the law."""

    function: Named
    shape: float
    vector: Tensor
    scale: float


class Found(NamedTuple):
    """A sum: its functions, their shapes and amplitudes, and its evidence.

    ``scales`` are the amplitudes with which each function would be as large as the law.
    """

    functions: tuple[Named, ...]
    shapes: tuple[float, ...]
    amplitudes: tuple[float, ...]
    scales: tuple[float, ...]
    log_marginal: float


def trials(function: Named, length: float) -> list[float]:
    """The shapes k at which a function is tried; 0 of one that has none.

    Args:
        function: The function.
        length: Size of what is described, in which k is measured.

    Example:
        >>> from debye.speckle.dynamics.named import POSITIONS
        >>> len(trials(POSITIONS["sin kx"], 1.0)), trials(POSITIONS["x y"], 1.0)
        (16, [0.0])
    """
    if function.shape is None:
        return [0.0]
    low, high = (k / length for k in function.shape)
    return [low * (high / low) ** (n / (SHAPES - 1)) for n in range(SHAPES)]


def sized(function: Named, shape: float, vector: Tensor, gaussian: Gaussian, size: float) -> Column:
    """A column, made as large as the law."""
    own = float(vector @ gaussian.H @ vector)
    scale = math.sqrt(size / own) if own > 1e-12 * size else 0.0
    return Column(function, shape, vector * scale, scale)


def check_distinct(columns: Sequence[Column], gaussian: Gaussian) -> None:
    """Refuse a library that holds two names of one function.

    Raises:
        InputError: It does.
    """
    plain = [c for c in columns if c.function.shape is None and c.scale > 0]
    if len(plain) < 2:
        return
    C = torch.stack([c.vector for c in plain])
    G = C @ gaussian.H @ C.T
    G = G / G.diagonal().sqrt() / G.diagonal().sqrt()[:, None]
    same = (G.abs() > 1 - 1e-10).triu(1).nonzero()
    if len(same):
        i, j = same[0].tolist()
        raise InputError(
            f"{plain[i].function} and {plain[j].function} are one function",
            why="the library holds it under two names, or they agree wherever the motion went",
            fix="leave one of them out",
        )


def search(columns: Sequence[Column], gaussian: Gaussian, functions: int) -> list[Found]:
    """The sums of up to `MOST` columns by their evidence, the best first.

    Args:
        columns: What may stand in a sum.
        gaussian: What is known.
        functions: How many functions there are to choose from.
    """
    usable = [c for c in columns if c.scale > 0]
    C = torch.stack([c.vector for c in usable])
    G, v = C @ gaussian.H @ C.T, C @ gaussian.b
    kind = [id(c.function) for c in usable]
    # All sums of functions without a shape: of four that matter together no three need matter.
    plain = [k for k, c in enumerate(usable) if c.function.shape is None]
    beam: list[tuple[int, ...]] = [()]
    seen = dict[tuple[int, ...], float]()
    for count in range(1, MOST + 1):
        longer = {tuple(sorted((*old, k))) for old in beam for k in range(len(usable))}
        sums = [s for s in longer | {*combinations(plain, count)} if distinct(s, usable)]
        if not sums:
            break
        values = log_marginal(G, v, torch.tensor(sums)) - count * math.log(functions)
        best = dict[tuple[int, ...], int]()  # of the shapes of the same functions only the best
        for k in values.argsort(descending=True).tolist():
            best.setdefault(tuple(sorted(kind[i] for i in sums[k])), k)
            if len(best) == BEAM:
                break
        beam = [sums[k] for k in best.values()]
        seen |= {sums[k]: float(values[k]) for k in best.values()}
    return [as_found(s, usable, G, v, seen[s]) for s in sorted(seen, key=seen.__getitem__)[::-1]]


def distinct(indices: Sequence[int], columns: Sequence[Column]) -> bool:
    """Whether no function stands in a sum twice, but with a shape that is another by a third."""
    for n, i in enumerate(indices):
        for j in indices[n + 1 :]:
            a, b = columns[i], columns[j]
            if a.function is b.function and max(a.shape, b.shape) < 1.33 * min(a.shape, b.shape):
                return False
            if a.function is b.function and a.function.shape is None:
                return False
    return True


def log_marginal(G: Tensor, v: Tensor, sums: Tensor) -> Tensor:
    """(N,) ½ vᵀA⁻¹v − ½ ln|A| of sums (N, n) of columns."""
    A = WIDTH**2 * G[sums[:, :, None], sums[:, None, :]] + torch.eye(sums.shape[1]).to(G)
    w = WIDTH * v[sums]
    L = torch.linalg.cholesky(A)
    half = torch.linalg.solve_triangular(L, w[..., None], upper=False)[..., 0]
    return 0.5 * half.square().sum(-1) - L.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def as_found(
    indices: tuple[int, ...], columns: Sequence[Column], G: Tensor, v: Tensor, value: float
) -> Found:
    """A sum with the most probable amplitudes."""
    at = torch.tensor(indices)
    a = torch.linalg.solve(G[at[:, None], at] + torch.eye(len(at)).to(G) / WIDTH**2, v[at])
    held = [columns[k] for k in indices]
    scales = tuple(c.scale for c in held)
    amplitudes = tuple(float(x) * s for x, s in zip(a, scales, strict=True))
    shapes = tuple(c.shape for c in held if c.function.shape is not None)
    return Found(tuple(c.function for c in held), shapes, amplitudes, scales, value)
