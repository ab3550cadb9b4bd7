"""What leads from a spectrum to files, arrays and other libraries; the work stands higher up."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from torch import Tensor

from debye.core.upward import higher
from debye.crystals.dos.checks import real_tensor
from debye.units import frequency_factor

if TYPE_CHECKING:
    import pandas as pd
    from euphonic.spectra import Spectrum1D, Spectrum1DCollection
    from pymatgen.phonon.dos import PhononDos


Made = TypeVar("Made", bound="Convertible")


class Convertible:
    """The ways in and out of a `Spectrum`."""

    frequency: Tensor
    density: Tensor
    normalisation: str

    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> np.ndarray[Any, Any]:
        """The density; ``frequency`` has the points."""
        values = self.density.detach().cpu().numpy()
        if copy is False and dtype not in (None, values.dtype):
            raise ValueError("another type needs a copy")
        return values.astype(dtype or values.dtype, copy=copy is not False)

    def __len__(self) -> int:
        """Rows of the first axis; the points of a single spectrum."""
        return len(self.density)

    def in_unit(self, unit: str) -> tuple[Tensor, Tensor]:
        """Frequency and density as numbers in another unit of frequency.

        With ν = f ω the density is g/f, so that the integral stays; a ``max`` view has no unit.

        Args:
            unit: ``cm-1``, ``THz``, ``meV`` or ``K``.

        Raises:
            InputError: The unit is unknown.

        Returns:
            Frequency (F,) in ``unit`` and density (..., F) per ``unit``.

        Example:
            >>> from debye import Spectrum
            >>> frequency, density = Spectrum([0, 100], [0.0, 0.06]).in_unit("THz")
            >>> round(frequency[1].item(), 5), round(density[1].item(), 5)
            (2.99792, 2.00138)
        """
        factor = frequency_factor("cm-1", unit)
        jacobian = 1.0 if self.normalisation == "max" else factor
        return self.frequency * factor, self.density / jacobian

    @classmethod
    def from_unit(
        cls: type[Made],
        unit: str,
        frequency: Tensor | ArrayLike,
        density: Tensor | ArrayLike,
        n_atoms: Tensor | ArrayLike = 1.0,
        normalisation: str = "3N",
        labels: Sequence[str] = (),
    ) -> Made:
        """A spectrum from numbers in another unit of frequency; the inverse of `in_unit`.

        Raises:
            InputError: The unit is unknown, or what `Spectrum` refuses.

        Example:
            >>> from debye import Spectrum
            >>> Spectrum.from_unit("THz", [0, 5, 10], [0.0, 0.6, 0.0]).mean_frequency.item()
            166.782...
        """
        factor = frequency_factor(unit, "cm-1")
        jacobian = 1.0 if normalisation == "max" else factor
        axis = real_tensor(frequency, "frequency") * factor
        values = real_tensor(density, "density") / jacobian
        make: Callable[..., Made] = cls
        return make(axis, values, n_atoms, normalisation, labels)

    @classmethod
    def read(
        cls: type[Made],
        path: str | os.PathLike[str],
        *,
        n_atoms: float | None = None,
        unit: str | None = None,
    ) -> Made:
        """Read a spectrum; see `debye.crystals.dos_io.files.read_spectrum`.

        Raises:
            InputError: The file cannot be read, or does not tell how many states it counts.
        """
        return cast("Made", higher("read_spectrum")(path, n_atoms=n_atoms, unit=unit))

    def write(
        self,
        path: str | os.PathLike[str],
        *,
        unit: str = "cm-1",
        band: tuple[Tensor, Tensor] | None = None,
    ) -> Path:
        """Write a spectrum; see `debye.crystals.dos_io.files.write_spectrum`.

        Raises:
            InputError: The file's name asks for no layout that can hold it.
            ComputationError: It cannot be written.
        """
        return cast("Path", higher("write_spectrum")(self, path, unit=unit, band=band))

    def to_series(self, unit: str = "cm-1") -> pd.Series:
        """One spectrum as a pandas series; see `debye.crystals.dos_io.exchange`.

        Raises:
            InputError: There are several spectra, pandas is not installed, or the unit is unknown.
        """
        return higher("spectrum_to_series")(self, unit)

    def to_frame(self, unit: str = "cm-1") -> pd.DataFrame:
        """Rows as columns of a pandas table; see `debye.crystals.dos_io.exchange`.

        Raises:
            InputError: pandas is not installed, or the unit is unknown.
        """
        return higher("spectrum_to_frame")(self, unit)

    def to_pymatgen(self) -> PhononDos:
        """The total as pymatgen's ``PhononDos``, THz; see `debye.crystals.dos_io.exchange`.

        Raises:
            InputError: pymatgen is not installed.
        """
        return higher("spectrum_to_pymatgen")(self)

    def to_euphonic(self, unit: str = "meV") -> Spectrum1D | Spectrum1DCollection:
        """The same in Euphonic, which counts per atom; see `debye.crystals.dos_io.exchange`.

        Raises:
            InputError: Euphonic is not installed, or does not know the unit.
        """
        return higher("spectrum_to_euphonic")(self, unit)
