"""The published recipe: from a raw density of states to the 51 points of the labels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from debye.crystals.data.collection import FREQUENCY
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.lattice.broadening import DEGREE, WINDOW
from debye.errors import Refusal


def published_recipe(frequency: Tensor | ArrayLike, density: Tensor | ArrayLike) -> Tensor:
    """A raw density of states in the published view: 51 points, 0 to 1000 cm⁻¹, maximum 1.

    In each window of 101 points ω_k, 1 cm⁻¹ apart, the cubic p with the least Σ_k (p(ω_k) - g_k)²
    gives the smoothed s(ω) = p(ω), ω in the middle: a Savitzky–Golay filter. Then

        y_i = max(s(20 i cm⁻¹), 0) / max_j s(20 j cm⁻¹),    i = 0 … 50.

    States at ω < 0 (imaginary modes) are cut off before smoothing, as the published raw data begin
    at 0; there the first window's cubic serves for all its points. The filter sees 50 points beyond
    1000 cm⁻¹; above the axis given, the density is zero.

    The authors state filter, window and degree in github.com/ninarina12/phononDoS_tutorial/issues/1
    for the data of Chen et al., Adv. Sci. 8, 2004214 (2021).

    Args:
        frequency: Points about 1 cm⁻¹ apart, increasing, cm⁻¹, (F,).
        density: Density there in any normalisation, (F,).

    Returns:
        y, (51,), float64.

    Raises:
        Refusal: They are no spectrum, or it is empty between 0 and 1000 cm⁻¹.

    Example:
        >>> omega = torch.arange(0.0, 600.0)
        >>> view = published_recipe(omega, torch.exp(-(((omega - 300) / 80) ** 2)))
        >>> view.argmax().item(), view[14].item()  # at 280 cm-1, unsmoothed 0.939
        (15, 0.940...)
    """
    from scipy.signal import savgol_filter  # type: ignore[import-untyped,unused-ignore]

    raw = Spectrum(frequency, density, normalisation="max")
    # A window beyond the last point wanted, so that the filter's own end stays out of sight.
    axis = np.arange(FREQUENCY[-1] + WINDOW)
    points = np.interp(
        axis, raw.frequency.detach().cpu(), raw.density.detach().cpu(), left=0.0, right=0.0
    )
    smooth = savgol_filter(points, WINDOW, DEGREE)
    view = np.interp(FREQUENCY, axis, smooth).clip(min=0.0)
    if not view.max() > 0:
        low, high = raw.frequency[0].item(), raw.frequency[-1].item()
        raise Refusal(
            "the spectrum has no published view",
            why=f"it holds no states between 0 and 1000 cm-1 (its axis: {low:g} to {high:g})",
            fix="check its unit; the recipe takes cm-1",
        )
    return torch.from_numpy(view / view.max())
