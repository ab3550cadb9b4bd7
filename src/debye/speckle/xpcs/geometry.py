"""Where a flat detector stands: the momentum transfer and the azimuth of each of its pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.values import OneLine
from debye.units import C, E, H

ANGSTROM = 1e-10


@dataclass(frozen=True, repr=False)
class Geometry(OneLine):
    """A flat detector, across the beam or tilted.

    q = (4π/λ) sin(½ atan(r/D)), with r the distance of a pixel from the beam, D along it.

    Without distance, pixel size and wavelength there is no q: then `modulus` is r in pixels, and
    `unit` says so; or r times ``dq``, where a simulation knows no wavelength.

    Args:
        x: Column of the beam's centre, in pixels; whole numbers are the middles of pixels.
        y: Row of it.
        distance: D from the sample, m, along the beam to where it meets the detector.
        pixel: Size of a pixel, m: one number, or (y, x).
        wavelength: λ, Å.
        tilt: Rotations of the detector as pyFAI has them (rot1, rot2, rot3), radians, about the
            column of pixels, the row, and the beam; across the beam if None.
        dq: Step of q from pixel to pixel, 1/length, of a simulation that has no wavelength.

    Raises:
        InputError: A number is not finite, a length not positive, or the detector turned away.

    Example:
        >>> g = Geometry(x=64, y=64, distance=5.0, pixel=75e-6, wavelength=1.24)
        >>> g.unit, g.modulus((128, 128))[64, 124].mul(1e3).round(decimals=4)
        ('1/Å', tensor(4.5604, dtype=torch.float64))
        >>> Geometry(x=2, y=2).unit
        'pixels'
    """

    x: float
    y: float
    distance: float | None = None
    pixel: float | tuple[float, float] | None = None
    wavelength: float | None = None
    tilt: tuple[float, float, float] | None = None
    dq: float | None = None

    def __post_init__(self) -> None:
        lengths = {"distance": self.distance, "wavelength": self.wavelength, "dq": self.dq}
        if self.pixel is not None:
            lengths |= {f"pixel ({axis})": v for axis, v in zip("yx", self.sides, strict=True)}
        for name, value in lengths.items():
            if value is not None and not 0 < value < math.inf:
                raise _unusable(name, value, "it must be a positive number")
        for name, value in (("x", self.x), ("y", self.y)):
            if not math.isfinite(value):
                raise _unusable(name, value, "it is not finite")
            object.__setattr__(self, name, float(value))  # 20 and 20.0 are one centre
        if self.tilt is not None and not rotation(self.tilt)[2, 2] > 0:
            raise _unusable("tilt", self.tilt, "the beam does not meet the detector's front")

    @property
    def sides(self) -> tuple[float, float]:
        """Height and width of a pixel, m; 1 and 1 where they are unknown."""
        if self.pixel is None:
            return (1.0, 1.0)
        both = self.pixel if isinstance(self.pixel, tuple) else (self.pixel, self.pixel)
        return (float(both[0]), float(both[1]))

    @property
    def is_physical(self) -> bool:
        """Whether q is known."""
        return None not in (self.distance, self.pixel, self.wavelength)

    @property
    def unit(self) -> str:
        """Of `modulus`: 1/Å, 1/length of a simulation, or pixels where q is unknown."""
        return "1/Å" if self.is_physical else "pixels" if self.dq is None else "1/length"

    @property
    def energy(self) -> float | None:
        """Of a photon, keV; None where the wavelength is unknown."""
        return None if self.wavelength is None else _kev_angstrom() / self.wavelength

    def modulus(self, shape: tuple[int, int]) -> Tensor:
        """(qy, qx) float64 |q| of each pixel, in `unit`.

        Args:
            shape: Of a frame.
        """
        dy, dx, dz = self._offsets(shape)
        radius = np.hypot(dy, dx)
        if self.distance is None or self.wavelength is None or self.pixel is None:
            return torch.from_numpy(radius / self.sides[1] * (self.dq or 1.0))
        angle = 0.5 * np.arctan2(radius, self.distance + dz)
        return torch.from_numpy(4 * math.pi / self.wavelength * np.sin(angle))

    def azimuth(self, shape: tuple[int, int]) -> Tensor:
        """(qy, qx) float64 angle of each pixel about the beam, 0 … 360°, from +x towards +y.

        Args:
            shape: Of a frame.
        """
        dy, dx, _ = self._offsets(shape)
        return torch.from_numpy(np.degrees(np.arctan2(dy, dx)) % 360.0)

    def cropped(self, top: int, left: int) -> Geometry:
        """The geometry of frames that lack the first rows and columns.

        Args:
            top: Rows cut off.
            left: Columns cut off.
        """
        return replace(self, x=self.x - left, y=self.y - top)

    def _offsets(self, shape: tuple[int, int]) -> list[np.ndarray]:
        """(qy, qx) height, width and depth of pixels from where the beam is, m (or pixels)."""
        tall, wide = self.sides
        dy = ((np.arange(shape[0]) - self.y) * tall)[:, None]
        dx = ((np.arange(shape[1]) - self.x) * wide)[None, :]
        if self.tilt is None:
            return [*np.broadcast_arrays(dy, dx), np.zeros(())]
        return [row[0] * dy + row[1] * dx for row in rotation(self.tilt)]


def rotation(tilt: tuple[float, float, float]) -> np.ndarray:
    """(3, 3) how a detector is turned: rows are height, width and the beam, columns its own axes.

    R = R₃(rot3) R₂(rot2) R₁(rot1), the first two turning left-handed, as in pyFAI
    (J. Kieffer et al., J. Appl. Cryst. 53, 558, 2020).

    Args:
        tilt: rot1, rot2, rot3, radians.
    """
    (c1, c2, c3), (s1, s2, s3) = np.cos(tilt), np.sin(tilt)
    first = np.array([[1, 0, 0], [0, c1, s1], [0, -s1, c1]])
    second = np.array([[c2, 0, -s2], [0, 1, 0], [s2, 0, c2]])
    third = np.array([[c3, -s3, 0], [s3, c3, 0], [0, 0, 1]])
    return np.asarray(third @ second @ first)


def wavelength_of(energy: float) -> float:
    """λ = hc/E in Å of photons of an energy in keV.

    Raises:
        InputError: It is not positive.

    Example:
        >>> round(wavelength_of(8.0), 4)
        1.5498
    """
    if not 0 < energy < math.inf:
        raise _unusable("energy", energy, "it must be a positive number of keV")
    return _kev_angstrom() / energy


def _kev_angstrom() -> float:
    """Hc in keV Å."""
    return H * C / (1e3 * E * ANGSTROM)


def _unusable(name: str, value: object, why: str) -> InputError:
    return InputError(f"cannot use {name} = {value!r} of a geometry", why=why, fix="correct it")
