"""What the studio tells a page of frames: a stack, its frames, and how they correlate."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from debye import DebyeError, InputError, correlate
from debye.speckle import Correlation, Fit, Stack
from debye.speckle.data.analysis import Analysis
from debye.speckle.data.correlate import opened, runs_of
from debye.speckle.xpcs.models import MODELS

Progress = Callable[[int, int], None]
MOST_PIXELS = 512
"""Pixels along the longer side of what is shown; of larger frames blocks are averaged."""
MOST_BYTES = 2**25
"""Of the frames of one answer."""
MOST_ROWS = 512
"""Of a two-time map as it is shown."""
CURVE = 120
"""Points of the curve of a fit."""


def stack_at(path: str) -> Stack:
    """The stack of a file's first run.

    Args:
        path: What ``debye correlate`` reads.

    Raises:
        InputError: It cannot be read.
    """
    return opened(runs_of(path)[0], Analysis(), None)


def reduction(stack: Stack) -> int:
    """How many pixels along each side are averaged to one that is shown."""
    return -(-max(stack.shape) // MOST_PIXELS)


def described(stack: Stack) -> dict[str, Any]:
    """What is known of a stack before its frames are read."""
    geometry, factor = stack.geometry, reduction(stack)
    return {
        "name": Path(stack.source.name).name,
        "frames": stack.source.shape[0],
        "shape": list(stack.shape),
        "factor": factor,
        "shown": [-(-side // factor) for side in stack.shape],
        "frame_time": stack.frame_time,
        "time_unit": stack.time_unit,
        "interval": stack.interval,
        "centre": None if geometry is None else [geometry.x, geometry.y],
        "mask": packed(reduced(stack.mask.numpy().astype(np.float32), factor) > 0.5),
        "notes": list(stack.notes),
    }


def frames_of(stack: Stack, start: int, count: int) -> bytes:
    """Frames as they are shown, float32 little-endian, one after another.

    Args:
        stack: Which.
        start: The first, from 0, as recorded.
        count: How many; fewer where they would be too much, or at the end.

    Raises:
        InputError: The stack has no such frame.
    """
    total = stack.source.shape[0]
    if not 0 <= start < total:
        why = f"it holds {total}, counted from 0"
        raise InputError(f"there is no frame {start}", why=why, fix="ask for one of them")
    factor = reduction(stack)
    size = 4 * int(np.prod([-(-side // factor) for side in stack.shape]))
    count = max(1, min(count, total - start, MOST_BYTES // size))
    with stack.source.open() as rows_of:
        frames = rows_of(range(start, start + count))
    return reduced(np.asarray(frames, np.float32), factor).astype("<f4").tobytes()


def reduced(frames: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """(…, qy, qx) means over blocks of pixels, those at the edges over what is there.

    Example:
        >>> reduced(np.arange(9, dtype=np.float32).reshape(3, 3), 2).tolist()
        [[2.0, 3.5], [6.5, 8.0]]
    """
    if factor == 1:
        return frames
    tall, wide = frames.shape[-2:]
    rows, columns = np.arange(0, tall, factor), np.arange(0, wide, factor)
    total = np.add.reduceat(np.add.reduceat(frames, rows, axis=-2), columns, axis=-1)
    heights = np.diff(np.append(rows, tall)).astype(np.float32)
    widths = np.diff(np.append(columns, wide)).astype(np.float32)
    found: NDArray[np.float32] = total / (heights[:, None] * widths)
    return found


def found_in(path: str, how: Mapping[str, Any], progress: Progress) -> Correlation:
    """The correlation of a stack's first run.

    Args:
        path: Its file.
        how: What `debye.correlate` takes.
        progress: Is told how many frames are done.

    Raises:
        InputError: It cannot be correlated so.
    """
    return correlate(runs_of(path)[0], **how, progress=progress)


def correlation(found: Correlation, model: str, factor: int) -> dict[str, Any]:
    """A correlation as it is shown, with the fit of a model.

    Args:
        found: The correlation.
        model: Of g2.
        factor: By which frames are reduced.
    """
    labels = found.qmap.dynamic.labels.numpy()[::factor, ::factor]
    return {
        **cleaned(found.as_json()),
        "numbers": found.numbers.tolist(),
        "intensity": found.intensity.tolist(),
        "notes": list(found.notes),
        "labels": packed(labels.astype("<u2")),
        "mask": packed(reduced(found.qmap.mask.numpy().astype(np.float32), factor) > 0.5),
        "fit": fitted(found, model),
        "two_time": None if found.two_time is None else two_time(found),
    }


def fitted(found: Correlation, model: str) -> dict[str, Any]:
    """The fit of a model with its curves, or why there is none.

    Args:
        found: The correlation.
        model: Of g2.
    """
    try:
        fit: Fit = found.fit(model)
    except DebyeError as error:
        return {"model": model, "failed": str(error)}
    fine = np.geomspace(float(found.time[0]), float(found.time[-1]), CURVE)
    curves = [MODELS[model].value(fine, *values) for values in fit.values.numpy()]
    return cleaned(fit.as_json() | {"time": fine.tolist(), "curves": [c.tolist() for c in curves]})


def two_time(found: Correlation) -> dict[str, Any]:
    """The first map, its rows averaged to as many as are shown."""
    maps = found.two_time.maps[0].numpy()
    step = -(-len(maps) // MOST_ROWS)
    lit = np.isfinite(maps)
    np.fill_diagonal(lit, val=False)  # of a frame with itself it says the contrast, not the motion
    total = reduced(np.where(lit, maps, 0).astype(np.float32), step)
    weight = reduced(lit.astype(np.float32), step)
    shown = np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)
    return {
        "bin": int(found.two_time.bins[0]),
        "rows": len(shown),
        "step": step,
        "first": int(found.numbers[0]),
        "map": packed(shown.astype("<f4")),
    }


def packed(values: NDArray[Any]) -> str:
    """An array as text: its bytes in base64."""
    return b64encode(np.ascontiguousarray(values).tobytes()).decode()


def cleaned(value: Any) -> Any:  # noqa: ANN401 - JSON
    """JSON in which what is not finite is null."""
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, Mapping):
        return {k: cleaned(v) for k, v in value.items()}
    return [cleaned(v) for v in value] if isinstance(value, list | tuple) else value
