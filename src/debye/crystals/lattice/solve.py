"""Eigenvalues at many wave vectors, in bounded memory, with errors that name the wave vector."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from debye.crystals.lattice.force_constants import ForceConstants
from debye.errors import Failure, Refusal

AT_ONCE = 128_000_000
"""Bytes that the matrices of one step may take, about."""

Progress = Callable[[int], None]
"""Is told how many wave vectors are newly done."""


def solved(
    springs: ForceConstants, q: Tensor, progress: Progress | None = None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Eigenvalues and eigenvectors of D(q) of one crystal, some wave vectors at a time.

    Args:
        springs: Of one crystal; computed with in double precision.
        q: (Q, 3) wave vectors in units of the reciprocal lattice vectors.
        progress: See `Progress`.

    Yields:
        Wave vectors (Q', 3), eigenvalues ω² (Q', 3n) ascending in eV/(Å² u), and eigenvectors
        (Q', 3n, 3n) as columns.

    Raises:
        Refusal: There are several crystals.
        Failure: The force constants are not finite, or the eigenvalues cannot be found.
    """
    check_single(springs)
    springs = springs.double()
    for part in q.double().split(_chunk(springs)):
        yield part, *_eigh(springs, part)
        if progress:
            progress(len(part))


def check_single(springs: ForceConstants) -> None:
    """Refuse a batch, and force constants with which nothing can be computed."""
    if springs.n_crystals != 1:
        why = f"there are {springs.n_crystals} crystals in the batch"
        raise Refusal("cannot draw the bands of a batch", why=why, fix="give one crystal")
    if not (springs.spring.isfinite().all() and springs.mass.isfinite().all()):
        why = "the force constants or masses hold NaN or infinity"
        raise Failure("cannot solve for the modes", why=why, fix="check what made them")
    if not (springs.mass > 0).all():
        why = f"a site has a mass of {springs.mass.min().item():g} u"
        raise Refusal("cannot solve for the modes", why=why, fix="give masses above zero")


def _chunk(springs: ForceConstants) -> int:
    """Wave vectors at a time: D stands in memory about five times over, pairs three times."""
    numbers = 5 * (3 * len(springs.mass)) ** 2 + 3 * 9 * len(springs.first)
    return max(1, AT_ONCE // (16 * numbers))


def _eigh(springs: ForceConstants, q: Tensor) -> tuple[Tensor, Tensor]:
    D = springs.dynamical_matrix(q.unsqueeze(0)).squeeze(0)
    try:
        square, vectors = torch.linalg.eigh(D)
    except RuntimeError as error:
        raise _unsolved(q[0] if len(q) == 1 else q[_failing(D)], str(error)) from error
    bad = ~square.isfinite().all(-1)
    if bad.any():
        raise _unsolved(q[bad][0], "the eigenvalues are not finite")
    return square, vectors


def _failing(D: Tensor) -> int:
    """The first matrix that the eigensolver cannot do."""
    for i, matrix in enumerate(D):
        try:
            torch.linalg.eigvalsh(matrix)
        except RuntimeError:
            return i
    return 0


def _unsolved(q: Tensor, why: str) -> Failure:
    point = ", ".join(f"{x:.4g}" for x in q.tolist())
    return Failure(
        f"cannot solve for the modes at q = ({point})",
        why=why,
        fix="check the force constants: they may be far too large",
    )
