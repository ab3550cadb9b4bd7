"""Frames: time-resolved scattering of one or several runs, simulated or measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.dynamics.solver import Solver, check_times
from debye.speckle.dynamics.systems import System
from debye.speckle.scattering.models import Scattering
from debye.speckle.scattering.noise import expose, exposure


@dataclass(frozen=True)
class Window:
    """A stretch of frames of several runs, with the state it starts from."""

    start: Tensor  # [run, ...] state at the first time
    times: Tensor  # [time]
    frames: Tensor  # [run, time, qy, qx]
    specimen: Tensor | None = None  # [run, ...]


@dataclass(frozen=True)
class Frames:
    """What a detector recorded, and what is known of the experiment.

    Args:
        data: (run, time, qy, qx) counts, or intensities without noise.
        times: (time,) strictly rising, evenly spaced or not; float64.
        mask: (qy, qx) True where a pixel counts.
        states: (run, time, …) states of the system, where they are known.
        specimen: (run, …) what differs from run to run but does not move, such as a cloud.
        photons: Expected counts in the brightest pixel of the first frames; 0 without noise.
        gain: Recorded numbers per unit of the scattering model's intensity; None if unknown, and
            then it is fitted where states are known.
        system: The law of motion, where it is known.
        scattering: The scattering model.
        about: Study, seed, version: anything JSON can hold.

    Raises:
        InputError: Shapes do not fit, times do not rise, there is one frame only, or a number is
            not finite or negative.

    Example:
        >>> frames = Frames(torch.ones(3, 5, 8, 8), torch.arange(5.0), torch.ones(8, 8) > 0)
        >>> frames.runs(2).data.shape, frames.runs(slice(2, None)).data.shape
        (torch.Size([2, 5, 8, 8]), torch.Size([1, 5, 8, 8]))
    """

    data: Tensor
    times: Tensor
    mask: Tensor
    states: Tensor | None = None
    specimen: Tensor | None = None
    photons: float = 0.0
    gain: float | None = None
    system: System | None = None
    scattering: Scattering | None = None
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_shapes(self)
        check_times(self.times)
        check_counts(self.data, self.mask)

    def runs(self, which: int | slice) -> Frames:
        """Some of the runs: the first so many, or a slice."""
        part = slice(which) if isinstance(which, int) else which
        return replace(
            self,
            data=self.data[part],
            states=None if self.states is None else self.states[part],
            specimen=None if self.specimen is None else self.specimen[part],
        )

    def to(self, device: str) -> Frames:
        """The same frames on another device; what is learned from them is learned there.

        The scattering model is moved, not copied, as modules are.
        """
        return replace(
            self,
            data=self.data.to(device),
            mask=self.mask.to(device),
            states=None if self.states is None else self.states.to(device),
            specimen=None if self.specimen is None else self.specimen.to(device),
            scattering=None if self.scattering is None else self.scattering.to(device),
        )

    def window(self, start: int, length: int, runs: slice = slice(None)) -> Window:
        """The frames ``start`` … ``start + length − 1`` of some runs.

        Raises:
            InputError: The state at the start is not known.
        """
        if self.states is None:
            raise InputError(
                "cannot cut a training window",
                why="these frames hold no states",
                fix="add the states at the window starts as /entry/sample/states",
            )
        part = slice(start, start + length)
        specimen = None if self.specimen is None else self.specimen[runs]
        return Window(self.states[runs, start], self.times[part], self.data[runs, part], specimen)


def fitted_gain(frames: Frames, scattering: Scattering) -> float:
    """Recorded counts per unit of intensity, from the light of the first frames in all.

    Raises:
        InputError: No states are known, or the model has other pixels than the frames.
    """
    if frames.states is None:
        raise InputError(
            "cannot scale the model to these frames",
            why="they hold no states to scatter from",
            fix="add the states at the window starts as /entry/sample/states",
        )
    with torch.no_grad():
        light = scattering(frames.states[:, :1], frames.specimen)
    if light.shape[-2:] != frames.data.shape[-2:]:
        raise InputError(
            "the geometry does not fit these frames",
            why=f"the model's detector is {tuple(light.shape[-2:])}, "
            f"a frame {tuple(frames.data.shape[-2:])}",
            fix="give the detector the experiment had",
        )
    return float((frames.data[:, :1] * frames.mask).sum() / (light * frames.mask).sum())


def check_shapes(frames: Frames) -> None:
    """Refuse arrays that do not fit together."""
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


def check_counts(data: Tensor, mask: Tensor) -> None:
    """Refuse open pixels that hold NaN, infinity or negative counts; say where the first is."""
    for name, wrong in (("not finite", ~torch.isfinite(data)), ("negative", data < 0)):
        bad = wrong & mask
        if bad.any():
            run, time, y, x = bad.nonzero()[0].tolist()
            raise InputError(
                f"cannot use these frames: {int(bad.sum())} values are {name}",
                why=f"the first is pixel ({y}, {x}) of frame {time} in run {run}",
                fix="mask those pixels (Frames.cleaned does), or correct the data",
            )


def bad_pixels(data: Tensor, saturation: float | None = None) -> dict[str, Tensor]:
    """Pixels not to be trusted: (qy, qx) True where broken, dead or saturated.

    A pixel is broken if it is ever not finite or negative; saturated if it ever reaches
    ``saturation``; dead if it never counts in 16 frames or more while its neighbours count 50
    photons in all (a speckle may leave a pixel dark for a few frames).

    Example:
        >>> data = torch.full((1, 30, 5, 5), 2.0)
        >>> data[..., 0, 0], data[..., 2, 2], data[0, 3, 4, 4] = 0.0, float("nan"), 65535.0
        >>> {k: v.nonzero().tolist() for k, v in bad_pixels(data, saturation=65535).items()}
        {'broken': [[2, 2]], 'dead': [[0, 0]], 'saturated': [[4, 4]]}
    """
    broken = (~torch.isfinite(data) | (data < 0)).flatten(0, 1).any(0)
    total = torch.nan_to_num(data, posinf=0.0).clamp(min=0).flatten(0, 1).double().sum(0)
    around = torch.nn.functional.pad(total[None, None], (1, 1, 1, 1), mode="replicate")
    near = around.unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2).median(-1).values[0, 0]
    enough = data.shape[0] * data.shape[1] >= 16
    dead = (total == 0) & (near >= 50) & ~broken & enough
    top = float("inf") if saturation is None else saturation
    saturated = (data >= top).flatten(0, 1).any(0) & ~broken
    return {"broken": broken, "dead": dead, "saturated": saturated}


def simulate(
    system: System,
    scattering: Scattering,
    starts: Tensor,
    times: Tensor,
    *,
    solver: Solver,
    photons: float = 0.0,
    specimen: Tensor | None = None,
    seed: int = 0,
    since: float = 0.0,
    about: dict[str, Any] | None = None,
    batch: int = 8,
    watch: Callable[[int], None] = lambda runs: None,
) -> Frames:
    """Integrate a law from several states, scatter from it, and count photons.

    Args:
        system: The law.
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
    """
    frames, states = [], []
    hidden = torch.cat([times.new_tensor([since]), times]) if times[0] > since else times
    with torch.no_grad():
        law = system.vector_field()
        for part in torch.arange(len(starts)).split(batch):
            y = solver.solve(law, starts[part], hidden).states[-len(times) :].transpose(0, 1)
            states.append(y)  # [run, time, ...]
            frames.append(scattering(y, None if specimen is None else specimen[part]))
            watch(int(part[-1]) + 1)
        intensity = torch.cat(frames)
        gain = exposure(intensity, photons or 1000.0, scattering.mask)
        data = intensity * gain
        if photons:
            data = expose(data, torch.Generator().manual_seed(seed))
    return Frames(
        data,
        times.double(),
        scattering.mask,
        torch.cat(states),
        specimen,
        photons,
        gain,
        system,
        scattering,
        about or {},
    )
