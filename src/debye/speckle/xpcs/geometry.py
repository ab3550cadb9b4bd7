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
    """A flat detector across the beam.

    q = (4π/λ) sin(½ atan(r/D)), with r the distance of a pixel from the beam on the detector.

    Without distance, pixel size and wavelength there is no q: then `modulus` is r in pixels, and
    `unit` says so.

    Args:
        x: Column of the beam's centre, in pixels; whole numbers are the middles of pixels.
        y: Row of it.
        distance: D from the sample, m.
        pixel: Size of a pixel, m: one number, or (y, x).
        wavelength: λ, Å.

    Raises:
        InputError: A number is not finite, or a length not positive.

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

    def __post_init__(self) -> None:
        lengths = {"distance": self.distance, "wavelength": self.wavelength}
        if self.pixel is not None:
            lengths |= {f"pixel ({axis})": v for axis, v in zip("yx", self.sides, strict=True)}
        for name, value in lengths.items():
            if value is not None and not 0 < value < math.inf:
                raise _unusable(name, value, "it must be a positive number")
        for name, value in (("x", self.x), ("y", self.y)):
            if not math.isfinite(value):
                raise _unusable(name, value, "it is not finite")
            object.__setattr__(self, name, float(value))  # 20 and 20.0 are one centre

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
        """Of `modulus`: 1/Å, or pixels where q is unknown."""
        return "1/Å" if self.is_physical else "pixels"

    @property
    def energy(self) -> float | None:
        """Of a photon, keV; None where the wavelength is unknown."""
        return None if self.wavelength is None else _kev_angstrom() / self.wavelength

    def modulus(self, shape: tuple[int, int]) -> Tensor:
        """(qy, qx) float64 |q| of each pixel, in `unit`.

        Args:
            shape: Of a frame.
        """
        dy, dx = self._offsets(shape)
        radius = np.hypot(dy[:, None], dx[None, :])
        if self.distance is None or self.wavelength is None or self.pixel is None:
            return torch.from_numpy(radius / self.sides[1])
        angle = 0.5 * np.arctan(radius / self.distance)
        return torch.from_numpy(4 * math.pi / self.wavelength * np.sin(angle))

    def azimuth(self, shape: tuple[int, int]) -> Tensor:
        """(qy, qx) float64 angle of each pixel about the beam, 0 … 360°, from +x towards +y.

        Args:
            shape: Of a frame.
        """
        dy, dx = self._offsets(shape)
        return torch.from_numpy(np.degrees(np.arctan2(dy[:, None], dx[None, :])) % 360.0)

    def cropped(self, top: int, left: int) -> Geometry:
        """The geometry of frames that lack the first rows and columns.

        Args:
            top: Rows cut off.
            left: Columns cut off.
        """
        return replace(self, x=self.x - left, y=self.y - top)

    def _offsets(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Height and width from the beam of rows and columns, m (or pixels)."""
        tall, wide = self.sides
        return (np.arange(shape[0]) - self.y) * tall, (np.arange(shape[1]) - self.x) * wide


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


def _unusable(name: str, value: float, why: str) -> InputError:
    return InputError(f"cannot use {name} = {value!r} of a geometry", why=why, fix="correct it")
