"""Quantities that are linear in a density, as weights of the points of its grid."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from debye.crystals.dos.spectrum import Spectrum, trapezoid_weights


@lru_cache(maxsize=64)
def weights_of(
    quantity: Callable[..., Tensor], frequency: tuple[float, ...], *arguments: object
) -> Tensor:
    """Weights W that make ``density @ W`` the quantity of any spectrum on a grid.

    They are the quantity's values on the hat functions of the grid, computed once: thousands of
    crystals share one grid and one list of temperatures.

    Args:
        quantity: Function of a `Spectrum` and the arguments, linear in the density, such as
            `debye.crystals.dos.thermo.heat_capacity`.
        frequency: The grid, cm⁻¹.
        arguments: What else it takes, such as a tuple of temperatures.

    Returns:
        (F, ...) in float64, for a density in the normalisation ``3N``.

    Example:
        >>> from debye.crystals.dos.thermo import zero_point_energy
        >>> dos = Spectrum([0, 100, 200], [0.0, 0.03, 0.0])
        >>> W = weights_of(zero_point_energy, (0.0, 100.0, 200.0))
        >>> (dos.density @ W - zero_point_energy(dos)).item()
        0.0
    """
    axis = torch.tensor(frequency, dtype=torch.float64)
    hats = Spectrum(axis, torch.eye(len(axis)).double(), n_atoms=trapezoid_weights(axis) / 3)
    return quantity(hats, *arguments)
