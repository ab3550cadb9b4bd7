"""The density of states that force constants have."""

from __future__ import annotations

import torch
from torch import Tensor

from debye.crystals.dos.histogram import spectrum_of_modes
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.lattice.force_constants import ForceConstants, frequencies
from debye.crystals.lattice.mesh import low_discrepancy
from debye.crystals.lattice.solve import Progress, solved
from debye.crystals.structure.crystal import Crystal

MODES = 60_000
"""Modes to count, about: 10,000 wave vectors for two atoms, 100 for 200."""
SIGMA = 3.0
"""Standard deviation of the Gaussian that each mode becomes, cm⁻¹."""


def mesh_for(n_sites: int) -> Tensor:
    """Wave vectors enough for a density of states, (Q, 3)."""
    return low_discrepancy(max(50, MODES // (3 * n_sites))).double()


def site_densities(
    springs: ForceConstants,
    q: Tensor | None = None,
    *,
    sigma: float = SIGMA,
    progress: Progress | None = None,
) -> Spectrum:
    """Density of states of each site: g_i(ω) = 1/Q Σ_qν |e_i,qν|² G_σ(ω - ω_qν).

    Args:
        springs: Of one crystal.
        q: (Q, 3) wave vectors in units of the reciprocal lattice vectors; `mesh_for` if None.
        sigma: Standard deviation of the Gaussian, cm⁻¹.
        progress: Is told how many wave vectors are newly done.

    Returns:
        (n, F) on whole wavenumbers; each row integrates to 3, their sum is the total.

    Raises:
        Refusal: There are several crystals, or a mode is impossibly fast.
        Failure: See `solved`.
    """
    n = len(springs.mass)
    q = mesh_for(n) if q is None else q
    omegas, shares = [], []
    for _, square, vectors in solved(springs, q, progress):
        omegas.append(frequencies(square).flatten())
        share = vectors.abs().square().unflatten(-2, (n, 3)).sum(-2)  # [q, site, mode]
        shares.append(share.movedim(1, 0).flatten(1) / len(q))
    modes, weights = torch.cat(omegas), torch.cat(shares, dim=1)
    return spectrum_of_modes(modes.numpy(), weights.numpy(), [1.0] * n, sigma)


def by_element(crystal: Crystal, sites: Spectrum) -> Spectrum:
    """Partial density of each element, (elements, F); a mixed site is shared by fraction."""
    shares = sites.density.new_tensor(
        [
            [site.get(element, 0.0) / sum(site.values()) for site in crystal.species]
            for element in crystal.elements
        ]
    )
    return Spectrum(
        sites.frequency, shares @ sites.density, shares @ sites.n_atoms, labels=crystal.elements
    )
