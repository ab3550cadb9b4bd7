"""What an instrument makes of a density of states: weights, resolution, the cells it reports.

    partial densities → weighted density → broadened → averaged over the points of comparison

Every step is linear in the density and differentiable.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from debye.crystals.inversion.cross_sections import cross_section
from debye.crystals.spectra.regrid import broadened, resampled
from debye.crystals.structures.crystal import Crystal
from debye.crystals.structures.elements import MASSES
from debye.errors import Refusal
from debye.units import frequency_factor

FINE = 8
"""Points to which an interval of the model's grid is refined before it is broadened."""


@dataclass(frozen=True)
class Resolution:
    """Standard deviation of the energy, a polynomial of it: σ(ω) = Σ cₙ ωⁿ.

    Args:
        coefficients: c₀ in cm⁻¹, c₁ a pure number, c₂ in cm, …; none for a perfect instrument.

    Example:
        >>> Resolution((0.0, 0.02)).sigma(torch.tensor([100.0, 500.0]))
        tensor([ 2., 10.])
    """

    coefficients: tuple[float, ...] = ()

    def sigma(self, frequency: Tensor) -> Tensor:
        """σ at each frequency, cm⁻¹, (F,)."""
        powers = [c * frequency**n for n, c in enumerate(self.coefficients)]
        return sum(powers, torch.zeros_like(frequency))

    @classmethod
    def parse(cls, text: str, unit: str = "cm-1") -> Resolution:
        """A resolution as written: ``1.5`` (constant), ``2%`` (of the energy), ``1,0.02,1e-4``.

        Args:
            text: A standard deviation, a share, or the coefficients of a polynomial.
            unit: Unit of the energies in it.

        Raises:
            Refusal: It is none of these, or negative.

        Example:
            >>> Resolution.parse("2%"), Resolution.parse("10")
            (Resolution(coefficients=(0.0, 0.02)), Resolution(coefficients=(10.0,)))
        """
        factor = frequency_factor(unit, "cm-1")
        try:
            if text.strip().endswith("%"):
                numbers = [0.0, float(text.strip()[:-1]) / 100]
            else:
                numbers = [float(x) * factor ** (1 - n) for n, x in enumerate(text.split(","))]
        except ValueError:
            numbers = [float("nan")]
        if not all(0 <= x < float("inf") for x in numbers):
            why = "it is no standard deviation, share or polynomial with coefficients ≥ 0"
            fix = "write for example 1.5, 2% or 1,0.02"
            raise Refusal(f"cannot use the resolution {text!r}", why=why, fix=fix)
        return cls(tuple(numbers)) if any(numbers) else cls()


def site_weights(crystal: Crystal, *, neutron: bool) -> Tensor:
    """Weight of each species in the measured density, in the order of `Graph.site`, (K,).

    1, or for incoherent neutron scattering σ/m: each atom's density of states counts by its
    cross-section over its mass (barn/u).

    Raises:
        Refusal: An element's cross-section is not known.

    Example:
        >>> import numpy as np
        >>> ice = Crystal(["O", "H", "H"], [[0, 0, 0], [1, 0, 0], [0, 1, 0]], 3 * np.eye(3))
        >>> [round(w, 2) for w in site_weights(ice, neutron=True).tolist()]
        [0.26, 81.37, 81.37]
    """
    symbols = [symbol for site in crystal.species for symbol in site]
    weights = [cross_section(s) / MASSES[s] if neutron else 1.0 for s in symbols]
    return torch.tensor(weights, dtype=torch.float64)


def seen(sites: Tensor, crystal: Crystal, *, neutron: bool) -> Tensor:
    """The density that an instrument weights, Σ_i W_i g_i, of a predicted crystal, (F,).

    Args:
        sites: Density of states of each site, occupancy counted, (N, F).
        crystal: Whose sites they are.
        neutron: Weight by cross-section over mass, not by 1.
    """
    weights = site_weights(crystal, neutron=neutron).to(sites)
    shares = [f for site in crystal.species for f in site.values()]
    index = [i for i, site in enumerate(crystal.species) for _ in site]
    mean = sites.new_zeros(len(sites)).index_add(
        0, torch.tensor(index), weights * torch.tensor(shares).to(sites)
    )
    return (mean / torch.tensor(crystal.occupancies).to(sites)) @ sites


def response(grid: Tensor, onto: Tensor, resolution: Resolution) -> Tensor:
    """Matrix A of an instrument: A g is what it reports at points of comparison, (n, F).

    A density linear between the points of its grid is broadened by a Gaussian of width σ(ω),
    whose states stay on the axis, and averaged over the cells around the points ``onto``.

    Args:
        grid: Where the densities are known, cm⁻¹, (F,).
        onto: Points of comparison within the grid, cm⁻¹, (n,).
        resolution: σ(ω).

    Example:
        >>> grid = torch.arange(0.0, 120.0, 20.0, dtype=torch.float64)
        >>> A = response(grid, grid, Resolution((15.0,)))
        >>> from debye.crystals.spectra.quadrature import trapezoid_weights
        >>> w = trapezoid_weights(grid)
        >>> A.shape, torch.allclose(w @ A, w)  # no state is made or lost
        (torch.Size([6, 6]), True)
    """
    grid, onto = grid.double(), onto.double()
    fine = torch.cat(
        [a + (b - a) * torch.arange(FINE) / FINE for a, b in pairwise(grid)] + [grid[-1:]]
    )
    hats = (1 - (fine - grid[:, None]).abs() / _spacing(grid, fine)).clamp(min=0.0)  # [F, fine]
    sigma = resolution.sigma(fine)
    if bool((sigma > 0).any()):
        # Narrower than the fine grid can hold is as good as perfect.
        hats = broadened(fine, hats, sigma.clamp(min=1e-3 * float(fine.diff().min())))
    return resampled(fine, hats, onto).T


def _spacing(grid: Tensor, fine: Tensor) -> Tensor:
    """Width of the grid's interval on the side of each point where a fine point lies, (F, fine)."""
    step = grid.diff()
    before, after = torch.cat([step[:1], step]), torch.cat([step, step[-1:]])
    return torch.where(fine <= grid[:, None], before[:, None], after[:, None])
