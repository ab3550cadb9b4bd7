"""How frames are correlated: what is asked for, where the detector stood, and the work itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import hypot
from typing import Any

import numpy as np
from torch import Tensor

from debye.errors import InputError
from debye.speckle.data.cxi import DISTANCE, ENERGY, PIXEL
from debye.speckle.data.quality import Examined
from debye.speckle.data.stack import Stack
from debye.speckle.values import Numbers
from debye.speckle.xpcs.centre import centre_warnings, find_centre
from debye.speckle.xpcs.correlation import Correlation
from debye.speckle.xpcs.correlator import Correlator
from debye.speckle.xpcs.geometry import Geometry, wavelength_of
from debye.speckle.xpcs.qmap import QMap, make_qmap
from debye.speckle.xpcs.twotime import TwoTimer
from debye.units import E

NEAR = 3.0
"""Pixels within which a centre is good enough: 2 are harmless, 10 make g2 end at 1.25."""
RINGS = 8
"""Rings where nobody says how many; fewer on a detector too small for them."""

Notify = Callable[[str], None]
Progress = Callable[[int, int], None]


def unheard(*_: object) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Analysis:
    """What is asked of frames, of one run or many: the options of `debye.correlate`."""

    q: int | str | Numbers | None = None
    phi: int | Numbers = 1
    mask: Tensor | None = None
    centre: tuple[float, float] | None = None
    energy: float | None = None
    distance: float | None = None
    pixel: float | tuple[float, float] | None = None
    poni: str | os.PathLike[str] | None = None
    frame_time: float | None = None
    frames: slice | None = None
    bad_frames: tuple[int, ...] = ()
    bins: int = 1
    delays: str | int = "multi-tau"
    slices: int = 1
    two_time: bool | Sequence[int] = False
    find_centre: bool = False

    def stack_options(self) -> dict[str, Any]:
        """What `Stack.open` takes of it."""
        return {
            "frames": self.frames or slice(None),
            "bad_frames": self.bad_frames,
            "mask": self.mask,
            "frame_time": self.frame_time,
            "bins": self.bins,
            "poni": self.poni,
        }

    @property
    def chooses_frames(self) -> bool:
        """Whether anything of that is asked for."""
        given = (self.frames, self.mask, self.frame_time, self.poni)
        return bool(self.bad_frames) or self.bins > 1 or any(one is not None for one in given)

    def geometry(self, stack: Stack, notify: Notify = unheard) -> Geometry:
        """Where the detector stood: as is said here, else as the file says, else in the middle.

        Args:
            stack: Frames.
            notify: Told what is assumed.

        Raises:
            InputError: A number is of no use.
        """
        stated = stack.stated
        centre = self.centre or stated.centre
        if centre is None:
            tall, wide = stack.shape
            centre = ((wide - 1) / 2, (tall - 1) / 2)
            at = f"{centre[0]:g},{centre[1]:g}"
            if not self.find_centre:
                notify(f"no beam centre is known: taken at the middle of the frame, {at}; --centre")
        elif not stack.holds(*centre):
            x, y = centre
            wide, tall = stack.shape[::-1]
            notify(
                f"the beam's centre {x:g},{y:g} lies outside the frame of {wide} × {tall} pixels"
            )
        self._check_units()
        wavelength = stated.wavelength if self.energy is None else wavelength_of(self.energy)
        return Geometry(
            *centre,
            distance=stated.distance if self.distance is None else self.distance,
            pixel=stated.pixel if self.pixel is None else self.pixel,
            wavelength=wavelength,
            tilt=stated.tilt,
            dq=stated.dq,
        )

    def _check_units(self) -> None:
        """Refuse lengths and energies that no beamline has, whose unit is another."""
        sides = self.pixel if isinstance(self.pixel, tuple) else (self.pixel,)
        for name, unit, kind, scale, values in (
            ("distance", "m", DISTANCE, 1.0, (self.distance,)),
            ("pixel", "m", PIXEL, 1.0, sides),
            ("energy", "keV", ENERGY, 1e3 * E, (self.energy,)),
        ):
            least, most = kind.least / scale, kind.most / scale
            for value in values:
                if value is not None and value > 0 and not least <= value <= most:
                    raise InputError(
                        f"cannot use {name} = {value:g} {unit}",
                        why=f"a {kind.name} lies between {least:.3g} and {most:.3g} {unit}",
                        fix=f"give it in {unit}",
                    )

    def qmap(self, geometry: Geometry, mask: Tensor, notify: Notify = unheard) -> QMap:
        """The bins.

        Args:
            geometry: Where the detector stood.
            mask: (qy, qx) True where a pixel counts.
            notify: Told what is not as one may expect.

        Raises:
            InputError: What `make_qmap` refuses.
        """
        if geometry.unit == "pixels":
            missing = [
                n for n in ("distance", "pixel", "wavelength") if getattr(geometry, n) is None
            ]
            told = ", ".join(f"--{n}".replace("wavelength", "energy") for n in missing)
            notify(f"q is in pixels: no {', '.join(missing)} is known; give {told}")
        qmap = self._qmap(geometry, mask, notify)
        if qmap.left_out:
            few = [f"ring {i} from {float(qmap.phi_edges[k]):g}°" for i, k in qmap.left_out]
            more = f" … ({len(few)})" if len(few) > 8 else ""
            notify(f"bins of too few pixels were left out: {', '.join(few[:8])}{more}")
        return qmap

    def _qmap(self, geometry: Geometry, mask: Tensor, notify: Notify) -> QMap:
        """The same; of the rings nobody has counted, as many as hold pixels enough."""
        if self.q is not None:
            return make_qmap(geometry, mask, self.q, phi=self.phi)
        for count in range(RINGS, 1, -1):
            with suppress(InputError):
                qmap = make_qmap(geometry, mask, count, phi=self.phi)
                if count < RINGS:
                    notify(f"{count} rings were made: {RINGS} would hold too few pixels")
                return qmap
        return make_qmap(geometry, mask, 1, phi=self.phi)


def correlated(
    stack: Stack,
    counting: Examined,
    qmap: QMap,
    how: Analysis,
    progress: Progress = unheard,
) -> Correlation:
    """g2 of the frames that count, and two-time maps if they are wanted.

    Args:
        stack: Frames.
        counting: Which of them count.
        qmap: The bins.
        how: What is asked for.
        progress: Told how many frames are done, and of how many.

    Raises:
        InputError: What `Correlator` and `TwoTimer` refuse, or a block that cannot be read.
    """
    step, places = stack.interval, stack.places(np.array(counting.kept))
    _check_delays(how.delays, int(places[-1]))
    correlator = Correlator(
        qmap, step, delays=how.delays, slice_frames=slice_length(places, how.slices)
    )
    bins = None if isinstance(how.two_time, bool) else how.two_time
    timer = None if how.two_time is False else TwoTimer(qmap, step, bins=bins)
    done, total = 0, len(counting.kept) // stack.bins
    for block, where in placed(stack, counting):
        correlator.update(block, where)
        if timer is not None:
            timer.update(block, where)
        done += len(block)
        progress(done, total)
    return replace(correlator.finish(), two_time=None if timer is None else timer.finish())


def placed(stack: Stack, counting: Examined) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of the frames that count, and which frame times after the first they were taken."""
    for block, numbers in stack.blocks(counting=counting):
        yield block, stack.places(numbers)


def _check_delays(delays: str | int, last: int) -> None:
    """Refuse more delays than there are frames apart."""
    if isinstance(delays, int) and delays > last:
        raise InputError(
            f"cannot correlate at {delays} delays",
            why=f"the last frame is {last} after the first",
            fix=f"ask for {last} at most, or give more frames",
        )


def slice_length(places: np.ndarray, slices: int) -> int | None:
    """Frames of each slice; None without slices.

    Args:
        places: Numbers of the frames, the last above all.
        slices: How many are wanted.

    Raises:
        InputError: None are.
    """
    if slices < 1:
        raise InputError(
            f"cannot make {slices} slices", why="there are none", fix="ask for two or more"
        )
    return None if slices == 1 else -(-(int(places[-1]) + 1) // slices)


def centred(
    geometry: Geometry, blocks: Iterable[tuple[np.ndarray, np.ndarray]], mask: Tensor
) -> Geometry:
    """The geometry with the centre about which the mean frame is most nearly round.

    Args:
        geometry: With a first guess.
        blocks: Frames, and whatever.
        mask: (qy, qx) True where a pixel counts.

    Raises:
        InputError: What `find_centre` refuses.
    """
    total, count = np.zeros(tuple(mask.shape)), 0
    for frames, _ in blocks:
        total += frames.sum(0, dtype=np.float64)
        count += len(frames)
    return find_centre(to_mean(total, count), mask, geometry)


def to_mean(total: np.ndarray, count: int) -> Tensor:
    """A mean frame."""
    import torch

    return torch.from_numpy(total / max(count, 1))


def notes_on(found: Correlation) -> list[str]:
    """What the frames themselves say against a correlation.

    Args:
        found: A correlation.
    """
    lonely = int(found.contrast.isnan().sum())
    if not lonely:
        return centre_notes(found)
    which = "no pixel" if lonely == len(found.qmap) else f"in {lonely} bins no pixel"
    return [
        f"{which} holds two photons in any frame: there the contrast is not known, and if frames "
        "say yes or no alone, g2 is lower than that of the light",
        *centre_notes(found),
    ]


def centre_notes(found: Correlation) -> list[str]:
    """Whether the mean frame is uneven about the centre, and where the beam seems to be.

    Args:
        found: A correlation.
    """
    notes, geometry = list(centre_warnings(found)), found.qmap.geometry
    if not notes:
        return []
    try:
        better = find_centre(found.saxs_2d, found.qmap.mask, geometry)
    except InputError:  # it may be oriented scattering, with no better centre
        return notes
    if hypot(better.x - geometry.x, better.y - geometry.y) > NEAR:
        at = f"{better.x:.1f},{better.y:.1f}"
        notes.append(
            f"the beam seems to be at {at}, and {geometry.x:g},{geometry.y:g} was taken "
            f"for its centre: check the mean frame, and try --centre {at}"
        )
    return notes
