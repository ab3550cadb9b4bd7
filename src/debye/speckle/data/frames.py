"""Frames: time-resolved scattering of one or several runs, simulated or measured."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from debye.core.upward import Displayed
from debye.errors import InputError
from debye.speckle.data.clock import exact_times, gap_notes
from debye.speckle.data.quality import Examined, Quality, examine
from debye.speckle.data.saturation import full_of
from debye.speckle.dynamics.solver import Solver, check_times
from debye.speckle.dynamics.systems import System
from debye.speckle.scattering.models import Scattering
from debye.speckle.scattering.noise import expose, exposure
from debye.speckle.values import ByValue, Numbers, OneLine, optional, positive, to_tensor

MODELS = "a Lattice, Cloud or Scan, or a module of your own"


@dataclass(frozen=True, eq=False, repr=False)
class Window(OneLine, ByValue):
    """A stretch of frames of several runs, with the state it starts from."""

    start: Tensor  # [run, ...] state at the first time
    times: Tensor  # [time]
    frames: Tensor  # [run, time, qy, qx]
    specimen: Tensor | None = None  # [run, ...]
    frame: int = 0  # number of the first frame
    run: int = 0  # number of the first run
    first: bool = True  # whether the frame at the first time is the one recorded there

    @property
    def names(self) -> list[str]:
        """Of each run, where its stretch begins."""
        return [f"frame {self.frame} run {self.run + k}" for k in range(len(self.start))]


class Recorded(NamedTuple):
    """Times and states of all frames that were recorded, those that were left out among them."""

    times: Tensor
    states: Tensor | None


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Frames(ByValue, Displayed):
    """What a detector recorded, and what is known of the experiment.

    Arrays may be numpy's, torch's or lists of numbers.

    Args:
        data: (run, time, qy, qx) counts, or intensities without noise; (time, qy, qx) of one run.
        times: (time,) strictly rising, evenly spaced or not; kept as float64.
        mask: (qy, qx) True where a pixel counts; every pixel if None.
        states: (run, time, …) states of the system, where they are known.
        specimen: (run, …) what differs from run to run but does not move, such as a cloud.
        photons: Expected counts in the brightest pixel of the first frames; 0 without noise. If
            None, whole numbers are taken for counts and other numbers to be without noise.
        gain: Recorded numbers per unit of the scattering model's intensity; None if unknown, and
            then it is fitted where states are known.
        system: The law of motion, where it is known.
        scattering: The scattering model.
        about: Study, seed, version: anything JSON can hold. What was left out is told there too.
        quality: What was left out of them, where that is decided already; if None,
            `debye.speckle.data.quality.examine` decides which pixels and frames count.
        recorded: Times and states of all frames, where some were left out: a window may begin
            at one of which only the state is known.
        saturation: Counts at which a pixel is full; by default the largest of an integer type.

    Raises:
        InputError: Something is no array of numbers, shapes do not fit, times do not rise, there
            is one frame only, or too much is not finite, negative, full, dark or repeated.

    Example:
        >>> Frames(np.ones((3, 5, 8, 8), dtype=np.uint16), range(5))
        Frames(3 runs × 5 frames of 8 × 8 pixels, t = 0 … 4, 1 photon)
        >>> Frames(np.ones((5, 8, 8)), np.linspace(0, 1, 5)).runs(1).data.shape
        torch.Size([1, 5, 8, 8])
    """

    data: Tensor
    times: Tensor
    mask: Tensor
    states: Tensor | None
    specimen: Tensor | None
    photons: float
    gain: float | None
    system: System | None
    scattering: Scattering | None
    about: dict[str, Any]
    quality: Quality = field(compare=False)
    recorded: Recorded | None = field(compare=False)

    def __init__(
        self,
        data: Numbers,
        times: Numbers,
        mask: Numbers | None = None,
        states: Numbers | None = None,
        specimen: Numbers | None = None,
        photons: float | None = None,
        gain: float | None = None,
        system: System | None = None,
        scattering: Scattering | None = None,
        about: dict[str, Any] | None = None,
        quality: Quality | None = None,
        recorded: Recorded | None = None,
        saturation: float | None = None,
    ) -> None:
        shots = to_tensor(data, "the frames")
        single = shots.ndim == 3  # one run, without an axis of its own
        known = [
            None if v is None else to_tensor(v, k)
            for k, v in (("the states", states), ("the specimen", specimen))
        ]
        if single:
            shots, known = shots[None], [None if v is None else v[None] for v in known]
        made: dict[str, Any] = {
            "data": shots,
            "times": exact_times(times),
            "mask": _mask(mask, shots),
            "states": known[0],
            "specimen": known[1],
            "gain": None if gain is None else positive(gain, "gain"),
            "system": optional(system, System, "system"),
            "scattering": optional(scattering, nn.Module, "scattering", MODELS),
            "about": dict(about or {}),
            "recorded": recorded,
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)
        check_shapes(self)
        check_times(self.times)
        full = full_of(_dtype(data)) if saturation is None else positive(saturation, "saturation")
        decided = {"quality": quality}
        if quality is None:
            decided = self._changes(examine(self.data, self.mask, full))
        for name, value in decided.items():
            object.__setattr__(self, name, value)
        counted = _is_whole(data) and float((self.data[:, 0] * self.mask).nan_to_num().max())
        object.__setattr__(
            self, "photons", float(counted) if photons is None else positive(photons, "photons")
        )

    def only(self, found: Examined) -> Frames:
        """The frames and pixels that count, and what was left out."""
        return replace(self, **self._changes(found))

    def _changes(self, found: Examined) -> dict[str, Any]:
        """What is otherwise once only what counts is left."""
        changes: dict[str, Any] = {"mask": found.mask}
        if found.quality.kept:
            kept, states = list(found.kept), self.states
            changes |= {"data": self.data[:, kept], "times": self.times[kept]}
            changes["states"] = None if states is None else states[:, kept]
            changes["recorded"] = self.recorded or Recorded(self.times, states)
        gaps = gap_notes(changes.get("times", self.times), found.quality.kept)
        quality = replace(found.quality, notes=(*found.quality.notes, *gaps))
        return changes | {"quality": quality, "about": self.about | quality.facts()}

    def __repr__(self) -> str:
        return f"Frames({self.summary()})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # noqa: ANN401
        return np.array(self.data.cpu().numpy(), dtype=dtype)

    def summary(self) -> str:
        """What they are, in one line."""
        runs, count, rows, columns = self.data.shape
        line = (
            f"{runs} run{'s' * (runs > 1)} × {count} frames of {rows} × {columns} pixels, "
            f"t = {float(self.times[0]):g} … {float(self.times[-1]):g}"
        )
        if self.photons:
            line += f", {self.photons:g} photon{'s' * (self.photons != 1)}"
        if left := sum(map(len, self.quality.frames.values())):
            line += f", {left} left out"
        seen = [type(x).__name__ for x in (self.system, self.scattering) if x is not None]
        return ", ".join([line, *seen])

    def runs(self, which: int | slice) -> Frames:
        """Some of the runs: the first so many, or a slice."""
        part = slice(which) if isinstance(which, int) else which
        known = self.recorded
        if known and known.states is not None:
            known = known._replace(states=known.states[part])
        return replace(
            self,
            data=self.data[part],
            recorded=known,
            states=None if self.states is None else self.states[part],
            specimen=None if self.specimen is None else self.specimen[part],
        )

    def stretch(self, part: slice) -> Frames:
        """Some of the frames of all runs, one after the other, of those that count.

        Raises:
            InputError: There are fewer than two.
        """
        return replace(
            self,
            data=self.data[:, part],
            times=self.times[part],
            states=None if self.states is None else self.states[:, part],
            quality=Quality(self.quality.pixels),
            recorded=None,
        )

    def to(self, device: str) -> Frames:
        """The same frames on another device; what is learned from them is learned there.

        The scattering model is moved, not copied, as modules are.
        """
        known = self.recorded
        if known and known.states is not None:
            known = known._replace(states=known.states.to(device))
        return replace(
            self,
            data=self.data.to(device),
            recorded=known,
            mask=self.mask.to(device),
            states=None if self.states is None else self.states.to(device),
            specimen=None if self.specimen is None else self.specimen.to(device),
            scattering=None if self.scattering is None else self.scattering.to(device),
        )

    def window(self, start: int, length: int, runs: slice = slice(None)) -> Window:
        """The frames ``start`` … ``start + length − 1`` of some runs, numbered as recorded.

        Where some were left out the window has fewer, and one at least, the first, whose counts
        nobody looks at.

        Raises:
            InputError: The state at the start is not known.
        """
        states, kept = self.known_states(), self.quality.kept or range(len(self.times))
        times = self.times
        if self.recorded and self.recorded.states is not None:
            times, states = self.recorded.times, self.recorded.states
        later = [t for t in kept if start < t < start + length]
        rows = [min(bisect_left(kept, t), len(kept) - 1) for t in (start, *later)]
        specimen = None if self.specimen is None else self.specimen[runs]
        there = times[[start, *later]]
        shots, run = self.data[runs][:, rows], runs.start or 0
        return Window(states[runs, start], there, shots, specimen, start, run, start in kept)

    @property
    def count(self) -> int:
        """How many frames a run had as recorded."""
        return len(self.recorded.times if self.recorded else self.times)

    def known_states(self) -> Tensor:
        """(run, time, …) the states.

        Raises:
            InputError: They are not known.
        """
        if self.states is None:
            raise InputError(
                "cannot start from these frames",
                why="they hold no states",
                fix="pass states=…, at least those at the starts of windows, or add them to the "
                "file as /entry/sample/states",
            )
        return self.states


def _mask(mask: Numbers | None, data: Tensor) -> Tensor:
    """The mask as booleans; all pixels without one."""
    if mask is None:
        return torch.ones(data.shape[-2:], dtype=torch.bool, device=data.device)
    found = mask if isinstance(mask, Tensor) else torch.from_numpy(np.array(mask))
    if found.dtype != torch.bool:
        raise InputError(
            "cannot use the mask",
            why=f"its type is {str(found.dtype).removeprefix('torch.')}, and whether 0 or 1 is "
            "a good pixel is anyone's guess",
            fix="pass booleans, True where a pixel counts: of a NeXus pixel_mask, mask == 0",
        )
    return found


def _dtype(data: Numbers) -> np.dtype | torch.dtype:
    """The type in which numbers came."""
    return data.dtype if isinstance(data, Tensor) else np.asarray(data).dtype


def _is_whole(data: Numbers) -> bool:
    """Whether numbers came as integers, which is what counts are."""
    kind = _dtype(data)
    if isinstance(kind, torch.dtype):
        return not kind.is_floating_point and kind != torch.bool
    return kind.kind in "ui"


def fitted_gain(frames: Frames, scattering: Scattering) -> float:
    """Recorded counts per unit of intensity, from all photons of the first frames.

    Raises:
        InputError: No states are known, the model has other pixels than the frames, or they lie
            outside the probe.
    """
    with torch.no_grad():
        expected = scattering(frames.known_states()[:, :1], frames.specimen)
    if expected.shape[-2:] != frames.data.shape[-2:]:
        raise InputError(
            "the geometry does not fit these frames",
            why=f"the model's detector is {tuple(expected.shape[-2:])}, "
            f"a frame {tuple(frames.data.shape[-2:])}",
            fix="give the detector the experiment had",
        )
    seen = float((expected * frames.mask).sum())
    if not seen > 0:
        raise InputError(
            "cannot start from these states",
            why="they lie outside the probe: nothing would reach the detector",
            fix="check the unit and the origin of the states, and the box of the scattering model",
        )
    return float((frames.data[:, :1] * frames.mask).sum()) / seen


def check_shapes(frames: Frames) -> None:
    """Refuse arrays that do not fit together.

    Raises:
        InputError: They do not, or there is one frame only.
    """
    shape, count = tuple(frames.data.shape), len(frames.times)
    problem = ""
    if len(shape) != 4:
        problem = f"the frames are {shape}, not (run, time, qy, qx)"
    elif shape[1] != count:
        problem = f"there are {shape[1]} frames a run but {count} times"
    elif tuple(frames.mask.shape) != shape[2:]:
        problem = f"the mask is {tuple(frames.mask.shape)} but a frame is {shape[2:]}"
    elif frames.states is not None and tuple(frames.states.shape[:2]) != shape[:2]:
        problem = f"the states are {tuple(frames.states.shape)} but the frames {shape}"
    if problem:
        raise InputError(
            "these frames do not fit together", why=problem, fix="check the arrays' axes"
        )
    if count < 2:
        raise InputError(
            "one frame says nothing of motion",
            why=f"there are {count} times",
            fix="give at least two frames a run",
        )


def simulate(
    system: System,
    scattering: Scattering,
    starts: Numbers,
    times: Numbers,
    *,
    solver: Solver,
    photons: float = 0.0,
    specimen: Numbers | None = None,
    seed: int = 0,
    since: float = 0.0,
    about: dict[str, Any] | None = None,
    batch: int = 8,
    watch: Callable[[int], None] = lambda runs: None,
) -> Frames:
    """Integrate a system from several states, scatter from it, and count photons.

    Args:
        system: The law of motion.
        scattering: What the detector sees of a state.
        starts: (run, …) initial states.
        times: (time,) of the frames.
        solver: How to integrate.
        photons: Expected counts in the brightest pixel of the first frames; 0 for no noise.
        specimen: (run, …) what does not move.
        seed: Seed of the counting noise.
        since: Time of ``starts``; motion between it and the first frame is not seen.
        about: What to remember.
        batch: Runs integrated together.
        watch: Called with the number of runs done after every batch.

    Returns:
        Frames whose ``data`` are counts, or, without noise, intensities scaled to at most 1,000
        photons in the first frames.

    Raises:
        InputError: Something is no array of numbers, the times do not rise, or nothing reaches
            the detector.
        SolveError: The integration does not reach the last time.
    """
    y0, grid = to_tensor(starts, "the initial states"), to_tensor(times, "the times").double()
    cloud = None if specimen is None else to_tensor(specimen, "the specimen")
    hidden = torch.cat([grid.new_tensor([since]), grid]) if grid[0] > since else grid
    frames, states = [], []
    with torch.no_grad():
        rhs = system.vector_field()
        for part in torch.arange(len(y0)).split(batch):
            y = solver.solve(rhs, y0[part], hidden).states[-len(grid) :].transpose(0, 1)
            states.append(y)  # [run, time, ...]
            frames.append(scattering(y, None if cloud is None else cloud[part]))
            watch(int(part[-1]) + 1)
        intensity = torch.cat(frames)
        gain = exposure(intensity, photons or 1000.0, scattering.mask)
        data = intensity * gain
        if photons:
            data = expose(data, torch.Generator().manual_seed(seed))
    return Frames(
        data,
        grid,
        scattering.mask,
        torch.cat(states),
        cloud,
        photons,
        gain,
        system,
        scattering,
        about,
        Quality(),
    )
