"""Spectra as pandas, pymatgen and Euphonic have them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from debye.crystals.dos.checks import DIFFERENCE
from debye.crystals.dos.spectrum import Spectrum
from debye.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from euphonic.spectra import Spectrum1D, Spectrum1DCollection
    from pymatgen.phonon.dos import PhononDos

EUPHONIC_UNITS = {"cm-1": "1/cm", "THz": "THz", "meV": "meV"}
"""What Euphonic calls our units of frequency; a temperature is no energy to it."""


def spectrum_to_series(spectrum: Spectrum, unit: str = "cm-1") -> pd.Series:
    """One spectrum as a pandas series: the density over the frequency.

    Args:
        spectrum: One, without leading axes.
        unit: ``cm-1``, ``THz``, ``meV`` or ``K``; the density is per unit.

    Raises:
        InputError: There are several spectra, pandas is not installed, or the unit is unknown.

    Example:
        >>> spectrum_to_series(Spectrum([0, 100], [0.0, 0.06]), "THz").index.name
        'frequency_THz'
    """
    if spectrum.shape:
        why = f"its leading axes are {tuple(spectrum.shape)}"
        raise InputError("a series holds one spectrum", why=why, fix="take one, or to_frame()")
    frame = spectrum_to_frame(spectrum, unit)
    return frame[frame.columns[0]]


def spectrum_to_frame(spectrum: Spectrum, unit: str = "cm-1") -> pd.DataFrame:
    """Spectra as a pandas table: a column each, named by its label, over the frequency.

    Args:
        spectrum: One, or rows.
        unit: ``cm-1``, ``THz``, ``meV`` or ``K``; densities are per unit.

    Raises:
        InputError: There are several leading axes, pandas is not installed, or the unit is unknown.

    Example:
        >>> sites = Spectrum([0, 100], [[0, 0.06], [0, 0.06]], labels=("Ga", "N"))
        >>> spectrum_to_frame(sites).loc[100.0].tolist()
        [0.06, 0.06]
    """
    pd = _imported("pandas", "make a table")
    frequency, density = (_array(x) for x in spectrum.in_unit(unit))
    if density.ndim > 2:
        why = f"its leading axes are {tuple(spectrum.shape)}"
        raise InputError("a table holds rows of spectra", why=why, fix="take one crystal at a time")
    rows = np.atleast_2d(density)
    names = _labels(spectrum) if spectrum.shape else ["dos"]
    index = pd.Index(frequency, name=f"frequency_{unit}")
    return pd.DataFrame(rows.T, index=index, columns=names)


def spectrum_to_pymatgen(spectrum: Spectrum) -> PhononDos:
    """The total as pymatgen's ``PhononDos``: THz, states of the cell per THz.

    Raises:
        InputError: pymatgen is not installed, or there are several leading axes.

    Example:
        >>> dos = Spectrum([0, 100, 200], [0.0, 0.06, 0.0], n_atoms=2)
        >>> round(float(np.trapezoid(*(getattr(spectrum_to_pymatgen(dos), name)
        ...     for name in ("densities", "frequencies")))), 9)
        6.0
    """
    from debye.crystals.dos_io.layouts import to_phonon_dos

    made = _imported("pymatgen.phonon.dos", "make a PhononDos", "'debye[pymatgen]'").PhononDos
    record = to_phonon_dos(spectrum)
    return made(record["frequencies"], record["densities"])


def spectrum_to_euphonic(
    spectrum: Spectrum, unit: str = "meV"
) -> Spectrum1D | Spectrum1DCollection:
    """One spectrum as Euphonic's ``Spectrum1D``, rows as its ``Spectrum1DCollection``.

    Euphonic counts per atom of the cell: a total integrates to 3, and the rows add up to it.

    Args:
        spectrum: One, or rows that make up a cell, such as its sites.
        unit: Of the frequency, ``cm-1``, ``THz`` or ``meV``.

    Raises:
        InputError: Euphonic is not installed or does not know the unit, or there are several
            leading axes.

    Example:
        >>> dos = Spectrum([0, 100, 200], [0.0, 0.06, 0.0], n_atoms=2)
        >>> spectrum_to_euphonic(dos, "cm-1").y_data
        <Quantity([0.   0.03 0.  ], 'centimeter')>
    """
    euphonic = _imported("euphonic", "make a Spectrum1D")
    if unit not in EUPHONIC_UNITS:
        why, fix = f"Euphonic's axis cannot be in {unit}", f"use {', '.join(EUPHONIC_UNITS)}"
        raise InputError("cannot make a Spectrum1D", why=why, fix=fix)
    counted = spectrum if spectrum.normalisation == DIFFERENCE else spectrum.to("3N")
    frequency, density = (_array(x) for x in counted.in_unit(unit))
    if density.ndim > 2:
        why = f"its leading axes are {tuple(spectrum.shape)}"
        raise InputError("a collection holds rows of spectra", why=why, fix="take one at a time")
    named = EUPHONIC_UNITS[unit]
    x = frequency * euphonic.ureg(named)
    y = density / max(counted.n_atoms.sum().item(), 1e-300) / euphonic.ureg(named)
    if not spectrum.shape:
        return euphonic.Spectrum1D(x, y)
    lines = [
        {"label": label, "species": label.rstrip("0123456789") or label}
        for label in _labels(spectrum)
    ]
    return euphonic.Spectrum1DCollection(x, y, metadata={"line_data": lines})


def _labels(spectrum: Spectrum) -> list[str]:
    return list(spectrum.labels) or [str(i + 1) for i in range(len(spectrum.density))]


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().double().numpy()


def _imported(name: str, verb: str, package: str = "") -> Any:  # noqa: ANN401 - a module
    """A library that is needed only here.

    Raises:
        InputError: It is not installed.
    """
    library = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        fix = f"pip install {package or library}"
        raise InputError(f"cannot {verb}", why=f"{library} is not installed", fix=fix) from error
