"""Flows outside every small basis, learned with splines under a smoothness prior, and named.

    python benchmarks/open_terms.py [SEEDS]

Counts of a rigid cloud of 50 spheres that a flow carries: 4 runs of 9 frames, 1,000 photons in the
brightest pixel. Errors are those of the velocity along orbits that start where the frames did.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from debye.speckle import (
    Detector,
    Drift,
    GaussianProbe,
    RigidCloud,
    Solver,
    SplineFlow,
    find_formula,
    fit,
    simulate,
)
from debye.speckle.data.frames import Frames

CAREFUL = Solver("tsit5", rtol=1e-9, atol=1e-10)
SOLVER = Solver("tsit5", step=0.125)  # fixed, so that the likelihood is smooth
TIMES = 0.5 * torch.arange(9).double()


def cycle(x: Tensor) -> Tensor:
    """An exponential, a hyperbolic tangent and a cubic: a limit cycle."""
    u, v = x.unbind(-1)
    return torch.stack([torch.tanh(2 * v), 1 - torch.exp(2 * u) + v * (1 - 6 * v**2)], -1)


def oscillator(x: Tensor) -> Tensor:
    """Van der Pol's, with a spring that saturates."""
    u, v = x.unbind(-1)
    return torch.stack([v, (1 - 8 * u**2) * v - torch.tanh(2 * u)], -1)


def pendulum(x: Tensor) -> Tensor:
    """−sin 6x."""
    return torch.stack([x[..., 1], -torch.sin(6 * x[..., 0])], -1)


FLOWS: dict[str, Callable[[Tensor], Tensor]] = {
    "−sin 6x": pendulum,
    "van der Pol + tanh": oscillator,
    "exp/tanh cycle": cycle,
}


def frames_of(flow: Callable[[Tensor], Tensor], seed: int) -> Frames:
    """Counts, with the states at the starts alone of use."""
    generator = torch.Generator().manual_seed(seed)
    seen = RigidCloud(Detector(24, 0.75, 2.0, 0.05), GaussianProbe(0.25, 2.0), R=0.07)
    cloud = 0.6 * torch.rand(4, 50, 2, generator=generator) - 0.3
    starts = 0.6 * torch.rand(4, 2, generator=generator).double() - 0.3
    return simulate(
        Drift(flow), seen, starts, TIMES, solver=CAREFUL, specimen=cloud, photons=1000, seed=seed
    )


def measure(flow: Callable[[Tensor], Tensor], seed: int) -> str:
    """Error, z, coverage, p and seconds of a fit, and its formula."""
    frames, term, began = frames_of(flow, seed), SplineFlow(), time.perf_counter()
    fitted = fit(Drift(term), frames, solver=SOLVER, instrument=False)
    seconds = time.perf_counter() - began
    path = SOLVER.solve(
        lambda t, x: flow(x), frames.known_states()[:, 0], torch.linspace(0, 4, 21).double()
    ).states.flatten(0, 1)
    with torch.no_grad():
        error = (term(path) - flow(path)).flatten()
    bars = fitted.error_of(lambda: term(path).flatten())
    z = error / bars
    covered = float((z.abs() < 1.645).double().mean())
    p = fitted.goodness.p if fitted.goodness else None
    found = find_formula(fitted, replace(frames, system=None))
    numbers = (
        f"error {float(error.norm() / flow(path).norm()):.4f}  |z| "
        f"{float(z.square().mean().sqrt()):.2f}  covered {covered:.2f}  p {p:.2g}"
    )
    return f"{numbers}  {seconds:.0f} s  {found.verdict}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    for seed in range(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
        for name, flow in FLOWS.items():
            print(f"{name:20} seed {seed}  {measure(flow, seed)}", flush=True)
