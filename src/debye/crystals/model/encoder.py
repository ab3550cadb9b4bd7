"""What the encoder tells the readouts of the sites."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Features(NamedTuple):
    """Equivariant features of N sites."""

    scalars: Tensor
    """(N, S): the species, and the scalars of every layer."""
    tensors: Tensor
    """(N, m, C): all orders of the last layer."""
