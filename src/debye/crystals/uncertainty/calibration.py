"""How far off a density may be at each frequency: the scale of the band around a spectrum.

    s(ω) = c₀ gap + c₁ σ |∂ĝ/∂ω| + (σ/ω̄) (c₂ ⟨ĝ⟩₅ + c₃ ⟨ĝ⟩₁₃ + c₄ ⟨ĝ⟩₃₁)

How far the head outputs lie apart; what a shift by the expected error σ would do; and the level of
the density in windows of so many points of 20 cm⁻¹, because a peak that is missed must come from
somewhere near. Each term scales with the density, so a band does as well.

Calibration: what a model's errors on rows it had not seen say of its next prediction.

It is fitted once, travels in the model's card as plain JSON, and belongs to that model alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from debye.crystals.data.labels import Collection
from debye.crystals.dos.distances import wasserstein
from debye.crystals.dos.quantities import QUANTITIES, WITH_INTERVALS, OnGrid
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.uncertainty.applicability import TrainingSet
from debye.crystals.uncertainty.conformal import LEAST_ROWS, conformal_quantiles, row_of
from debye.crystals.uncertainty.features import ExpectedError, HeadOutputs, UncertaintyFeatures
from debye.crystals.uncertainty.modes import FoundModes, ModesCalibration
from debye.errors import DebyeError, InputError

NEAR, WINDOWS = 60.0, (100.0, 260.0, 620.0)
"""Widths of windows, cm⁻¹: 3, and 5, 13 and 31 points of the published grid."""
CARRYING = 5e-3
"""Fraction of the peak above which a density counts as present."""


def band_terms(features: UncertaintyFeatures, error: Tensor) -> Tensor:
    """The terms of the scale, (B, F, 5), in states per cm⁻¹ and atom.

    Args:
        features: Of B predictions.
        error: (B,) expected errors, cm⁻¹.
    """
    frequency, density = features.spectra
    axis = torch.tensor(frequency, dtype=torch.float64)
    relative = (error / features.spectra.value("mean_frequency"))[..., None]
    slope = torch.gradient(density, spacing=(axis,), dim=-1)[0]
    terms = [_smoothed(features.gap, axis, NEAR), error[..., None] * slope.abs()]
    levels = [relative * _smoothed(density, axis, width) for width in WINDOWS]
    return torch.stack([*terms, *levels], dim=-1)


def fit_band(features: UncertaintyFeatures, error: Tensor, truth: Tensor) -> Tensor:
    """The coefficients c ≥ 0 by least squares on |truth - prediction|, each row over its peak.

    Args:
        features: Of n predictions.
        error: (n,) expected errors, cm⁻¹.
        truth: (n, F) densities per atom.
    """
    from scipy.optimize import nnls  # type: ignore[import-untyped,unused-ignore]

    density = features.spectra.density
    peak = density.amax(-1)[:, None]
    terms = band_terms(features, error) / peak[..., None]
    found, _ = nnls(terms.flatten(0, 1).numpy(), ((truth - density).abs() / peak).flatten().numpy())
    return torch.from_numpy(found)


def carrying(density: Tensor, truth: Tensor) -> Tensor:
    """Weights (…, F), adding up to 1, of the frequencies up to the last with states in either.

    Beyond it there is nothing to predict, and to count it would flatter the coverage.
    """
    there = torch.zeros_like(density, dtype=torch.bool)
    for g in (density, truth):
        there |= g > CARRYING * g.amax(-1, keepdim=True)
    upto = there.flip(-1).cummax(-1).values.flip(-1).to(density)
    return upto / upto.sum(-1, keepdim=True)


def _smoothed(rows: Tensor, axis: Tensor, width: float) -> Tensor:
    """Mean of (…, F) over a window, cm⁻¹, which is cut at the ends of the even axis."""
    half = round(width / float(axis[1] - axis[0])) // 2
    pooled = torch.nn.functional.avg_pool1d(
        rows.reshape(-1, 1, len(axis)),
        2 * half + 1,
        stride=1,
        padding=half,
        count_include_pad=False,
    )
    return pooled.view_as(rows)


VERSION = 1
"""Of the calibration's format in a card."""
TEMPERATURES = (20.0, 30.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 400.0, 600.0, 1000.0, 2000.0)
"""K; where quantiles are tabulated. Between them they are interpolated, beyond them kept."""
FOLDS = 10
"""Parts of the rows; each is scored by scales that were fitted to the others."""
BAND = "density"
"""Name of the scores of the density at each frequency, beside `WITH_INTERVALS`."""

Quantiles = dict[str, Tensor]
"""(levels,), or (levels, T) where a quantity depends on the temperature, by name."""


@dataclass(frozen=True, eq=False)
class Scales:
    """How large an error to expect of each crystal: the part of a calibration that is a model.

    Args:
        error: Of the spectrum.
        band: Coefficients of `band_terms`.
    """

    error: ExpectedError
    band: Tensor

    @classmethod
    def fit(cls, features: UncertaintyFeatures, truth: OnGrid) -> Scales:
        """Fit the expected error first, and the band with it.

        Raises:
            InputError: The densities are no spectra.
        """
        error = ExpectedError.fit(features.values, distance(features.spectra, truth))
        return cls(error, fit_band(features, error(features.values), truth.density))

    def scores(self, features: UncertaintyFeatures, truth: OnGrid) -> dict[str, Tensor]:
        """|truth - prediction| / scale: (n,), (n, T), and for the band (n, F)."""
        error, found = self.error(features.values), {}
        for name in WITH_INTERVALS:
            T = TEMPERATURES if QUANTITIES[name].thermal else ()
            off = (truth.value(name, T) - features.spectra.value(name, T)).abs()
            found[name] = _over(off, features.spectra.scale(name, error, T))
        off = (truth.density - features.spectra.density).abs()
        return {**found, BAND: _over(off, band_terms(features, error) @ self.band)}


@dataclass(frozen=True, eq=False)
class Calibration:
    """Expected errors and conformal quantiles of one model.

    Args:
        frequency: The model's grid, cm⁻¹.
        kinds: Its heads, each once.
        rows: Rows it was fitted on.
        scales: What to expect of each crystal.
        quantiles: By how much to multiply it, for each of `conformal.LEVELS`.
        typical: 101 quantiles of the rows' expected errors, cm⁻¹.
        training: What the model was trained on.
        modes: Of single frequencies; None where no force constants were taught.
    """

    frequency: tuple[float, ...]
    kinds: tuple[str, ...]
    rows: int
    scales: Scales
    quantiles: Quantiles
    typical: Tensor
    training: TrainingSet
    modes: ModesCalibration | None = None

    @classmethod
    def fit(
        cls,
        features: UncertaintyFeatures,
        truth: OnGrid,
        training: TrainingSet,
        kinds: Sequence[str],
    ) -> Calibration:
        """Fit on rows that the model had not seen.

        The scores are those of scales fitted to other rows, nine tenths of them at a time; the
        scales that are kept are fitted to all.

        Args:
            features: Of n rows.
            truth: Their labels, (n, F) per atom.
            training: What the model was trained on.
            kinds: Its heads.

        Raises:
            InputError: There are too few rows.
        """
        fold = torch.arange(len(truth.density)) % FOLDS
        scored: list[dict[str, Tensor]] = []
        for k in range(FOLDS):
            fitted = Scales.fit(features.take(fold != k), _take(truth, fold != k))
            scored.append(fitted.scores(features.take(fold == k), _take(truth, fold == k)))
        scores = {name: torch.cat([s[name] for s in scored]) for name in scored[0]}
        order = torch.cat([(fold == k).nonzero()[:, 0] for k in range(FOLDS)])
        weights = carrying(features.spectra.density, truth.density)[order]
        scales = Scales.fit(features, truth)
        return cls(
            features.spectra.frequency,
            tuple(dict.fromkeys(kinds)),
            len(fold),
            scales,
            _quantiles(scores, weights),
            torch.quantile(
                scales.error(features.values), torch.linspace(0, 1, 101, dtype=torch.float64)
            ),
            training,
        )

    def quantile(self, name: str, level: float, temperatures: Sequence[float] = ()) -> Tensor:
        """By how much to multiply a scale, () or (T,).

        Raises:
            InputError: The level is not tabulated.
        """
        row = self.quantiles[name][row_of(level)]
        if not temperatures:
            return row
        after, fraction = _between(tuple(temperatures))
        return row[after] + fraction * (row[after + 1] - row[after])

    def rank(self, error: float) -> float:
        """Fraction of the calibration rows of which a smaller error is expected."""
        return float((self.typical < error).double().mean())

    def size(self, error: Tensor) -> Tensor:
        """Expected errors over that of the median row, (...)."""
        return error / self.typical[len(self.typical) // 2]

    def to_card(self, model: str) -> dict[str, Any]:
        """Plain values for a model's card.

        Args:
            model: The model's fingerprint, `debye.core.checkpoint.fingerprint`.
        """
        return {
            "version": VERSION,
            "model": model,
            "rows": self.rows,
            "frequency": list(self.frequency),
            "kinds": list(self.kinds),
            "expected_error": _short(self.scales.error.to_card()),
            "band": _short(self.scales.band.tolist()),
            "typical_error": _short(self.typical.tolist()),
            "quantiles": {n: _short(q.tolist()) for n, q in self.quantiles.items()},
            "training": self.training.to_card(),
            **({"modes": self.modes.to_card()} if self.modes else {}),
        }

    @classmethod
    def from_card(cls, card: Mapping[str, Any], model: str) -> Calibration:
        """The inverse of `to_card`.

        Raises:
            InputError: It belongs to another model, is of a newer format, or is damaged.
        """
        if card.get("version") != VERSION:
            raise _useless(f"its format is {card.get('version')!r}, and this debye knows {VERSION}")
        if card.get("model") != model:
            raise _useless("it was made for another model, whose errors are not this one's")
        try:
            return cls(
                tuple(card["frequency"]),
                tuple(card["kinds"]),
                card["rows"],
                Scales(ExpectedError.from_card(card["expected_error"]), _tensor(card["band"])),
                {name: _tensor(rows) for name, rows in card["quantiles"].items()},
                _tensor(card["typical_error"]),
                TrainingSet.from_card(card["training"]),
                ModesCalibration.from_card(card["modes"]) if "modes" in card else None,
            )
        except DebyeError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _useless(f"it is damaged ({error!r})") from error


def calibrate(
    head_outputs: HeadOutputs,
    rows: Collection,
    *,
    cutoff: float,
    training: Collection | None = None,
    modes: Mapping[int, FoundModes] | None = None,
) -> Calibration:
    """Fit a calibration to what a model said of labelled rows before it had seen them.

    Args:
        head_outputs: Of the n rows, by networks that were not trained on them.
        rows: The n rows, with their labels.
        cutoff: The model's cutoff, Å.
        training: What the model was trained on, if it is not these rows themselves: then the
            head outputs come from a cross-validation, and each row is compared with the others.
        modes: Of the rows whose force constants are known, by their number, their frequencies.

    Raises:
        InputError: There are too few rows, or the head outputs are not theirs.
    """
    found = head_outputs.densities
    shape = (len(rows), len(head_outputs.kinds), len(rows.spectra.frequency))
    if tuple(found.shape) != shape or not bool(found.isfinite().all()):
        raise InputError(
            "cannot calibrate with these head outputs",
            why=f"their shape is {tuple(found.shape)} and not {shape}, or some are not finite",
            fix="give, for each row, one spectrum for each head",
        )
    frequency = tuple(rows.spectra.frequency.tolist())
    known = TrainingSet.of((training or rows).crystals, cutoff)
    applicabilities = [
        known.applicability(crystal, None if training else row)
        for row, crystal in enumerate(rows.crystals)
    ]
    features = UncertaintyFeatures.of(head_outputs, frequency, applicabilities)
    fitted = Calibration.fit(features, truth_of(rows.spectra), known, head_outputs.kinds)
    if modes is None or len(modes) < LEAST_ROWS:
        return fitted
    error = fitted.scales.error(features.values[list(modes)])
    return replace(fitted, modes=ModesCalibration.fit([*modes.values()], error))


def truth_of(labels: Spectrum) -> OnGrid:
    """Labels per atom, whatever view they are kept in."""
    spectra = Spectrum(labels.frequency.double(), labels.density.double(), 1.0, "1").to("3")
    return OnGrid(tuple(labels.frequency.tolist()), spectra.density)


def distance(a: OnGrid, b: OnGrid) -> Tensor:
    """Wasserstein distance of spectra, cm⁻¹, (n,).

    Raises:
        InputError: The densities are no spectra.
    """
    return wasserstein(*(Spectrum(s.frequency, s.density) for s in (a, b)))


@lru_cache(maxsize=64)
def _between(temperatures: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Where temperatures stand in `TEMPERATURES`: after which, and what part of the way on.

    Linear in ln T, in which the table's own steps are nearly even.
    """
    at, table = (_tensor(T).clamp(min=1.0).log() for T in (temperatures, TEMPERATURES))
    after = (torch.searchsorted(table, at) - 1).clamp(0, len(table) - 2)
    return after, ((at - table[after]) / (table[after + 1] - table[after])).clamp(0, 1)


def _quantiles(scores: dict[str, Tensor], weights: Tensor) -> Quantiles:
    def of(name: str, values: Tensor) -> Tensor:
        if name == BAND:
            return conformal_quantiles(values, weights)
        if values.dim() == 1:
            return conformal_quantiles(values)
        return torch.stack([conformal_quantiles(column) for column in values.T], dim=-1)

    return {name: of(name, values) for name, values in scores.items()}


def _over(off: Tensor, scale: Tensor) -> Tensor:
    """Scores; where nothing is expected and nothing found, none."""
    return off / scale.clamp(min=1e-12)


def _take(spectra: OnGrid, rows: Tensor) -> OnGrid:
    return OnGrid(spectra.frequency, spectra.density[rows])


def _tensor(values: Sequence[Any]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _short(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Numbers of five digits: a card is read by people too."""
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_short(item) for item in value]
    return float(f"{value:.5g}")


def _useless(why: str) -> InputError:
    return InputError(
        "will not use the calibration in the model's card",
        why=why,
        fix="calibrate this model with `debye calibrate`",
    )
