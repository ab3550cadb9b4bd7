"""Bands as text: CSV, records for JSON, and the ``band.yaml`` that phonopy's viewers open."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from math import pi
from typing import Any

import numpy as np
import torch
from torch import Tensor

from debye.crystals.lattice.bands import Bands
from debye.units import frequency_factor

NOT_TRAINED = (
    "the bands follow from what was learned of densities of states alone: no branch, wave vector "
    "or velocity was ever trained on"
)
NO_FIELD = "polar crystals lack the splitting of LO and TO modes near Γ"


def bands_record(bands: Bands, unit: str = "cm-1") -> dict[str, Any]:
    """Bands as numbers and text for JSON, units in the names of the keys."""
    factor = frequency_factor("cm-1", unit)
    path, crystal = bands.path, bands.crystal
    record: dict[str, Any] = {
        "source": crystal.source,
        "formula": crystal.formula,
        "n_sites": crystal.n_sites,
        "cell_angstrom": crystal.cell.tolist(),
        "segments": [list(pair) for pair in path.ends],
        "segment_points": list(path.lengths),
        "q": path.q.tolist(),
        "distance_1/angstrom": path.distance.tolist(),
        "label": list(path.labels),
        f"frequency_{unit}": (bands.frequency * factor).tolist(),
        "imaginary": bands.imaginary,
    }
    if bands.range is not None:
        low, high = bands.range
        record[f"lowest_{unit}"], record[f"highest_{unit}"] = (
            (edge * factor).tolist() for edge in (low, high)
        )
    if bands.velocity is not None:
        record["group_velocity_km/s"] = bands.velocity.tolist()
    return record


def bands_csv(bands: Bands, unit: str = "cm-1") -> str:
    """A row for each point: the way, q, label, frequencies, and their slopes along the path."""
    count = bands.frequency.shape[1]
    header = ["distance_1/angstrom", "q1", "q2", "q3", "label"]
    header += [f"frequency_{j}_{unit}" for j in range(1, count + 1)]
    columns = [bands.frequency * frequency_factor("cm-1", unit)]
    if bands.velocity is not None:
        header += [f"velocity_{j}_km/s" for j in range(1, count + 1)]
        columns.append(slopes(bands, bands.velocity))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    for distance, q, label, row in zip(
        bands.path.distance.tolist(),
        bands.path.q.tolist(),
        bands.path.labels,
        torch.cat(columns, dim=1).tolist(),
        strict=True,
    ):
        numbers = ["" if x != x else f"{x:.6f}" for x in row]  # noqa: PLR0124 - NaN
        writer.writerow([f"{distance:.6f}", *(f"{x:.6f}" for x in q), label, *numbers])
    return stream.getvalue()


def slopes(bands: Bands, velocity: Tensor) -> Tensor:
    """Group velocity along the path of each mode, (Q, 3n), km/s."""
    return torch.einsum("qjx,qx->qj", velocity, bands.path.direction)


def band_yaml(bands: Bands) -> str:
    """The bands as phonopy's ``band.yaml``: THz, distances and reciprocal vectors without 2π.

    Velocities are in Å THz, ten to a km/s.
    """
    return "".join(f"{line}\n" for line in _yaml_lines(bands))


def _yaml_lines(bands: Bands) -> Iterator[str]:
    crystal, path = bands.crystal, bands.path
    yield f"nqpoint: {len(path.q)}"
    yield f"npath: {len(path.lengths)}"
    yield "segment_nqpoint:"
    yield from (f"- {count}" for count in path.lengths)
    yield "labels:"
    yield from (f"- [ '{first}', '{last}' ]" for first, last in path.ends)
    yield "reciprocal_lattice:"
    yield from (f"- {_row(row)}" for row in np.linalg.inv(crystal.cell).T)
    yield f"natom: {crystal.n_sites}"
    yield "lattice:"
    yield from (f"- {_row(row)}" for row in crystal.cell)
    yield "points:"
    places = zip(crystal.species, crystal.fractional, crystal.masses, strict=True)
    for site, place, mass in places:
        yield f"- symbol: {max(site, key=site.__getitem__)}"
        yield f"  coordinates: {_row(place)}"
        yield f"  mass: {mass:.6f}"
    yield ""
    yield "phonon:"
    yield from _phonon_lines(bands)


def _phonon_lines(bands: Bands) -> Iterator[str]:
    path = bands.path
    frequency = bands.frequency * frequency_factor("cm-1", "THz")
    for i, (q, distance) in enumerate(
        zip(path.q.tolist(), (path.distance / (2 * pi)).tolist(), strict=True)
    ):
        yield f"- q-position: {_row(q)}"
        yield f"  distance: {distance:.7f}"
        if path.labels[i]:
            yield f"  label: '{path.labels[i]}'"
        yield "  band:"
        for j, omega in enumerate(frequency[i].tolist()):
            yield f"  - # {j + 1}"
            yield f"    frequency: {omega:.10f}"
            if bands.velocity is not None:
                yield f"    group_velocity: {_row((10 * bands.velocity[i, j]).tolist())}"


def _row(numbers: object) -> str:
    values = ", ".join(f"{x:.8f}" for x in np.asarray(numbers))
    return f"[ {values.replace('nan', '.nan')} ]"
