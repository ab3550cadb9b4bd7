"""What a spectrum refuses, and how it reads its arguments."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from debye.crystals.dos.quadrature import trapezoid_weights
from debye.errors import InputError

NORMALISATIONS = {
    "3N": "∫ g dω = 3 n_atoms, the states of all atoms",
    "3": "∫ g dω = 3, the states per atom",
    "1": "∫ g dω = 1, a distribution",
    "max": "max g = 1, the published view, which counts nothing",
}
"""The normalisations in use; 3N is the one inside debye."""
DIFFERENCE = "difference"
"""g₁ − g₂ of two that count states: of any sign, ∫ g dω is the difference of the states."""

ROUNDING = 1e-6
"""Densities down to -1e-6 of the peak are rounding and become zero; below that they are wrong."""
OVERCOUNT = 1.2
"""A density claiming to count states may hold this many times 3 n_atoms; more is another view."""


def check_same_axis(one: Tensor, other: Tensor) -> None:
    """Refuse to combine spectra whose points differ.

    Raises:
        InputError: They do.
    """
    if not torch.equal(one, other):
        axes = [f"{len(axis)} points {axis[0]:g}..{axis[-1]:g} cm⁻¹" for axis in (one, other)]
        why = f"their axes differ: {axes[0]}, and {axes[1]}"
        raise InputError("cannot combine two spectra", why=why, fix="resample() one onto the other")


def check_counts_states(normalisation: str, verb: str) -> None:
    """Refuse arithmetic on numbers that do not count states.

    Raises:
        InputError: The normalisation is not 3N.
    """
    if normalisation != "3N":
        why = f"its normalisation is {normalisation!r}, and only '3N' counts states"
        raise InputError(f"cannot {verb} the spectrum", why=why, fix="use .to('3N') first")


def check_no_difference(normalisation: str, verb: str) -> None:
    """Refuse what makes sense for a density of states alone.

    Raises:
        InputError: It is the difference of two.
    """
    if normalisation == DIFFERENCE:
        why = "it is a difference, which may be negative and may hold no states"
        raise InputError(f"cannot {verb} the spectrum", why=why, fix="do so before subtracting")


def check_normalisation(normalisation: str) -> None:
    """Refuse a name that is not in the table.

    Raises:
        InputError: It is not.
    """
    if normalisation not in NORMALISATIONS:
        why = "; ".join(f"{name!r}: {meaning}" for name, meaning in NORMALISATIONS.items())
        raise InputError(
            f"unknown normalisation {normalisation!r}", why=why, fix="use one of these"
        )


def real_tensor(values: Tensor | ArrayLike, name: str) -> Tensor:
    """Keep a floating tensor; turn anything else into float64.

    Raises:
        InputError: It is not numbers, or they are not finite.
    """
    try:
        found = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values, float))
    except (TypeError, ValueError) as error:
        why = f"{error}"
        raise InputError(
            f"{name} is not numbers", why=why, fix="give one number for each"
        ) from error
    found = found if found.is_floating_point() else found.double()
    if not bool(found.isfinite().all()):
        why = "it holds NaN or infinity"
        raise InputError(f"cannot use the {name}", why=why, fix="remove or repair the bad values")
    return found


def checked_axis(frequency: Tensor) -> Tensor:
    """A frequency axis that increases, (F,).

    Raises:
        InputError: It has fewer than two points, or does not increase.
    """
    if frequency.dim() != 1 or len(frequency) < 2:
        why = f"its shape is {tuple(frequency.shape)}"
        raise InputError(
            "cannot use the frequency axis", why=why, fix="give two points or more, (F,)"
        )
    if not bool((frequency.diff() > 0).all()):
        at = int((frequency.diff() <= 0).nonzero()[0])
        why = f"{frequency[at]:g} is followed by {frequency[at + 1]:g} at point {at + 1}"
        raise InputError("the frequencies do not increase", why=why, fix="sort them, drop repeats")
    return frequency


def checked_density(density: Tensor, frequency: Tensor, normalisation: str) -> Tensor:
    """A density that fits its axis, with rounding below zero removed.

    Raises:
        InputError: It does not fit, or is negative and no difference.
    """
    if density.dim() == 0 or density.shape[-1] != len(frequency):
        why = f"the density has shape {tuple(density.shape)}, the axis {len(frequency)} points"
        raise InputError("density and frequency differ in length", why=why, fix="give one for each")
    if normalisation == DIFFERENCE or not bool((density < 0).any()):
        return density
    if bool((density < -ROUNDING * density.amax(-1, keepdim=True)).any()):
        why = f"its least value is {density.min().item():.3g}"
        fix = "clip it at zero if it is noise; subtract spectra with - if it is a difference"
        raise InputError("the density of states is negative", why=why, fix=fix)
    return density.clamp(min=0.0)


def checked_atoms(n_atoms: Tensor, density: Tensor, normalisation: str) -> Tensor:
    """Atoms for each leading axis of the density.

    Raises:
        InputError: They are negative, though it is no difference, or do not fit.
    """
    if normalisation != DIFFERENCE and bool((n_atoms < 0).any()):
        why = f"it is {n_atoms.min().item():g}"
        raise InputError(
            "n_atoms is negative", why=why, fix="give the number of atoms, or a fraction ≥ 0"
        )
    try:
        return n_atoms.expand(density.shape[:-1])
    except RuntimeError as error:
        why = f"n_atoms has shape {tuple(n_atoms.shape)}, the spectra {tuple(density.shape[:-1])}"
        raise InputError(
            "n_atoms does not fit", why=why, fix="give one, or one for each"
        ) from error


def check_count(frequency: Tensor, density: Tensor, n_atoms: Tensor, normalisation: str) -> None:
    """Refuse no states, or far too many: the two miscounts that no honest spectrum has.

    Raises:
        InputError: It is one of them.
    """
    if normalisation == DIFFERENCE:
        return
    states = (density @ trapezoid_weights(frequency)).detach()
    if bool(((states <= 0) & (n_atoms > 0)).any()):
        at = ((states <= 0) & (n_atoms > 0)).nonzero()[0].tolist()
        why = "the density is zero everywhere" + (f" in row {at}" if at else "")
        raise InputError("the spectrum holds no states", why=why, fix="check the data and the axis")
    if normalisation not in ("3N", "3"):
        return
    excess = states / or_one(3 * n_atoms if normalisation == "3N" else torch.full_like(states, 3))
    if bool((excess > OVERCOUNT).any()):
        why = f"it holds {excess.max().item():.4g} times the states of its n_atoms"
        fix = "give n_atoms, or the normalisation the numbers are in: '3N', '3', '1' or 'max'"
        raise InputError(
            f"the density is not in the normalisation {normalisation!r}", why=why, fix=fix
        )


def check_labels(labels: Sequence[str], density: Tensor) -> None:
    """Refuse labels that do not name the rows one by one.

    Raises:
        InputError: They do not.
    """
    rows = density.shape[-2] if density.dim() > 1 else 0
    if labels and (len(labels) != rows or len(set(labels)) != rows or isinstance(labels, str)):
        why = f"{len(set(labels))} different labels for {rows} rows"
        raise InputError("the labels do not fit", why=why, fix="give each row a name of its own")


def or_one(value: Tensor) -> Tensor:
    """A divisor that leaves an empty row (a fraction of no atoms) at zero instead of NaN."""
    return torch.where(value == 0, torch.ones_like(value), value)


def gaussian_width(fwhm: float | None, sigma: float | None) -> float:
    """Standard deviation, from whichever width is given.

    Raises:
        InputError: Both or neither are given, or a width that is not positive.
    """
    if (fwhm is None) == (sigma is None):
        why = "both a fwhm and a sigma" if fwhm is not None else "neither a fwhm nor a sigma"
        raise InputError("cannot broaden the spectrum", why=f"{why} given", fix="give one of them")
    width = sigma if sigma is not None else (fwhm or 0.0) / math.sqrt(8 * math.log(2))
    if not (width > 0 and math.isfinite(width)):
        raise InputError(
            "cannot broaden the spectrum", why=f"the width is {width:g}", fix="give > 0"
        )
    return width
