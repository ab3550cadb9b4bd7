"""Labelled crystals in memory: the rows that training and judging work on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.structure.crystal import Crystal
from debye.errors import Refusal

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
            Refusal: A name is in no row.
        """
        row = {name: i for i, name in enumerate(self.names)}
        wanted = list(names)
        unknown = [name for name in wanted if name not in row]
        if unknown:
            raise Refusal(
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
        Refusal: It is not on the published grid, or no spectrum at all.
    """
    spectrum = Spectrum(frequency, density, n_atoms, "max").to("max")  # type: ignore[arg-type]
    grid = spectrum.frequency.tolist()
    if len(grid) != len(FREQUENCY) or not np.allclose(grid, FREQUENCY, atol=1e-6):
        raise Refusal(
            f"the spectrum has {len(grid)} points from {grid[0]:g} to {grid[-1]:g} cm-1",
            why="the network is trained on 51 points from 0 to 1000 cm-1",
            fix="bring it onto that grid",
        )
    return Spectrum(
        torch.tensor(FREQUENCY), spectrum.density.float(), float(n_atoms), normalisation="max"
    )
