"""Bands: the frequencies of a crystal along a path through its Brillouin zone.

Bands as text: CSV, records for JSON, and the ``band.yaml`` that phonopy's viewers open.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import pi
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from debye.core.files import atomic_write
from debye.core.records import SCHEMA
from debye.core.upward import Displayed
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.lattice.dos import mesh_for, site_densities
from debye.crystals.lattice.elastic import Elasticity
from debye.crystals.lattice.force_constants import (
    ForceConstants,
    Progress,
    frequencies,
    mean_force_constants,
    solved,
)
from debye.crystals.lattice.path import QPath
from debye.crystals.lattice.velocity import group_velocities
from debye.crystals.structure.crystal import Crystal
from debye.errors import InputError
from debye.units import FREQUENCY_UNITS, frequency_factor

IMAGINARY = 0.5
"""cm⁻¹; modes further below zero are imaginary, nearer ones are zero but for rounding."""
NO_SPLITTING = "polar crystals lack the splitting of LO and TO modes near Γ"


class Modes(NamedTuple):
    """The modes of a crystal of n sites at one wave vector q.

    Mode j displaces site i of the cell at R (in units of the lattice vectors) by

        u_i(R, t) = Re[e_ji / √m_i · e^{2πi q·(R + τ_i) − iω_j t}],

    τ_i the site's fractional position: the phase of D(q) is that of the whole way between atoms.
    """

    q: Tensor
    """(3,) in units of the reciprocal lattice vectors."""
    frequency: Tensor
    """(3n,) cm⁻¹ ascending, imaginary modes as negative numbers."""
    vectors: Tensor
    """(3n, n, 3) complex eigenvectors of D(q), of norm 1 each."""


@dataclass(frozen=True, eq=False, repr=False)
class Bands(Displayed):
    """Frequencies along a path, the branches sorted by frequency at each point."""

    crystal: Crystal
    path: QPath
    force_constants: ForceConstants
    """The mean, where there are several estimates."""
    frequency: Tensor
    """(Q, 3n) cm⁻¹ ascending, imaginary modes as negative numbers."""
    velocity: Tensor | None = None
    """(Q, 3n, 3) group velocities, km/s; see `group_velocities`."""
    range: tuple[Tensor, Tensor] | None = None
    """(Q, 3n) lowest and highest frequency of each branch: among several sets of force constants,
    or the ends of its interval."""
    notes: tuple[str, ...] = ()
    """What a reader of the bands should know."""
    range_end: float | None = None
    """Highest frequency of the spectra that the force constants were learned from, cm⁻¹."""
    members: tuple[ForceConstants, ...] = ()
    """The estimates whose mean the force constants are; none if there is one."""
    level: float | None = None
    """How often the truth lies in the range; None if that is only where the estimates lie."""

    @classmethod
    def of(
        cls,
        crystal: Crystal,
        force_constants: ForceConstants | Sequence[ForceConstants],
        path: QPath | str = "auto",
        points: int = 300,
        *,
        velocities: bool = False,
        notes: Sequence[str] = (),
        range_end: float | None = None,
        progress: Progress | None = None,
    ) -> Bands:
        """The bands of force constants.

        Args:
            crystal: Primitive; its cell is what the path and the force constants are in units of.
            force_constants: Its force constants; of several estimates the mean, whose range among
                the estimates becomes ``range``.
            path: ``auto`` for the lattice's standard path, ``seekpath`` for the space group's,
                labels such as ``G X W | L G``, or a `QPath`.
            points: About how many, unless the path has its own.
            velocities: Whether to find group velocities too.
            notes: What is known of them already.
            range_end: Highest frequency of the spectra that they were learned from, cm⁻¹.
            progress: Is told how many wave vectors are newly done; each counts for the mean, for
                every one of several estimates, and for its velocities.

        Raises:
            InputError: The force constants are of several crystals, or the lattice has no such
                path.
            ComputationError: See `solved`.

        Example:
            >>> atom = Crystal(["Po"], [[0.0, 0.0, 0.0]], 3.36 * np.eye(3))
            >>> cubic = ForceConstants(
            ...     crystal=torch.tensor([0]), mass=torch.tensor([209.0]),
            ...     first=torch.zeros(3, dtype=torch.long), second=torch.zeros(3, dtype=torch.long),
            ...     step=torch.eye(3), values=torch.diag_embed(torch.eye(3) + 0.1), n_crystals=1)
            >>> Bands.of(atom, cubic, "G X M")
            Bands(Po, 3 branches 0..79 cm⁻¹, G-X-M, 300 points)
        """
        given = (
            [force_constants] if isinstance(force_constants, ForceConstants) else force_constants
        )
        path = path if isinstance(path, QPath) else QPath.of_crystal(crystal, path, points)
        mean, velocity = mean_force_constants(given), None
        frequency = _frequencies(mean, path, progress)
        each = [_frequencies(one, path, progress) for one in given] if len(given) > 1 else []
        if velocities:
            cell = torch.tensor(crystal.cell)
            velocity = group_velocities(mean, cell, path.q, path.direction, progress)
        edges = torch.stack(each).aminmax(dim=0) if each else None
        between = (edges.min, edges.max) if edges else None
        said, members = (
            (*notes, *_notes(crystal, mean, frequency, range_end)),
            given if each else (),
        )
        return cls(
            crystal, path, mean, frequency, velocity, between, said, range_end, tuple(members)
        )

    def __repr__(self) -> str:
        low, high = round(self.frequency.min().item()), round(self.frequency.max().item())
        branches = f"{self.frequency.shape[1]} branches {low}..{high} cm⁻¹"
        runs = "-".join(label for _, label in self.path.ticks)
        return f"Bands({self.crystal.formula}, {branches}, {runs}, {len(self.path.q)} points)"

    @property
    def imaginary(self) -> bool:
        """Whether some mode on the path is imaginary."""
        return bool(self.frequency.min() < -IMAGINARY)

    def modes(self, point: int) -> Modes:
        """The modes at a point of the path, with their eigenvectors.

        Args:
            point: Which point of the path, from 0.

        Raises:
            InputError: The path has no such point.
            ComputationError: See `solved`.

        Example:
            >>> import debye
            >>> modes = debye.bands(debye.DEMO / "silicon.vasp", "G X", points=5).modes(4)
            >>> modes.vectors.shape, round(modes.vectors[0].abs().square().sum().item(), 6)
            (torch.Size([6, 2, 3]), 1.0)
        """
        if not 0 <= point < len(self.path.q):
            why = f"its {len(self.path.q)} points are counted from 0"
            raise InputError(f"no point {point} on the path", why=why, fix="name one of them")
        at = slice(point, point + 1)
        q_of, ahead = self.path.q[at], self.path.direction[at]
        ((q, square, vectors),) = solved(self.force_constants, q_of, direction=ahead)
        shaped = vectors[0].mT.unflatten(-1, (-1, 3))
        return Modes(q[0], frequencies(square[0]), shaped)

    def write_yaml(self, path: str | Path, *, eigenvectors: bool = True) -> Path:
        """Write phonopy's ``band.yaml``, which phononwebsite and other viewers animate.

        Args:
            path: The file.
            eigenvectors: Whether to write the eigenvectors too.

        Returns:
            The path written.

        Raises:
            InputError: The file cannot be written.
            ComputationError: The disk is full, or see `solved`.
        """
        return atomic_write(path, band_yaml(self, eigenvectors=eigenvectors))

    @cached_property
    def sites(self) -> Spectrum:
        """Density of states of each site of the same force constants, (n, F).

        Raises:
            InputError: A mode is impossibly fast.
            ComputationError: See `solved`.
        """
        full = site_densities(self.force_constants, mesh_for(self.crystal.n_sites))
        return full * self.crystal.occupancies

    @cached_property
    def elasticity(self) -> Elasticity:
        """Elastic constants of the same force constants, and what they are worth.

        Raises:
            InputError: The force constants are of several crystals.
            ComputationError: They are not finite.
        """
        return Elasticity.of(self.crystal, self.members or self.force_constants)

    def at(self, label: str) -> Tensor:
        """Frequencies at a labelled point, (3n,), cm⁻¹.

        Raises:
            InputError: The path has no such point.
        """
        if label not in self.path.labels:
            why = f"its points are {', '.join(dict.fromkeys(filter(None, self.path.labels)))}"
            raise InputError(f"no point {label!r} on the path", why=why, fix="name one of them")
        return self.frequency[self.path.labels.index(label)]


def _frequencies(force_constants: ForceConstants, path: QPath, progress: Progress | None) -> Tensor:
    return torch.cat(
        [
            frequencies(square)
            for _, square, _ in solved(force_constants, path.q, progress, path.direction)
        ]
    )


def _notes(
    crystal: Crystal, force_constants: ForceConstants, frequency: Tensor, end: float | None
) -> Iterator[str]:
    if end is not None and frequency.max().item() > end:
        yield (
            f"bands above {end:g} cm⁻¹ are extrapolated: the spectra that the model learned from "
            "end there"
        )
    if force_constants.dipoles is not None:
        yield from force_constants.dipoles.notes
    elif len(crystal.elements) > 1:
        yield NO_SPLITTING
    if (lowest := frequency.min().item()) < -IMAGINARY:
        yield f"some modes are imaginary, down to {lowest:.0f} cm⁻¹ as the custom writes it"


def bands_record(bands: Bands, unit: str = "cm-1") -> dict[str, Any]:
    """Bands as numbers and text for JSON, units in the names of the keys.

    Raises:
        InputError: The unit is unknown.
    """
    factor = frequency_factor("cm-1", unit)
    path, crystal = bands.path, bands.crystal
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "source": crystal.source,
        "formula": crystal.formula,
        "n_sites": crystal.n_sites,
        "cell_angstrom": crystal.cell.tolist(),
        "segments": [list(pair) for pair in path.ends],
        "segment_points": list(path.lengths),
        "q": path.q.tolist(),
        "distance_per_angstrom": path.distance.tolist(),
        "label": list(path.labels),
        f"frequency_{unit}": (bands.frequency * factor).tolist(),
        "imaginary": bands.imaginary,
    }
    if bands.range is not None:
        low, high = bands.range
        record[f"lowest_{unit}"], record[f"highest_{unit}"] = (
            (edge * factor).tolist() for edge in (low, high)
        )
        record |= {} if bands.level is None else {"interval_level": bands.level}
    if bands.velocity is not None:
        record["group_velocity_km_per_s"] = bands.velocity.tolist()
        record |= bands.elasticity.to_record()
    record["warnings"] = list(bands.notes)
    return record


def bands_csv(bands: Bands, unit: str = "cm-1") -> str:
    """A row for each point: the way, q, label, frequencies, and their slopes along the path.

    Raises:
        InputError: The unit is unknown.
    """
    count = bands.frequency.shape[1]
    header = ["distance_per_angstrom", "q1", "q2", "q3", "label"]
    header += [f"frequency_{j}_{unit}" for j in range(1, count + 1)]
    columns = [bands.frequency * frequency_factor("cm-1", unit)]
    if bands.velocity is not None:
        header += [f"velocity_{j}_km_per_s" for j in range(1, count + 1)]
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


def band_yaml(bands: Bands, *, eigenvectors: bool = False) -> str:
    """The bands as phonopy's ``band.yaml``: THz, distances and reciprocal vectors without 2π.

    Velocities are in Å THz, ten to a km/s. Eigenvectors are those of `Modes`, as phonopy's are.

    Args:
        bands: What to write.
        eigenvectors: Whether to write them too.

    Raises:
        InputError: See `solved`.
        ComputationError: See `solved`.
    """
    return "".join(f"{line}\n" for line in _yaml_lines(bands, eigenvectors=eigenvectors))


def _yaml_lines(bands: Bands, *, eigenvectors: bool) -> Iterator[str]:
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
    sites = zip(crystal.species, crystal.fractional, crystal.masses, strict=True)
    for site, fractional, mass in sites:
        yield f"- symbol: {max(site, key=site.__getitem__)}"
        yield f"  coordinates: {_row(fractional)}"
        yield f"  mass: {mass:.6f}"
    yield ""
    yield "phonon:"
    yield from _phonon_lines(bands, eigenvectors=eigenvectors)


def _phonon_lines(bands: Bands, *, eigenvectors: bool) -> Iterator[str]:
    path = bands.path
    frequency = bands.frequency / FREQUENCY_UNITS["THz"]
    for i, (q, distance) in enumerate(
        zip(path.q.tolist(), (path.distance / (2 * pi)).tolist(), strict=True)
    ):
        yield f"- q-position: {_row(q)}"
        yield f"  distance: {distance:.7f}"
        if path.labels[i]:
            yield f"  label: '{path.labels[i]}'"
        vectors = bands.modes(i).vectors if eigenvectors else None
        yield "  band:"
        for j, omega in enumerate(frequency[i].tolist()):
            yield f"  - # {j + 1}"
            yield f"    frequency: {omega:.10f}"
            if bands.velocity is not None:
                yield f"    group_velocity: {_row((10 * bands.velocity[i, j]).tolist())}"
            if vectors is not None:
                yield "    eigenvector:"
                yield from _eigenvector_lines(vectors[j])


def _eigenvector_lines(vector: Tensor) -> Iterator[str]:
    for number, atom in enumerate(torch.view_as_real(vector).tolist(), 1):
        yield f"    - # atom {number}"
        yield from (f"      - [ {real:.14f}, {imaginary:.14f} ]" for real, imaginary in atom)


def _row(numbers: object) -> str:
    values = ", ".join(f"{x:.8f}" for x in np.asarray(numbers))
    return f"[ {values.replace('nan', '.nan')} ]"
