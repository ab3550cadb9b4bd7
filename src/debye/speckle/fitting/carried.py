"""How the frames of a run change with the numbers of its first state.

The derivative X of the states by the first one is carried along with them, dX/dt = ∂f/∂y X, X = 1
at the start. A particle's move changes a pattern by its own wave alone, because the amplitude is a
sum over particles: 2N patterns then cost as much as two of all N.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import jvp, vmap

from debye.errors import InputError
from debye.speckle.data.frames import Window
from debye.speckle.dynamics.solver import RightHandSide
from debye.speckle.fitting.experiment import Experiment
from debye.speckle.fitting.gauss_newton import forward_slopes, quiet_torch
from debye.speckle.fitting.instrument import heeds, mask_of
from debye.speckle.fitting.jacobian import FEW, through_few
from debye.speckle.scattering.models import Cloud, RigidCloud
from debye.speckle.scattering.optics import Setting

MOST = 4000
"""Numbers of a first state that can be fitted."""
CHUNK = 64
"""Numbers of a state differentiated together."""


def check_start(state: Tensor) -> None:
    """Refuse a first state of more numbers than can be fitted.

    Raises:
        InputError: It is one.
    """
    if state.numel() > MOST:
        raise InputError(
            f"cannot fit a first state of {state.numel()} numbers",
            why=f"all of them depend on each other, and {MOST} is the most",
            fix="give first states that are exact, or fewer particles or sites",
        )


@torch.no_grad()
def carried(experiment: Experiment, window: Window) -> Tensor:
    """(run, time, n, n) derivative of the numbers of every state by those of the first.

    Raises:
        ComputationError: The system does not last through the window.
    """
    start, rhs = experiment.start(window), experiment.system.vector_field()
    runs, n = len(start), start[0].numel()

    def both(t: float, z: Tensor) -> Tensor:
        y = z[..., 0].reshape(start.shape)
        return torch.cat([rhs(t, y).reshape(runs, n, 1), moved(rhs, t, y, z[..., 1:])], dim=-1)

    eye = torch.eye(n, dtype=start.dtype, device=start.device).expand(runs, n, n)
    first = torch.cat([start.reshape(runs, n, 1), eye], dim=-1)
    found = experiment.solver.solve(both, first, window.times, control=lambda z: z[..., 0])
    return found.states[..., 1:].transpose(0, 1)


def moved(rhs: RightHandSide, t: float, y: Tensor, X: Tensor) -> Tensor:
    """(run, n, k) ∂f/∂y X of states y (run, …) of n numbers, by the Jacobian if it is known."""
    if (jacobian := getattr(rhs, "jacobian", None)) is not None:
        A = jacobian(t, y)
        single = torch.float32 if len(A[0]) > CHUNK else A.dtype  # it costs half, and is enough
        return torch.bmm(A.to(single), X.to(single)).to(X)

    def along(x: Tensor) -> Tensor:
        return jvp(lambda y: rhs(t, y), (y,), (x.view_as(y),))[1].reshape(len(y), -1)

    with quiet_torch():
        return vmap(along, in_dims=-1, out_dims=-1, chunk_size=CHUNK)(X)


@torch.no_grad()
def start_slopes(experiment: Experiment, window: Window) -> Iterator[Tensor]:
    """Of each frame that is compared, (n, run, qy, qx) slopes by the numbers of its first state.

    Raises:
        ComputationError: The system does not last through the window.
    """
    skip = experiment.skip(window)
    X = carried(experiment, window)[:, skip:].double()  # [run, time, number, first number]
    states = experiment.path(window)[:, skip:]
    if states.ndim == 3 and states.shape[-1] <= FEW:
        with quiet_torch():
            found = through_few(
                lambda s: experiment.counts(s, window.specimen), states, X.movedim(-1, 0)
            )
        yield from found.unbind(2)
        return
    for t in range(states.shape[1]):
        frames = [
            _of_state(experiment, states[run, t], X[run, t], run, window) for run in range(len(X))
        ]
        yield torch.stack(frames, dim=1)


def _of_state(experiment: Experiment, state: Tensor, X: Tensor, run: int, window: Window) -> Tensor:
    """(n, qy, qx) slopes of one frame by the numbers of its first state."""
    model: nn.Module = experiment.scattering
    if heeds(model) and isinstance(model, Cloud) and not isinstance(model, RigidCloud):
        slopes = cloud_slopes(experiment, model, state)
    else:
        specimen = None if window.specimen is None else window.specimen[run : run + 1]

        def seen(v: Tensor) -> Tensor:
            return experiment.counts(v.view_as(state)[None, None], specimen)[0, 0]

        slopes = forward_slopes(seen, state.flatten(), CHUNK)
    return (X.mT @ slopes.flatten(1).to(X)).view(slopes.shape)


def cloud_slopes(experiment: Experiment, cloud: Cloud, state: Tensor) -> Tensor:
    """(n, qy, qx) slopes of the counts by the coordinates of particles (particle, coordinate)."""
    instrument = experiment.instrument
    setting = instrument.setting(cloud) if instrument else None
    with quiet_torch():
        slopes = waves_alone if cloud.along_x is not None else waves_in_two
        bright = slopes(cloud, state, setting).flatten(0, 1)
    if instrument is None:
        return experiment.gain * bright * mask_of(cloud)
    return instrument.response(bright, cloud, experiment.gain) * mask_of(cloud)


def waves_alone(cloud: Cloud, state: Tensor, setting: Setting | None) -> Tensor:
    """(particle, coordinate, qy, qx) slopes of intensity, from the wave of each particle alone."""

    def waves(y: Tensor) -> list[Tensor]:
        return [
            weight**0.5 * cloud.amplitude(y[..., :2], f, setting, form=form)
            for weight, f, form in cloud.channels(y)
        ]

    alone, whole = state[:, None], waves(state)  # [particle, 1, coordinate]
    rows: list[Tensor] = []
    for axis in torch.eye(state.shape[-1]).to(state):
        own = jvp(waves, (alone,), (axis.expand_as(alone),))[1]
        dI = torch.zeros(())
        for A, dA in zip(whole, own, strict=True):  # [mode, qy, qx], [mode, particle, qy, qx]
            dI = dI + 2 * (A.conj()[:, None] * dA).real.sum(0)
        rows.append(dI)
    return torch.stack(rows, dim=1)


def waves_in_two(cloud: Cloud, state: Tensor, setting: Setting | None) -> Tensor:
    """The same of spheres that are lit as their centres are, a tenth of the work.

    The wave of a particle is a product, F f_j e^{−iq_y y} e^{−iq_x x}, and its slope by a
    coordinate changes one of the two: ∂_x (f e^{−iq_x x}) = (∂_x f − i q_x f) e^{−iq_x x}.
    """
    q = cloud.q.to(state) * (1.0 if setting is None else 1 + setting.q_scale)
    x, y = (torch.polar(torch.ones_like(p), p) for p in (-q * state[:, :2, None]).unbind(1))
    found = [state.new_zeros(len(state), *cloud.mask.shape) for _ in range(state.shape[-1])]
    for k, (weight, f, form) in enumerate(cloud.channels(state)):

        def lit(at: Tensor, k: int = k) -> Tensor:
            return cloud.lit(at[..., :2], cloud.channels(at)[k][1], setting)[1]

        A = cloud.amplitude(state[..., :2], f, setting, form=form)
        back = 2 * weight * A.conj() * (cloud.factor_of(setting) if form else 1.0)
        for c, axis in enumerate(torch.eye(state.shape[-1]).to(state)):
            both = jvp(lit, (state,), (axis.expand_as(state),))
            bright, slope = both[0], both[1]  # [mode, particle]
            for B, f0, f1 in zip(back, bright, slope, strict=True):
                turned = f1[:, None] - (1j * q * f0[:, None] if c < 2 else 0.0)
                left, right = (y * turned, x) if c == 1 else (y, x * turned)
                half = B * left[:, :, None]
                found[c] += half.real * right.real[:, None] - half.imag * right.imag[:, None]
    return torch.stack(found, dim=1)
