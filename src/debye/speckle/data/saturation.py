"""At which counts a pixel is full: by bit depth, by type, or by what the numbers show."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from debye.speckle.data.survey import Survey, chunks

BITS = (8, 10, 12, 14, 15, 16, 20, 24, 31, 32)
"""Bit depths whose largest number may stand for a full pixel, whatever the type it is kept in."""


def full_at(bits: float) -> float:
    """The counts at which a pixel of so many bits is full: 2ⁿ − 1, of 16 bits and more 2ⁿ − 2.

    EIGER writes 2ⁿ − 1 for gaps and full pixels, and 2ⁿ − 2 for pixels known to be defective.

    Example:
        >>> full_at(12), full_at(16), full_at(32)
        (4095.0, 65534.0, 4294967294.0)
    """
    return 2.0**bits - (2 if bits >= 16 else 1)


def full_of(dtype: np.dtype | torch.dtype) -> float:
    """The counts at which a pixel kept in a type of whole numbers is full; infinite for others.

    Example:
        >>> full_of(np.dtype("uint8")), full_of(torch.int16), full_of(np.dtype("f4"))
        (255.0, 32767.0, inf)
    """
    if isinstance(dtype, torch.dtype):
        whole = not (dtype.is_floating_point or dtype.is_complex or dtype == torch.bool)
        return full_at(math.log2(torch.iinfo(dtype).max + 1)) if whole else math.inf
    return full_at(math.log2(int(np.iinfo(dtype).max) + 1)) if dtype.kind in "ui" else math.inf


def flag_of(data: Tensor, mask: Tensor, full: float, seen: Survey) -> float:
    """The counts at which pixels stand at 2ⁿ − 1 though nothing says that they are full there.

    Infinite if there are none. A number above 2³¹ − 2 is a flag if it occurs at all; a smaller one
    where at least four values, and more than in the whole upper half, are at the very maximum; any
    other where more than three pixels in each frame are, and all others are a hundred times less.

    Example:
        >>> data = torch.arange(100.0).reshape(1, 1, 10, 10)
        >>> data[..., :2, :4] = 4294967295.0  # rounded to 2³² in single precision
        >>> from debye.speckle.data.survey import survey
        >>> every = torch.ones(10, 10) > 0
        >>> flag_of(data, every, math.inf, survey(data, every))
        4294967296.0
    """
    flags = _flags()
    found, top = math.inf, float(seen.highest.nan_to_num(posinf=torch.inf).max())
    while True:
        if not top < full:
            top = max(_largest(x, mask, min(full, found)) for x in chunks(data))
        if not 255 <= top < math.inf:
            return found
        if top not in flags or top < 2**31 - 2:
            part = 2 if top in flags else 100
            at, near = np.sum([_near(x, mask, top, part) for x in chunks(data)], axis=0)
            least = 3 if top in flags else 3 * data.shape[0] * data.shape[1]
            if at <= max(least, near) or (near and top not in flags) or 2 * at > data.numel():
                return found
        found, top = top, math.inf


def may_hold_flags(highest: Tensor) -> bool:
    """Whether the best counts of pixels leave it open that some are flags, as `flag_of` tells.

    Args:
        highest: (pixel,) the most that each counted.

    Example:
        >>> may_hold_flags(torch.tensor([3.0, 4095.0])), may_hold_flags(torch.tensor([9.0, 900.0]))
        (True, False)
    """
    top = float(highest.max())
    if not 255 <= top < math.inf:
        return False
    between = bool(((highest >= top / 100) & (highest < top)).any())
    return top in _flags() or (not between and int((highest == top).sum()) > 3)


def _flags() -> set[float]:
    """Numbers at which pixels stand that are full."""
    flags = {2.0**n - k for n in BITS for k in (1, 2) if k == 1 or n >= 16}
    return flags | {float(np.float32(n)) for n in flags}


def _largest(part: Tensor, mask: Tensor, below: float) -> float:
    """The largest finite number below another, behind open pixels."""
    usable = mask & (part < below) & torch.isfinite(part)
    return float(torch.where(usable, part, -math.inf).max())


def _near(part: Tensor, mask: Tensor, top: float, times: int) -> tuple[int, int]:
    """How many values are at the top, and how many are so many times smaller at most."""
    below = (part >= top / times) & (part < top) & mask
    return int(((part == top) & mask).sum()), int(below.sum())
