"""The geometry of a detector as pyFAI's ``.poni`` files hold it, in lines of text."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from debye.errors import InputError
from debye.speckle.xpcs.geometry import rotation

LARGEST = 2**20
"""Bytes of a ``.poni`` file at most."""
DETECTORS = {"eiger": 75e-6, "pilatus": 172e-6}
"""Pixels, m, of detectors that a file may name without saying their size."""
AS_STORED = (0, 3)
"""Orientations in which rows and columns are those of the file."""
FIX = "write it with pyFAI's calibration, or give --centre, --distance, --pixel and --energy"


def read_poni(path: str | Path) -> dict[str, Any]:
    r"""Centre, distance, pixel, wavelength and tilt of a ``.poni`` file.

    The file holds the point of normal incidence in metres from the corner of the first pixel, and
    three rotations; from these follows where the beam meets the detector. The last of several
    calibrations counts. pyFAI is not needed.

    Args:
        path: The file.

    Returns:
        Fields of `debye.speckle.data.stated.Stated`; those that the file lacks are left out.

    Raises:
        InputError: It cannot be read, is no ``.poni``, or holds a number of no use.

    Example:
        >>> import tempfile
        >>> lines = ["PixelSize1: 1e-4", "PixelSize2: 1e-4", "Distance: 5.0", "Poni1: 0.00205"]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.poni"
        ...     _ = path.write_text("\n".join([*lines, "Poni2: 0.00305", "Wavelength: 1e-10"]))
        ...     found = read_poni(path)
        >>> [round(v, 6) for v in found["centre"]], found["distance"], found["wavelength"]
        ([30.0, 20.0], 5.0, 1.0)
    """
    facts = _facts(Path(path).expanduser())
    config = _config(facts, path)
    if config.get("orientation", 3) not in AS_STORED:
        raise _unusable(path, f"its orientation {config['orientation']} turns the frames about")
    number = {k: _number(facts, k, path) for k in ("distance", "poni1", "poni2")}
    missing = [k for k, v in number.items() if v is None]
    if missing:
        raise _unusable(path, f"it holds no {', '.join(missing)}")
    tilt = tuple(_number(facts, f"rot{k}", path) or 0.0 for k in (1, 2, 3))
    wavelength = _number(facts, "wavelength", path)
    sides = _sides(facts, config, path)
    if sides is None:
        raise _unusable(path, f"it does not say how large a pixel is of {facts.get('detector')}")
    # Where the beam meets the plane of the detector: R (p − poni, L) is along the beam there.
    up, across, along = rotation((tilt[0], tilt[1], tilt[2]))[2].tolist()
    if not along > 0 or not (number["distance"] or 0) > 0:
        raise _unusable(path, "the beam does not meet the detector's front")
    direct = (number["distance"] or 0) / along
    y = ((number["poni1"] or 0) + up * direct) / sides[0] - 0.5
    x = ((number["poni2"] or 0) + across * direct) / sides[1] - 0.5
    found = {
        "centre": (x, y),
        "distance": direct,
        "pixel": sides,
        "wavelength": wavelength and 1e10 * wavelength,
        "tilt": tilt if any(tilt) else None,
    }
    return {k: v for k, v in found.items() if v}


def _facts(path: Path) -> dict[str, str]:
    """What follows each name, the last of each."""
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
    except OSError as error:
        raise InputError(
            f"cannot read {path}", why=error.strerror or str(error), fix="check the path"
        ) from error
    if len(text) > LARGEST or b"\0" in text:
        raise _unusable(path, "it is no text of some lines")
    lines = [line.partition(":") for line in text.decode(errors="replace").splitlines()]
    return {k.strip().lower(): v.strip() for k, colon, v in lines if colon and k[:1] != "#"}


def _config(facts: dict[str, str], path: str | Path) -> dict[str, Any]:
    """What the detector is said to be."""
    try:
        found = json.loads(facts.get("detector_config", "{}"))
    except (ValueError, RecursionError):
        raise _unusable(path, "its Detector_config is no JSON") from None
    return found if isinstance(found, dict) else {}


def _number(facts: dict[str, str], key: str, path: str | Path) -> float | None:
    """A number, or None where it is not stated."""
    if facts.get(key, "None") == "None":
        return None
    try:
        value = float(facts[key])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _unusable(path, f"its {key} is {facts[key]!r}")
    return value


def _sides(
    facts: dict[str, str], config: dict[str, Any], path: str | Path
) -> tuple[float, float] | None:
    """Height and width of a pixel, m."""
    stated = facts | {
        f"pixelsize{k}": str(config[f"pixel{k}"]) for k in (1, 2) if config.get(f"pixel{k}")
    }
    sides = [_number(stated, f"pixelsize{k}", path) for k in (1, 2)]
    if sides[0] and sides[1]:
        return (sides[0], sides[1])
    name = facts.get("detector", "").lower()
    known = [side for prefix, side in DETECTORS.items() if name.startswith(prefix)]
    return (known[0], known[0]) if known and not name.startswith("pilatus4") else None


def _unusable(path: str | Path, why: str) -> InputError:
    return InputError(f"cannot use {path}", why=why, fix=FIX)
