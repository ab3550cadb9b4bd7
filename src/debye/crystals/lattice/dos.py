"""Density of states of force constants: a mesh of wave vectors, line shapes, modes counted.

The labels were smoothed by a Savitzky–Golay filter of 101 points 1 cm⁻¹ apart, so a mode at ω
appears as that filter's response, negative lobes and first window included. A Gaussian before it
stands for what a model does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from debye.crystals.dos.quadrature import trapezoid_weights
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.lattice.force_constants import ForceConstants, Progress, frequencies, solved
from debye.crystals.structure.crystal import Crystal
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


PLASTIC = 1.2207440846057596
"""The real root of x⁴ = x + 1."""


def low_discrepancy(count: int, start: int = 0) -> Tensor:
    """Wave vectors that fill the zone evenly, whatever their number.

    q_k = frac(½ + k α), α = (g⁻¹, g⁻², g⁻³) with g⁴ = g + 1: the additive recurrence of Roberts
    (2018), a Kronecker sequence. No point is special, so bands are sampled in general position and
    the error of a mean falls nearly as 1/count.

    Args:
        count: How many.
        start: How many of the sequence come before them.

    Returns:
        (count, 3), in units of the reciprocal lattice vectors.

    Example:
        >>> low_discrepancy(1000).mean(0).sub(0.5).abs().max() < 0.005
        tensor(True)
    """
    alpha = PLASTIC ** -torch.arange(1.0, 4.0, dtype=torch.float64)
    k = torch.arange(start + 1, start + count + 1, dtype=torch.float64)
    return ((0.5 + k.unsqueeze(-1) * alpha) % 1.0).float()


WINDOW, DEGREE = 101, 3
"""The published filter: points 1 cm⁻¹ apart, and degree of the polynomial."""


def smoother(points: np.ndarray) -> np.ndarray:
    """The published filter as a matrix: raw density on 0, 1, 2 … cm⁻¹ → smoothed at some points.

    Args:
        points: (F,) whole numbers of cm⁻¹ from 0.

    Returns:
        (F, last point + 51).
    """
    half = WINDOW // 2
    x = np.arange(-half, half + 1) / half
    powers = np.vander(x, DEGREE + 1, increasing=True)
    fit = np.linalg.pinv(powers)  # values of a window → its polynomial
    matrix = np.zeros((len(points), int(points[-1]) + half + 1))
    for row, point in zip(matrix, np.round(points).astype(int), strict=True):
        start = max(point - half, 0)  # the first window serves for all its points
        at = (point - start - half) / half
        row[start : start + WINDOW] = at ** np.arange(DEGREE + 1) @ fit
    return matrix


LOST = 0.04
"""Fraction of the states of a site that may be missing, or too many, without a word."""


def smoothed(sites: Spectrum, points: np.ndarray) -> Spectrum:
    """Densities of sites as the published labels were smoothed, on their grid.

    Imaginary modes and those beyond the grid are cut off, as there; the total has the shape that
    `debye.crystals.data.labels.published_recipe` gives it, and each site its part of it.

    Args:
        sites: (n, F), on whole wavenumbers.
        points: (G,) whole numbers of cm⁻¹ from 0.

    Returns:
        (n, G), with 3 states for each atom.

    Raises:
        InputError: There are no states within the grid.
    """
    matrix = smoother(points)
    axis, density = sites.frequency.numpy(), sites.density.numpy()
    raw = [np.interp(np.arange(matrix.shape[1]), axis, row, left=0.0, right=0.0) for row in density]
    filtered = np.array(raw) @ matrix.T
    total, parts = filtered.sum(0).clip(min=0.0), filtered.clip(min=0.0)
    area = float(((total[1:] + total[:-1]) * np.diff(points)).sum() / 2)
    if not area > 0:
        why = f"there are no states between 0 and {points[-1]:g} cm⁻¹"
        raise InputError("cannot smooth the spectrum", why=why, fix="check the force constants")
    scale = 3 * sites.n_atoms.sum().item() / area
    parts = parts * total / np.where(parts.sum(0) > 0, parts.sum(0), 1.0)
    found, n_atoms = torch.from_numpy(scale * parts), sites.n_atoms.double()
    shown = found @ trapezoid_weights(torch.from_numpy(points).double()) / 3
    if bool(((shown - n_atoms).abs() > LOST * n_atoms).any()):
        n_atoms = shown
    return Spectrum(points, found, n_atoms, "3N", sites.labels)


@lru_cache(maxsize=4)
def line_shapes(frequency: tuple[float, ...], widths: tuple[float, ...]) -> Tensor:
    """How a mode at 0, 1, 2 … cm⁻¹ appears on a grid, for several Gaussian widths.

    Args:
        frequency: The grid, F points, cm⁻¹.
        widths: Standard deviations of W Gaussians, cm⁻¹; 0 for the filter alone.

    Returns:
        (last point + 1, W, F).
    """
    filter_ = smoother(np.array(frequency))
    raw = np.arange(filter_.shape[1])
    mode = np.arange(int(frequency[-1]) + 1)
    shapes = []
    for width in widths:
        spread = np.exp(-0.5 * ((raw - mode[:, None]) / max(width, 0.3)) ** 2)
        shapes.append(spread / spread.sum(1, keepdims=True) @ filter_.T)
    return torch.from_numpy(np.stack(shapes, axis=1)).float()


MODES = 60_000
"""Modes to count, about: 10,000 wave vectors for two atoms, 100 for 200."""
SIGMA = 3.0
"""Standard deviation of the Gaussian that each mode becomes, cm⁻¹."""


def mesh_for(n_sites: int) -> Tensor:
    """Wave vectors enough for a density of states, (Q, 3)."""
    return low_discrepancy(max(50, MODES // (3 * n_sites))).double()


def site_densities(
    force_constants: ForceConstants,
    q: Tensor | None = None,
    *,
    sigma: float = SIGMA,
    progress: Progress | None = None,
) -> Spectrum:
    """Density of states of each site: g_i(ω) = 1/Q Σ_qν |e_i,qν|² G_σ(ω - ω_qν).

    Args:
        force_constants: Of one crystal.
        q: (Q, 3) wave vectors in units of the reciprocal lattice vectors; `mesh_for` if None.
        sigma: Standard deviation of the Gaussian, cm⁻¹.
        progress: Is told how many wave vectors are newly done.

    Returns:
        (n, F) on whole wavenumbers; each row integrates to 3, their sum is the total.

    Raises:
        InputError: There are several crystals, or a mode is impossibly fast.
        ComputationError: See `solved`.
    """
    n = len(force_constants.mass)
    q = mesh_for(n) if q is None else q
    omegas, weights = [], []
    for _, square, vectors in solved(force_constants, q, progress):
        omegas.append(frequencies(square).flatten())
        part = vectors.abs().square().unflatten(-2, (n, 3)).sum(-2)  # [q, site, mode]
        weights.append(part.movedim(1, 0).flatten(1) / len(q))
    modes, states = torch.cat(omegas), torch.cat(weights, dim=1)
    return spectrum_of_modes(modes.numpy(), states.numpy(), [1.0] * n, sigma)


def by_element(crystal: Crystal, sites: Spectrum) -> Spectrum:
    """Partial density of each element, (elements, F); a mixed site counts by its fractions."""
    fractions = sites.density.new_tensor(
        [
            [site.get(element, 0.0) / sum(site.values()) for site in crystal.species]
            for element in crystal.elements
        ]
    )
    return Spectrum(
        sites.frequency,
        fractions @ sites.density,
        fractions @ sites.n_atoms,
        labels=crystal.elements,
    )
