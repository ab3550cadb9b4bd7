"""A spectrum is a type: values on a frequency axis that know their unit and their count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from debye.core.upward import Displayed
from debye.crystals.dos.checks import (
    DIFFERENCE,
    NORMALISATIONS,
    check_count,
    check_counts_states,
    check_labels,
    check_no_difference,
    check_normalisation,
    check_same_axis,
    checked_atoms,
    checked_axis,
    checked_density,
    gaussian_width,
    or_one,
    real_tensor,
)
from debye.crystals.dos.convertible import Convertible
from debye.crystals.dos.quadrature import (
    broadened,
    cumulated,
    cut,
    integration_weights,
    resampled,
    trapezoid_weights,
)
from debye.errors import InputError

__all__ = ["NORMALISATIONS", "Spectrum", "trapezoid_weights"]

LOSS = 1e-3
"""Fraction of the states that `Spectrum.resample` may lose beyond the ends of the new axis."""


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Spectrum(Convertible, Displayed):
    """A phonon density of states g(ω), linear between its points, or a batch of them.

    Integrals are trapezoid sums, ∫ g dω = Σ w g. Leading axes are a batch on one frequency
    axis: crystals, sites, elements, fractions of an alloy. Tensors keep their type, device and
    gradient; anything else becomes float64. Imaginary modes lie at negative frequencies.

    Args:
        frequency: Points, cm⁻¹, increasing, shape (F,).
        density: g, states per cm⁻¹ (a pure number in the view ``max``), shape (..., F).
        n_atoms: Atoms that the states belong to, shape () or (...): 1 for a site, and x times
            a crystal's atoms for its fraction x in an alloy.
        normalisation: What the numbers are: ``3N``, ``3``, ``1`` or ``max``, see `NORMALISATIONS`;
            ``difference`` of what ``-`` makes. Use `to` to change it.
        labels: Names along the last leading axis, such as sites; none if empty.

    Raises:
        InputError: NaN or infinity, a density below zero, frequencies that do not increase, no
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
        >>> dos - 0.5 * dos  # of any sign; .to("3N") where it is a spectrum again
        Spectrum(3 points 0..200 cm⁻¹, shape (), normalisation 'difference')
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
        if normalisation != DIFFERENCE:
            check_normalisation(normalisation)
        values = real_tensor(density, "density")
        axis = checked_axis(real_tensor(frequency, "frequency").to(values))
        values = checked_density(values, axis, normalisation)
        atoms = checked_atoms(real_tensor(n_atoms, "n_atoms").to(values), values, normalisation)
        check_count(axis, values, atoms, normalisation)
        check_labels(labels, values)
        # A frozen dataclass is set once, here.
        for name, value in (("frequency", axis), ("density", values), ("n_atoms", atoms)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "normalisation", normalisation)
        object.__setattr__(self, "labels", tuple(labels))

    def __repr__(self) -> str:
        low, high = self.frequency[0].item(), self.frequency[-1].item()
        axis = f"{len(self.frequency)} points {low:g}..{high:g} cm⁻¹"
        return f"Spectrum({axis}, shape {tuple(self.shape)}, normalisation {self.normalisation!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Spectrum):
            return NotImplemented
        mine, theirs = self._numbers(), other._numbers()
        return self._named() == other._named() and all(map(np.array_equal, mine, theirs))

    def __hash__(self) -> int:
        return hash((*self._named(), *((x.astype(float) + 0.0).tobytes() for x in self._numbers())))

    def _named(self) -> tuple[str, tuple[str, ...]]:
        return self.normalisation, self.labels

    def _numbers(self) -> list[np.ndarray]:
        tensors = (self.frequency, self.density, self.n_atoms)
        return [x.detach().cpu().numpy() for x in tensors]

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
        """First moment ∫ ω g dω / ∫ g dω, cm⁻¹, shape (...).

        Raises:
            InputError: It is a difference.
        """
        return self.moment(1)

    def moment(self, order: float) -> Tensor:
        """Moment ∫ ωⁿ g dω / ∫ g dω, in (cm⁻¹)ⁿ, shape (...).

        For n ≥ 0 the trapezoid rule over the whole axis. For -3 < n < 0, where it would divide
        by zero, the Debye-like rule `integration_weights` over the real modes alone.

        Raises:
            InputError: n ≤ -3 diverges in three dimensions; or it is a difference.

        Example:
            >>> dos = Spectrum([0, 100, 200], [0.0, 0.03, 0.0])
            >>> dos.moment(2).sqrt().item()
            100.0
        """
        check_no_difference(self.normalisation, "take the moment of")
        if order <= -3:
            why = "∫ ωⁿ g dω diverges at ω = 0, where g ∝ ω²"
            raise InputError(
                f"no moment of order {order:g}", why=why, fix="ask for an order above -3"
            )
        if order < 0:
            weights = integration_weights(self.frequency, lambda omega: omega**order)
            return self.density @ weights / (self.density @ self._real_weights())
        return self.density @ (self.weights * self.frequency**order) / self.integral

    @property
    def imaginary_fraction(self) -> Tensor:
        """Fraction of the states at ω < 0, that is of imaginary modes, shape (...).

        Raises:
            InputError: It is a difference.
        """
        check_no_difference(self.normalisation, "count the imaginary modes of")
        mirrored = integration_weights(-self.frequency.flip(0), torch.ones_like).flip(0)
        return self.density @ mirrored / self.integral

    def cumulative(self, frequency: Tensor | ArrayLike | None = None) -> Tensor:
        """States below each frequency, C(ω) = ∫_{-∞}^ω g dω, shape (..., P).

        Args:
            frequency: Where, cm⁻¹, shape (P,); the spectrum's own points if None.

        Raises:
            InputError: The frequencies are not numbers.

        Example:
            >>> Spectrum([0, 100, 200], [0.0, 0.03, 0.0]).cumulative([40, 100])
            tensor([0.2400, 1.5000], dtype=torch.float64)
        """
        at = None if frequency is None else real_tensor(frequency, "frequency").to(self.frequency)
        return cumulated(self.frequency, self.density, at)

    def to(self, normalisation: str) -> Spectrum:
        """The same spectrum in another normalisation.

        ``3N`` ↔ ``3`` multiplies by the atoms and keeps a count that is short (dropped imaginary
        modes). ``1`` and ``max`` divide by the integral and the peak and forget it: coming back
        from them fills 3 n_atoms. A difference becomes ``3N`` where it is a spectrum again.

        Raises:
            InputError: The normalisation is unknown, or a difference is no spectrum.

        Example:
            >>> Spectrum([0, 100, 200], [0, 1, 0], 2, "max").to("3N").density.tolist()
            [0.0, 0.06, 0.0]
        """
        check_normalisation(normalisation)
        if normalisation == self.normalisation and normalisation in ("3N", "3"):
            return self
        if self.normalisation == DIFFERENCE:
            return replace(self, normalisation="3N").to(normalisation)
        if normalisation == "max":
            factor = 1 / or_one(self.density.amax(-1))
        elif normalisation == "1":
            factor = 1 / or_one(self.integral)
        elif self.normalisation in ("1", "max"):
            states = 3 * self.n_atoms if normalisation == "3N" else 3
            factor = states / or_one(self.integral)
        else:
            factor = self.n_atoms if normalisation == "3N" else 1 / or_one(self.n_atoms)
        density = self.density * factor[..., None]
        return replace(self, density=density, normalisation=normalisation)

    def __add__(self, other: object) -> Spectrum:
        """Add the states and the atoms of two spectra on one axis."""
        if isinstance(other, int | float) and other == 0:
            return self  # so that sum(spectra) works
        if not isinstance(other, Spectrum):
            return NotImplemented
        for spectrum in (self, other):
            check_counts_states(spectrum.normalisation, "add")
        check_same_axis(self.frequency, other.frequency)
        density = self.density + other.density
        labels = self.labels if self.labels == other.labels else ()
        return Spectrum(self.frequency, density, self.n_atoms + other.n_atoms, "3N", labels)

    __radd__ = __add__

    def __sub__(self, other: object) -> Spectrum:
        """A ``difference``, of any sign; its atoms are the difference of the atoms."""
        if not isinstance(other, Spectrum):
            return NotImplemented
        for spectrum in (self, other):
            check_counts_states(spectrum.normalisation, "subtract")
        check_same_axis(self.frequency, other.frequency)
        density = self.density - other.density
        labels = self.labels if self.labels == other.labels else ()
        atoms = self.n_atoms - other.n_atoms
        return Spectrum(self.frequency, density, atoms, DIFFERENCE, labels)

    def __mul__(self, fraction: object) -> Spectrum:
        """Take ``fraction`` ≥ 0 of the states and of the atoms; a tensor is a factor per row."""
        if not isinstance(fraction, Tensor | np.ndarray | np.number | int | float):
            return NotImplemented
        check_counts_states(self.normalisation, "scale")
        factor = torch.as_tensor(fraction).to(self.density)
        density = self.density * factor[..., None]
        return replace(self, density=density, n_atoms=self.n_atoms * factor)

    __rmul__ = __mul__
    __array_ufunc__ = None  # numpy's numbers leave `*` to the spectrum

    def __getitem__(self, row: int | slice | str) -> Spectrum:
        """One row, or some, of the first axis; or the row of a label, such as a site's."""
        if isinstance(row, str):
            if row not in self.labels:
                why = f"the labels are {', '.join(self.labels) or 'none'}"
                raise InputError(f"no partial spectrum {row!r}", why=why, fix="ask for one of them")
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

        Raises:
            InputError: There is no such axis, or the numbers do not count states.

        Example:
            >>> sites = Spectrum([0, 100, 200], [[0, 0.03, 0], [0, 0.03, 0]], labels=("Ga", "N"))
            >>> total = sites.sum()
            >>> total.n_atoms.item(), total.integral.item()
            (2.0, 6.0)
        """
        check_counts_states(self.normalisation, "sum")
        if not self.shape:
            raise InputError("nothing to sum", why="the spectrum has no leading axis", fix="use it")
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
            InputError: More than 0.1 % of the states lie outside the new axis (`clip` first if
                that is meant), or it is a difference.

        Example:
            >>> dos = Spectrum([0, 100, 200], [0.0, 0.03, 0.0])
            >>> dos.resample(range(0, 220, 20)).integral.item()
            3.0
        """
        check_no_difference(self.normalisation, "resample")
        axis = checked_axis(real_tensor(frequency, "frequency").to(self.frequency))
        if torch.equal(axis, self.frequency):
            return self
        density = resampled(self.frequency, self.density, axis)
        lost = 1 - density @ trapezoid_weights(axis) / or_one(self.integral)
        if bool((lost[self.n_atoms > 0] > LOSS).any()):
            why = f"{100 * lost.max().item():.3g} % of its states lie outside the new axis"
            fix = "choose a wider axis, or cut it with clip() first if that is meant"
            raise InputError("cannot resample the spectrum", why=why, fix=fix)
        return replace(self, frequency=axis, density=density)

    def broaden(self, *, fwhm: float | None = None, sigma: float | None = None) -> Spectrum:
        """Convolve with a Gaussian, keeping every state on the axis and on its side of ω = 0.

        g'_j = Σ_k G(ω_j - ω_k) n_k / Σ_i w_i G(ω_i - ω_k), with n_k = w_k g_k the states at
        point k: what would leak over an end, or from real to imaginary modes, is kept inside.

        Args:
            fwhm: Full width at half maximum, cm⁻¹, 2 √(2 ln 2) σ.
            sigma: Standard deviation, cm⁻¹; give one of the two.

        Raises:
            InputError: Both or neither given, or a width that is not positive.

        Example:
            >>> dos = Spectrum([0, 10, 20, 30, 40], [0.0, 0.0, 0.3, 0.0, 0.0])
            >>> round(dos.broaden(fwhm=15).integral.item(), 12)
            3.0
        """
        width = gaussian_width(fwhm, sigma)
        return replace(self, density=broadened(self.frequency, self.density, width))

    def clip(
        self, lower: float | None = None, upper: float | None = None
    ) -> tuple[Spectrum, Tensor]:
        """The part between two frequencies, and the fraction of the states that was cut off.

        The density is cut where asked, not at the nearest point. The normalisation's name stays
        although its count is now short, as in phonopy, so sums over the rest stay right.

        Args:
            lower: Where to begin, cm⁻¹; the axis' own beginning if None.
            upper: Where to end, cm⁻¹; the axis' own end if None.

        Returns:
            The spectrum, and the lost fraction of its states, shape (...).

        Raises:
            InputError: Nothing lies between the two, or it is a difference.

        Example:
            >>> dos, lost = Spectrum([-100, 0, 100], [0.01, 0.01, 0.03]).clip(lower=0)
            >>> dos.frequency.tolist(), round(lost.item(), 4)
            ([0.0, 100.0], 0.3333)
        """
        check_no_difference(self.normalisation, "cut")
        axis = self.frequency
        low = axis[0].item() if lower is None else max(lower, axis[0].item())
        high = axis[-1].item() if upper is None else min(upper, axis[-1].item())
        if not low < high:
            why = f"the axis runs from {axis[0].item():g} to {axis[-1].item():g} cm⁻¹"
            raise InputError("nothing to keep of the spectrum", why=why, fix="choose a wider range")
        points, density = cut(axis, self.density, low, high)
        kept = replace(self, frequency=points, density=density)
        return kept, 1 - kept.integral / or_one(self.integral)

    def _real_weights(self) -> Tensor:
        """Trapezoid weights of the part above ω = 0."""
        return integration_weights(self.frequency, torch.ones_like)
