"""First states that nobody knows, reconstructed from frames: lattices of phases, drifting objects.

python benchmarks/first_states.py lattice   # cos θ of a 40 × 40 lattice, from one frame
python benchmarks/first_states.py object    # a rigid object and the flow that carries it
"""

from __future__ import annotations

import math
import sys
import time

import torch
from torch import Tensor

from debye.speckle import (
    CurvedProbe,
    Detector,
    Drift,
    Flow,
    Lattice,
    RigidLattice,
    Solver,
    reconstruct_lattice,
    reconstruct_object,
    simulate,
)

SIDE = 2.0
PROBE = CurvedProbe(0.25, SIDE, 12.0)
CENTRE = torch.tensor([0.3, -0.2]).double()
TURN = torch.tensor([[0.1, 1.0], [-1.0, 0.1]]).double()


def correlation(a: Tensor, b: Tensor) -> float:
    """Of two sets of values, up to the sign of both."""
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1].abs())


def lattice(points: int = 40) -> None:
    """Of phases drawn at random, how often and how well cos θ is found, where the probe lights."""
    seen = Lattice(Detector(points, 0.5, SIDE, 0.02), PROBE, points)
    lit = seen.window[0].abs() > 0.2
    print("| photons | seed | beginnings that agree | p | correlation | rms z | CPU s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for photons in (1000, 100):
        for seed in range(5):
            generator = torch.Generator().manual_seed(seed)
            theta = 2 * math.pi * torch.rand(points, points, generator=generator).double()
            gain = float(photons / seen(theta).max())
            frame = torch.poisson(gain * seen(theta), generator=generator)
            began = time.process_time()
            found = reconstruct_lattice(frame, seen, gain=gain, seed=seed)
            spent = time.process_time() - began
            a, b = found.values[lit], theta.cos()[lit]
            pull = (a * (a @ b).sign() - b) / found.errors[lit]
            print(
                f"| {photons} | {seed} | {found.alike} of {found.tried} | {found.goodness.p:.2f} | "
                f"{correlation(a, b):.4f} | {float(pull.square().mean().sqrt()):.2f} | "
                f"{spent:.1f} |",
                flush=True,
            )


def drifting(points: int = 12) -> None:
    """Of an object at random that turns about a point beside it, the error of the flow."""
    seen = RigidLattice(Detector(points, 0.5, SIDE, 0.04), PROBE, points)
    support = seen.sites.norm(dim=-1) < 0.55
    true, solver = Drift(lambda x: (x - CENTRE) @ TURN.mT), Solver("rk4", step=0.05)
    times = 0.25 * torch.arange(10).double()
    truth = torch.stack([-TURN @ CENTRE, TURN[:, 1], TURN[:, 0]])  # of 1, y, x
    print("| photons | seed | agree | p | object | path error | velocity error | rms z | CPU s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for photons in (1000, 100):
        for seed in range(5):
            generator = torch.Generator().manual_seed(seed)
            thing = torch.rand(1, points, points, generator=generator).double() ** 3 * support
            start = torch.zeros(1, 2).double()
            frames = simulate(
                true, seen, start, times, solver=solver, photons=photons, specimen=thing, seed=seed
            )
            began = time.process_time()
            law, found = reconstruct_object(
                Drift(Flow(degree=1)), frames, seen, solver=solver, support=support, seed=seed
            )
            spent = time.process_time() - began
            far = float((found.path - frames.known_states()[0]).norm(dim=-1).max())
            v, w = (one(0.0, found.path).detach() for one in (true, law.system))
            c = law.system.velocity.coefficients.detach()
            pull = (c - truth) / law.errors["velocity.coefficients"]
            same = correlation(found.values[support], thing[0][support])
            print(
                f"| {photons} | {seed} | {found.alike} of {found.tried} | {found.goodness.p:.2f} | "
                f"{same:.5f} | {far:.4f} | {float((w - v).norm() / v.norm()):.4f} | "
                f"{float(pull.square().mean().sqrt()):.2f} | {spent:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"lattice": lattice, "object": drifting}[sys.argv[1]]()
