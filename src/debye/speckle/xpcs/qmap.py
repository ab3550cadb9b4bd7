"""Which pixels are correlated together: dynamic bins of q and azimuth, static shells in them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.values import ByValue, Numbers
from debye.speckle.xpcs.edges import edges_in_azimuth, edges_in_q, parse_q
from debye.speckle.xpcs.geometry import Geometry

SECTORS = 12
"""Azimuthal parts of a bin over which errors are judged."""
FEWEST = 2 * SECTORS
"""Pixels below which a bin is left out: two a sector."""


@dataclass(frozen=True, eq=False, repr=False)
class Partition(ByValue):
    """Pixels sorted into bins of q and azimuth.

    Args:
        labels: (qy, qx) int32, 0 outside, then 1 … N without gaps.
        q: (n_q,) middle of each ring, in the unit of the map.
        phi: (n_phi,) middle of each azimuthal part, degrees.
        index: (N,) i_q · n_phi + i_phi of each bin, rising.
    """

    labels: Tensor
    q: Tensor
    phi: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        return f"Partition({len(self)} bins of {len(self.q)} q × {len(self.phi)} azimuths)"

    @property
    def q_of(self) -> Tensor:
        """(N,) q of each bin."""
        return self.q[self.index // len(self.phi)]

    @property
    def phi_of(self) -> Tensor:
        """(N,) azimuth of each bin, degrees."""
        return self.phi[self.index % len(self.phi)]

    @property
    def counts(self) -> Tensor:
        """(N,) pixels of each bin."""
        return torch.bincount(self.labels.flatten().long(), minlength=len(self) + 1)[1:]


@dataclass(frozen=True, eq=False, repr=False)
class QMap(ByValue):
    """Dynamic bins of q × azimuth, in which intensity is correlated, and static shells in them.

    The mean intensity is taken to be the same within a static shell; each lies in one dynamic bin.

    Args:
        dynamic: The bins.
        static: The shells.
        q_edges: (n_q + 1,) borders of the dynamic rings.
        phi_edges: (n_phi + 1,) borders in azimuth, degrees.
        mask: (qy, qx) True where a pixel counts, in a bin or not.
        geometry: Where the detector stands.
        left_out: Bins (i_q, i_phi) that hold too few pixels.

    Example:
        >>> from debye.speckle.xpcs.geometry import Geometry
        >>> make_qmap(Geometry(x=32, y=32), torch.ones(64, 64) > 0, q=4, q_range=(4, 30))
        QMap(4 bins of 4 q × 1 azimuths, 28 shells, q = 4 … 30 pixels)
    """

    dynamic: Partition
    static: Partition
    q_edges: Tensor
    phi_edges: Tensor
    mask: Tensor
    geometry: Geometry
    left_out: tuple[tuple[int, int], ...] = field(default=())

    def __len__(self) -> int:
        return len(self.dynamic)

    def __repr__(self) -> str:
        d = self.dynamic
        return (
            f"QMap({len(d)} bins of {len(d.q)} q × {len(d.phi)} azimuths, "
            f"{len(self.static)} shells, q = {float(self.q_edges[0]):.3g} … "
            f"{float(self.q_edges[-1]):.3g} {self.unit})"
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Of a frame."""
        return (int(self.mask.shape[0]), int(self.mask.shape[1]))

    @property
    def unit(self) -> str:
        """Of q."""
        return self.geometry.unit

    @property
    def q(self) -> Tensor:
        """(N,) q of each dynamic bin."""
        return self.dynamic.q_of

    @property
    def digest(self) -> str:
        """A hash of what the map says: equal maps have equal ones.

        Example:
            >>> from debye.speckle.xpcs.geometry import Geometry
            >>> a = make_qmap(Geometry(x=8, y=8), torch.ones(17, 17) > 0, q=1)
            >>> b = make_qmap(Geometry(x=8, y=8.1), torch.ones(17, 17) > 0, q=1)
            >>> a.digest == b.digest, len(a.digest)
            (False, 64)
        """
        found = hashlib.sha256()
        for part in (self.dynamic, self.static):
            for values in (part.labels, part.q, part.phi, part.index):
                found.update(np.ascontiguousarray(values.numpy()).tobytes())
        found.update(np.packbits(self.mask.numpy()).tobytes())
        found.update(repr((self.shape, self.geometry)).encode())
        return found.hexdigest()

    def only(self, bins: Sequence[int]) -> QMap:
        """The map of some of its dynamic bins, with the static shells in them.

        Args:
            bins: Their numbers, from 0, rising.

        Raises:
            InputError: There is no such bin.

        Example:
            >>> from debye.speckle.xpcs.geometry import Geometry
            >>> qmap = make_qmap(Geometry(x=32, y=32), torch.ones(64, 64) > 0, [5, 10, 20])
            >>> qmap.only([1]).q.tolist(), qmap.only([1]).static.counts.sum().item()
            ([15.0], 940)
        """
        for number in bins:
            if not 0 <= number < len(self):
                raise InputError(
                    f"the q-map has no bin {number}", why=f"it has {len(self)}", fix="count from 0"
                )
        kept = torch.zeros(len(self) + 1, dtype=torch.bool)
        kept[[n + 1 for n in bins]] = True
        inside = kept[self.dynamic.labels.long()]
        shells = torch.zeros(len(self.static) + 1, dtype=torch.bool)
        shells[self.static.labels[inside].long()] = True
        return replace(
            self, dynamic=_kept(self.dynamic, kept[1:]), static=_kept(self.static, shells[1:])
        )

    def cells(self, sectors: int = SECTORS) -> Tensor:
        """(qy, qx) int64 azimuthal part of its bin that a pixel is in, 0 … sectors − 1.

        A pixel and the one opposite are in the same part, for many samples scatter alike to both
        sides; the parts of a bin hold equal numbers of pixels, but for one.

        Args:
            sectors: How many parts.
        """
        labels = self.dynamic.labels.flatten().numpy()
        turned = self.geometry.azimuth(self.shape).flatten().numpy() % 180.0
        order = np.lexsort((turned, labels))  # by bin, then by azimuth
        sizes = np.bincount(labels, minlength=len(self) + 1)
        rank = np.empty(len(labels), dtype=np.int64)
        rank[order] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return torch.from_numpy(rank * sectors // sizes[labels]).reshape(self.shape)


def _kept(partition: Partition, kept: Tensor) -> Partition:
    """Some bins of a partition, numbered anew."""
    number = torch.cat([torch.zeros(1), kept.cumsum(0) * kept]).int()
    return replace(partition, labels=number[partition.labels.long()], index=partition.index[kept])


def make_qmap(
    geometry: Geometry,
    mask: Tensor,
    q: int | str | Numbers = 8,
    *,
    phi: int | Numbers = 1,
    spacing: str = "linear",
    q_range: tuple[float, float] | None = None,
    shells: int | None = None,
) -> QMap:
    """A q-map of rings, parted in azimuth.

    Args:
        geometry: Where the detector stands.
        mask: (qy, qx) True where a pixel counts.
        q: Number of rings, or (n + 1,) rising borders in q; or either as a text, as
            `debye.speckle.xpcs.edges.parse_q` reads it: ``8``, ``log:8``, ``0.01,0.02,0.05``.
        phi: Number of azimuthal parts, or borders in degrees, rising, over 360° at most.
        spacing: Of rings counted: ``linear`` or ``log``.
        q_range: Between which q they lie; from the innermost pixel that counts to the farthest
            edge of the detector beside the beam by default. Of a logarithmic scale the first
            ring then begins where it holds pixels enough.
        shells: Static shells a ring; one for about every pixel of its width by default.

    Raises:
        InputError: No pixel counts, a text is no rings, a border is negative or does not rise, or a
            ring holds no pixel or too few.

    Example:
        >>> qmap = make_qmap(Geometry(x=32, y=32), torch.ones(64, 64) > 0, [5, 10, 20], phi=4)
        >>> qmap, qmap.dynamic.counts.tolist()[:4]
        (QMap(8 bins of 2 q × 4 azimuths, 60 shells, q = 5 … 20 pixels), [59, 59, 59, 59])
    """
    mask = mask.bool()
    shape = (int(mask.shape[0]), int(mask.shape[1]))
    modulus = geometry.modulus(shape).numpy()
    counted = modulus[mask.numpy()]
    if not counted.size:
        raise InputError(
            "cannot make a q-map", why="the mask leaves no pixel", fix="check the mask"
        )
    rings, spacing = parse_q(q) if isinstance(q, str) else (q, spacing)
    between, fewest = (q_range, 0) if q_range else (_reach(geometry, modulus, counted), FEWEST)
    q_edges = edges_in_q(rings, spacing, between, counted, fewest)
    phi_edges = edges_in_azimuth(phi)
    i_q = _digitize(modulus, q_edges)
    i_phi = _digitize(
        (geometry.azimuth(shape).numpy() - phi_edges[0]) % 360.0, phi_edges - phi_edges[0]
    )
    inside = mask.numpy() & (i_q >= 0) & (i_phi >= 0)
    n_phi = len(phi_edges) - 1
    dynamic, few = _partition(inside, i_q * n_phi + i_phi, (q_edges, phi_edges), FEWEST)
    _check_rings(dynamic, q_edges, n_phi, counted, geometry.unit)
    parts = _shells(modulus, q_edges) if shells is None else np.full(len(q_edges) - 1, shells)
    fine_edges = _parted(q_edges, parts)
    fine = (np.cumsum(parts) - parts)[i_q] + _within(modulus, q_edges, i_q, parts)
    covered = dynamic.labels.numpy() > 0
    static, _ = _partition(covered, fine * n_phi + i_phi, (fine_edges, phi_edges), 1)
    return QMap(
        dynamic,
        static,
        torch.from_numpy(q_edges),
        torch.from_numpy(phi_edges),
        mask,
        geometry,
        tuple((int(n) // n_phi, int(n) % n_phi) for n in few),
    )


def _reach(geometry: Geometry, q: np.ndarray, counted: np.ndarray) -> tuple[float, float]:
    """The innermost q that counts, and q at the farthest edge of the detector on the beam's axes.

    Where the beam is beside the detector, they are the axes through the pixel next to it.
    """
    y, x = (
        min(max(round(c), 0), n - 1) for c, n in zip((geometry.y, geometry.x), q.shape, strict=True)
    )
    return float(counted.min()) * (1 - 1e-9), float(max(q[y, 0], q[y, -1], q[0, x], q[-1, x]))


def _digitize(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Which interval [edge, next) holds a value; −1 outside."""
    found = np.searchsorted(edges, values, side="right") - 1
    return np.where(found < len(edges) - 1, found, -1)


def _partition(
    inside: np.ndarray, number: np.ndarray, edges: Sequence[np.ndarray], fewest: int
) -> tuple[Partition, np.ndarray]:
    """Labels without gaps of bins that hold pixels enough, and the numbers of those that do not."""
    q_edges, phi_edges = edges
    total = (len(q_edges) - 1) * (len(phi_edges) - 1)
    sizes = np.bincount(number[inside], minlength=total)
    kept = np.flatnonzero(sizes >= fewest)
    label = np.zeros(total + 1, dtype=np.int32)  # the last for what is outside
    label[kept] = np.arange(1, len(kept) + 1)
    q, phi = (torch.from_numpy(0.5 * (e[1:] + e[:-1])) for e in edges)
    labels = torch.from_numpy(label[np.where(inside, number, total)])
    return Partition(labels, q, phi, torch.from_numpy(kept)), np.flatnonzero(sizes < fewest)


def _check_rings(
    dynamic: Partition, edges: np.ndarray, n_phi: int, seen: np.ndarray, unit: str
) -> None:
    """Refuse a map one of whose rings has no bin."""
    there = set((dynamic.index // n_phi).tolist())
    for i in range(len(edges) - 1):
        if i not in there:
            raise InputError(
                f"ring {i} of the q-map holds too few pixels",
                why=f"fewer than {FEWEST} have {edges[i]:.4g} ≤ q < {edges[i + 1]:.4g} {unit}; "
                f"those that count have {seen.min():.4g} … {seen.max():.4g} {unit}",
                fix="widen the ring, ask for fewer rings or parts, or move it off the beamstop",
            )


def _shells(q: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(n_q,) static shells of each ring: about one for every pixel of its width."""
    step = float(np.abs(np.diff(q, axis=1)).max())
    return np.maximum(1, np.ceil(np.diff(edges) / step - 1e-6).astype(np.int64))


def _parted(edges: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Borders of the equal parts of each ring."""
    inner = [
        np.linspace(a, b, n, endpoint=False)
        for a, b, n in zip(edges, edges[1:], parts, strict=False)
    ]
    return np.concatenate([*inner, edges[-1:]])


def _within(q: np.ndarray, edges: np.ndarray, ring: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Which of equal parts of its ring a pixel lies in."""
    low, wide = edges[:-1][ring], np.diff(edges)[ring]
    return np.clip((q - low) / wide * parts[ring], 0, parts[ring] - 1).astype(np.int64)
