"""A probe that varies across what it lights: form factors within the convolution.

A probe P lights particles that have an extent, so their form factor F stands within the convolution

    A(Q) = ∫ P(Q − Q′) F(Q′) Σ_j e^{−iQ′·r_j} dQ′

and not before it. P is a sum of products of lines, P(Q) = Σ_k U_k(Q_y) V_k(Q_x), a Gaussian being
one; on a grid of Q′ the convolution then is a product of matrices, Σ_k U_k (F ∘ A) V_kᵀ.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from debye.errors import InputError
from debye.speckle.scattering.optics import Detector, GaussianProbe, GridProbe

FAINT = 1e-5
"""Part of the probe's largest amplitude that may be missed, or lit where it should be dark."""
SAMPLES = 400
"""Points at which a continued probe is held to its values."""
FINEST = 6
"""Grid points for each pixel at most."""


class Convolution(NamedTuple):
    """With the transform of a probe, from a grid of wave numbers to the pixels of a detector.

    Attributes:
        Q: (M,) wave numbers along one axis at which the amplitude is to be worked out.
        along_y: (mode, rank, m, M) the matrices U.
        along_x: (mode, rank, m, M) the matrices V.
        extent: Of a Gaussian probe, how far out it is continued exactly.
        continued: Of a Gaussian probe, the cosines of its line from its values up to there.
    """

    Q: Tensor
    along_y: Tensor
    along_x: Tensor
    extent: float = math.inf
    continued: Tensor | None = None

    @property
    def period(self) -> float:
        """Distance at which the probe is repeated, because Q′ is taken in steps."""
        return 2 * math.pi / float(self.Q[1] - self.Q[0])


def published(detector: Detector, probe: GaussianProbe) -> Convolution:
    """The convolution of the public code: on the detector's own pixels, dark beyond its edge.

    P(Q) = exp(−Q² r_p²/2) is cut to as many pixels as that code cuts it to.

    Args:
        detector: Its pixels.
        probe: Its width r_p.

    Reference:
        Andrejevic et al., npj Comput. Mater. 10, 225 (2024), and its public code.

    Example:
        >>> made = published(Detector(n=48, dq=0.75, L=5.0), GaussianProbe(0.25, 5.0))
        >>> int((made.along_x[0, 0, 32] > 0).sum())  # pixels a side
        9
    """
    m, step = detector.pixels, float(detector.q[1] - detector.q[0])
    # That code takes for the full width what is meant for half of it.
    wide = math.sqrt(-2 * math.log(1e-16)) / (probe.f_probe * probe.L * step * (m - 1) / m)
    line = gaussian_line(probe, step, math.ceil(wide) // 2)
    matrix = toeplitz(line, m, m, 1)[None, None]
    return Convolution(detector.q, matrix, matrix)


def exact(detector: Detector, probe: nn.Module, extent: float = math.inf) -> Convolution:
    """The convolution on a grid that is fine and wide enough to be exact.

    Args:
        detector: Its pixels.
        probe: Any.
        extent: How far from the middle anything lies along either axis, in the units of the box.

    Raises:
        InputError: The probe is too wide for any such grid.

    Example:
        >>> made = exact(Detector(n=48, dq=0.75, L=5.0), GaussianProbe(0.25, 5.0), extent=2.65)
        >>> len(made.Q)  # of 64 pixels, and 9 beyond either edge
        82
    """
    step, continued = float(detector.q[1] - detector.q[0]), None
    if isinstance(probe, GaussianProbe):
        extent = min(extent, probe.f_probe * probe.L * math.sqrt(-2 * math.log(FAINT)))  # then dark
        finer, continued = _continued(detector, probe, extent)
        lines = continued_line(probe, extent, continued).expand(1, 1, 2, -1)
    else:
        finer = 1 if isinstance(probe, GridProbe) else 2  # a grid is dark outside the box
        lines = _sampled(probe, step / finer, detector.pixels * finer)
    size = detector.pixels * finer + lines.shape[-1] - 1
    matrices = toeplitz(lines, detector.pixels, size, finer)
    Q = step / finer * (torch.arange(size) - size // 2).double()
    return Convolution(Q, matrices[:, :, 0], matrices[:, :, 1], extent, continued)


def continued_line(
    probe: GaussianProbe, extent: float, continued: Tensor, wider: Tensor | float = 1.0
) -> Tensor:
    """(2h + 1,) the line of a Gaussian probe that is ``wider`` times as wide, by `Convolution`."""
    x = torch.linspace(0, extent, SAMPLES, dtype=torch.float64, device=continued.device)
    found = continued @ torch.exp(-((x / wider) ** 2) / (2 * (probe.f_probe * probe.L) ** 2))
    right = found[1:] / 2
    return torch.cat([right.flip(0), found[:1], right])


def toeplitz(line: Tensor, rows: int, columns: int, stride: int) -> Tensor:
    """(…, rows, columns) of line[stride·i − j], i and j counted from the middles, else 0.

    Args:
        line: (…, 2h + 1) values at −h … h.
        rows: Number of i.
        columns: Number of j.
        stride: Of i in units of j.

    Example:
        >>> toeplitz(torch.tensor([1.0, 2.0, 3.0]), 2, 4, 1)
        tensor([[3., 2., 1., 0.],
                [0., 3., 2., 1.]])
    """
    half = line.shape[-1] // 2
    i = stride * (torch.arange(rows) - rows // 2)
    apart = i[:, None] - (torch.arange(columns) - columns // 2)
    return line[..., (apart + half).clamp(0, 2 * half)] * (apart.abs() <= half)


def gaussian_line(
    probe: GaussianProbe, step: float, half: int, wider: Tensor | float = 1.0
) -> Tensor:
    """(2·half + 1,) transform of a Gaussian along one axis, times the step of Q′."""
    width = probe.f_probe * probe.L * wider
    Q = step * torch.arange(-half, half + 1).double()
    return torch.exp(-((Q * width) ** 2) / 2) * (width * step / math.sqrt(2 * math.pi))


def _continued(detector: Detector, probe: GaussianProbe, extent: float) -> tuple[int, Tensor]:
    """Grid points for each pixel, and how the fewest cosines follow from the probe up to there.

    Σ_k P_k cos(kθ) with θ = x·dQ is to be p(x) for |x| ≤ extent alone. How it goes on from there
    to the end of its period is left free, and so it needs few terms.
    """
    width, step = probe.f_probe * probe.L, float(detector.q[1] - detector.q[0])
    x = torch.linspace(0, extent, SAMPLES, dtype=torch.float64)
    p = torch.exp(-(x**2) / (2 * width**2))
    best: tuple[int, int, Tensor] | None = None
    for finer in range(1, FINEST + 1):
        for half in range(2, detector.pixels, 1):
            size = detector.pixels * finer + 2 * half
            if best is not None and size >= best[0]:
                break
            cosines = (x[:, None] * (step / finer) * torch.arange(half + 1)).cos()
            inverse = torch.linalg.pinv(cosines, rtol=1e-10)
            if float((cosines @ (inverse @ p) - p).abs().max()) < FAINT:
                best = size, finer, inverse
                break
    if best is None:
        raise InputError(
            f"cannot light spheres exactly by {probe}",
            why=f"no grid of {FINEST} points a pixel holds it",
            fix="use illumination='centres', or a narrower probe",
        )
    return best[1:]


def _sampled(probe: nn.Module, step: float, half: int) -> Tensor:
    """(mode, rank, yx, 2h + 1) transforms of a probe's lines at differences of Q, h ≤ half."""
    x = (torch.arange(2 * half + 1) - half).double() * (2 * math.pi / step / (2 * half + 1))
    y, x_ = torch.meshgrid(x, x, indexing="ij")
    modes = probe(torch.stack([x_, y], -1)).to(torch.complex128)
    U, s, Vh = torch.linalg.svd(modes)  # [mode, y, k] [mode, k] [mode, k, x]
    rank = int((s > FAINT * s.max()).any(0).sum())
    root = s[:, :rank].sqrt()[..., None]
    lines = torch.stack([root * U.mT[:, :rank], root * Vh[:, :rank]], -2)
    wave = torch.exp(-1j * step * torch.arange(-half, half + 1)[:, None] * x)
    lines = lines @ wave.mT / (2 * half + 1)
    bright = (lines.abs() > FAINT * lines.abs().max()).flatten(0, 2).any(0).nonzero()
    margin = min(int((bright - half).abs().max()), half)
    return lines[..., half - margin : half + margin + 1]
