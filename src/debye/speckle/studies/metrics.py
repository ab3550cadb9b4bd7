"""Distances between a learned law and the truth, where the truth is known."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.dynamics.systems import Kuramoto, transfer_function


def pair_force(interaction: Callable[[Tensor], Tensor], r: Tensor) -> Tensor:
    """f(r) = h(1 − h)·r: what the swarm feels, the same for h and 1 − h.

    Example:
        >>> pair_force(lambda r: 0 * r + 0.5, torch.tensor([2.0]))
        tensor([0.5000])
    """
    h = interaction(r)
    return h * (1 - h) * r


def falling_branch(interaction: Callable[[Tensor], Tensor], r: Tensor) -> Tensor:
    """The branch that falls to 0 at the cutoff: of h and 1 − h the one smaller there.

    Args:
        interaction: h(r).
        r: Distances, the last of them near the cutoff.
    """
    h = interaction(r)
    return h if float(h[-1].detach().abs()) <= 0.5 else 1 - h


def relative(found: Tensor, truth: Tensor) -> float:
    """‖found − truth‖ / ‖truth‖.

    Example:
        >>> round(relative(torch.tensor([1.1, 1.0]), torch.tensor([1.0, 1.0])), 4)
        0.0707
    """
    return float((found.detach() - truth).norm() / truth.norm())


def effective_cutoff(interaction: Callable[[Tensor], Tensor], furthest: float) -> float:
    """Largest distance at which |f| still is 1 % of its largest value at r ≥ 0.1.

    The law vanishes with all derivatives at its cutoff, so the cutoff itself cannot be told from
    data; this distance can.
    """
    r = torch.linspace(0.1, furthest, 2000, dtype=torch.float64)
    force = pair_force(interaction, r).detach().abs()
    return float(r[(force >= 0.01 * force.max()).nonzero()[-1, 0]])


def position_error(found: Tensor, truth: Tensor) -> Tensor:
    """(time,) mean over runs and particles of the distance, from (run, time, …, coordinate)."""
    distance = (found - truth).norm(dim=-1)
    return distance.transpose(0, 1).flatten(1).mean(1)


def phase_error(found: Tensor, truth: Tensor) -> Tensor:
    """(time,) mean of 1 − cos(difference), from phases (run, time, …): 0 the same, 1 unrelated."""
    return (1 - (found - truth).cos()).transpose(0, 1).flatten(1).mean(1)


def frame_error(found: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """(time,) relative distance of the amplitudes √I over open pixels and runs."""
    a, b = (x.clamp(min=0).sqrt() * mask for x in (found, truth))
    difference = (a - b).square().transpose(0, 1).flatten(1).sum(1)
    return (difference / b.square().transpose(0, 1).flatten(1).sum(1)).sqrt()


def carrying(states: Tensor, share: float = 0.99) -> Tensor:
    """Which wave numbers carry most of the power of e^{iθ}: (y, x) bool.

    Args:
        states: (…, y, x) phases.
        share: How much of the power, the strongest wave numbers first.
    """
    power = torch.fft.fft2(torch.polar(torch.ones_like(states), states)).abs().square()
    power = power.flatten(0, -3).mean(0)
    strongest, order = power.flatten().sort(descending=True)
    enough = int((strongest.cumsum(0) < share * strongest.sum()).sum()) + 1
    chosen = torch.zeros(power.numel(), dtype=torch.bool)
    chosen[order[:enough]] = True
    return chosen.view(power.shape)


def transfer_error(found: Kuramoto, truth: Kuramoto, states: Tensor) -> float:
    """Relative L2 error of the kernel's transfer function where the signal is."""
    shape = states.shape[-2:]
    T, T0 = (k.K * transfer_function(k.term().detach(), shape) for k in (found, truth))
    where = carrying(states)
    return float((T - T0)[where].abs().norm() / T0[where].abs().norm())


def cluster_sizes(points: Tensor, cutoff: float = 0.15, bins: int = 30) -> Tensor:
    """(bins,) share of particles with 0, 1, 2 … neighbours within ``cutoff``, as published.

    Args:
        points: (run, particle, coordinate).
        cutoff: Distance of a neighbour.
        bins: Longest list; more neighbours count into the last.

    Example:
        >>> cluster_sizes(torch.tensor([[[0.0], [0.1], [9.0]]]), bins=3)
        tensor([0.3333, 0.6667, 0.0000])
    """
    near = (torch.cdist(points, points) < cutoff).sum(-1) - 1
    return torch.bincount(near.flatten().clamp(max=bins - 1), minlength=bins) / near.numel()


def period(times: Tensor, x: Tensor) -> float:
    """Mean time between upward crossings of the mean, by linear interpolation.

    Raises:
        InputError: There are fewer than two crossings.

    Example:
        >>> t = torch.linspace(0, 100, 5001, dtype=torch.float64)
        >>> round(period(t, torch.sin(t)), 3)
        6.283
    """
    y = x - x.mean()
    up = ((y[:-1] < 0) & (y[1:] >= 0)).nonzero()[:, 0]
    if len(up) < 2:
        raise InputError(
            "no period can be told",
            why="the signal crosses its mean less than twice",
            fix="follow it for longer",
        )
    crossing = times[up] + (times[up + 1] - times[up]) * (-y[up] / (y[up + 1] - y[up]))
    return float((crossing[-1] - crossing[0]) / (len(up) - 1))
