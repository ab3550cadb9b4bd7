"""Rank candidates by the likelihood of a measured spectrum under each one's prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from debye.crystals.dos_io.measured import Measured
from debye.crystals.inversion.candidates import Candidates
from debye.crystals.inversion.instrument import Resolution, response
from debye.crystals.inversion.likelihood import Fits, Observation, fit
from debye.crystals.inversion.model_error import SHIPPED_ERROR, ModelError
from debye.errors import Refusal

USUAL_MISFIT = 3.7
"""Misfit that 95 % of the true structures of the validation set stay below (see benchmarks)."""
WIDTHS = (0.0, 10.0, 20.0, 40.0)
"""Standard deviations that are tried where the resolution is to be found, cm⁻¹."""


@dataclass(frozen=True)
class Ranking:
    """Candidates in order, the likeliest first.

    Args:
        order: Row of each in ``candidates``, (C,).
        probability: That it is the one, if one of them is, (C,) in this order.
        fits: Scale, background and curve of each, in this order.
        resolution: With which each was compared, in this order.
        candidates: All of them, in the order they were given.
        observed: What they were compared with.
    """

    order: tuple[int, ...]
    probability: Tensor
    fits: Fits
    resolution: tuple[Resolution, ...]
    candidates: Candidates
    observed: Observation

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know before believing the first."""
        if float(self.fits.misfit[0]) > USUAL_MISFIT:
            return (
                "even the best candidate fits worse than true structures usually do "
                f"(misfit {float(self.fits.misfit[0]):.2g}, of which 95 % stay below "
                f"{USUAL_MISFIT:g}): the right one may be missing",
            )
        return ()


def rank(
    measured: Measured,
    candidates: Candidates,
    *,
    resolutions: Sequence[Resolution] = (Resolution(),),
    background: str = "linear",
    error: ModelError | None = SHIPPED_ERROR,
    window: tuple[float, float] | None = None,
) -> Ranking:
    """Rank candidates: P(c | y) ∝ max_σ p(y | c, σ), scale and background fitted to each.

    Every candidate is as likely as any other before the measurement.

    Args:
        measured: The spectrum.
        candidates: With their predicted densities.
        resolutions: The instrument's, or several of which the best is taken for each candidate.
        background: ``none``, ``constant`` or ``linear``.
        error: Of the model; None if its predictions are exact.
        window: Part of the axis to compare, cm⁻¹.

    Raises:
        Refusal: Nothing to compare, see `Observation.of`, or no candidate fits at all.
    """
    observed = Observation.of(measured, candidates.frequency, window)
    tried = [
        fit(
            observed,
            candidates.density @ response(candidates.frequency, observed.frequency, width).T,
            background=background,
            error=error,
            size=candidates.size,
        )
        for width in resolutions
    ]
    likelihoods = torch.stack([fits.log_likelihood for fits in tried])
    best, which = likelihoods.max(0)
    if not bool(best.isfinite().any()):
        why = "each would have to be turned upside down to fit"
        fix = "allow less background, or check that the measurement is a density of states"
        raise Refusal("no candidate explains the spectrum", why=why, fix=fix)
    order = best.argsort(descending=True, stable=True)
    columns = [torch.stack([vars(f)[name] for f in tried]) for name in vars(tried[0])]
    chosen = Fits(*(column[which[order], order] for column in columns))
    return Ranking(
        tuple(order.tolist()),
        torch.softmax(chosen.log_likelihood, 0),
        chosen,
        tuple(resolutions[i] for i in which[order].tolist()),
        candidates,
        observed,
    )
