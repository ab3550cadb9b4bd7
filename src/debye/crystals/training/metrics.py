"""How good a set of predicted spectra is, in the conventions of the published studies.

Two views of squared and absolute error are live: *max-1*, both spectra scaled to a maximum of 1
(Chen et al., Adv. Sci. 8, 2004214, 2021), and *true-sum*, the prediction scaled to the sum of
the max-1 label (Mat2Spec, Nat. Commun. 13, 949, 2022). Both are reported, and beside them what
the two cheapest predictors reach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from debye.crystals.data.labels import Collection
from debye.crystals.dos.distances import mae, mse, r_squared, wasserstein
from debye.crystals.dos.quantities import QUANTITIES
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.dos.thermo import entropy, heat_capacity, zero_point_energy
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.elements import composition_vector

R_SQUARED = ("flattened", "per-sample", "per-bin")
ROOM_TEMPERATURE = 300.0
"""K; where heat capacity and entropy are compared."""


@dataclass(frozen=True)
class SpectrumErrors:
    """Errors of each spectrum, (R,) each.

    ``mse`` and ``mae`` are in the max-1 view, ``mse_true_sum`` and ``mae_true_sum`` in the other;
    ``wasserstein`` and ``mean_frequency`` in cm⁻¹, ``mean_frequency_relative`` in parts of it;
    ``heat_capacity`` and ``entropy`` at 300 K in J/mol/K and ``zero_point_energy`` in kJ/mol, all
    three per mole of atoms and absolute.
    """

    mse: Tensor
    mae: Tensor
    mse_true_sum: Tensor
    mae_true_sum: Tensor
    wasserstein: Tensor
    mean_frequency: Tensor
    mean_frequency_relative: Tensor
    heat_capacity: Tensor
    entropy: Tensor
    zero_point_energy: Tensor


def spectrum_errors(predicted: Spectrum, true: Spectrum) -> SpectrumErrors:
    """Errors of predicted spectra, row by row.

    Args:
        predicted: (R, F) in any normalisation.
        true: (R, F) on the same grid.

    Raises:
        InputError: The frequencies of the two differ.
    """
    frequency = (predicted.mean_frequency - true.mean_frequency).abs()

    def apart(quantity: Callable[[Spectrum], Tensor]) -> Tensor:
        per_atom = [quantity(s) / s.n_atoms for s in (predicted, true)]
        return (per_atom[0] - per_atom[1]).abs()

    return SpectrumErrors(
        mse=mse(predicted, true),
        mae=mae(predicted, true),
        mse_true_sum=mse(predicted, true, "sum"),
        mae_true_sum=mae(predicted, true, "sum"),
        wasserstein=wasserstein(predicted, true),
        mean_frequency=frequency,
        mean_frequency_relative=frequency / true.mean_frequency,
        heat_capacity=apart(lambda s: heat_capacity(s, ROOM_TEMPERATURE)),
        entropy=apart(lambda s: entropy(s, ROOM_TEMPERATURE)),
        zero_point_energy=apart(zero_point_energy),
    )


def summary(predicted: Spectrum, true: Spectrum) -> dict[str, float]:
    """Every number of ``debye evaluate``, units in the names; means over the rows.

    Raises:
        InputError: The frequencies of the two differ.
    """
    e = spectrum_errors(predicted, true)
    quartiles = torch.quantile(e.mse, e.mse.new_tensor([0.25, 0.5, 0.75, 1.0])).tolist()
    return {
        "mse_max1": e.mse.mean().item(),
        "mae_max1": e.mae.mean().item(),
        **{
            f"mse_max1_{n}": v for n, v in zip(("q25", "q50", "q75", "max"), quartiles, strict=True)
        },
        "mse_true_sum": e.mse_true_sum.mean().item(),
        "mae_true_sum": e.mae_true_sum.mean().item(),
        **{f"r2_{name}": r_squared(predicted, true, name).item() for name in R_SQUARED},
        "wasserstein_cm-1": e.wasserstein.mean().item(),
        "wasserstein_median_cm-1": e.wasserstein.median().item(),
        "mean_frequency_cm-1_mae": e.mean_frequency.mean().item(),
        "mean_frequency_within_10_percent": (e.mean_frequency_relative < 0.1)
        .double()
        .mean()
        .item(),
        **{
            f"{QUANTITIES[name].column(temperature=ROOM_TEMPERATURE)}_mae": getattr(e, name)
            .mean()
            .item()
            for name in ("heat_capacity", "entropy", "zero_point_energy")
        },
    }


def mean_baseline(train: Collection, crystals: Sequence[Crystal]) -> Spectrum:
    """The mean training spectrum for every crystal.

    The mean of spectra of peak 1 has a lower peak, and the max-1 view scales it up again, which
    costs it: left as it stands it would score a third less in squared error.
    """
    mean = train.spectra.density.mean(0)
    return Spectrum(train.spectra.frequency, mean.expand(len(crystals), -1), normalisation="max")


def nearest_composition_baseline(train: Collection, crystals: Sequence[Crystal]) -> Spectrum:
    """The spectrum of the training crystal nearest in composition, Σ_Z |x_Z − x'_Z|."""
    known = np.stack([composition_vector(c.composition) for c in train.crystals])
    asked = np.stack([composition_vector(c.composition) for c in crystals])
    nearest = [int(np.abs(known - x).sum(-1).argmin()) for x in asked]
    return Spectrum(train.spectra.frequency, train.spectra.density[nearest], normalisation="max")


BASELINES = {
    "training mean": mean_baseline,
    "nearest composition": nearest_composition_baseline,
}
"""The two cheapest predictors, by name."""
