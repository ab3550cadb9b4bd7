"""Functions of a distance: cutoff, basis and a small perceptron.

Both halves learn one of these: the filter of an equivariant convolution and the interaction
law of a swarm are smooth functions of a distance that vanish at a cutoff.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def smooth_cutoff(r: Tensor, cutoff: float) -> Tensor:
    """Envelope (1 − x²)³, x = r/cutoff: 1 at contact, 0 with two derivatives at the cutoff.

    Args:
        r: Distances, any shape.
        cutoff: Distance from which on the envelope is 0, in the unit of ``r``.

    Returns:
        The envelope, same shape.

    Example:
        >>> smooth_cutoff(torch.tensor([0.0, 5.0, 6.0]), cutoff=5.0)
        tensor([1., 0., 0.])
    """
    return (1 - (r / cutoff).square()).clamp(min=0).pow(3)


def bessel_basis(r: Tensor, cutoff: float, size: int) -> Tensor:
    """Standing waves √(2/reach)·sin(nπr/cutoff)/r, n = 1…size (Gasteiger et al., ICLR 2020).

    Args:
        r: (…,) distances above 0.
        cutoff: Distance at which every wave has a node.
        size: Number of waves.

    Returns:
        (…, size).

    Example:
        >>> bessel_basis(torch.tensor([1.0, 2.5]), cutoff=5.0, size=4).shape
        torch.Size([2, 4])
    """
    n = torch.arange(1, size + 1, dtype=r.dtype, device=r.device)
    # sinc keeps value and slope finite at contact, where sin(x)/x alone is 0/0.
    x = r.unsqueeze(-1) * n / cutoff
    return (2 / cutoff) ** 0.5 * torch.pi / cutoff * n * torch.sinc(x)  # [..., n]


def on_distinct(function: Callable[[Tensor], Tensor], r: Tensor, tolerance: float = 1e-5) -> Tensor:
    """Evaluate ``function(r)`` once per distinct distance.

    Symmetry makes most distances of a crystal coincide, so a costly function of them need only
    be evaluated for about a tenth. Where a gradient with respect to ``r`` is wanted every
    distance is its own variable and nothing is shared.

    Args:
        function: Maps (S,) distances to (S, …).
        r: (E,) distances.
        tolerance: Distances that round to the same multiple of it are taken for one.

    Returns:
        (E, …).

    Example:
        >>> on_distinct(torch.square, torch.tensor([2.0, 3.0, 2.0]))
        tensor([4., 9., 4.])
    """
    if r.requires_grad:
        return function(r)
    distinct, shell = torch.unique(torch.round(r / tolerance).long(), return_inverse=True)
    # The mean of a shell, not its rounded key, so that the tolerance only groups.
    mean = r.new_zeros(len(distinct)).scatter_reduce(0, shell, r, "mean", include_self=False)
    return function(mean).index_select(0, shell)


class RadialMLP(nn.Module):
    """A smooth learned function of a distance that vanishes at its cutoff.

    f(r) = smooth_cutoff(r) · W₂ silu(W₁ bessel_basis(r) + b₁)

    Args:
        cutoff: Where the function falls to 0.
        outputs: Number of functions learned together.
        basis: Number of Bessel functions.
        hidden: Width of the hidden layer.

    Example:
        >>> f = RadialMLP(cutoff=5.0, outputs=3)
        >>> f(torch.tensor([1.0, 5.0])).shape
        torch.Size([2, 3])
        >>> f(torch.tensor([5.0])).abs().max().item()
        0.0
    """

    def __init__(self, cutoff: float, outputs: int, *, basis: int = 10, hidden: int = 64) -> None:
        super().__init__()
        self.cutoff, self.outputs, self.basis, self.hidden = cutoff, outputs, basis, hidden
        self.inner = nn.Linear(basis, hidden)
        self.outer = nn.Linear(hidden, outputs, bias=False)

    def forward(self, r: Tensor) -> Tensor:
        """Values (…, outputs) at distances ``r`` (…,)."""
        waves = bessel_basis(r, self.cutoff, self.basis)
        envelope = smooth_cutoff(r, self.cutoff).unsqueeze(-1)
        return envelope * self.outer(nn.functional.silu(self.inner(waves)))
