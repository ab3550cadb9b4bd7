"""Prediction: what the model says of one crystal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from debye.core.upward import Displayed, higher
from debye.crystals.data.labels import FREQUENCY
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.dos.thermo import b_factor
from debye.crystals.dos.thermo_table import Thermodynamics, thermodynamics
from debye.crystals.lattice.bands import Bands
from debye.crystals.lattice.dos import by_element, smoothed
from debye.crystals.lattice.force_constants import ForceConstants, mean_force_constants
from debye.crystals.lattice.harmonic import HarmonicCrystal
from debye.crystals.predict.bands import predicted_bands
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.symmetry import primitive
from debye.crystals.uncertainty.uncertainty import LEVEL, Interval, Uncertainty
from debye.errors import InputError

FEWEST = 5
"""Points of an axis that a spectrum is laid on."""
MOST = 1e5
"""cm⁻¹; no axis of frequencies is longer."""
NOTED = 1e-3
"""Fraction of imaginary modes from which on it is told."""
MOSTLY = 0.5
"""Fraction of them beyond which a turned sign is likelier than such a crystal."""


def site_labels(crystal: Crystal) -> tuple[str, ...]:
    """A name for each site: its species and its number in the file, from 1."""
    return tuple(f"{'/'.join(site)}{i}" for i, site in enumerate(crystal.species, 1))


@dataclass(frozen=True, eq=False, repr=False)
class Prediction(Displayed):
    """What the model says of one crystal, or what follows from force constants that were given.

    Args:
        crystal: What was asked.
        sites: Density of states of each site, (N, F); labels name the sites.
        head_outputs: What each head of each member says of the cell, (R, F), 3 × its atoms.
        kinds: The head of each output: ``force_constants``, ``corrected`` or ``density``.
        elements_unseen: Elements of the crystal that no training structure had.
        warnings: What to know before relying on it, in plain words.
        uncertainty: Its expected error and intervals; None if the model is not calibrated.
        force_constants_of: Predicts the force constants of a crystal, for the bands; it is the
            model, and does not travel in a pickle.
        given: The crystal with force constants that this follows from, instead of a model.
        lattice: What cell the crystal came in, ``pbe``, ``lda`` or ``measured``, if its lengths
            were put right; see `debye.crystals.structure.functional`.
        taught: Whether force constants were among what the model learned from.
        label_view: The sites as the published labels show them, if ``sites`` are shown finely.
        lowest: The lowest mode that each network finds, cm⁻¹, imaginary ones negative; None where
            none was asked for its modes.

    Example:
        >>> import debye
        >>> salt = Crystal(["Na", "Cl"], [[0, 0, 0], [2.82] * 3],
        ...                [[0, 2.82, 2.82], [2.82, 0, 2.82], [2.82, 2.82, 0]])
        >>> prediction = debye.predict(salt, model="fast")
        >>> prediction.elements.labels, round(prediction.thermo(300).heat_capacity.item())
        (('Na', 'Cl'), 24)
    """

    crystal: Crystal
    sites: Spectrum
    head_outputs: Tensor
    kinds: tuple[str, ...]
    elements_unseen: tuple[str, ...]
    warnings: tuple[str, ...]
    uncertainty: Uncertainty | None = None
    force_constants_of: Callable[[Crystal], Sequence[ForceConstants]] | None = None
    given: HarmonicCrystal | None = None
    lattice: str = "given"
    taught: bool = False
    label_view: Spectrum | None = None
    lowest: Tensor | None = None

    @classmethod
    def of_force_constants(cls, given: HarmonicCrystal) -> Prediction:
        """What follows from force constants: no model, hence no uncertainty.

        Raises:
            InputError: A mode is impossibly fast, or none lies where the labels have points.
            ComputationError: The modes cannot be found.
        """
        crystal, sites = given.crystal, given.sites
        total = sites.sum()
        end = FREQUENCY[-1]
        beyond = 1 - (total.cumulative([end])[0] / total.integral).item() if given.smooth else 0.0
        warnings = list(crystal.notes)
        if (imaginary := total.imaginary_fraction.item()) > NOTED:
            warnings.append(
                f"{100 * imaginary:.3g} % of its modes are imaginary: they have no thermodynamics, "
                "and are left out of it"
            )
        if imaginary > MOSTLY:
            warnings.append("is the sign of its force constants turned? They are −∂F/∂u")
        if given.smooth:
            sites = smoothed(sites, np.array(FREQUENCY))
            total = sites.sum()
            warnings.append(f"smoothed as the published labels were, on {len(FREQUENCY)} points")
            if beyond > NOTED:
                warnings.append(
                    f"{100 * beyond:.3g} % of the states lie above {end:g} cm⁻¹, cut off"
                )
        labelled = Spectrum(
            sites.frequency, sites.density, sites.n_atoms, labels=site_labels(crystal)
        )
        kinds = ("force_constants",)
        return cls(crystal, labelled, total.density[None], kinds, (), tuple(warnings), given=given)

    def __repr__(self) -> str:
        mean = f"mean {self.total.mean_frequency.item():.0f}"
        if self.uncertainty is not None:
            mean += f" ± {self.uncertainty.interval('mean_frequency').half.item():.2g}"
        count = len(self.warnings)
        warned = f", {count} warning{'s'[: count != 1]}" if count else ""
        name = self.crystal.name or self.crystal.formula
        return f"Prediction({name}, {self.crystal.n_sites} sites, {mean} cm⁻¹{warned})"

    def __eq__(self, other: object) -> bool:
        """Whether both say the same of the same crystal."""
        if not isinstance(other, Prediction):
            return NotImplemented
        return (
            self.crystal == other.crystal
            and self.kinds == other.kinds
            and torch.equal(self.sites.density, other.sites.density)
            and torch.equal(self.head_outputs, other.head_outputs)
        )

    __hash__ = None  # type: ignore[assignment]  # compared by value, and that is tensors

    def __getstate__(self) -> dict[str, Any]:
        """What travels: all but the model, which is megabytes and has a file of its own."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"force_constants_of": None}

    @cached_property
    def total(self) -> Spectrum:
        """Density of states of the cell; integrates to 3 × its atoms."""
        return self.sites.sum()

    @cached_property
    def elements(self) -> Spectrum:
        """Partial density of each element, (elements, F); a mixed site is shared by fraction."""
        return by_element(self.crystal, self.sites)

    @cached_property
    def published(self) -> Spectrum:
        """The sites as the published labels show them: smoothed, on 51 points to 1000 cm⁻¹.

        Raises:
            InputError: No mode of the force constants given lies within them.
        """
        if self.label_view is not None:
            return self.label_view
        if self.given is None or self.given.smooth:
            return self.sites
        return smoothed(self.sites, np.array(FREQUENCY))

    @property
    def range_end(self) -> float | None:
        """Where the spectrum is cut off, cm⁻¹; None if it reaches to the highest mode."""
        whole = self.label_view is not None or (self.given is not None and not self.given.smooth)
        return None if whole else self.sites.frequency[-1].item()

    @property
    def unstable(self) -> float | None:
        """How likely a mode is imaginary beyond −30 cm⁻¹; None if the model cannot tell."""
        known = self.uncertainty and self.uncertainty.calibration.modes
        if not known or self.lowest is None:
            return None
        return known.unstable(self.lowest.median().item())

    def on_axis(self, spacing: float | None = None, end: float | None = None) -> Prediction:
        """The same on another axis; each point holds the states of its cell.

        Args:
            spacing: Between the points, cm⁻¹; as it is if None.
            end: Where the axis ends, cm⁻¹: what lies beyond is cut off, and told; as it is if None.

        Raises:
            InputError: A number is not above 0, nothing lies within the axis, or it has under
                `FEWEST` points.

        Example:
            >>> import debye
            >>> found = debye.predict(debye.DEMO / "silicon.vasp").on_axis(20, 400)
            >>> found.total, found.warnings[-1]
            (Spectrum(21 points 0..400 cm⁻¹, shape (), normalisation '3N'), '... cut off')
        """
        for name, value in (("spacing", spacing), ("end", end)):
            if value is not None and not 0 < value < MOST:
                why, fix = f"{name} is {value:g} cm⁻¹", f"give one above 0 and below {MOST:g}"
                raise InputError("cannot lay the spectrum on this axis", why=why, fix=fix)
        sites, warnings = self.sites, self.warnings
        if end is not None and end < sites.frequency[-1]:
            sites, _ = sites.clip(upper=end)
            lost = 1 - (sites.sum().integral / self.total.integral).item()
            warnings = (
                *warnings,
                f"{100 * lost:.3g} % of the states lie above {end:g} cm⁻¹, cut off",
            )
        axis = sites.frequency
        step = spacing or (axis[-1] - axis[-2]).item()
        first, last = np.floor(axis[0].item() / step), (end or axis[-1].item()) / step
        points = np.arange(first, np.ceil(last - 1e-6) + 1)
        if len(points) < FEWEST:
            raise InputError(
                "cannot lay the spectrum on this axis",
                why=f"spaced by {step:g} cm⁻¹ it has {len(points)} points",
                fix=f"give a spacing of which at least {FEWEST} points fit in, or a longer axis",
            )
        sites = sites.resample(step * points)
        known = self.uncertainty and self.uncertainty.on(sites.sum())
        return replace(self, sites=sites, warnings=warnings, uncertainty=known)

    def band(self, level: float = LEVEL) -> Interval | None:
        """Lower and upper density of the cell around ``total``; None if not calibrated."""
        if self.uncertainty is None:
            return None
        return Interval(*(edge * self.total.n_atoms for edge in self.uncertainty.band(level=level)))

    def thermo(
        self,
        temperatures: Tensor | ArrayLike,
        *,
        basis: str = "per-atom",
        level: float = LEVEL,
    ) -> Thermodynamics:
        """Heat capacity, entropy and energies, with intervals if the model is calibrated.

        Args:
            temperatures: K, ≥ 0: a number or several.
            basis: ``per-atom``, ``per-formula-unit``, ``per-mole-of-cells`` or ``per-kg``.
            level: Of the intervals of heat capacity and entropy.

        Raises:
            InputError: An unknown basis, or a bad temperature or level.
        """
        known, names = self.uncertainty, ("heat_capacity", "entropy")
        return thermodynamics(
            self.total,
            temperatures,
            basis=basis,
            formula_units=self.crystal.n_formula_units,
            mass=self.crystal.mass,
            bounds={n: known.interval(n, temperatures, level=level) for n in names}
            if known
            else None,
        )

    def b_factors(self, temperatures: Tensor | ArrayLike) -> Tensor:
        """Isotropic displacement factor of each site, B = 8 π² ⟨u²⟩, Å².

        Args:
            temperatures: K, ≥ 0: a number, or T of them.

        Returns:
            Shape (N,) or (N, T).

        Raises:
            InputError: A bad temperature.
        """
        return b_factor(self.sites, temperatures, self.crystal.masses)

    def to_euphonic(self) -> Any:  # noqa: ANN401 - euphonic is optional
        """The ``euphonic.ForceConstants`` of its primitive cell, the mean of the members'.

        From these Euphonic makes neutron scattering, S(q, ω); docs/lattice.md shows how.

        Raises:
            InputError: Euphonic is not installed, the model predicts no force constants, or the
                prediction came without its model; or what `HarmonicCrystal.to_euphonic` refuses.
            ComputationError: The force constants are not finite.
        """
        if self.given is not None:
            return self.given.to_euphonic()
        if self.force_constants_of is None:
            raise self._without_model("export the force constants of")
        cell = primitive(self.crystal)
        mean = mean_force_constants(self.force_constants_of(cell))
        return HarmonicCrystal(cell, mean).to_euphonic()

    def _without_model(self, verb: str) -> InputError:
        return InputError(
            f"cannot {verb} {self!r}",
            why="it came without its model, as predictions do that were pickled",
            fix="use debye.bands or debye.predict with its crystal",
        )

    def bands(self, path: str = "auto", points: int = 300, *, velocities: bool = False) -> Bands:
        """The bands of its primitive cell; see `Predictor.bands`.

        Raises:
            InputError: The path is none, the model predicts no force constants, or the
                prediction came without its model, out of a pickle.
            ComputationError: The modes cannot be found.
        """
        if self.given is not None:
            return self.given.bands(path, points, velocities=velocities)
        if self.force_constants_of is None:
            raise self._without_model("draw the bands of")
        return predicted_bands(
            self.crystal,
            self.force_constants_of,
            path,
            points,
            velocities=velocities,
            warnings=self.warnings,
            taught=self.taught,
            known=self.uncertainty,
        )

    def view(self, points: int = 60) -> Any:  # noqa: ANN401 - a View, which knows this class
        """Its cell, bands and moving modes in a notebook, without a server or network.

        A click on a branch makes its mode move: u = Re[e/√m · e^{2πi q·(R + τ) − iωt}].

        Args:
            points: About how many wave vectors.

        Raises:
            InputError: The model predicts no force constants, or the primitive cell is too large.
            ComputationError: The modes cannot be found.
        """
        return higher("viewed")(self, points)


@thermodynamics.register
def _of_prediction(
    given: Prediction, temperatures: Tensor | ArrayLike, *, basis: str = "per-atom"
) -> Thermodynamics:
    return given.thermo(temperatures, basis=basis)
