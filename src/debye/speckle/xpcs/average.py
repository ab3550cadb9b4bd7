"""The mean of several runs of one sample, if they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.xpcs.correlation import Correlation
from debye.speckle.xpcs.least_squares import goodness
from debye.speckle.xpcs.qmap import QMap

ODD = 1e-4
"""p-value below which a run is taken to differ from the others."""


def average(
    runs: Sequence[Correlation], *, names: Sequence[str] | None = None, check: bool = True
) -> Correlation:
    """The weighted mean of runs, at the delays that all have.

    A run's weight is the inverse of its variance of g2, the mean over bins and delays. Sectors
    stay what they are, so that the mean has replicas, errors and covariance as each run has.

    Args:
        runs: Of one q-map and frame time.
        names: What to call them in an error; their numbers by default.
        check: Whether to refuse runs whose g2 differ from that of the others by more than errors
            allow: the sample has changed, or the beam.

    Raises:
        InputError: There is no run, their q-maps, frame times or delays differ, or their g2.

    Example:
        >>> from debye.speckle.xpcs.simulate import brownian
        >>> one, two = (brownian(frames=200, seed=s).correlate() for s in (1, 2))
        >>> both = average([one, two])
        >>> len(both.numbers), bool((both.error.mean() < one.error.mean()))
        (400, True)
    """
    called = [str(n) for n in (names or range(len(runs)))]
    _check_alike(runs, called)
    delays = [d for d in runs[0].delay.tolist() if all(d in r.delay.tolist() for r in runs)]
    if not delays:
        raise InputError(
            "cannot average these runs", why="no delay is common to all", fix="take longer runs"
        )
    cut = [_at(run, delays) for run in runs]
    weight = torch.stack([1 / run.error.square().nanmean() for run in cut])
    if check and len(runs) > 1:
        _check_agreement(cut, weight, called)
    frames = torch.tensor([len(run.numbers) for run in runs]).double()
    return replace(
        cut[0],
        qmap=_joint(runs),
        two_time=None,
        about={},
        g2=_mean(cut, "g2", weight),
        replicas=_mean(cut, "replicas", weight),
        contrast=_mean(cut, "contrast", weight),
        contrast_replicas=_mean(cut, "contrast_replicas", weight),
        saxs_2d=_mean(cut, "saxs_2d", frames),
        saxs_1d=_mean(cut, "saxs_1d", frames),
        intensity=torch.cat([run.intensity for run in runs]),
        numbers=torch.arange(int(frames.sum())),
        slices=tuple(runs),
    )


def _mean(runs: Sequence[Correlation], name: str, weight: Tensor) -> Tensor:
    """A weighted mean of what runs have."""
    return torch.tensordot(weight / weight.sum(), torch.stack([getattr(r, name) for r in runs]), 1)


def _at(run: Correlation, delays: list[int]) -> Correlation:
    """A run at some of its delays."""
    every = run.delay.tolist()
    chosen = [every.index(d) for d in delays]
    return replace(
        run,
        delay=run.delay[chosen],
        width=run.width[chosen],
        g2=run.g2[:, chosen],
        replicas=run.replicas[..., chosen],
    )


def _check_alike(runs: Sequence[Correlation], names: list[str]) -> None:
    """Refuse runs that were not taken or correlated alike."""
    if not runs:
        raise InputError("cannot average", why="there is no run", fix="give at least one")
    first = runs[0]
    for name, run in zip(names[1:], runs[1:], strict=True):
        differs = {
            f"frames of {run.qmap.shape} pixels, not {first.qmap.shape}": run.qmap.shape
            != first.qmap.shape,
            f"another geometry: {run.qmap.geometry}, not {first.qmap.geometry}": run.qmap.geometry
            != first.qmap.geometry,
            f"another q-map{_by_borders(run.qmap, first.qmap)}": not _same_bins(
                run.qmap, first.qmap
            ),
            f"a frame time of {run.frame_time:g} s, not {first.frame_time:g}": not np.isclose(
                run.frame_time, first.frame_time
            ),
            f"{len(run.replicas)} replicas, not {len(first.replicas)}": len(run.replicas)
            != len(first.replicas),
        }
        for what, is_so in differs.items():
            if is_so:
                raise InputError(
                    f"cannot average run {name} with run {names[0]}",
                    why=f"it has {what}",
                    fix="correlate both with one q-map and geometry (--rings by their borders), or "
                    "leave it out",
                )


def _by_borders(one: QMap, other: QMap) -> str:
    """Where rings begin and end, if they are as many and lie elsewhere."""
    if one.q_edges.shape != other.q_edges.shape or torch.allclose(one.q_edges, other.q_edges):
        return ""
    ends = [f"{float(m.q_edges[0]):.4g} … {float(m.q_edges[-1]):.4g}" for m in (one, other)]
    return f", of rings at q = {ends[0]}, not {ends[1]} {one.unit}"


def _same_bins(one: QMap, other: QMap) -> bool:
    """Whether two maps are the same where both count: each run has bad pixels of its own."""
    if one.digest == other.digest:
        return True
    if one.shape != other.shape:
        return False
    both = one.mask & other.mask
    parts = ((one.dynamic, other.dynamic), (one.static, other.static))
    return all(
        a.index.equal(b.index)
        and a.q.shape == b.q.shape
        and a.phi.shape == b.phi.shape
        and torch.allclose(a.q, b.q, rtol=1e-9, atol=0)
        and torch.allclose(a.phi, b.phi)
        and a.labels[both].equal(b.labels[both])
        for a, b in parts
    )


def _joint(runs: Sequence[Correlation]) -> QMap:
    """The map of the pixels that count in all runs."""
    first = runs[0].qmap
    both = torch.stack([run.qmap.mask for run in runs]).all(0)
    if both.equal(first.mask):
        return first
    parts = {
        name: replace(part, labels=part.labels * both)
        for name, part in (("dynamic", first.dynamic), ("static", first.static))
    }
    if any(len(part.labels.unique()) <= len(part) for part in parts.values()):
        return first  # a bin or shell counts in some runs alone
    return replace(first, mask=both, **parts)  # type: ignore[arg-type]


def _check_agreement(runs: list[Correlation], weight: Tensor, names: list[str]) -> None:
    """Refuse runs of which one is not like the others."""
    odd, how = {}, {}
    for i, name in enumerate(names):
        others, rest = [r for j, r in enumerate(runs) if j != i], np.delete(weight.numpy(), i)
        share = torch.from_numpy(rest)
        apart = runs[i].g2 - _mean(others, "g2", share)
        replicas = runs[i].replicas - _mean(others, "replicas", share)
        middle = replicas.mean(0)
        error = replicas.std(0, correction=0) * (len(replicas) - 1) ** 0.5
        known = torch.isfinite(apart) & (error > 0)
        left = ((replicas - middle) / error)[:, known].numpy()
        chi2 = float((apart / error)[known].square().sum())
        _, p_value = goodness(chi2, left)
        if p_value < ODD:
            odd[name] = p_value
            how[name] = _by_how_much(runs[i], apart, error, known)
    if odd:
        worst = min(odd, key=lambda name: odd[name])
        raise InputError(
            "cannot average these runs",
            why=f"g2 of run {worst} differs from that of the others, most {how[worst]} "
            f"(p = {odd[worst]:.1g})",
            fix=f"leave run {worst} out, or average without the check if that is meant",
        )


def _by_how_much(run: Correlation, apart: Tensor, error: Tensor, known: Tensor) -> str:
    """Where a run is farthest from the others, and how far."""
    far = torch.where(known, (apart / error).abs(), torch.zeros_like(apart))
    k, d = divmod(int(far.argmax()), far.shape[1])
    return (
        f"by {float(apart[k, d]):.3g} ± {float(error[k, d]):.1g} at q = {float(run.qmap.q[k]):.4g} "
        f"{run.qmap.unit}, τ = {float(run.time[d]):.3g} {run.time_unit}"
    )
