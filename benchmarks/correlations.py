"""Measure what benchmarks/correlations.md quotes: ``python benchmarks/correlations.py law``.

Every subcommand prints one Markdown table. One thread.
"""

from __future__ import annotations

import argparse
import time

import torch

from debye.speckle import (
    Ageing,
    Brownian,
    Cloud,
    Detector,
    Drift,
    GaussianProbe,
    SoftRepulsion,
    Suspension,
    fit_correlations,
)
from debye.speckle.data.frames import simulate
from debye.speckle.dynamics.particles import Particles
from debye.speckle.fitting.fitted import fit
from debye.speckle.fitting.plan import Plan, Stage
from debye.speckle.studies.study import relative
from debye.speckle.studies.swarm import SWARM, pair_force
from debye.speckle.unknown_starts.correlations import CorrelationFit

L = 4.0
TRUTH = 6.0, 0.08


def row(*cells):
    """Print one row of a table."""
    print("| " + " | ".join(f"{c:.4g}" if isinstance(c, float) else str(c) for c in cells) + " |")


def jostled(strength, diffusion):
    """Soft spheres in a periodic box, under thermal noise."""
    force = SoftRepulsion(strength, cutoff=0.6)
    return Brownian(Particles(force, L=L, periodic=True), diffusion)


def law():
    """Two parameters from g2 and the mean intensity of 64 runs, from wrong starts."""
    seen = Cloud(Detector(20, 0.5, L), GaussianProbe(0.2, L), R=0.05, illumination="centres")
    sample = Suspension(seen, (64, 2), L=L, frames=120, frame_time=0.02, settle=1.0)
    qmap = sample.qmap([2.5, 4, 6, 8, 10, 12, 14])
    row("seed", "k (6)", "error", "D (0.08)", "error", "contrast (1)", "error", "p", "CPU s")
    row(*["---"] * 9)
    for seed in range(10):
        runs = sample.correlate(jostled(*TRUTH), qmap, 64, seed=1000 + 7 * seed, photons=1.0)
        began = time.process_time()
        fitting = CorrelationFit(jostled(3.0, 0.15), sample, runs, seed=seed)
        for _ in fitting.run():
            pass
        fitted = fitting.result()
        found, k = fitted.card["correlations"], fitted.system.term.k.item()
        spent = time.process_time() - began
        row(
            seed,
            *(k, fitted.errors["system.force.k"].item()),
            *(found["D"], found["D_error"]),
            *(found["contrast"], found["contrast_error"]),
            *(found["p_value"], spent),
        )


def ageing(seeds=8):
    """How fast it moves and how fast it ages, from two-time maps of 16 runs, from wrong starts."""
    seen = Cloud(Detector(20, 0.5, L), GaussianProbe(0.2, L), R=0.05, illumination="centres")
    sample = Suspension(seen, (64, 2), L=L, frames=120, frame_time=0.02, settle=0.02)
    qmap, free = sample.qmap([2.5, 4, 6, 8, 10, 12, 14]), Drift(torch.zeros_like)
    row("seed", "D (0.3)", "error", "a (0.6)", "error", "contrast (1)", "error", "p", "CPU s")
    row(*["---"] * 9)
    for seed in range(seeds):
        known = {"seed": 1000 + 7 * seed, "photons": 1.0, "maps": 1}
        runs = sample.correlate(Ageing(free, 0.3, 0.6), qmap, 16, **known)
        began = time.process_time()
        fitted = fit_correlations(Ageing(free, 0.15, 1.5), sample, runs, seed=seed)
        found = fitted.card["correlations"]
        names = [n for k in ("D", "age", "contrast") for n in (k, f"{k}_error")]
        row(seed, *(found[n] for n in names), found["p_value"], time.process_time() - began)


def illumination():
    """Noiseless frames of the published forward model, learned by each way to light spheres."""
    row("spheres lit", "force error, 0.1 ≤ r ≤ 0.8")
    row("---", "---")
    plain = SWARM.scattering()
    ways = {
        how: Cloud(plain.detector, plain.probe, plain.R, illumination=how)
        for how in ("published", "exact", "centres")
    }
    start, _ = SWARM.starts(2, torch.Generator().manual_seed(0))
    times = 0.1 * torch.arange(6).double()
    data = simulate(SWARM.known(), ways["published"], start.double(), times, solver=SWARM.careful)
    r = torch.linspace(0.1, 0.8, 701, dtype=torch.float64)
    for how, model in ways.items():
        system, plan = SWARM.model(), Plan((Stage(3, 2, 1, 4), Stage(6, 2, 1, 6)))
        fit(system, data, plan, solver=SWARM.solver, scattering=model)
        row(how, relative(pair_force(system.term, r), pair_force(SWARM.known().term, r)))


TABLES = {"law": law, "ageing": ageing, "illumination": illumination}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", choices=TABLES)
    torch.set_num_threads(1)
    TABLES[parser.parse_args().table]()
