"""How far two spectra are apart, in the conventions of the field.

All take two `Spectrum` of one axis and of shapes that broadcast, and give one number per row,
differentiable. None depends on the normalisation in which the spectra come.
"""

from __future__ import annotations

from torch import Tensor

from debye.crystals.dos.checks import check_same_axis
from debye.crystals.dos.spectrum import Spectrum
from debye.errors import InputError

VIEWS = {
    "max": "each spectrum divided by its own peak",
    "sum": "the prediction scaled to the truth's sum, in the view where the truth's peak is 1",
}
"""The two published views in which spectra are compared; they differ by a fifth and more."""


def published_view(predicted: Spectrum, true: Spectrum, view: str = "max") -> tuple[Tensor, Tensor]:
    """Both spectra as the published errors compare them.

    ``max`` (E(3)NN; MaxNorm of Mat2Spec): g / max g, each by itself.
    ``sum`` (SumNorm of Mat2Spec, Xtal2DoS): the prediction gets the true sum over bins, so
    its scale is given away; the truth has peak 1.

    Returns:
        Predicted and true numbers, shape (..., F) each.

    Raises:
        InputError: Another view, or axes that differ.

    Example:
        >>> truth = Spectrum([0, 1, 2], [0.0, 2.0, 2.0], normalisation="max")
        >>> guess = Spectrum([0, 1, 2], [0.0, 1.0, 0.0], normalisation="max")
        >>> [numbers.tolist() for numbers in published_view(guess, truth, "sum")]
        [[0.0, 2.0, 0.0], [0.0, 1.0, 1.0]]
    """
    check_same_axis(predicted.frequency, true.frequency)
    truth, guess = true.to("max").density, predicted.to("max").density
    if view == "sum":
        guess = guess * (truth.sum(-1) / guess.sum(-1))[..., None]
    elif view != "max":
        why = "; ".join(f"{name!r}: {meaning}" for name, meaning in VIEWS.items())
        raise InputError(f"no view {view!r}", why=f"the views are {why}", fix="choose one of them")
    return guess, truth


def mse(predicted: Spectrum, true: Spectrum, view: str = "max") -> Tensor:
    """Mean squared difference over the bins, in a `published_view`, shape (...).

    Raises:
        InputError: The axes differ, or the view is unknown.

    Example:
        >>> one = Spectrum([0, 1, 2, 3], [0.0, 1.0, 0.0, 0.0], normalisation="max")
        >>> two = Spectrum([0, 1, 2, 3], [0.0, 0.0, 1.0, 0.0], normalisation="max")
        >>> mse(one, two).item(), mae(one, two).item()
        (0.5, 0.5)
    """
    guess, truth = published_view(predicted, true, view)
    return (guess - truth).square().mean(-1)


def mae(predicted: Spectrum, true: Spectrum, view: str = "max") -> Tensor:
    """Mean absolute difference over the bins, in a `published_view`, shape (...).

    Raises:
        InputError: The axes differ, or the view is unknown.

    Example:
        >>> one = Spectrum([0, 1], [1.0, 0.5], normalisation="max")
        >>> mae(one, Spectrum([0, 1], [1.0, 1.0], normalisation="max")).item()
        0.25
    """
    guess, truth = published_view(predicted, true, view)
    return (guess - truth).abs().mean(-1)


def wasserstein(predicted: Spectrum, true: Spectrum) -> Tensor:
    """How far the states of one must move to become the other, ∫ |P(ω) - Q(ω)| dω.

    The 1-Wasserstein distance of the unit-area spectra, their states sitting on the points
    (trapezoid weight times density); P and Q are the cumulative distributions.

    Returns:
        cm⁻¹, shape (...).

    Raises:
        InputError: The axes differ.

    Example:
        >>> one = Spectrum([0, 20, 40, 60], [0.0, 1.0, 0.0, 0.0], normalisation="max")
        >>> two = Spectrum([0, 20, 40, 60], [0.0, 0.0, 1.0, 0.0], normalisation="max")
        >>> wasserstein(one, two).item()
        20.0
    """
    check_same_axis(predicted.frequency, true.frequency)
    gap = (_on_points(predicted) - _on_points(true)).cumsum(-1)[..., :-1]
    return (gap.abs() * true.frequency.diff()).sum(-1)


def r_squared(
    predicted: Spectrum, true: Spectrum, definition: str = "flattened", view: str = "max"
) -> Tensor:
    """Share of the variance explained, 1 - Σ (g - t)² / Σ (t - mean)², by a named mean.

    Args:
        predicted: A batch, shape (B, F).
        true: Likewise.
        definition: ``flattened``: one mean over bins and rows; ``per-sample``: each row's own
            mean and ratio, then the average over rows; ``per-bin``: each bin's mean, summed
            over bins before the ratio (variance-weighted).
        view: In which to compare, see `published_view`.

    Returns:
        One number, shape ().

    Raises:
        InputError: Another definition or view, axes that differ.

    Example:
        >>> true = Spectrum([0, 1, 2], [[0.0, 1.0, 0.5], [1.0, 0.0, 0.5]], normalisation="max")
        >>> r_squared(true, true, "per-sample").item()
        1.0
    """
    guess, truth = published_view(predicted, true, view)
    error = (guess - truth).square()
    if definition == "flattened":
        return 1 - error.sum() / (truth - truth.mean()).square().sum()
    if definition == "per-sample":
        spread = (truth - truth.mean(-1, keepdim=True)).square()
        return (1 - error.sum(-1) / spread.sum(-1)).mean()
    if definition == "per-bin":
        return 1 - error.sum() / (truth - truth.mean(0)).square().sum()
    why = "the definitions are 'flattened', 'per-sample' and 'per-bin'"
    raise InputError(f"no R² {definition!r}", why=why, fix="choose one of them")


def _on_points(spectrum: Spectrum) -> Tensor:
    """States on each point, summing to one."""
    states = spectrum.density * spectrum.weights
    return states / states.sum(-1, keepdim=True)
