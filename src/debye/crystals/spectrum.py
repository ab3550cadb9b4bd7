"""A spectrum is a type: values on a frequency axis that know their unit and their count."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from debye.crystals.quadrature import integration_weights, trapezoid_weights
from debye.errors import Refusal
from debye.units import frequency_factor

__all__ = ["NORMALISATIONS", "Spectrum", "trapezoid_weights"]

NORMALISATIONS = {
    "3N": "∫ g dω = 3 n_atoms, the states of all atoms",
    "3": "∫ g dω = 3, the states per atom",
    "1": "∫ g dω = 1, a distribution",
    "max": "max g = 1, the published view, which counts nothing",
}
"""The normalisations in use; 3N is the one inside debye."""

ROUNDING = 1e-6
"""Densities down to -1e-6 of the peak are rounding and become zero; below that they are wrong."""
OVERCOUNT = 1.2
"""A density claiming to count states may hold this many times 3 n_atoms; more is another view."""
LOSS = 1e-3
"""Share of the states that `Spectrum.resample` may lose beyond the ends of the new axis."""


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Spectrum:
    """A phonon density of states g(ω), linear between its points, or a batch of them.

    Integrals are trapezoid sums, ∫ g dω = Σ w g. Leading axes are a batch on one frequency
    axis: crystals, sites, elements, fractions of an alloy. Tensors keep their type, device and
    gradient; anything else becomes float64. Imaginary modes lie at negative frequencies.

    Args:
        frequency: Points, cm⁻¹, increasing, shape (F,).
        density: g, states per cm⁻¹ (a pure number in the view ``max``), shape (..., F).
        n_atoms: Atoms that the states belong to, shape () or (...): 1 for a site, and x times
            a crystal's atoms for its share x in an alloy.
        normalisation: What the numbers are: ``3N``, ``3``, ``1`` or ``max``, see
            `NORMALISATIONS`. Use `to` to change it.
        labels: Names along the last leading axis, such as sites; none if empty.

    Raises:
        Refusal: NaN or infinity, a density below zero, frequencies that do not increase, no
            states at all, far more states than 3 n_atoms where the density claims to count
            them, shapes that do not fit, an unknown normalisation.

    Example:
        >>> dos = Spectrum([0, 100, 200], [0.0, 0.06, 0.0], n_atoms=2)
        >>> dos.integral.item(), dos.mean_frequency.item()
        (6.0, 100.0)
        >>> dos.to("3").density.tolist()
        [0.0, 0.03, 0.0]
        >>> (0.5 * dos + 0.25 * dos).n_atoms.item()
        1.5
    """

    frequency: Tensor
    density: Tensor
    n_atoms: Tensor
    normalisation: str
    labels: tuple[str, ...]

    def __init__(
        self,
        frequency: Tensor | ArrayLike,
        density: Tensor | ArrayLike,
        n_atoms: Tensor | ArrayLike = 1.0,
        normalisation: str = "3N",
        labels: Sequence[str] = (),
    ) -> None:
        _check_normalisation(normalisation)
        values = _tensor(density, "density")
        axis = _checked_axis(_tensor(frequency, "frequency").to(values))
        values = _checked_density(values, axis)
        atoms = _checked_atoms(_tensor(n_atoms, "n_atoms").to(values), values)
        _check_count(axis, values, atoms, normalisation)
        _check_labels(labels, values)
        # A frozen dataclass is set once, here.
        for name, value in (("frequency", axis), ("density", values), ("n_atoms", atoms)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "normalisation", normalisation)
        object.__setattr__(self, "labels", tuple(labels))

    def __repr__(self) -> str:
        low, high = self.frequency[0].item(), self.frequency[-1].item()
        axis = f"{len(self.frequency)} points {low:g}..{high:g} cm-1"
        return f"Spectrum({axis}, shape {tuple(self.shape)}, normalisation {self.normalisation!r})"

    @property
    def shape(self) -> torch.Size:
        """Leading axes: () for one spectrum."""
        return self.density.shape[:-1]

    @property
    def weights(self) -> Tensor:
        """Trapezoid weights of the frequency axis, shape (F,), cm⁻¹."""
        return trapezoid_weights(self.frequency)

    @property
    def integral(self) -> Tensor:
        """∫ g dω by the trapezoid rule, shape (...)."""
        return self.density @ self.weights

    @property
    def mean_frequency(self) -> Tensor:
        """First moment ∫ ω g dω / ∫ g dω, cm⁻¹, shape (...)."""
        return self.moment(1)

    def moment(self, order: float) -> Tensor:
        """Moment ∫ ωⁿ g dω / ∫ g dω, in (cm⁻¹)ⁿ, shape (...).

        For n ≥ 0 the trapezoid rule over the whole axis. For -3 < n < 0, where it would divide
        by zero, the Debye-like rule `integration_weights` over the real modes alone.

        Raises:
            Refusal: n ≤ -3 diverges in three dimensions.

        Example:
            >>> dos = Spectrum([0, 100, 200], [0.0, 0.03, 0.0])
            >>> dos.moment(2).sqrt().item()
            100.0
        """
        if order <= -3:
            why = "∫ ωⁿ g dω diverges at ω = 0, where g ∝ ω²"
            raise Refusal(f"no moment of order {order:g}", why=why, fix="ask for an order above -3")
        if order < 0:
            weights = integration_weights(self.frequency, lambda omega: omega**order)
            return self.density @ weights / (self.density @ self._real_weights())
        return self.density @ (self.weights * self.frequency**order) / self.integral

    @property
    def imaginary_fraction(self) -> Tensor:
        """Share of the states at ω < 0, that is of imaginary modes, shape (...)."""
        mirrored = integration_weights(-self.frequency.flip(0), torch.ones_like).flip(0)
        return self.density @ mirrored / self.integral

    def cumulative(self, frequency: Tensor | ArrayLike | None = None) -> Tensor:
        """States below each frequency, C(ω) = ∫_{-∞}^ω g dω, shape (..., P).

        Args:
            frequency: Where, cm⁻¹, shape (P,); the spectrum's own points if None.

        Example:
            >>> Spectrum([0, 100, 200], [0.0, 0.03, 0.0]).cumulative([40, 100]).tolist()
            [0.24, 1.5]
        """
        axis, density = self.frequency, self.density
        area = (density[..., 1:] + density[..., :-1]) / 2 * axis.diff()
        total = torch.cat([torch.zeros_like(area[..., :1]), area.cumsum(-1)], -1)
        if frequency is None:
            return total
        at = _tensor(frequency, "frequency").to(axis).clamp(axis[0], axis[-1]).contiguous()
        left = (torch.searchsorted(axis, at, right=True) - 1).clamp(0, len(axis) - 2)
        step = at - axis[left]
        slope = (density[..., left + 1] - density[..., left]) / axis.diff()[left]
        return total[..., left] + density[..., left] * step + slope * step**2 / 2

    def to(self, normalisation: str) -> Spectrum:
        """The same spectrum in another normalisation.

        ``3N`` ↔ ``3`` multiplies by the atoms and keeps a count that is short (dropped imaginary
        modes). ``1`` and ``max`` divide by the integral and the peak and forget it: coming back
        from them fills 3 n_atoms.

        Raises:
            Refusal: The normalisation is unknown.

        Example:
            >>> Spectrum([0, 100, 200], [0, 1, 0], 2, "max").to("3N").density.tolist()
            [0.0, 0.06, 0.0]
        """
        _check_normalisation(normalisation)
        if normalisation == self.normalisation and normalisation in ("3N", "3"):
            return self
        if normalisation == "max":
            factor = 1 / _or_one(self.density.amax(-1))
        elif normalisation == "1":
            factor = 1 / _or_one(self.integral)
        elif self.normalisation in ("1", "max"):
            states = 3 * self.n_atoms if normalisation == "3N" else 3
            factor = states / _or_one(self.integral)
        else:
            factor = self.n_atoms if normalisation == "3N" else 1 / _or_one(self.n_atoms)
        density = self.density * factor[..., None]
        return replace(self, density=density, normalisation=normalisation)

    def in_unit(self, unit: str) -> tuple[Tensor, Tensor]:
        """Frequency and density as numbers in another unit of frequency.

        With ν = f ω the density is g/f, so that the integral stays; a ``max`` view has no unit.

        Args:
            unit: ``cm-1``, ``THz``, ``meV`` or ``K``.

        Returns:
            Frequency (F,) in ``unit`` and density (..., F) per ``unit``.

        Example:
            >>> frequency, density = Spectrum([0, 100], [0.0, 0.06]).in_unit("THz")
            >>> round(frequency[1].item(), 5), round(density[1].item(), 5)
            (2.99792, 2.00138)
        """
        factor = frequency_factor("cm-1", unit)
        jacobian = 1.0 if self.normalisation == "max" else factor
        return self.frequency * factor, self.density / jacobian

    @classmethod
    def from_unit(
        cls,
        unit: str,
        frequency: Tensor | ArrayLike,
        density: Tensor | ArrayLike,
        n_atoms: Tensor | ArrayLike = 1.0,
        normalisation: str = "3N",
        labels: Sequence[str] = (),
    ) -> Spectrum:
        """A spectrum from numbers in another unit of frequency; the inverse of `in_unit`.

        Example:
            >>> Spectrum.from_unit("THz", [0, 5, 10], [0.0, 0.6, 0.0]).mean_frequency.item()
            166.782...
        """
        factor = frequency_factor(unit, "cm-1")
        jacobian = 1.0 if normalisation == "max" else factor
        axis = _tensor(frequency, "frequency") * factor
        values = _tensor(density, "density") / jacobian
        return cls(axis, values, n_atoms, normalisation, labels)

    def __add__(self, other: object) -> Spectrum:
        """Add the states and the atoms of two spectra on one axis."""
        if isinstance(other, int | float) and other == 0:
            return self  # so that sum(spectra) works
        if not isinstance(other, Spectrum):
            return NotImplemented
        for spectrum in (self, other):
            _check_counts_states(spectrum, "add")
        check_same_axis(self, other)
        density = self.density + other.density
        labels = self.labels if self.labels == other.labels else ()
        return Spectrum(self.frequency, density, self.n_atoms + other.n_atoms, "3N", labels)

    __radd__ = __add__

    def __mul__(self, share: object) -> Spectrum:
        """Take ``share`` ≥ 0 of the states and of the atoms; a tensor is a factor per row."""
        if not isinstance(share, Tensor | np.ndarray | np.number | int | float):
            return NotImplemented
        _check_counts_states(self, "scale")
        factor = torch.as_tensor(share).to(self.density)
        density = self.density * factor[..., None]
        return replace(self, density=density, n_atoms=self.n_atoms * factor)

    __rmul__ = __mul__

    def __getitem__(self, row: int | slice | str) -> Spectrum:
        """One row, or some, of the first axis; or the row of a label, such as a site's."""
        if isinstance(row, str):
            if row not in self.labels:
                why = f"the labels are {', '.join(self.labels) or 'none'}"
                raise Refusal(f"no partial spectrum {row!r}", why=why, fix="ask for one of them")
            column = self.labels.index(row)
            density, atoms = self.density[..., column, :], self.n_atoms[..., column]
            return replace(self, density=density, n_atoms=atoms, labels=())
        if not self.shape:
            raise IndexError("a single spectrum has no rows")
        labels = self.labels
        if len(self.shape) == 1:
            labels = self.labels[row] if isinstance(row, slice) else ()
        return replace(self, density=self.density[row], n_atoms=self.n_atoms[row], labels=labels)

    def sum(self, axis: int = -1) -> Spectrum:
        """Add the rows along a leading axis: sites to a total, by default.

        Example:
            >>> sites = Spectrum([0, 100, 200], [[0, 0.03, 0], [0, 0.03, 0]], labels=("Ga", "N"))
            >>> total = sites.sum()
            >>> total.n_atoms.item(), total.integral.item()
            (2.0, 6.0)
        """
        _check_counts_states(self, "sum")
        if not self.shape:
            raise Refusal("nothing to sum", why="the spectrum has no leading axis", fix="use it")
        axis = range(len(self.shape))[axis]
        labels = () if axis == len(self.shape) - 1 else self.labels
        return Spectrum(
            self.frequency, self.density.sum(axis), self.n_atoms.sum(axis), "3N", labels
        )

    def resample(self, frequency: Tensor | ArrayLike) -> Spectrum:
        """The spectrum on another axis, each point holding the states of its own cell.

        g'_j = (C(m_{j+1}) - C(m_j)) / w'_j with m the midpoints between the new points: states
        are moved by half a step at most and none is made or lost, whether the axis gets finer
        or coarser. On its own axis a spectrum stays as it is.

        Args:
            frequency: New points, cm⁻¹, increasing, shape (P,).

        Raises:
            Refusal: More than 0.1 % of the states lie outside the new axis; `clip` first if
                that is meant.

        Example:
            >>> dos = Spectrum([0, 100, 200], [0.0, 0.03, 0.0])
            >>> dos.resample(range(0, 220, 20)).integral.item()
            3.0
        """
        axis = _checked_axis(_tensor(frequency, "frequency").to(self.frequency))
        if torch.equal(axis, self.frequency):
            return self
        edges = torch.cat([axis[:1], (axis[1:] + axis[:-1]) / 2, axis[-1:]])
        states = self.cumulative(edges).diff()
        lost = 1 - states.sum(-1) / _or_one(self.integral)
        if bool((lost[self.n_atoms > 0] > LOSS).any()):
            why = f"{100 * lost.max().item():.3g} % of its states lie outside the new axis"
            fix = "choose a wider axis, or cut it with clip() first if that is meant"
            raise Refusal("cannot resample the spectrum", why=why, fix=fix)
        return replace(self, frequency=axis, density=states / trapezoid_weights(axis))

    def broaden(self, *, fwhm: float | None = None, sigma: float | None = None) -> Spectrum:
        """Convolve with a Gaussian, keeping every state on the axis and on its side of ω = 0.

        g'_j = Σ_k G(ω_j - ω_k) n_k / Σ_i w_i G(ω_i - ω_k), with n_k = w_k g_k the states at
        point k: what would leak over an end, or from real to imaginary modes, is kept inside.

        Args:
            fwhm: Full width at half maximum, cm⁻¹, 2 √(2 ln 2) σ.
            sigma: Standard deviation, cm⁻¹; give one of the two.

        Raises:
            Refusal: Both or neither given, or a width that is not positive.

        Example:
            >>> dos = Spectrum([0, 10, 20, 30, 40], [0.0, 0.0, 0.3, 0.0, 0.0])
            >>> round(dos.broaden(fwhm=15).integral.item(), 12)
            3.0
        """
        width = _gaussian_width(fwhm, sigma)
        axis = self.frequency
        exponent = -(((axis[:, None] - axis) / width) ** 2) / 2  # [target, source]
        same_side = axis[:, None] * axis >= 0
        gaussian = exponent.exp() * same_side
        spread = gaussian / (self.weights @ gaussian)
        return replace(self, density=(self.density * self.weights) @ spread.mT)

    def clip(
        self, lower: float | None = None, upper: float | None = None
    ) -> tuple[Spectrum, Tensor]:
        """The part between two frequencies, and the share of the states that was cut off.

        The density is cut where asked, not at the nearest point. The normalisation's name stays
        although its count is now short, as in phonopy, so sums over the rest stay right.

        Args:
            lower: Where to begin, cm⁻¹; the axis' own beginning if None.
            upper: Where to end, cm⁻¹; the axis' own end if None.

        Returns:
            The spectrum, and the lost share of its states, shape (...).

        Raises:
            Refusal: Nothing lies between the two.

        Example:
            >>> dos, lost = Spectrum([-100, 0, 100], [0.01, 0.01, 0.03]).clip(lower=0)
            >>> dos.frequency.tolist(), round(lost.item(), 4)
            ([0.0, 100.0], 0.3333)
        """
        axis = self.frequency
        low = axis[0].item() if lower is None else max(lower, axis[0].item())
        high = axis[-1].item() if upper is None else min(upper, axis[-1].item())
        if not low < high:
            why = f"the axis runs from {axis[0].item():g} to {axis[-1].item():g} cm-1"
            raise Refusal("nothing to keep of the spectrum", why=why, fix="choose a wider range")
        inside = (axis > low) & (axis < high)
        ends = axis.new_tensor([low, high])
        points = torch.cat([ends[:1], axis[inside], ends[1:]])
        first, last = self._at(ends).split(1, -1)
        density = torch.cat([first, self.density[..., inside], last], -1)
        kept = replace(self, frequency=points, density=density)
        return kept, 1 - kept.integral / _or_one(self.integral)

    def drop_imaginary(self) -> tuple[Spectrum, Tensor]:
        """The real modes, and the share of the states that the imaginary ones held.

        Raises:
            Refusal: No real mode is left.
        """
        return self.clip(lower=0.0)

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, n_atoms: float | None = None) -> Spectrum:
        """Read a spectrum; see `debye.crystals.formats.read_spectrum`."""
        from debye.crystals.formats import read_spectrum

        return read_spectrum(path, n_atoms=n_atoms)

    def write(self, path: str | os.PathLike[str], *, unit: str = "cm-1") -> Path:
        """Write a spectrum; see `debye.crystals.formats.write_spectrum`."""
        from debye.crystals.formats import write_spectrum

        return write_spectrum(self, path, unit=unit)

    def _real_weights(self) -> Tensor:
        """Trapezoid weights of the part above ω = 0."""
        return integration_weights(self.frequency, torch.ones_like)

    def _at(self, frequency: Tensor) -> Tensor:
        """The density, linear between its points, at frequencies within the axis."""
        left = (torch.searchsorted(self.frequency, frequency) - 1).clamp(0, len(self.frequency) - 2)
        share = (frequency - self.frequency[left]) / self.frequency.diff()[left]
        return torch.lerp(self.density[..., left], self.density[..., left + 1], share)


def check_same_axis(one: Spectrum, other: Spectrum) -> None:
    """Refuse two spectra that do not share their frequencies."""
    if not torch.equal(one.frequency, other.frequency):
        why = f"their axes differ: {one!r} and {other!r}"
        raise Refusal("cannot combine two spectra", why=why, fix="resample() one onto the other")


def _check_counts_states(spectrum: Spectrum, verb: str) -> None:
    if spectrum.normalisation != "3N":
        why = f"its normalisation is {spectrum.normalisation!r}, and only '3N' counts states"
        raise Refusal(f"cannot {verb} the spectrum", why=why, fix="use .to('3N') first")


def _check_normalisation(normalisation: str) -> None:
    if normalisation not in NORMALISATIONS:
        why = "; ".join(f"{name!r}: {meaning}" for name, meaning in NORMALISATIONS.items())
        raise Refusal(f"unknown normalisation {normalisation!r}", why=why, fix="use one of these")


def _tensor(values: Tensor | ArrayLike, name: str) -> Tensor:
    """Keep a floating tensor; turn anything else into float64."""
    try:
        found = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values, float))
    except (TypeError, ValueError) as error:
        why = f"{error}"
        raise Refusal(f"{name} is not numbers", why=why, fix="give one number for each") from error
    found = found if found.is_floating_point() else found.double()
    if not bool(found.isfinite().all()):
        why = "it holds NaN or infinity"
        raise Refusal(f"cannot use the {name}", why=why, fix="remove or repair the bad values")
    return found


def _checked_axis(frequency: Tensor) -> Tensor:
    if frequency.dim() != 1 or len(frequency) < 2:
        why = f"its shape is {tuple(frequency.shape)}"
        raise Refusal("cannot use the frequency axis", why=why, fix="give two points or more, (F,)")
    if not bool((frequency.diff() > 0).all()):
        at = int((frequency.diff() <= 0).nonzero()[0])
        why = f"{frequency[at]:g} is followed by {frequency[at + 1]:g} at point {at + 1}"
        raise Refusal("the frequencies do not increase", why=why, fix="sort them, drop repeats")
    return frequency


def _checked_density(density: Tensor, frequency: Tensor) -> Tensor:
    if density.dim() == 0 or density.shape[-1] != len(frequency):
        why = f"the density has shape {tuple(density.shape)}, the axis {len(frequency)} points"
        raise Refusal("density and frequency differ in length", why=why, fix="give one for each")
    if not bool((density < 0).any()):
        return density
    if bool((density < -ROUNDING * density.amax(-1, keepdim=True)).any()):
        why = f"its least value is {density.min().item():.3g}"
        fix = "clip it at zero if it is noise; a difference of spectra is no spectrum"
        raise Refusal("the density of states is negative", why=why, fix=fix)
    return density.clamp(min=0.0)


def _checked_atoms(n_atoms: Tensor, density: Tensor) -> Tensor:
    if bool((n_atoms < 0).any()):
        why = f"it is {n_atoms.min().item():g}"
        raise Refusal(
            "n_atoms is negative", why=why, fix="give the number of atoms, or a share ≥ 0"
        )
    try:
        return n_atoms.expand(density.shape[:-1])
    except RuntimeError as error:
        why = f"n_atoms has shape {tuple(n_atoms.shape)}, the spectra {tuple(density.shape[:-1])}"
        raise Refusal("n_atoms does not fit", why=why, fix="give one, or one for each") from error


def _check_count(frequency: Tensor, density: Tensor, n_atoms: Tensor, normalisation: str) -> None:
    """No states, or far too many: the two miscounts that no honest spectrum has."""
    states = (density @ trapezoid_weights(frequency)).detach()
    if bool(((states <= 0) & (n_atoms > 0)).any()):
        at = ((states <= 0) & (n_atoms > 0)).nonzero()[0].tolist()
        why = "the density is zero everywhere" + (f" in row {at}" if at else "")
        raise Refusal("the spectrum holds no states", why=why, fix="check the data and the axis")
    if normalisation not in ("3N", "3"):
        return
    share = states / _or_one(3 * n_atoms if normalisation == "3N" else torch.full_like(states, 3))
    if bool((share > OVERCOUNT).any()):
        why = f"it holds {share.max().item():.4g} times the states of its n_atoms"
        fix = "give n_atoms, or the normalisation the numbers are in: '3N', '3', '1' or 'max'"
        raise Refusal(
            f"the density is not in the normalisation {normalisation!r}", why=why, fix=fix
        )


def _check_labels(labels: Sequence[str], density: Tensor) -> None:
    rows = density.shape[-2] if density.dim() > 1 else 0
    if labels and (len(labels) != rows or len(set(labels)) != rows or isinstance(labels, str)):
        why = f"{len(set(labels))} different labels for {rows} rows"
        raise Refusal("the labels do not fit", why=why, fix="give each row a name of its own")


def _gaussian_width(fwhm: float | None, sigma: float | None) -> float:
    """Standard deviation, from whichever width is given."""
    if (fwhm is None) == (sigma is None):
        why = "both a fwhm and a sigma" if fwhm is not None else "neither a fwhm nor a sigma"
        raise Refusal("cannot broaden the spectrum", why=f"{why} given", fix="give one of them")
    width = sigma if sigma is not None else (fwhm or 0.0) / math.sqrt(8 * math.log(2))
    if not (width > 0 and math.isfinite(width)):
        raise Refusal("cannot broaden the spectrum", why=f"the width is {width:g}", fix="give > 0")
    return width


def _or_one(value: Tensor) -> Tensor:
    """A divisor that leaves an empty row (a share of zero atoms) at zero instead of NaN."""
    return torch.where(value == 0, torch.ones_like(value), value)
