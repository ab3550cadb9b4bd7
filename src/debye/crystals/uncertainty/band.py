"""How far off a density may be at each frequency: the scale of the band around a spectrum.

    s(ω) = c₀ gap + c₁ σ |∂ĝ/∂ω| + (σ/ω̄) (c₂ ⟨ĝ⟩₅ + c₃ ⟨ĝ⟩₁₃ + c₄ ⟨ĝ⟩₃₁)

How far the readings lie apart; what a shift by the expected error σ would do; and the level of
the density in windows of so many points, because a peak that is missed must come from somewhere
near. Each term scales with the density, so a band does as well.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from debye.crystals.uncertainty.evidence import Evidence

WINDOWS = (5, 13, 31)
"""Points; 80, 240 and 600 cm⁻¹ wide on the published grid."""
CARRYING = 5e-3
"""Share of the peak above which a density counts as present."""


def band_terms(evidence: Evidence, error: Tensor) -> Tensor:
    """The terms of the scale, (B, F, 5), in states per cm⁻¹ and atom.

    Args:
        evidence: Of B predictions.
        error: (B,) expected errors, cm⁻¹.
    """
    frequency, density = evidence.spectra
    near, slope, *levels = _operators(frequency)
    relative = (error / evidence.spectra.value("mean_frequency"))[..., None]
    terms = [evidence.gap @ near, error[..., None] * (density @ slope).abs()]
    return torch.stack([*terms, *(relative * (density @ level) for level in levels)], dim=-1)


def fit_band(evidence: Evidence, error: Tensor, truth: Tensor) -> Tensor:
    """The coefficients c ≥ 0 by least squares on |truth - prediction|, each row over its peak.

    Args:
        evidence: Of n predictions.
        error: (n,) expected errors, cm⁻¹.
        truth: (n, F) densities per atom.
    """
    from scipy.optimize import nnls  # type: ignore[import-untyped,unused-ignore]

    density = evidence.spectra.density
    peak = density.amax(-1)[:, None]
    terms = band_terms(evidence, error) / peak[..., None]
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


@lru_cache(maxsize=8)
def _operators(frequency: tuple[float, ...]) -> tuple[Tensor, ...]:
    """Matrices that a density is multiplied by: mean of 3 points, slope, and means of `WINDOWS`."""
    axis = torch.tensor(frequency, dtype=torch.float64)
    hats = torch.eye(len(axis), dtype=torch.float64)
    slope = torch.gradient(hats, spacing=(axis,), dim=-1)[0]
    return _smoothed(hats, 3), slope, *(_smoothed(hats, width) for width in WINDOWS)


def _smoothed(rows: Tensor, width: int) -> Tensor:
    """Mean over a window of points, which is cut at the ends of the axis."""
    pool = torch.nn.functional.avg_pool1d
    return pool(rows[:, None], width, stride=1, padding=width // 2, count_include_pad=False)[:, 0]
