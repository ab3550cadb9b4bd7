"""Errors from azimuthal sectors: what a result would be without each of them.

A sector is all but independent of the others: only speckle on their border is in two.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from debye.speckle.xpcs.qmap import QMap


def without_each(parts: np.ndarray) -> np.ndarray:
    """(1 + K, …) the sum over the last axis of K parts, then without each of them.

    Example:
        >>> without_each(np.array([1.0, 2.0, 4.0]))
        array([7., 6., 5., 3.])
    """
    whole = parts.sum(-1)
    return np.concatenate([whole[None], whole - np.moveaxis(parts, -1, 0)])


def jackknife_error(replicas: Tensor) -> Tensor:
    """σ² = (K − 1)/K Σ_k (x_k − x̄)² of values each without one of K independent parts.

    Args:
        replicas: (K, …).

    Returns:
        (…).

    Reference:
        Quenouille, Biometrika 43, 353 (1956); Tukey, Ann. Math. Stat. 29, 614 (1958).

    Example:
        >>> parts = torch.tensor([1.0, 2.0, 3.0, 6.0])
        >>> without = (parts.sum() - parts) / 3
        >>> torch.isclose(jackknife_error(without), parts.std() / 2)
        tensor(True)
    """
    count = len(replicas)
    return (replicas.var(0, correction=0) * (count - 1)).sqrt()


def jackknifed(values: Tensor, border: Tensor) -> tuple[Tensor, Tensor]:
    """Values free of the bias of ratios, and replicas whose scatter is their error.

    Ratios of sums are biased by about 1/K of what a sector is (a bin of few speckles is divided by
    a mean that moves with them): K x − (K − 1) x̄_k is not. Where speckle spans pixels, sectors
    share what lies on their borders. How much, ρ, is judged from how neighbours move together,
    over all delays, and over all bins in proportion to the length of their borders; it makes the
    variance (1 + 2ρ) times as large, and replicas and bias are scaled by that.

    Args:
        values: (1 + K, N, D) of all sectors, then without each, in the order of azimuth.
        border: (N,) as `boundaries` gives it.

    Returns:
        (N, D) values and (K, N, D) replicas.

    Reference:
        Quenouille, Biometrika 43, 353 (1956).

    Example:
        >>> parts = torch.tensor([1.0, 4.0, 2.0, 6.0, 3.0], dtype=torch.float64)
        >>> each = torch.cat([parts.mean()[None], (parts.sum() - parts) / 4]).square()
        >>> whole, _ = jackknifed(each[:, None, None], torch.zeros(1).double())
        >>> torch.isclose(whole[0, 0], parts.mean().square() - parts.var() / 5)
        tensor(True)
    """
    whole, replicas = values[0], values[1:]
    count, middle = len(replicas), replicas.mean(0)
    away = replicas - middle
    together = _together(away)
    known = torch.isfinite(together)
    steep = (together * border)[known].sum() / (border[known] ** 2).sum().clamp(min=1e-300)
    rho = (steep * border).clamp(-0.15, 1.0)
    apart = (1 - (1 + 2 * rho) / count) * count / (count - 1)
    larger = ((1 + 2 * rho) / apart)[:, None]
    return (
        whole - larger * (count - 1) * (middle - whole),
        middle + larger.sqrt() * away,
    )


def _together(away: Tensor) -> Tensor:
    """(N,) correlation ρ of neighbouring sectors, from (K, N, D) deviations from their mean.

    Deviations from a mean are correlated by themselves, which is taken off.
    """
    count = len(away)
    seen = (away * away.roll(1, 0)).sum(0) / away.square().sum(0)
    seen = seen.nanmean(1)
    return (seen * (1 - 1 / count) + 1 / count) / (1 - 2 / count + 2 * seen / count)


def boundaries(qmap: QMap) -> Tensor:
    """(N,) pairs of adjacent pixels of a bin that are in different sectors, over its pixels.

    Args:
        qmap: The bins.
    """
    label, cell = qmap.dynamic.labels.numpy(), qmap.cells().numpy()
    found = np.zeros(len(qmap) + 1)
    for a, b in (
        (np.s_[:, 1:], np.s_[:, :-1]),
        (np.s_[1:, :], np.s_[:-1, :]),
    ):
        apart = (label[a] == label[b]) & (cell[a] != cell[b])
        found += np.bincount(label[a][apart], minlength=len(found))
    return torch.from_numpy(found[1:]) / qmap.dynamic.counts
