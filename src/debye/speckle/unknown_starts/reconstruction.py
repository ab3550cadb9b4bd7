"""A real thing on a lattice, and its path under a known probe, by steps downhill.

Levenberg–Marquardt steps for all values and displacements at once, from several beginnings of which
two must lead to the same.

Beginnings are led near by projections in turn, relaxed averaged alternating reflections. One set
holds the waves with the moduli recorded, the other those that are the probe times something real; a
point of both is a solution. Reflections go through the false minima in which steps downhill end.

Reference: D. R. Luke, Inverse Problems 21, 37 (2005).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import jvp

from debye.errors import ComputationError
from debye.speckle.fitting.deviance import moments, unit_deviance
from debye.speckle.fitting.gauss_newton import quiet_torch
from debye.speckle.fitting.goodness import Goodness
from debye.speckle.fitting.jacobian import backward_slopes
from debye.speckle.scattering.noise import POISSON
from debye.speckle.scattering.waves import squared

ALIKE = 0.98
"""Correlation from which on two reconstructions are the same."""
STEPS, LEAP = 60, 0.075
"""Steps for each part of the pixels, and how far one may move the object, in sides of the box."""
ROUNDS, BETA = 400, 0.9
"""Reflections, and how far they are relaxed."""

Track = Callable[[Tensor], Tensor]
Begin = Callable[[torch.Generator], "Found"]


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What was found of a state that nobody knew, and how far it can be relied on.

    Attributes:
        values: (y, x) the density, or cos θ, 0 off the support; its sign as a whole is a choice.
        errors: (y, x) their standard errors, whatever else was found marginalised.
        path: (time, 2) displacements since the first frame, which is where the object is at 0.
        path_errors: (time, 2) their standard errors.
        goodness: How well the frames are described.
        alike: How many of the beginnings led to the same.
        tried: How many there were.
        followed: Whether it was found from the frame before instead.
    """

    values: Tensor
    errors: Tensor
    path: Tensor
    path_errors: Tensor
    goodness: Goodness
    alike: int
    tried: int
    followed: bool = False

    def as_json(self) -> dict[str, Any]:
        """All of it as numbers."""
        names = ("values", "errors", "path", "path_errors")
        arrays = {name: getattr(self, name).tolist() for name in names}
        return {**arrays, "alike": self.alike, "tried": self.tried}

    def lines(self) -> list[str]:
        """How far it can be relied on, in plain sentences."""
        random = f"{self.alike} of {self.tried} random beginnings led to the same"
        said = ["steps downhill led to it from the frame before" if self.followed else random]
        if self.goodness.fits:
            alone = self.alike == 1 and not self.followed
            once = "a second would make it sure" if alone else "as it should be"
            said.append(f"the frames are described (p = {self.goodness.p:.2g}), {once}")
        else:
            said.append(
                "it does not describe the frames (p = "
                f"{self.goodness.p:.2g}) and is not to be used: give more beginnings, a tighter "
                "support, or a probe whose phase changes more"
            )
        return said


class Found(NamedTuple):
    """A point on the way: what was found, and half the deviance with the pull of the prior."""

    values: Tensor  # [site]
    moves: Tensor  # [unknown of the path]
    loss: float


@dataclass
class Problem:
    """Frames of a real thing on some sites of a lattice under a moved probe."""

    probe: nn.Module
    counts: Tensor  # [time, qy, qx]
    mask: Tensor
    sites: Tensor  # [site, xy]
    q: Tensor
    gain: float
    scale: float  # of the values, beforehand
    side: float
    points: int
    curvature: Tensor = field(init=False)

    def __post_init__(self) -> None:
        x, y = self.sites.unbind(-1)
        one = torch.ones(len(x), dtype=torch.float64)
        self.along_y = math.sqrt(self.gain) * torch.polar(one, -self.q[:, None] * y)  # [qy, site]
        self.along_x = torch.polar(one, -self.q[:, None] * x)

    def amplitude(self, lit: Tensor) -> Tensor:
        """(…, qy, qx) of waves (…, site)."""
        return (self.along_y * lit[..., None, :].to(self.along_y.dtype)) @ self.along_x.mT

    def window(self, path: Tensor) -> Tensor:
        """(mode, time, site) the probe at displacements (time, 2)."""
        found: Tensor = self.probe(self.sites + path[:, None])
        return found

    def rate(self, values: Tensor, path: Tensor) -> Tensor:
        """(time, qy, qx) expected counts."""
        return squared(self.amplitude(self.window(path) * values)).sum(0)

    def loss(self, values: Tensor, path: Tensor, open_: Tensor) -> float:
        """Half the deviance of the open pixels, and the pull of the prior."""
        frames = float((POISSON.loss(self.rate(values, path), self.counts) * open_).sum())
        return frames + 0.5 * float((values / self.scale).square().sum())

    def linearised(
        self, values: Tensor, path: Tensor, slopes: Tensor, open_: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Curvature and gradient by values and by what moves the path, slopes (K, time, 2)."""
        size = len(values) + len(slopes)
        H, g = torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
        axes = [e.expand_as(path) for e in torch.eye(2).to(path)]
        with quiet_torch():
            w, dw = self.window(path), [jvp(self.window, (path,), (e,))[1] for e in axes]
        for t, n in enumerate(self.counts):
            A = self.amplitude(w[:, t] * values)  # [mode, qy, qx]
            rate = squared(A).sum(0)
            weight = (POISSON.weight(rate, n) * open_)[open_]
            by_site = torch.zeros(len(weight), len(values), dtype=torch.float64)
            for mode, seen in enumerate(A):
                y, x = open_.nonzero(as_tuple=True)
                wave = self.along_y[y] * self.along_x[x] * w[mode, t]
                by_site += 2 * (seen.conj()[open_][:, None] * wave).real
            moved = [
                2 * (A.conj() * self.amplitude(d[:, t] * values)).real.sum(0)[open_] for d in dw
            ]
            J = torch.cat([by_site, torch.stack(moved, -1) @ slopes[:, t].mT], -1)
            J = J * weight[:, None]
            H += J.mT @ J
            g += J.mT @ POISSON.residual(rate, n)[open_]
        pull = torch.arange(size) < len(values)
        H.diagonal().add_(pull / self.scale**2)
        g[: len(values)] += values / self.scale**2
        return H, g

    def descend(self, at: Found, track: Track, open_: Tensor, steps: int = STEPS) -> Found:
        """Damped steps until the loss stops falling."""
        damping = 1e-2
        at = at._replace(loss=self.loss(at.values, track(at.moves), open_))
        for _ in range(steps):
            slopes = path_slopes(track, at.moves, len(self.counts))
            H, g = self.linearised(at.values, track(at.moves), slopes, open_)
            self.curvature, new = H, at
            for _ in range(10):
                step = torch.linalg.solve(H + damping * H.diagonal().diag(), -g)
                new = self._stepped(at, step, slopes, track, open_)
                damping = max(damping / 5, 1e-9) if new.loss < at.loss else damping * 4
                if new.loss < at.loss:
                    break
            gain, at = at.loss - new.loss, new if new.loss < at.loss else at
            if gain <= 1e-5 * at.loss:
                break
        return at

    def _stepped(
        self, at: Found, step: Tensor, slopes: Tensor, track: Track, open_: Tensor
    ) -> Found:
        """Where a step leads; one that would move the object too far is shortened."""
        values, moves = at.values + step[: len(at.values)], step[len(at.values) :]
        far = torch.einsum("k,ktd->td", moves, slopes).norm(dim=-1).max() if len(moves) else 0.0
        moves = at.moves + moves * min(1.0, LEAP * self.side / max(float(far), 1e-12))
        try:
            loss = self.loss(values, track(moves), open_)
        except ComputationError:  # the law blows up
            loss = math.inf
        return Found(values, moves, loss if math.isfinite(loss) else math.inf)

    def goodness(self, at: Found, track: Track) -> Goodness:
        """The deviance against what it should be, less what was fitted."""
        rate = self.rate(at.values, track(at.moves))[:, self.mask]
        n = self.counts[:, self.mask]
        D, (mean, variance) = float(unit_deviance(rate, n).sum()), moments(rate)
        fitted = len(at.values) + len(at.moves)
        expected = float(mean.sum()) * (1 - fitted / max(n.numel(), fitted + 1))
        z = (D - expected) / math.sqrt(float(variance.sum()))
        misfit = float((rate.sqrt() - n.sqrt()).norm() / n.sqrt().norm())
        p = 0.5 * math.erfc(z / math.sqrt(2))
        return Goodness(n.numel(), misfit, D, expected, float(fitted), p)

    def placed(self, values: Tensor) -> Tensor:
        """(time, 2) where in the box each frame has the thing, to half a site, the first at 0."""
        steps = torch.arange(-self.points, self.points + 1, dtype=torch.float64)
        steps = steps * (self.side / (2 * self.points))
        there = torch.cartesian_prod(steps, steps)
        least = torch.full((len(self.counts),), math.inf, dtype=torch.float64)
        found = torch.zeros(len(self.counts), 2, dtype=torch.float64)
        for some in there.split(64):
            rate = self.rate(values, some)[:, None]
            loss = (POISSON.loss(rate, self.counts) * self.mask).flatten(2).sum(-1)
            best, where = loss.min(0)
            found = torch.where((best < least)[:, None], some[where], found)
            least = torch.minimum(best, least)
        return found - found[:1]

    def search(
        self, begin: Begin, track: Track, starts: int, seed: int, nearby: Tensor | None = None
    ) -> tuple[Found, int, int]:
        """The best of several beginnings, how many led there, and how many were tried.

        Where values nearby are known of something still, it begins there, and ends where that fits.
        """
        generator = torch.Generator().manual_seed(seed)
        found: list[Found] = []
        alike = 0
        if nearby is not None:
            near = Found(nearby, nearby.new_zeros(0), math.inf)
            found.append(self.descend(near, track, self.mask))
            if self.goodness(found[0], track).fits:
                return found[0], 1, 1
        for _ in range(starts):
            found.append(self.descend(begin(generator), track, self.mask))
            best = min(found, key=lambda one: one.loss)
            alike = sum(similar(one.values, best.values) for one in found)
            if alike > 1 and self.goodness(best, track).fits:
                break
        return best, alike, len(found)

    def reported(
        self,
        at: Found,
        track: Track,
        support: Tensor,
        alike: int,
        tried: int,
        nearby: Tensor | None = None,
    ) -> Reconstruction:
        """What was found, with the errors that the curvature gives it, of the sign of nearby."""
        along = at.values.sum() if nearby is None else at.values @ nearby
        sign = -1.0 if float(along) < 0 else 1.0
        slopes = path_slopes(track, at.moves, len(self.counts))
        H, _ = self.linearised(at.values, track(at.moves), slopes, self.mask)
        self.curvature = H
        C = torch.linalg.pinv(H, hermitian=True)
        size = len(at.values)
        values, errors = (torch.zeros(support.shape, dtype=torch.float64) for _ in range(2))
        values[support] = sign * at.values
        errors[support] = C.diagonal()[:size].clamp(min=0).sqrt()
        spread = torch.einsum("ktd,kl,ltd->td", slopes, C[size:, size:], slopes)
        path_errors = spread.clamp(min=0).sqrt()
        good = self.goodness(at, track)
        followed = nearby is not None and tried == 1
        path = track(at.moves)
        return Reconstruction(values, errors, path, path_errors, good, alike, tried, followed)


def similar(a: Tensor, b: Tensor) -> bool:
    """Whether two reconstructions are the same, up to their sign."""
    return float((a @ b).abs() / (a.norm() * b.norm())) > ALIKE


def path_slopes(track: Track, moves: Tensor, count: int) -> Tensor:
    """(K, time, 2) derivative of a path by each of K numbers."""
    if not len(moves):
        return torch.zeros(0, count, 2, dtype=torch.float64)
    return backward_slopes(track, moves)


def free_path(moves: Tensor) -> Tensor:
    """(time, 2) displacements, each for itself, the first 0."""
    return torch.cat([moves.new_zeros(1, 2), moves.view(-1, 2)])


def reflected(
    modulus: Tensor, known: Tensor, probe: Tensor, support: Tensor, start: Tensor, bound: float
) -> Tensor:
    """(y, x) something real whose wave under a probe has the moduli recorded, if all goes well.

    Args:
        modulus: (S, S) moduli of the transform, with the wave number 0 at (0, 0).
        known: (S, S) where they were recorded.
        probe: (N, N) complex, N ≤ S.
        support: (N, N) where there is anything.
        start: (N, N) where to begin.
        bound: Its largest size.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> true, start = 2 * torch.rand(2, 8, 8, generator=generator).double() - 1
        >>> x = torch.linspace(-1, 1, 8).double()
        >>> probe = torch.exp((12j - 1) * (x**2 + x[:, None] ** 2))
        >>> everywhere = torch.ones(16, 16, dtype=torch.bool)
        >>> modulus = torch.fft.fft2(true * probe, s=(16, 16)).abs()
        >>> found = reflected(modulus, everywhere, probe, everywhere[:8, :8], start, 1.0)
        >>> bool(min((found - true).abs().max(), (found + true).abs().max()) < 1e-3)
        True
    """
    size, points = modulus.shape[-1], probe.shape[-1]
    bright = probe.abs().square().clamp(min=1e-12)

    def real(wave: Tensor) -> Tensor:
        inside = (probe.conj() * wave[:points, :points]).real / bright
        return inside.clamp(-bound, bound) * support

    def lit(values: Tensor) -> Tensor:
        return torch.nn.functional.pad(probe * values, (0, size - points, 0, size - points))

    def measured(wave: Tensor) -> Tensor:
        far = torch.fft.fft2(wave)
        right = modulus * torch.exp(1j * far.angle())
        return torch.fft.ifft2(torch.where(known, right, far))

    wave = lit(start)
    for _ in range(ROUNDS):
        near = measured(wave)
        mirror = 2 * near - wave
        twice = 2 * lit(real(mirror)) - mirror
        wave = BETA * 0.5 * (twice + wave) + (1 - BETA) * near
    return real(measured(wave))


def on_transform(frame: Tensor, open_: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """A frame (qy, qx) on the (S, S) pixels of a transform, and which of them it has.

    Example:
        >>> frame, known = on_transform(torch.ones(2, 2), torch.ones(2, 2, dtype=torch.bool), 4)
        >>> known[0]  # q = 0, the step above and the step below
        tensor([ True, False, False,  True])
    """
    low = size // 2 - frame.shape[-1] // 2
    high = size - low - frame.shape[-1]
    pads = (low, high, low, high)
    made = [torch.nn.functional.pad(x.double(), pads) for x in (frame * open_, open_)]
    values, known = (torch.fft.ifftshift(x) for x in made)
    return values, known > 0
