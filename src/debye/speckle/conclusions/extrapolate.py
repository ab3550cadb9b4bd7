"""Follow a fitted system beyond its frames, and compare where there are frames to compare with."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from debye.core.records import SCHEMA
from debye.errors import InputError
from debye.speckle.data.frames import Frames
from debye.speckle.data.locate import split_name
from debye.speckle.data.nexus import load_frames
from debye.speckle.data.quality import Quality
from debye.speckle.fitting.fitted import FittedSystem
from debye.speckle.scattering.noise import expose
from debye.speckle.values import ByValue, Table, expect, table


@dataclass(frozen=True, eq=False, repr=False)
class Extrapolation(ByValue):
    """Where a fitted system leads.

    Attributes:
        predicted: Expected counts and states at all times followed, without noise.
        frame_error: (time,) relative error of the frame amplitudes, as long as there were frames.
        photon_noise: (time,) what of it the counting of photons alone would make.
        stopped: Where and why the integration ended early; empty if it did not.
        quality: What was left out of the frames compared with, and why.
    """

    predicted: Frames
    frame_error: Tensor
    photon_noise: Tensor
    stopped: str = ""
    quality: Quality = field(default=Quality(), compare=False)

    def __repr__(self) -> str:
        return f"Extrapolation({self.predicted.summary()}, {len(self.frame_error)} compared)"

    @property
    def times(self) -> Tensor:
        """(time,) at which there were frames to compare with."""
        return self.predicted.times[: len(self.frame_error)]

    def as_json(self) -> dict[str, Any]:
        """The errors against time, and what stopped it if anything did."""
        numbers = {
            "times": self.times,
            "frame_error": self.frame_error,
            "photon_noise": self.photon_noise,
        }
        stopped = {"stopped": self.stopped} if self.stopped else {}
        told = {"left_out": self.quality.as_json()} if self.quality.lines() else {}
        return {"schema": SCHEMA} | {k: v.tolist() for k, v in numbers.items()} | stopped | told

    def lines(self) -> list[str]:
        """Lines of time, error and noise, twenty of them or so."""
        lines = ["      time  frame amplitude error  of that photon noise"]
        columns = (self.times.tolist(), self.frame_error.tolist(), self.photon_noise.tolist())
        rows = list(zip(*columns, strict=True))[:: max(len(self.times) // 20, 1)]
        return lines + [f"{t:10.4g}  {error:21.3e}  {noise:20.3e}" for t, error, noise in rows]

    def to_frame(self) -> Table:
        """The errors against time, as a pandas table.

        Raises:
            InputError: pandas is not installed.
        """
        names = ("times", "frame_error", "photon_noise")
        return table({k: getattr(self, k).numpy() for k in names}).set_index("times")


def extrapolate(
    fitted: FittedSystem,
    until: float,
    frames: Frames | str | os.PathLike[str] | None = None,
    *,
    runs: int = 4,
) -> Extrapolation:
    """Follow a fitted system from the first states of frames to a time, within them or beyond.

    Args:
        fitted: The system.
        until: Last time, at the frames' spacing; at least that of the second frame.
        frames: Frames or a file of them, with states; by default the file it was fitted to, if
            that lies beside its own file or in the working directory.
        runs: Runs to follow.

    Returns:
        Predicted frames, and their error wherever there are frames to compare with. A system that
        does not last so long is followed as far as it goes; ``stopped`` says where and why.

    Raises:
        InputError: There are no frames, they hold no states, or the time is not beyond them.
        ComputationError: The integration stops before the second frame.
    """
    source = frames_of(expect(fitted, FittedSystem, "fitted")) if frames is None else frames
    known = (source if isinstance(source, Frames) else load_frames(source)).runs(runs)
    start, times = known.known_states()[:, 0], _times_to(until, known)
    trajectory = fitted.follow(start, times)
    if len(trajectory) < 2:
        fitted.extrapolate(start, times)  # raises what stopped it
    path, reached = trajectory.states.transpose(0, 1), len(trajectory)
    expected = fitted.frames(path, known.specimen)
    predicted = replace(
        known,
        data=expected * known.mask,
        times=times[:reached],
        states=path,
        photons=0.0,
        system=fitted.system,
        about={**known.about, "predicted": True},
        quality=Quality(),
        recorded=None,
    )
    both = min(len(known.times), reached)
    error, noise = _errors(expected[:, :both], known.data[:, :both], known)
    return Extrapolation(predicted, error, noise, trajectory.stopped, known.quality)


def frame_error(found: Tensor, true: Tensor, mask: Tensor) -> Tensor:
    """Relative distance of the amplitudes √I over open pixels and runs, at each time.

    Args:
        found: (run, time, qy, qx) expected counts.
        true: The same, expected or counted.
        mask: (qy, qx) True where a pixel counts.

    Returns:
        (time,) ‖√found − √true‖ / ‖√true‖.

    Example:
        >>> one = torch.ones(1, 2, 4, 4)
        >>> frame_error(4 * one, one, torch.ones(4, 4) > 0)
        tensor([1., 1.])
    """
    a, b = (x.clamp(min=0).sqrt() * mask for x in (found, true))
    difference = (a - b).square().transpose(0, 1).flatten(1).sum(1)
    return (difference / b.square().transpose(0, 1).flatten(1).sum(1)).sqrt()


def _errors(expected: Tensor, recorded: Tensor, frames: Frames) -> tuple[Tensor, Tensor]:
    """Error of the frames, and what of it photons alone would do: the prediction, counted."""
    generator = torch.Generator().manual_seed(0)
    counted = expose(expected.clamp(min=0), generator) if frames.photons else expected
    return (
        frame_error(expected, recorded, frames.mask),
        frame_error(expected, counted, frames.mask),
    )


def _times_to(until: float, frames: Frames) -> Tensor:
    """The times of the frames, carried on at their first spacing or cut short."""
    times = frames.times
    least, step = float(times[1]), float(times[1] - times[0])
    if kept := frames.quality.kept:  # the first step may be one over a frame that was left out
        step /= kept[1] - kept[0]
    if not (math.isfinite(until) and until >= least):
        raise InputError(
            f"cannot follow to t = {until:g}",
            why=f"it must be {least:g} or above, the time of the second frame",
            fix="give a later time",
        )
    beyond = max(0, round((until - float(times[-1])) / step))
    extra = times[-1] + step * torch.arange(1, beyond + 1, dtype=torch.float64)
    every = torch.cat([times, extra])
    return every[every <= until + step / 2]


def _file(frames: Path) -> Path:
    """The file of ``file.h5::/path``."""
    return Path(split_name(str(frames))[0])


def frames_of(fitted: FittedSystem) -> Path:
    """The file of frames a system was fitted to, if it still lies beside the system's or here.

    Raises:
        InputError: It does not.
    """
    name = str(fitted.card.get("frames") or "")
    folders = [Path()] if fitted.path is None else [fitted.path.parent, Path()]
    found = [folder / name for folder in folders if name and _file(folder / name).exists()]
    if not found:
        raise InputError(
            f"nothing to start {fitted.path or 'this system'} from",
            why=f"the frames it was fitted to, {name or 'unknown'}, are not beside it",
            fix="name frames, whose first states are taken",
        )
    return found[0]
