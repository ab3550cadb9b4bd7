"""Modes counted into a density of states."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from debye.crystals.dos.spectrum import Spectrum
from debye.errors import InputError

FASTEST = 20_000.0
"""No solid vibrates faster, cm⁻¹ (H₂: 4,400); beyond, the force constants are damaged."""


def spectrum_of_modes(
    omega: NDArray[np.float64],
    weights: NDArray[np.float64],
    n_atoms: ArrayLike,
    sigma: float,
    labels: Sequence[str] = (),
) -> Spectrum:
    """Density of states of modes on a 1 cm⁻¹ axis: g(ω) = Σ_k w_k G_σ(ω - ω_k).

    Each mode is shared between the two points beside it, then broadened: every state is counted,
    in however flat a band, which the tetrahedron method, sampled at points, does not promise.
    Imaginary modes lie at ω < 0.

    Args:
        omega: (K,) cm⁻¹, imaginary modes negative.
        weights: (K,) or (rows, K) states that each mode stands for.
        n_atoms: Atoms of each row.
        sigma: Standard deviation of the Gaussian, cm⁻¹.
        labels: Of the rows.

    Returns:
        On whole wavenumbers from below the lowest mode to above the highest.

    Raises:
        InputError: The frequencies are not finite, or impossibly high.

    Example:
        >>> dos = spectrum_of_modes(np.array([99.5, 100.0, 100.5]), np.ones(3), 1, sigma=1.0)
        >>> round(dos.integral.item(), 6), round(dos.mean_frequency.item(), 6)
        (3.0, 100.0)
    """
    if not np.abs(omega).max() < FASTEST:  # NaN is not
        why = f"a mode lies at {np.abs(omega).max():.3g} cm⁻¹"
        raise InputError(
            "the force constants make no sense", why=why, fix="check them, and the calculator named"
        )
    margin = int(np.ceil(6 * sigma)) + 1
    first = int(np.floor(omega.min())) - margin
    left = np.floor(omega).astype(int) - first
    beyond = omega - np.floor(omega)
    size = int(left.max()) + margin + 2
    gaussian = np.exp(-((np.arange(-margin, margin + 1) / sigma) ** 2) / 2)
    gaussian /= gaussian.sum()
    rows = [
        np.bincount(left, row * (1 - beyond), size) + np.bincount(left + 1, row * beyond, size)
        for row in np.atleast_2d(weights)
    ]
    density = np.array([np.convolve(row, gaussian, "same") for row in rows])
    axis = np.arange(first, first + size)
    return Spectrum(axis, density.reshape(*weights.shape[:-1], size), n_atoms, "3N", labels)
