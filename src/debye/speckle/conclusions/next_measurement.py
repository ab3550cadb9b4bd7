"""Which measurement next: the information about a fitted system that frames not yet taken hold.

With C = R Rᵀ the covariance of its coefficients and H the curvature that the new frames would add,

    ΔI = ½ ln |1 + Rᵀ H R|   and   C′ = R (1 + Rᵀ H R)⁻¹ Rᵀ,

in natural units: a gain of ln 2 halves an error. It is worth as much as the fitted system, by which
the frames are predicted: use it once that is roughly known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from debye.errors import ComputationError, InputError
from debye.speckle.data.frames import Window
from debye.speckle.dynamics.solver import check_times
from debye.speckle.fitting.curvature import FAINT
from debye.speckle.fitting.experiment import Experiment
from debye.speckle.fitting.fitted import FittedSystem
from debye.speckle.fitting.residuals import root_of
from debye.speckle.fitting.slopes import frame_slopes
from debye.speckle.values import Numbers, OneLine, to_tensor


@dataclass(frozen=True, eq=False, repr=False)
class Candidate(OneLine):
    """A measurement that could be made.

    Attributes:
        start: (…) the state it would start from.
        times: (time,) of its frames, that of the start first.
        specimen: What would not move.
        exposure: Of a frame, in exposures of the frames that the system was fitted to.
        q: Ring |q| from … to that is seen, in the wave numbers of the scattering model; all of
            the open pixels if None.
    """

    start: Numbers
    times: Numbers
    specimen: Numbers | None = None
    exposure: float = 1.0
    q: tuple[float, float] | None = None


class Gain(NamedTuple):
    """What a candidate would bring.

    Attributes:
        name: Which candidate.
        information: ΔI, natural units.
        shrinkage: Error of the quantity after it over that before, root mean square; of all
            coefficients where no quantity is given.
        frames: How many frames it costs.
        exposures: How long these are together, in exposures of the frames fitted to.
    """

    name: str
    information: float
    shrinkage: float
    frames: int
    exposures: float

    def as_json(self) -> dict[str, str | float]:
        """All of it, and the information for each frame."""
        return {**self._asdict(), "information_per_frame": self.information / self.frames}


def rank_measurements(
    fitted: FittedSystem,
    candidates: Mapping[str, Candidate],
    quantity: Callable[[], Tensor] | None = None,
) -> list[Gain]:
    """Order measurements by what they would tell about a fitted system, the best first.

    Args:
        fitted: With the covariance of its coefficients.
        candidates: By name.
        quantity: Works out (N,) values from ``fitted.system``, as `FittedSystem.error_of` takes
            them; then the measurement that shrinks their errors most comes first.

    Raises:
        InputError: There is no candidate, one does not fit the system, or the covariance is not
            known.
        ComputationError: The system does not last through any candidate.

    Example:
        >>> from debye.speckle import Detector, Drift, Flow, GaussianProbe, RigidCloud, Solver
        >>> seen = RigidCloud(Detector(16, 0.5, 2.0), GaussianProbe(0.25, 2.0), R=0.1)
        >>> known = torch.eye(6, dtype=torch.float64)
        >>> fitted = FittedSystem(Drift(Flow(degree=1)), seen, Solver(), 0.1, known)
        >>> cloud = torch.linspace(-0.3, 0.3, 20, dtype=torch.float64).view(10, 2)
        >>> start = torch.zeros(2, dtype=torch.float64)
        >>> short, long = (Candidate(start, [0.0, t], cloud) for t in (0.1, 1.0))
        >>> [gain.name for gain in rank_measurements(fitted, {"short": short, "long": long})]
        ['long', 'short']
    """
    if not candidates or fitted.covariance is None:
        missing = "no candidate is given" if not candidates else "its errors are not known"
        raise InputError(
            "cannot rank measurements", why=missing, fix="give candidates, and fit by Gauss–Newton"
        )
    root, gains, failed = root_of(fitted.covariance), [], ""
    before = None if quantity is None else fitted.error_of(quantity)
    for name, candidate in candidates.items():
        try:
            H = _curvature(fitted, name, candidate)
        except ComputationError as error:
            failed = f"{name}: {error}"
            continue
        inner = torch.eye(len(root), dtype=root.dtype) + root.T @ H @ root
        after = FittedSystem(
            fitted.system,
            fitted.scattering,
            fitted.solver,
            covariance=root @ torch.linalg.solve(inner, root.T),
        )
        if quantity is None or before is None:
            ratio = after.covariance.diagonal() / fitted.covariance.diagonal()  # type: ignore[union-attr]  # just made
        else:
            ratio = (after.error_of(quantity) / before).square()
        information = 0.5 * float(torch.linalg.slogdet(inner)[1])
        shrinkage = float(ratio.nan_to_num(1.0).mean().sqrt())
        frames = len(candidate.times) - 1  # type: ignore[arg-type]  # numbers along one axis
        gains.append(Gain(name, information, shrinkage, frames, frames * candidate.exposure))
    if not gains:
        raise ComputationError(
            "cannot rank measurements", why=failed, fix="give starts within what was fitted"
        )
    first = (lambda g: -g.information) if quantity is None else (lambda g: g.shrinkage)
    return sorted(gains, key=first)


def _curvature(fitted: FittedSystem, name: str, candidate: Candidate) -> Tensor:
    """H of the system's coefficients from the frames of a candidate."""
    start = to_tensor(candidate.start, "the start").double()[None]
    times = to_tensor(candidate.times, "the times").double()
    specimen = None
    if candidate.specimen is not None:
        specimen = to_tensor(candidate.specimen, "the specimen")[None]
    try:
        if start.ndim - 1 != fitted.system.state_axes or len(check_times(times)) < 2:
            raise ValueError(
                f"its start is {tuple(start[0].shape)}, its times {tuple(times.shape)}"
            )
        seen = fitted.frames(start[:, None], specimen)
    except (ValueError, RuntimeError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"the candidate {name!r} does not fit the system",
            why=str(error).split("\n")[0],
            fix=f"give a state as {type(fitted.system).__name__} has it, and two times or more",
        ) from error
    blank = seen.new_zeros(()).expand(1, len(times), *seen.shape[-2:])
    gain = fitted.gain * candidate.exposure
    made = Experiment(fitted.system, fitted.scattering, fitted.solver, gain, fitted.instrument)
    size = sum(p.numel() for p in fitted.system.parameters())
    H = torch.zeros(size, size, dtype=torch.float64)
    mask = _seen(fitted, candidate)
    for frame in frame_slopes(made, Window(start, times, blank, specimen)):
        J = frame.shared[:size, :, mask]
        H += (J / frame.rate[:, mask].clamp(min=FAINT)).flatten(1) @ J.flatten(1).T
    return H


def _seen(fitted: FittedSystem, candidate: Candidate) -> Tensor:
    """(qy, qx) the pixels of a candidate.

    Raises:
        InputError: No open pixel lies in its ring.
    """
    mask = fitted.scattering.mask
    if candidate.q is None:
        return mask
    low, high = candidate.q
    q = torch.hypot(fitted.scattering.q[:, None], fitted.scattering.q)
    ring = mask & (q >= low) & (q <= high)
    if not bool(ring.any()):
        raise InputError(
            f"no open pixel is seen from q = {low:g} to {high:g}",
            why=f"the detector reaches from {float(q[mask].min()):.4g} to {float(q.max()):.4g}",
            fix="give a ring within",
        )
    return ring
