"""Labelled crystals in memory: the rows that training and evaluation work on.

The published recipe: from a raw density of states to the 51 points of the labels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.lattice.dos import DEGREE, WINDOW
from debye.crystals.structure.crystal import Crystal
from debye.errors import InputError

FREQUENCY = tuple(20.0 * k for k in range(51))
"""The published grid, cm⁻¹."""


Row = tuple[str, Crystal, Spectrum]
"""Name, crystal and spectrum of one labelled crystal."""


@dataclass(frozen=True)
class Collection:
    """Crystals and their spectra, row by row.

    Args:
        names: What each row is called; no two alike.
        crystals: One a row.
        spectra: One a row, on one grid.
    """

    names: tuple[str, ...]
    crystals: tuple[Crystal, ...]
    spectra: Spectrum

    def __len__(self) -> int:
        return len(self.names)

    @property
    def elements(self) -> frozenset[str]:
        """Every species that occurs."""
        return frozenset(s for crystal in self.crystals for s in crystal.elements)

    def take(self, names: Iterable[str]) -> Collection:
        """The rows of these names, in their order.

        Raises:
            InputError: A name is in no row.
        """
        row = {name: i for i, name in enumerate(self.names)}
        wanted = list(names)
        unknown = [name for name in wanted if name not in row]
        if unknown:
            raise InputError(
                f"the split names {len(unknown)} unknown row(s), first {unknown[0]!r}",
                why="the labelled data have no row of that name",
                fix="use the split that belongs to these data, or remove those rows from it",
            )
        index = [row[name] for name in wanted]
        spectra = self.spectra
        return Collection(
            tuple(wanted),
            tuple(self.crystals[i] for i in index),
            Spectrum(
                spectra.frequency,
                spectra.density[index],
                spectra.n_atoms[index],
                spectra.normalisation,
            ),
        )


def published_view(frequency: object, density: object, n_atoms: float) -> Spectrum:
    """A spectrum on the published grid, scaled to a maximum of 1, as float32.

    Raises:
        InputError: It is not on the published grid, or no spectrum at all.
    """
    spectrum = Spectrum(frequency, density, n_atoms, "max").to("max")  # type: ignore[arg-type]
    grid = spectrum.frequency.tolist()
    if len(grid) != len(FREQUENCY) or not np.allclose(grid, FREQUENCY, atol=1e-6):
        raise InputError(
            f"the spectrum has {len(grid)} points from {grid[0]:g} to {grid[-1]:g} cm⁻¹",
            why="the network is trained on 51 points from 0 to 1000 cm⁻¹",
            fix="bring it onto that grid",
        )
    return Spectrum(
        torch.tensor(FREQUENCY), spectrum.density.float(), float(n_atoms), normalisation="max"
    )


def published_recipe(frequency: Tensor | ArrayLike, density: Tensor | ArrayLike) -> Tensor:
    """A raw density of states in the published view: 51 points, 0 to 1000 cm⁻¹, maximum 1.

    In each window of 101 points ω_k, 1 cm⁻¹ apart, the cubic p with the least Σ_k (p(ω_k) - g_k)²
    gives the smoothed s(ω) = p(ω), ω in the middle: a Savitzky–Golay filter. Then

        y_i = max(s(20 i cm⁻¹), 0) / max_j s(20 j cm⁻¹),    i = 0 … 50.

    States at ω < 0 (imaginary modes) are cut off before smoothing, as the published raw data begin
    at 0; there the first window's cubic serves for all its points. The filter sees 50 points beyond
    1000 cm⁻¹; above the axis given, the density is zero.

    The authors state filter, window and degree in github.com/ninarina12/phononDoS_tutorial/issues/1
    for the data of Chen et al., Adv. Sci. 8, 2004214 (2021).

    Args:
        frequency: Points about 1 cm⁻¹ apart, increasing, cm⁻¹, (F,).
        density: Density there in any normalisation, (F,).

    Returns:
        y, (51,), float64.

    Raises:
        InputError: They are no spectrum, or it is empty between 0 and 1000 cm⁻¹.

    Example:
        >>> omega = torch.arange(0.0, 600.0)
        >>> view = published_recipe(omega, torch.exp(-(((omega - 300) / 80) ** 2)))
        >>> view.argmax().item(), view[14].item()  # at 280 cm⁻¹, unsmoothed 0.939
        (15, 0.940...)
    """
    from scipy.signal import savgol_filter  # type: ignore[import-untyped,unused-ignore]

    raw = Spectrum(frequency, density, normalisation="max")
    # A window beyond the last point wanted, so that the filter's own end stays out of sight.
    axis = np.arange(FREQUENCY[-1] + WINDOW)
    points = np.interp(
        axis, raw.frequency.detach().cpu(), raw.density.detach().cpu(), left=0.0, right=0.0
    )
    smooth = savgol_filter(points, WINDOW, DEGREE)
    view = np.interp(FREQUENCY, axis, smooth).clip(min=0.0)
    if not view.max() > 0:
        low, high = raw.frequency[0].item(), raw.frequency[-1].item()
        raise InputError(
            "the spectrum has no published view",
            why=f"it holds no states between 0 and 1000 cm⁻¹ (its axis: {low:g} to {high:g})",
            fix="check its unit; the recipe takes cm⁻¹",
        )
    return torch.from_numpy(view / view.max())
