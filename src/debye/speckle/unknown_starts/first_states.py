"""First states that nobody knows: a still lattice, or a drifting object with the law that moves it.

What is looked for is real, a density or cos θ at the sites of a lattice, and seen through a known
probe. Reflections lead to it from one frame and nearly any random beginning where the phase of the
probe changes across it. Once an object is seen, it is looked for in every other frame. Under a
probe p with p(−r) = p*(r), as any real one that is symmetric, the twin o(−r), moved by −x, makes
the same frames, and no number of them decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call

from debye.errors import InputError
from debye.speckle.data.frames import Frames
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import Drift
from debye.speckle.fitting.fitted import FittedSystem
from debye.speckle.fitting.gauss_newton import check_size, from_vector, set_vector, to_vector
from debye.speckle.fitting.positions import Path, Paths, fit_positions
from debye.speckle.scattering.models import Lattice
from debye.speckle.scattering.optics import Detector, coordinates
from debye.speckle.scattering.rigid import RigidLattice
from debye.speckle.unknown_starts.reconstruction import (
    Begin,
    Found,
    Problem,
    Reconstruction,
    Track,
    free_path,
    on_transform,
    reflected,
)

MOST = 2000
"""Unknowns at most: their curvature is held whole."""
TWIN = 0.99
"""Overlap of a probe with its twin from which on no photons tell the two apart."""


def reconstruct_lattice(
    frame: Tensor,
    scattering: Lattice,
    *,
    gain: float,
    support: Tensor | None = None,
    starts: int = 12,
    seed: int = 0,
) -> Reconstruction:
    """What scatters at each site of a lattice, cos θ of phases or a density, from one frame.

    The sign of θ cannot be seen in cos θ, nor that of all cos θ together.

    Args:
        frame: (qy, qx) counts.
        scattering: Whose probe changes its phase across the lattice.
        gain: Counts per unit of intensity.
        support: (y, x) True where there is anything; everywhere if None.
        starts: Random beginnings at most; two that agree are enough.
        seed: Of them.

    Raises:
        InputError: Under this probe a frame does not tell the lattice from its twin, or the lattice
            has too many sites, or scatters in several channels.

    Example:
        >>> from debye.speckle import Detector, GaussianProbe
        >>> seen = Lattice(Detector(8, 0.5, 2.0), GaussianProbe(0.25, 2.0), points=8)
        >>> reconstruct_lattice(torch.ones(16, 16), seen, gain=1.0)
        Traceback (most recent call last):
        debye.errors.InputError: cannot reconstruct this lattice
          why: under this probe its twin o(−r) makes the same frames (overlap 1.00): the phase of \
the probe hardly changes
          fix: use a probe that is out of focus, such as CurvedProbe, or give the first states
    """
    return next(
        reconstruct_lattices(
            [frame], scattering, gain=gain, support=support, starts=starts, seed=seed
        )
    )


def reconstruct_lattices(
    frames: Iterable[Tensor],
    scattering: Lattice,
    *,
    gain: float,
    support: Tensor | None = None,
    starts: int = 12,
    seed: int = 0,
) -> Iterator[Reconstruction]:
    """What scatters at each site of a lattice that changes, frame after frame.

    Where a frame's state is near that of the frame before, steps downhill lead from the one to the
    other, and no new beginning is needed; where they do not, it begins anew. The sign of all values
    together is a choice: it is made once, and then followed.

    Args:
        frames: Each (qy, qx) counts, such as the first of each window.
        scattering: Whose probe changes its phase across the lattice.
        gain: Counts per unit of intensity.
        support: (y, x) True where there is anything; everywhere if None.
        starts: Random beginnings at most.
        seed: Of them.

    Yields:
        What is found of each.

    Raises:
        InputError: What `reconstruct_lattice` refuses.

    Example:
        >>> from debye.speckle import CurvedProbe, Detector
        >>> seen = Lattice(Detector(8, 0.5, 2.0), CurvedProbe(0.25, 2.0, 12.0), points=8)
        >>> theta = torch.rand(8, 8, generator=torch.Generator().manual_seed(0)).double()
        >>> moved = theta + 0.02 * torch.arange(3)[:, None, None]
        >>> found = list(reconstruct_lattices((1e4 * seen(moved)).round(), seen, gain=1e4))
        >>> [one.tried for one in found[1:]]
        [1, 1]
    """
    if scattering.mixing or scattering.charge or scattering.weights is not None:
        raise InputError(
            "cannot reconstruct this lattice",
            why="it scatters in several channels, which one frame does not part",
            fix="give the first states",
        )
    site = torch.ones(scattering.points, scattering.points, dtype=torch.bool)
    support = site if support is None else support
    x = coordinates(scattering.points, scattering.detector.L)
    sites = torch.stack(torch.meshgrid(x, x, indexing="xy"), -1)
    _refuse_twin(scattering.probe, sites, "this lattice", still=True)
    moments = scattering.form == "moments"
    last: Reconstruction | None = None
    for frame in frames:
        problem = Problem(
            scattering.probe,
            frame[None].double(),
            scattering.mask,
            _checked(sites[support]),
            scattering.q,
            gain * scattering.magnetic,
            1.0 if moments else math.sqrt(float(frame.max()) / (gain * scattering.magnetic)),
            scattering.detector.L,
            scattering.points,
        )
        bound = 1.0 if moments else math.inf
        begin = _reflections(problem, scattering.detector, scattering.window, support, bound)
        nearby = None if last is None else last.values[support]
        at, alike, tried = problem.search(begin, _still, starts, seed, nearby)
        last = problem.reported(at, _still, support, alike, tried, nearby)
        yield last


def _still(moves: Tensor) -> Tensor:
    """(1, 2) the path of what does not move."""
    return torch.zeros(1, 2, dtype=torch.float64)


def _reflections(
    problem: Problem, detector: Detector, window: Tensor, support: Tensor, bound: float
) -> Begin:
    """What leads from a random beginning near to the thing that made the first frame.

    Raises:
        InputError: The probe has several modes, or pixels are no steps of a transform.
    """
    size = problem.points / detector.dq
    if len(window) > 1 or abs(size - round(size)) > 1e-9:
        raise InputError(
            "cannot reconstruct what makes these frames",
            why=f"the probe has {len(window)} modes, and a transform {size:g} pixels",
            fix="use one coherent mode, and a dq that divides the number of points",
        )
    counts, known = on_transform(problem.counts[0], problem.mask, round(size))
    modulus, probe = (counts / problem.gain).sqrt(), window[0].to(torch.complex128)

    def begin(generator: torch.Generator) -> Found:
        start = 2 * torch.rand(probe.shape, generator=generator, dtype=torch.float64) - 1
        made = reflected(modulus, known, probe, support, problem.scale * start, bound)
        return Found(made[support], made.new_zeros(0), math.inf)

    return begin


def reconstruct_object(
    system: Drift,
    frames: Frames,
    scattering: RigidLattice,
    *,
    solver: Solver | None = None,
    support: Tensor | None = None,
    starts: int = 12,
    seed: int = 0,
) -> tuple[FittedSystem, Reconstruction]:
    """A rigid object of which nothing is known but its support, and the flow that carries it.

    First the object from the first frame, and where it is in the others; then object and path
    together, each displacement for itself; then the flow through that path; then object and flow
    together, whose errors know of each other. The object is where it is in
    the first frame: an object moved by a, under the flow v(x + a), would make the same frames.

    Args:
        system: Its flow is fitted in track.
        frames: Counts of one run.
        scattering: Whose probe changes its phase across the object.
        solver: How to integrate.
        support: (y, x) True where the object can be, in the first frame; everywhere if None.
        starts: Random beginnings at most; two that agree are enough.
        seed: Of them.

    Returns:
        The law, with errors in which the object is marginalised, and the object with its path, in
        units in which the gain is that of the frames, or 1 if they have none.

    Raises:
        InputError: Under this probe frames do not tell an object from its twin, there are too many
            unknowns, the frames are no counts or not evenly spaced, or the system has no
            parameters.
        ComputationError: The flow blows up on the way.
    """
    _check_frames(frames)
    gain, how = frames.gain or 1.0, solver or Solver()
    _refuse_twin(scattering.probe, scattering.sites, "this object", still=False)
    everywhere = torch.ones(scattering.points, scattering.points, dtype=torch.bool)
    support = everywhere if support is None else support
    counts = frames.data[0].double()
    problem = Problem(
        scattering.probe,
        counts,
        frames.mask,
        _checked(scattering.sites[support]),
        scattering.q,
        gain,
        3 * float((counts[0, frames.mask].max() / gain).sqrt()),
        scattering.detector.L,
        scattering.points,
    )
    window = scattering.window(counts.new_zeros(2))
    look = _reflections(problem, scattering.detector, window, support, math.inf)

    def begin(generator: torch.Generator) -> Found:
        seen = look(generator)
        return seen._replace(moves=problem.placed(seen.values)[1:].flatten())

    at, alike, tried = problem.search(begin, free_path, starts, seed)
    times = frames.times.double()
    fit_positions(system, free_path(at.moves), times, how)
    track = _along(system, times, how)
    at = problem.descend(Found(at.values, to_vector(system), math.inf), track, problem.mask)
    set_vector(system, at.moves)
    found = problem.reported(at, track, support, alike, tried)
    size = check_size(system)
    C = torch.linalg.pinv(problem.curvature, hermitian=True)[-size:, -size:]
    law = FittedSystem(
        system, scattering, how, gain, C * found.goodness.dispersion, goodness=found.goodness
    )
    return law, found


def _along(system: Drift, times: Tensor, solver: Solver) -> Track:
    """Coefficients of a flow to the path (time, 2) from 0 that it makes."""
    paths = Paths(system, solver)
    zero = torch.zeros(1, 2, dtype=torch.float64)
    path = Path(zero, times, zero)

    def track(vector: Tensor) -> Tensor:
        later: Tensor = functional_call(paths, from_vector(paths, vector), (path,))
        return torch.cat([zero, later[:, 0]])

    return track


def _checked(sites: Tensor) -> Tensor:
    """The sites, if they are few enough.

    Raises:
        InputError: They are not.
    """
    if len(sites) > MOST:
        raise InputError(
            f"cannot reconstruct {len(sites)} sites",
            why=f"the curvature of more than {MOST} is not held in memory",
            fix="give support=… where there is anything, or a coarser lattice",
        )
    return sites


def _check_frames(frames: Frames) -> None:
    """Refuse what cannot be reconstructed.

    Raises:
        InputError: The frames are no counts, or of several runs.
    """
    if not frames.photons or len(frames.data) != 1:
        raise InputError(
            "cannot reconstruct an object from these frames",
            why="they are no counts" if not frames.photons else f"they are {len(frames.data)} runs",
            fix="give counts of one run, frames.runs(1)",
        )


def _refuse_twin(probe: nn.Module, sites: Tensor, what: str, *, still: bool) -> None:
    """Refuse a probe under which the twin of a thing makes the same frames.

    Raises:
        InputError: The probe is like its own twin.
    """
    p = probe(sites).flatten(1)
    back = probe(-sites).flatten(1)
    size = (p * back).abs().sum() if still else p.abs().square().sum()
    overlap = float((p * back).sum(-1).abs().sum() / size)
    if overlap > TWIN:
        raise InputError(
            f"cannot reconstruct {what}",
            why=f"under this probe its twin o(−r) makes the same frames (overlap {overlap:.2f}): "
            "the phase of the probe hardly changes",
            fix="use a probe that is out of focus, such as CurvedProbe, or give the first states",
        )
