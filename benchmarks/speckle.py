"""Measure what benchmarks/speckle.md quotes: ``python benchmarks/speckle.py iteration|noise|…``.

Every subcommand prints one Markdown table. All numbers are of one thread.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from dataclasses import replace
from multiprocessing import get_context

import torch
from scipy.spatial import cKDTree

from debye.speckle.data.frames import simulate
from debye.speckle.dynamics.couplings import Kernel
from debye.speckle.dynamics.known import MexicanHat
from debye.speckle.dynamics.learnable import RadialNetwork, RadialSpline
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import Kuramoto, Swarm
from debye.speckle.fitting.experiment import Experiment
from debye.speckle.fitting.fitted import fit
from debye.speckle.fitting.gauss_newton import GaussNewton, to_vector
from debye.speckle.fitting.plan import Plan, Stage
from debye.speckle.scattering.models import Lattice, RigidCloud
from debye.speckle.scattering.noise import likelihood, masked_mean
from debye.speckle.scattering.optics import Detector, GaussianProbe
from debye.speckle.studies.drift import DRIFT
from debye.speckle.studies.kuramoto import KURAMOTO, transfer_error
from debye.speckle.studies.run import run_study
from debye.speckle.studies.scan import SCAN
from debye.speckle.studies.study import relative
from debye.speckle.studies.swarm import SWARM, pair_force


def seconds(work, repeat=5):
    """Median wall time of a call, after one to warm up."""
    work()
    spent = []
    for _ in range(repeat):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def peak_memory(work, *args):
    """Largest resident memory of a process of its own that does the work twice, GB."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_resident, (work, *args))


def _resident(work, *args):
    torch.set_num_threads(1)
    work(*args)
    work(*args)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def row(*cells):
    """Print one row of a table."""
    print("| " + " | ".join(f"{c:.4g}" if isinstance(c, float) else str(c) for c in cells) + " |")
    sys.stdout.flush()


def head(*cells):
    """Print the head of a table."""
    row(*cells)
    row(*["---"] * len(cells))


def gradient(experiment, window, mask):
    """One training iteration: loss on amplitudes, and its gradient."""
    loss = likelihood("exact").loss(experiment(window), window.frames[:, 1:])
    masked_mean(loss, mask).backward()


def swarm_batch():
    """4 states × 20 frames, as the published training iteration."""
    case = replace(SWARM, times=(0.0, 1.9, 0.1))
    return case.frames(runs=4)


def swarm_gradient(term, solver):
    """One training iteration of the swarm, from nothing."""
    data = swarm_batch()
    experiment = Experiment(Swarm(term), data.scattering, solver, data.gain)
    gradient(experiment, data.window(0, 20), data.mask)


def iteration():
    """Time and memory of a training iteration (forward and backward), reference-like beside."""
    head("iteration", "solver", "seconds", "floor", "reference-like", "peak, GB", "floor")
    torch.manual_seed(0)  # how stiff an untrained network is depends on its weights
    data = swarm_batch()
    window = data.window(0, 20)
    for name, term in (("spline", RadialSpline()), ("untrained network", RadialNetwork())):
        for label, solver in (
            ("tsit5, rtol 1e-4", Solver("tsit5", rtol=1e-4, atol=1e-5)),
            ("tsit5, rtol 1e-5", SWARM.solver),
            ("RK4, step 0.1", Solver("rk4", step=0.1)),
        ):
            experiment = Experiment(Swarm(term), data.scattering, solver, data.gain)
            spent = seconds(lambda e=experiment: gradient(e, window, data.mask))
            most = peak_memory(swarm_gradient, term, solver)
            row(f"swarm, 4 × 20 frames, {name}", label, spent, "≤ 0.7", 14.3, most, "≤ 1.5")
    points = data.states.clone().requires_grad_()
    spent = seconds(lambda: data.scattering(points).sum().backward())
    row("scattering of that batch alone", "", spent, "≤ 0.12", 5.7, "", "")
    kuramoto_iteration()


def kuramoto_iteration():
    """The 100² lattice that is the public code's default, 4 states × 20 frames."""
    theta = 6.283 * torch.rand(4, 100, 100, generator=torch.Generator().manual_seed(0))
    model = Lattice(Detector(42, 0.5, 2.0, 0.06), GaussianProbe(0.25, 2.0), points=100)
    times = 5 + 0.5 * torch.arange(20).double()
    data = simulate(Kuramoto(MexicanHat()), model, theta, times, solver=KURAMOTO.careful)
    for label, solver in (
        ("tsit5, rtol 1e-4", KURAMOTO.solver),
        ("RK4, step 0.25", Solver("rk4", step=0.25)),
    ):
        experiment = Experiment(Kuramoto(Kernel(11)), model, solver, data.gain)
        spent = seconds(lambda e=experiment: gradient(e, data.window(0, 20), data.mask))
        row("Kuramoto, 100² lattice, 4 × 20 frames", label, spent, "≤ 0.3", 2.2, "", "")
    data = replace(KURAMOTO, times=(5.0, 6.5, 0.5)).frames(runs=4)
    experiment = Experiment(KURAMOTO.model(), data.scattering, KURAMOTO.solver, data.gain)
    step = GaussNewton(experiment, lambda w: w.frames[:, 1:], data.mask, likelihood("exact"))
    spent = seconds(
        lambda: step.linearise(to_vector(experiment), [data.window(0, 3, slice(0, 1))]), 2
    )
    row(
        "Kuramoto, 80², a Gauss–Newton step (120 derivatives), 1 × 3 frames",
        "tsit5",
        spent,
        "",
        "",
        "",
        "",
    )


def force_error(term):
    """Relative RMS error of the swarm force over 0.1 ≤ r ≤ 0.8."""
    r = torch.linspace(0.1, 0.8, 701, dtype=torch.float64)
    return relative(pair_force(term, r), pair_force(SWARM.known().term, r))


def noise():
    """Force and kernel against photons, by likelihood."""
    head("λ_max", "swarm force error (poisson)", "amplitude", "l1", "seconds (poisson)")
    plan = Plan((Stage(6, 2, 1, 5), Stage(21, 8, 1, 3)))
    for photons in (1e3, 1e2, 1e1):
        data = replace(SWARM, times=(0.0, 2.0, 0.1)).frames(runs=8, photons=photons)
        found, spent = [], 0.0
        for name in ("poisson", "amplitude", "l1"):
            system = SWARM.model()
            began = time.perf_counter()
            fit(
                system,
                data,
                replace(plan, likelihood=name),
                solver=Solver("tsit5", rtol=1e-4, atol=1e-5),
            )
            spent = spent or time.perf_counter() - began
            found.append(force_error(system.term))
        row(f"{photons:g}", *found, spent)


def kuramoto_tables():
    """Kernel against photons and resolution."""
    head("λ_max", "n", "dq", "kernel", "transfer-function error", "kernel error", "seconds")
    plan = Plan((Stage(3, 1, 1, 5, 1), Stage(6, 4, 1, 3, 1)))
    settings = [(p, 42, 0.5, s) for p in (1e3, 1e2, 1e1) for s in (False, True)]
    settings += [(1e2, n, dq, False) for n, dq in ((30, 0.5), (20, 0.5), (42, 0.75), (42, 1.0))]
    truth = KURAMOTO.known()
    for photons, n, dq, symmetric in settings:
        detector = Detector(n, dq, 2.0, 0.06)
        model = Lattice(detector, GaussianProbe(0.25, 2.0), points=80)
        case = replace(KURAMOTO, scattering=lambda model=model: model, times=(5.0, 7.5, 0.5))
        data = case.frames(runs=4, photons=photons)
        system = Kuramoto(Kernel(11, symmetric=symmetric))
        began = time.perf_counter()
        fit(system, data, plan, solver=KURAMOTO.solver)
        spent = time.perf_counter() - began
        error = transfer_error(system, truth, data.states)
        row(
            f"{photons:g}",
            n,
            dq,
            "symmetric" if symmetric else "free",
            error,
            relative(system.term(), truth.term()),
            spent,
        )


def drift_table():
    """Drift against photons, and without the sharp edge of the window."""
    head("λ_max", "window", "error at t = 100", "error at t = 500", "period error", "seconds")
    smooth = RigidCloud(
        Detector(42, 0.75, 2.0, 0.05), GaussianProbe(0.25, 2.0), R=0.07, aperture=False
    )
    cases = [(0.0, DRIFT, "sharp"), (0.0, replace(DRIFT, scattering=lambda: smooth), "smooth")]
    cases += [(p, DRIFT, "sharp") for p in (1e3, 1e2, 1e1)]
    for photons, case, window in cases:
        report = run_study(case, photons=photons)
        values = [r.value for r in report.rows]
        row(f"{photons:g}" if photons else "none", window, *values, report.seconds["fit"])


def scan_table():
    """Scan against photons: fitted system and free fit."""
    head(
        "λ_max",
        "fitted system, learned half",
        "fitted system, second half",
        "free fit, learned half",
        "free fit, second half",
        "seconds",
    )
    for photons in (0.0, 1e3, 1e2, 1e1):
        report = run_study(SCAN, photons=photons)
        row(
            f"{photons:g}" if photons else "none",
            *[r.value for r in report.rows[:4]],
            report.seconds["fit"],
        )


def integrators():
    """Error of the swarm at t = 10 against right-hand sides, to choose the solver."""
    head("method", "setting", "evaluations", "mean position error at t = 10", "seconds")
    y0, _ = SWARM.draw(2, 0)
    times = torch.linspace(0, 10, 101).double()
    system = SWARM.known()
    with torch.no_grad():
        truth = Solver("dopri5", rtol=1e-9, atol=1e-10).solve(
            Swarm(system.term, table=0).vector_field(), y0.double(), times
        )
        for method, options in (
            ("tsit5", {"rtol": 1e-4, "atol": 1e-5}),
            ("tsit5", {"rtol": 1e-6, "atol": 1e-7}),
            ("dopri5", {"rtol": 1e-4, "atol": 1e-5}),
            ("rk4", {"step": 0.1}),
            ("rk4", {"step": 0.05}),
            ("midpoint", {"step": 0.05}),
            ("euler", {"step": 0.02}),
        ):
            path = Solver(method, **options).solve(system.vector_field(), y0, times)
            error = float((path.states[-1] - truth.states[-1]).norm(dim=-1).mean())
            setting = ", ".join(f"{k} {v:g}" for k, v in options.items())
            row(method, setting, path.evaluations, error, path.seconds)


def methods():
    """The same frames by three methods."""
    head("term", "method", "steps", "seconds", "force error")
    data = replace(SWARM, times=(0.0, 1.0, 0.1)).frames(runs=4)
    solver = Solver("tsit5", rtol=1e-4, atol=1e-5)
    for name, term, method, iterations in (
        ("spline, 17 coefficients", RadialSpline(), "gauss-newton", 8),
        ("spline, 17 coefficients", RadialSpline(), "lbfgs", 60),
        ("spline, 17 coefficients", RadialSpline(), "adam", 100),
        ("network, 384 weights", RadialNetwork(), "adam", 100),
    ):
        torch.manual_seed(0)
        system = Swarm(term)
        began = time.perf_counter()
        fitted = fit(
            system, data, Plan((Stage(11, 4, 1, iterations, 2),), method=method), solver=solver
        )
        steps = iterations * (2 if method == "adam" else 1)
        row(
            name,
            method,
            steps,
            time.perf_counter() - began,
            force_error(fitted.system.term),
        )


def directed_tree(force, cutoff):
    """The swarm's equation as the public code has it: a k-d tree, and every pair from both ends."""

    def rhs(t, y):
        found = []
        for r in y:
            pair = torch.from_numpy(cKDTree(r.numpy()).query_pairs(cutoff, output_type="ndarray")).T
            i, j = torch.cat([pair[0], pair[1]]), torch.cat([pair[1], pair[0]])
            d = r[j] - r[i]
            h = force(d.square().sum(-1).sqrt())
            found.append(torch.zeros_like(r).index_add(0, i, d * (h * (1 - h))[:, None]))
        return (2 / 5) ** 2 * torch.stack(found)

    return rhs


def neighbours():
    """A solve to t = 10 with kept lists of pairs, and with a k-d tree at every call."""
    head("particles", "k-d tree, CPU s", "debye, CPU s", "faster", "largest difference, positions")
    for count in (200, 500, 1000):
        r = 2.5 * torch.rand(1, count, generator=torch.Generator().manual_seed(0)).sqrt()
        phi = 6.2832 * torch.rand(1, count, generator=torch.Generator().manual_seed(1))
        start = torch.stack([r * phi.cos(), r * phi.sin()], -1)
        ways = [[solved(start, tree) for tree in (True, False)] for _ in range(7)]
        spent = [statistics.median(way[k][0] for way in ways) for k in (0, 1)]
        apart = float((ways[0][0][1] - ways[0][1][1]).abs().max())
        row(count, *spent, spent[0] / spent[1], apart)


def solved(start, tree):
    """CPU seconds of a solve from nothing, and the positions at its end."""
    known, times = SWARM.known(), torch.arange(0, 10.05, 0.1).double()
    began = time.process_time()
    way = directed_tree(known.term, known.term.cutoff) if tree else known.vector_field()
    end = SWARM.careful.solve(way, start, times).states[-1]
    return time.process_time() - began, end


TABLES = {
    "neighbours": neighbours,
    "iteration": iteration,
    "noise": noise,
    "kuramoto": kuramoto_tables,
    "drift": drift_table,
    "scan": scan_table,
    "integrators": integrators,
    "methods": methods,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", choices=TABLES)
    torch.set_num_threads(1)
    TABLES[parser.parse_args().table]()
