"""What image files say in their headers: EDF by the rules of ESRF, CBF and tiff by Dectris'."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from debye.errors import InputError
from debye.speckle.data.cxi import DISTANCE, ENERGY, PIXEL, Physical, in_si
from debye.speckle.data.stated import WAVELENGTH
from debye.units import TIME_UNITS, C, H

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
QUANTITY = re.compile(rf"({NUMBER})\s*([^\W\d_]+)?")
FACT = re.compile(r"#\s*(\w+)[\s:=]+(\S.*)")
UNITS = {"A": "angstrom"}
"""What Dectris calls units."""


def header_facts(header: Mapping[str, Any]) -> dict[str, Any]:
    r"""Centre, distance, pixel, wavelength, frame time and full count that a header states.

    EDF: ``Center_1``, ``Center_2``, ``SampleDistance``, ``PSize_1``, ``PSize_2``, ``WaveLength``
    (P. Boesecke, J. Appl. Cryst. 40, s423, 2007); there the middle of the first pixel is at ½, and
    a part that was read out of a detector begins at ``Offset``. Dectris, as lines of the header of
    a CBF or of the description of a tiff: ``Beam_xy``, ``Detector_distance``, ``Pixel_size``,
    ``Wavelength``, ``Exposure_period``, ``Exposure_time``, ``Count_cutoff``.

    Args:
        header: As fabio gives it.

    Returns:
        Fields of `debye.speckle.data.stated.Stated`, with notes on what cannot be used.

    Example:
        >>> found = header_facts({"text": "# Beam_xy (12.5, 9) pixels\n# Detector_distance 5 m"})
        >>> found["centre"], found["distance"]
        ((12.5, 9.0), 5.0)
        >>> header_facts({"Center_1": "12.5", "Center_2": "9.5"})["centre"]
        (12.0, 9.0)
    """
    facts = {str(k).lower(): str(v) for k, v in header.items()}
    for text in list(facts.values()):
        facts |= {m[1].lower(): m[2] for line in text.splitlines() if (m := FACT.match(line))}
    notes: list[str] = []
    found = {
        "centre": _centre(facts),
        "distance": _length(facts, ("sampledistance", "detector_distance"), DISTANCE, notes),
        "pixel": _pixel(facts, notes),
        "wavelength": _wavelength(facts, notes),
        "frame_time": _time(facts, "exposure_period"),
        "count_time": _time(facts, "exposure_time"),
        "notes": tuple(notes),
    }
    if cutoff := _numbers(facts.get("count_cutoff", "")):
        found["full"] = cutoff[0]
    return {k: v for k, v in found.items() if v is not None}


def _numbers(text: str) -> list[float]:
    """Positive and negative numbers of a text that are finite."""
    return [v for v in map(float, re.findall(NUMBER, text)) if math.isfinite(v)]


def _centre(facts: dict[str, str]) -> tuple[float, float] | None:
    """The beam in pixels, whole numbers being the middles; None where it is zero or unsaid."""
    dectris = _numbers(facts.get("beam_xy", ""))
    if len(dectris) == 2 and any(dectris):
        return (dectris[0], dectris[1])
    edf = [_numbers(facts.get(f"center_{axis}", "")) for axis in (1, 2)]
    if not all(edf):
        return None
    offset = [(_numbers(facts.get(f"offset_{axis}", "")) or [0.0])[0] for axis in (1, 2)]
    x, y = (centre[0] - first - 0.5 for centre, first in zip(edf, offset, strict=True))
    return (x, y) if any(e[0] for e in edf) else None


def _length(
    facts: dict[str, str], keys: tuple[str, ...], kind: Physical, notes: list[str]
) -> float | None:
    """The first of some quantities that is stated, in SI; a word where it is impossible."""
    for key in keys:
        for text, unit in QUANTITY.findall(facts.get(key, ""))[:1]:
            value = float(text)
            if value == 0 or not math.isfinite(value):
                continue
            try:
                return in_si(kind, abs(value), UNITS.get(unit, unit), "the header", notes)
            except InputError as error:
                notes.append(f"the header's {kind.name} is not used: {error.why}")
    return None


def _pixel(facts: dict[str, str], notes: list[str]) -> tuple[float, float] | None:
    """Height and width of a pixel, m."""
    both = QUANTITY.findall(facts.get("pixel_size", "").replace(" x ", " , "))
    named = {f"_{k}": f"{v} {unit}" for k, (v, unit) in enumerate(both[:2])}
    sides = [
        _length(facts | named, keys, PIXEL, notes)
        for keys in ((f"_{len(both[:2]) - 1}", "psize_2"), ("_0", "psize_1"))
    ]
    return (sides[0], sides[1]) if sides[0] and sides[1] else None


def _wavelength(facts: dict[str, str], notes: list[str]) -> float | None:
    """Å."""
    in_metres = WAVELENGTH._replace(tried=("m", "angstrom"))  # as EDF has it
    metres = _length(facts, ("wavelength",), in_metres, notes)
    if metres is None:
        joules = _length(facts, ("photon_energy", "incident_energy", "energy"), ENERGY, notes)
        metres = None if joules is None else H * C / joules
    return None if metres is None else 1e10 * metres


def _time(facts: dict[str, str], key: str) -> float | None:
    """Seconds, if there are some."""
    for text, unit in QUANTITY.findall(facts.get(key, ""))[:1]:
        seconds = float(text) * TIME_UNITS.get(unit.lower() or "s", math.nan)
        return seconds if 0 < seconds < math.inf else None
    return None
