"""Conformal quantiles: how many scales wide an interval must be to hold as often as it says.

Take rows that the model has not seen, and of each the score |truth - prediction| / scale. If a new
row and these n are exchangeable, the new score is below the k-th smallest of theirs with a
probability of at least k / (n + 1), whatever the model, the scale and the distribution. So
prediction ± q·scale, with q the ⌈(n + 1)·level⌉-th smallest score, holds at least as often as its
level says. Taking a scale that grows with the expected error makes sure crystals get narrow
intervals and doubtful ones wide, and leaves the argument as it was (normalised conformal
prediction: H. Papadopoulos et al., ECML 2002, 345; J. Lei et al., J. Am. Stat. Assoc. 113, 1094,
2018).

The rows of a cross-validation serve as well as rows set aside, and cost no data: each is scored
by the one network that has not seen it, while a new crystal gets the mean of all. This is
cross-conformal prediction (V. Vovk, Ann. Math. Artif. Intell. 74, 9, 2015). Its guarantee is
weaker on paper, 1 - 2α where the level is 1 - α (R. Barber et al., Ann. Stat. 49, 486, 2021,
CV+), and its coverage in practice is the level or above: the mean of several networks, each
trained on nearly all rows, errs less than the one network of each score.

The guarantee is for rows like those of the calibration, on average over them. It says nothing of
a chemistry that they do not hold; of that `debye.crystals.uncertainty.applicability` warns.
"""

from __future__ import annotations

import torch
from torch import Tensor

from debye.errors import InputError

LEVELS = tuple(round(0.01 * k, 2) for k in range(50, 100))
"""Levels that are tabulated; one between them takes the next above, and so holds as well."""
LEAST_ROWS = 99
"""Fewer have no quantile for the highest level."""


def conformal_quantiles(scores: Tensor, weights: Tensor | None = None) -> Tensor:
    """For each of `LEVELS`, the smallest q that covers a mass of (n + 1)·level of n rows.

    A row may have several scores whose weights add up to 1, such as one a frequency: then it is
    covered in part, and the expected share of a new row that is covered is at least the level
    (conformal risk control: A. Angelopoulos et al., arXiv:2208.02814).

    Args:
        scores: (n,), or (n, F) with weights.
        weights: (n, F), each row adding up to 1.

    Returns:
        (levels,) increasing.

    Raises:
        InputError: There are fewer than 99 rows.

    Example:
        The highest level needs the 99th of 99 scores.

        >>> conformal_quantiles(torch.arange(1.0, 100.0))[[0, 40, -1]]
        tensor([50., 90., 99.])
    """
    n = len(scores)
    if n < LEAST_ROWS:
        raise InputError(
            "cannot calibrate the uncertainty",
            why=f"{n} rows are too few for a level of {LEVELS[-1]:g}",
            fix=f"give {LEAST_ROWS} rows or more that the model has not seen",
        )
    order = scores.flatten().argsort()
    mass = torch.ones_like(scores) if weights is None else weights
    covered = mass.flatten()[order].double().cumsum(0)
    wanted = (n + 1) * torch.tensor(LEVELS, dtype=torch.float64) - 1e-9
    row = torch.searchsorted(covered, wanted).clamp(max=len(order) - 1)
    return scores.flatten()[order[row]]


def row_of(level: float) -> int:
    """Where a level stands in a table by `LEVELS`: its own row, or the next above.

    Raises:
        InputError: It is outside the table.

    Example:
        >>> LEVELS[row_of(0.9)], LEVELS[row_of(0.683)]
        (0.9, 0.69)
    """
    if not LEVELS[0] <= level <= LEVELS[-1]:
        raise InputError(
            f"no interval of level {level:g}",
            why=f"levels are tabulated from {LEVELS[0]:g} to {LEVELS[-1]:g}",
            fix="choose one between, such as 0.9",
        )
    return next(k for k, known in enumerate(LEVELS) if known >= level - 1e-9)
