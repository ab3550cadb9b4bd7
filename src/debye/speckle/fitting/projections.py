"""A real lattice from one frame by projections in turn: relaxed averaged alternating reflections.

D. R. Luke, Inverse Problems 21, 37 (2005). One set holds the waves with the moduli recorded, the
other those that are the probe times something real; a point of both is a solution. Reflections go
through the false minima in which steps downhill end.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS, BETA = 400, 0.9
"""Reflections, and how far they are relaxed."""


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
