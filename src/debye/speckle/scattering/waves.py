"""Plane waves on a square detector: amplitudes of lattices and clouds.

The plane wave factorises, e^{−iQ·r} = e^{−iq_y y}·e^{−iq_x x}, so a lattice's amplitude is E f Eᵀ
and a cloud's is E_yᵀ diag(f) E_x. The detector is symmetric about q = 0, so only cos|q|x and
sin|q|x on half an axis are worked out, in real numbers: `half_waves`, `unfold`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from debye.speckle.scattering.optics import coordinates


def half_waves(x: Tensor, q: Tensor) -> Tensor:
    """cos(|q|x) and sin(|q|x) on the half axis |q| = 0 … |q_0|.

    Args:
        x: (…) coordinates.
        q: (m,) wave numbers of a whole axis, symmetric but for its first.

    Returns:
        (…, m + 2): the m/2 + 1 cosines, then the sines.
    """
    half = q[: len(q) // 2 + 1].flip(0).abs().to(x.dtype)
    phase = x[..., None] * half  # [..., |q|]
    return torch.cat([phase.cos(), phase.sin()], dim=-1)


def parts(half: Tensor) -> tuple[Tensor, Tensor]:
    """The amplitude's even part C and odd part S on the whole detector, A = C − iS.

    Multiplies out e^{−iqx} = cos|q|x − i sign(q) sin|q|x along both axes. For real weights both
    are real, and what acts on A linearly and really can act on each by itself.

    Args:
        half: (…, m + 2, m + 2), Σ w · waves(y) ⊗ waves(x), real or (for a complex w) complex.

    Returns:
        Two (…, qy, qx) on m × m pixels.
    """
    pixels = half.shape[-1] - 2
    axis = torch.arange(pixels, device=half.device) - pixels // 2
    sign, near = axis.sign().to(half.real.dtype), axis.abs()
    far = near + pixels // 2 + 1
    cos, sin = half.index_select(-2, near), half.index_select(-2, far) * sign[:, None]
    even = cos.index_select(-1, near) - sin.index_select(-1, far) * sign
    odd = cos.index_select(-1, far) * sign + sin.index_select(-1, near)
    return even, odd


def unfold(half: Tensor) -> Tensor:
    """The complex amplitude (…, qy, qx) from `parts` of sums over cosines and sines."""
    even, odd = parts(half)
    return even - 1j * odd if half.is_complex() else torch.complex(even, -odd)


def lattice_amplitude(f: Tensor, q: Tensor, L: float) -> Tensor:
    """A(Q) = Σ_r f(r) e^{−iQ·r} of values on a lattice.

    Args:
        f: (…, y, x) real or complex, at x_j = −L/2 + jL/N.
        q: (m,) wave numbers of one detector axis.
        L: Side of the box.

    Returns:
        (…, qy, qx) complex.

    Example:
        >>> from debye.speckle.scattering.optics import Detector
        >>> q = Detector(n=4, dq=1.0, L=2.0).q
        >>> flat = lattice_amplitude(torch.ones(4, 4, dtype=torch.float64), q, 2.0)
        >>> flat.abs().round()[2]  # an even lattice diffracts only forward
        tensor([ 0.,  0., 16.,  0.], dtype=torch.float64)
    """
    E_y, E_x = (half_waves(coordinates(n, L).to(f.device), q).to(f.dtype) for n in f.shape[-2:])
    return unfold(E_y.mT @ f @ E_x)


def cloud_amplitude(points: Tensor, f: Tensor, q: Tensor) -> Tensor:
    """A(Q) = Σ_j f_j e^{−iQ·r_j} of a cloud of points.

    Args:
        points: (…, particle, 2), ordered x, y.
        f: (…, particle) weights, real or complex.
        q: (m,) wave numbers of one detector axis.

    Returns:
        (…, qy, qx) complex.

    Example:
        >>> from debye.speckle.scattering.optics import Detector
        >>> q = Detector(n=4, dq=1.0, L=2.0).q
        >>> cloud_amplitude(torch.tensor([[0.5, 0.0]]), torch.ones(1), q)[2].real[[0, 2]]
        tensor([-1.,  1.])
    """
    return unfold(cloud_sums(points, f, q))


def cloud_sums(points: Tensor, f: Tensor, q: Tensor) -> Tensor:
    """Σ_j f_j waves(y_j) ⊗ waves(x_j), (…, m + 2, m + 2), of which `parts` makes the amplitude."""
    E = half_waves(points, q)  # [..., particle, xy, wave]
    E_x, E_y = E[..., 0, :], E[..., 1, :]
    return E_y.mT.to(f.dtype) @ (f[..., None] * E_x)


def squared(amplitude: Tensor) -> Tensor:
    """|A|², without the square root that abs() would take and differentiate badly at 0."""
    return amplitude.real.square() + amplitude.imag.square()
