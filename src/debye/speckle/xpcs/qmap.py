"""Which pixels are correlated together: dynamic bins of q and azimuth, static shells in them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.values import ByValue, Numbers, to_tensor
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
    q: int | Numbers = 8,
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
        q: Number of rings, or (n + 1,) rising borders in q.
        phi: Number of azimuthal parts, or borders in degrees, rising, over 360° at most.
        spacing: Of rings counted: ``linear`` or ``log``.
        q_range: Between which q they lie; from the innermost pixel that counts to the nearest
            edge of the detector by default.
        shells: Static shells a ring; one for about every pixel of the narrowest ring by default.

    Raises:
        InputError: The centre lies outside the frame and nothing says which q is wanted, a border
            does not rise, or a ring holds no pixel or too few.

    Example:
        >>> qmap = make_qmap(Geometry(x=32, y=32), torch.ones(64, 64) > 0, [5, 10, 20], phi=4)
        >>> qmap, qmap.dynamic.counts.tolist()[:4]
        (QMap(8 bins of 2 q × 4 azimuths, 40 shells, q = 5 … 20 pixels), [59, 59, 59, 59])
    """
    mask = mask.bool()
    shape = (int(mask.shape[0]), int(mask.shape[1]))
    modulus = geometry.modulus(shape).numpy()
    q_edges = _q_edges(geometry, modulus, mask.numpy(), q, spacing, q_range)
    phi_edges = _phi_edges(phi)
    i_q = _digitize(modulus, q_edges)
    i_phi = _digitize(
        (geometry.azimuth(shape).numpy() - phi_edges[0]) % 360.0, phi_edges - phi_edges[0]
    )
    inside = mask.numpy() & (i_q >= 0) & (i_phi >= 0)
    n_phi = len(phi_edges) - 1
    dynamic, few = _partition(inside, i_q * n_phi + i_phi, (q_edges, phi_edges), FEWEST)
    _check_rings(dynamic, q_edges, n_phi, geometry.unit)
    parts = shells or _shells(modulus, q_edges)
    fine_edges = np.interp(
        np.arange((len(q_edges) - 1) * parts + 1) / parts, np.arange(len(q_edges)), q_edges
    )
    fine = i_q * parts + _within(modulus, q_edges, i_q, parts)
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


def _q_edges(
    geometry: Geometry,
    q: np.ndarray,
    mask: np.ndarray,
    rings: int | Numbers,
    spacing: str,
    q_range: tuple[float, float] | None,
) -> np.ndarray:
    """Borders of the rings."""
    if not isinstance(rings, int):
        return _rising(rings, "the borders of the rings")
    if rings < 1:
        raise InputError(f"cannot make {rings} rings", why="there are none", fix="ask for one")
    if spacing not in ("linear", "log"):
        raise InputError(
            f"unknown spacing {spacing!r}", why="there are linear and log", fix="use one"
        )
    inner, outer = q_range or _reach(geometry, q, mask)
    if spacing == "log" and not inner > 0:
        # The pixel in the beam has q = 0: the rings begin at the next one.
        inner = float(q[mask & (q > 0)].min())
    space = np.geomspace if spacing == "log" else np.linspace
    return _rising(space(inner, outer, rings + 1), "the range of q")


def _reach(geometry: Geometry, q: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """The innermost q that counts, and q at the farthest edge of the detector on its axes."""
    rows, columns = q.shape
    y, x = round(geometry.y), round(geometry.x)
    if not (0 <= y < rows and 0 <= x < columns):
        raise InputError(
            f"the beam's centre ({geometry.x:g}, {geometry.y:g}) lies outside the frame",
            why=f"a frame is {columns} wide and {rows} tall",
            fix="correct the centre (x, y), or say which q are wanted",
        )
    if not mask.any():
        raise InputError(
            "cannot make a q-map", why="the mask leaves no pixel", fix="check the mask"
        )
    return float(q[mask].min()) * (1 - 1e-9), float(max(q[y, 0], q[y, -1], q[0, x], q[-1, x]))


def _rising(edges: Numbers, name: str) -> np.ndarray:
    """(n + 1,) float64 borders, seen to rise."""
    found = to_tensor(edges, name).double().numpy()
    if found.ndim != 1 or len(found) < 2 or not (np.diff(found) > 0).all():
        raise InputError(
            f"cannot use {name}",
            why=f"{np.array2string(found, threshold=8)} does not rise",
            fix="give at least two rising numbers",
        )
    return found


def _phi_edges(phi: int | Numbers) -> np.ndarray:
    """Borders in azimuth, degrees."""
    if not isinstance(phi, int):
        edges = _rising(phi, "the borders in azimuth")
        if edges[-1] - edges[0] > 360 + 1e-9:
            raise InputError(
                "cannot use the borders in azimuth",
                why="they go round more than once",
                fix="end at 360",
            )
        return edges
    if phi < 1:
        raise InputError(
            f"cannot make {phi} azimuthal parts", why="there are none", fix="ask for one"
        )
    return np.linspace(0.0, 360.0, phi + 1)


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


def _check_rings(dynamic: Partition, edges: np.ndarray, n_phi: int, unit: str) -> None:
    """Refuse a map one of whose rings has no bin."""
    there = set((dynamic.index // n_phi).tolist())
    for i in range(len(edges) - 1):
        if i not in there:
            raise InputError(
                f"ring {i} of the q-map holds too few pixels",
                why=f"fewer than {FEWEST} have {edges[i]:.4g} ≤ q < {edges[i + 1]:.4g} {unit}",
                fix="widen the ring, ask for fewer rings or parts, or move it off the beamstop",
            )


def _shells(q: np.ndarray, edges: np.ndarray) -> int:
    """Static shells a ring: about one for every pixel of its width."""
    step = float(np.abs(np.diff(q, axis=1)).max())
    return max(1, int(np.ceil(float(np.diff(edges).min()) / step - 1e-6)))


def _within(q: np.ndarray, edges: np.ndarray, ring: np.ndarray, parts: int) -> np.ndarray:
    """Which of equal parts of its ring a pixel lies in."""
    low, wide = edges[:-1][ring], np.diff(edges)[ring]
    return np.clip((q - low) / wide * parts, 0, parts - 1).astype(np.int64)
