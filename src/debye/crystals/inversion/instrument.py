"""How strongly each element scatters neutrons.

What an instrument makes of a density of states: weights, resolution, the cells it reports.

    partial densities → weighted density → broadened → averaged over the points of comparison

Every step is linear in the density and differentiable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from debye.core.neighbors import sum_onto
from debye.crystals.dos.quadrature import broadened, resampled
from debye.crystals.predict.prediction import Prediction
from debye.crystals.structure.elements import MASSES
from debye.errors import InputError
from debye.units import frequency_factor

# fmt: off
CROSS_SECTIONS: dict[str, float] = {
    "H": 82.02, "He": 1.206, "Li": 1.37, "Be": 7.63, "B": 5.24, "C": 5.551, "N": 11.51,
    "O": 4.232, "F": 4.018, "Ne": 2.628, "Na": 3.28, "Mg": 3.71, "Al": 1.503, "Si": 2.167,
    "P": 3.312, "S": 1.026, "Cl": 16.8, "Ar": 0.683, "K": 1.96, "Ca": 2.83, "Sc": 23.5,
    "Ti": 4.35, "V": 5.1, "Cr": 3.49, "Mn": 2.15, "Fe": 11.62, "Co": 5.6, "Ni": 18.5,
    "Cu": 8.03, "Zn": 4.131, "Ga": 6.83, "Ge": 8.6, "As": 5.5, "Se": 8.3, "Br": 5.9,
    "Kr": 7.685, "Rb": 6.8, "Sr": 6.25, "Y": 7.7, "Zr": 6.46, "Nb": 6.255, "Mo": 5.71,
    "Tc": 6.3, "Ru": 6.6, "Rh": 4.6, "Pd": 4.48, "Ag": 4.99, "Cd": 6.5, "In": 2.62,
    "Sn": 4.892, "Sb": 3.9, "Te": 4.32, "I": 3.81, "Xe": 4.344, "Cs": 3.9, "Ba": 3.38,
    "La": 9.66, "Ce": 2.94, "Pr": 2.66, "Nd": 16.6, "Pm": 21.3, "Sm": 39.4, "Eu": 9.2,
    "Gd": 180, "Tb": 6.84, "Dy": 90.3, "Ho": 8.42, "Er": 8.7, "Tm": 6.38, "Yb": 23.4,
    "Lu": 7.2, "Hf": 10.2, "Ta": 6.01, "W": 4.6, "Re": 11.5, "Os": 14.7, "Ir": 14, "Pt": 11.71,
    "Au": 7.75, "Hg": 26.8, "Tl": 9.89, "Pb": 11.12, "Bi": 9.156, "Ra": 13, "Th": 13.36,
    "Pa": 10.5, "U": 8.908, "Np": 14.5, "Pu": 7.7, "Am": 9, "Cm": 11.3, "D": 7.64, "T": 3.03,
}
# fmt: on
"""Bound total (coherent and incoherent) scattering cross-section of each natural element, barn.

V. F. Sears, Neutron News 3(3), 26 (1992), with the later values of H. Rauch and W. Waschkowski,
Neutron Data Booklet (2003), and of J. Dawidowski et al., Experimental Methods in the Physical
Sciences 44, 471 (2013), as the public-domain package periodictable 2.1 gathers them.
"""


def cross_section(symbol: str) -> float:
    """Bound total scattering cross-section of an element, barn.

    Raises:
        InputError: None is known.

    Example:
        >>> cross_section("V")
        5.1
    """
    if symbol not in CROSS_SECTIONS:
        raise InputError(
            f"cannot weight the spectrum of {symbol} as neutrons would",
            why="no scattering cross-section of it is tabulated",
            fix="compare without --neutron, or leave the structure out",
        )
    return CROSS_SECTIONS[symbol]


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
            text: A standard deviation, a fraction, or the coefficients of a polynomial.
            unit: Unit of the energies in it.

        Raises:
            InputError: It is none of these, or negative.

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
            why = "it is no standard deviation, fraction or polynomial with coefficients ≥ 0"
            fix = "write for example 1.5, 2% or 1,0.02"
            raise InputError(f"cannot use the resolution {text!r}", why=why, fix=fix)
        return cls(tuple(numbers)) if any(numbers) else cls()


def site_weights(symbols: Sequence[str], *, neutron: bool) -> Tensor:
    """Weight of each species in the measured density, (K,).

    1, or for incoherent neutron scattering σ/m: each atom's density of states counts by its
    cross-section over its mass (barn/u).

    Raises:
        InputError: An element's cross-section is not known.

    Example:
        >>> [round(w, 2) for w in site_weights(["O", "H"], neutron=True).tolist()]
        [0.26, 81.37]
    """
    weights = [cross_section(s) / MASSES[s] if neutron else 1.0 for s in symbols]
    return torch.tensor(weights, dtype=torch.float64)


def seen(sites: Tensor, site: Tensor, fraction: Tensor, weights: Tensor) -> Tensor:
    """The density that an instrument sees of a crystal, Σ_k f_k W_k g_i(k), (F,).

    Args:
        sites: Density of states of each fully occupied site, (N, F).
        site: Which site each species occupies, (K,).
        fraction: Its occupancy of the site, (K,).
        weights: Of each species, see `site_weights`, (K,).
    """
    return sum_onto(site, fraction * weights.to(fraction), len(sites)).to(sites) @ sites


def seen_of(prediction: Prediction, *, neutron: bool) -> Tensor:
    """The density that an instrument sees of a predicted crystal, (F,).

    Raises:
        InputError: An element's cross-section is not known.
    """
    species = prediction.crystal.species
    sites = prediction.sites.density
    site = torch.tensor([i for i, on_it in enumerate(species) for _ in on_it])
    fraction = torch.tensor([x for on_it in species for x in on_it.values()]).to(sites)
    weights = site_weights([s for on_it in species for s in on_it], neutron=neutron)
    full = sites / prediction.sites.n_atoms.to(sites)[:, None]
    return seen(full, site, fraction, weights)


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
        >>> from debye.crystals.dos.quadrature import trapezoid_weights
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
