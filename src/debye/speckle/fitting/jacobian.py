"""Derivatives of the expected counts with respect to every fitted parameter of an experiment.

Where many coefficients move few numbers, as a spline flow moves the centre of one body, it is the
chain rule that is cheap: the states' derivatives carried backward, one sweep for each number of
the path, times the counts' derivatives carried forward, one for each coordinate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vmap

from debye.speckle.fitting.gauss_newton import forward_slopes, from_vector, quiet_torch

FEW = 4
"""Numbers in a state up to which the counts' derivatives by each of them are worked out."""


class _Calls(nn.Module):
    """A method of a module in the place of its ``forward``, as `functional_call` wants it."""

    def __init__(self, owner: nn.Module, method: str) -> None:
        super().__init__()
        self.owner, self.method = owner, method

    def forward(self, *given: Any) -> Any:  # noqa: ANN401 - whatever the method takes and gives
        return getattr(self.owner, self.method)(*given)


def call(owner: nn.Module, method: str, named: dict[str, Tensor], *given: Any) -> Any:  # noqa: ANN401
    """A method of a module with other parameters than its own."""
    held = {f"owner.{name}": value for name, value in named.items()}
    return functional_call(_Calls(owner, method), held, given)


def backward_slopes(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """(P, …) derivative of a function by each of P numbers, carried backward.

    Example:
        >>> backward_slopes(lambda x: x.square(), torch.tensor([1.0, 3.0]))
        tensor([[2., 0.],
                [0., 6.]])
    """
    with torch.enable_grad():
        at = at.detach().requires_grad_()
        values = function(at)
        ways = torch.eye(values.numel(), dtype=values.dtype, device=values.device)
        found = torch.autograd.grad(
            values, at, ways.view(-1, *values.shape), is_grads_batched=True, materialize_grads=True
        )[0]
    return found.mT.reshape(len(at), *values.shape)


def through_few(counts: Callable[[Tensor], Tensor], states: Tensor, moved: Tensor) -> Tensor:
    """(P, run, time, qy, qx) derivative of counts through states of few numbers.

    Args:
        counts: States (run, time, D) to (run, time, qy, qx); each sees its own state only.
        states: Where.
        moved: (P, run, time, D) their derivatives.
    """
    ways = torch.eye(states.shape[-1], dtype=states.dtype, device=states.device)

    def slope(way: Tensor) -> Tensor:
        return jvp(counts, (states,), (way.expand_as(states),))[1]

    return torch.einsum("prtd,drt...->prt...", moved.to(states.dtype), vmap(slope)(ways))


def experiment_slopes(experiment: Any, vector: Tensor, window: Any, chunk: int) -> Tensor:  # noqa: ANN401
    """(P, run, time, qy, qx) derivative of expected counts by the P parameters that are shared.

    Args:
        experiment: With ``path(window)``, ``counts(states, specimen)``, ``skip(window)`` and
            ``shared``.
        vector: Its parameters, in the order of `to_vector`, those of first states at the end.
        window: The frames.
        chunk: Parameters differentiated together, where they are carried forward.
    """
    skip, specimen = experiment.skip(window), window.specimen
    vector, starts = vector[: experiment.shared], vector[experiment.shared :]

    def parameters(v: Tensor) -> dict[str, Tensor]:
        return from_vector(experiment, torch.cat([v, starts]))

    def path(v: Tensor) -> Tensor:
        return call(experiment, "path", parameters(v), window)[:, skip:]

    def seen(states: Tensor, v: Tensor) -> Tensor:
        return call(experiment, "counts", parameters(v), states, specimen)

    own = sum(p.numel() for p in experiment.system.parameters() if p.requires_grad)
    with torch.no_grad():
        states = path(vector)
    if not own or states.ndim > 3 or states.shape[-1] > FEW or states.numel() > 2 * len(vector):
        return forward_slopes(lambda v: seen(path(v), v), vector, chunk)
    with quiet_torch():
        J = through_few(lambda s: seen(s, vector), states, backward_slopes(path, vector))
    if own < len(vector):  # what follows belongs to the instrument
        rest = forward_slopes(
            lambda v: seen(states, torch.cat([vector[:own], v])), vector[own:], chunk
        )
        J[own:] += rest
    return J
