"""Measure what benchmarks/xpcs.md quotes: ``python benchmarks/xpcs.py speed|twotime|errors|…``.

Every subcommand prints one Markdown table. All numbers are of one thread. scikit-beam is a
reference where it is installed; else a multi-tau of the same scheme in plain numpy stands for it.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import time
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import torch
from scipy.sparse import csr_matrix

from debye.speckle.data.stack import Stack
from debye.speckle.xpcs.correlator import Correlator
from debye.speckle.xpcs.diffusion import diffusion, power_law
from debye.speckle.xpcs.fit import fit
from debye.speckle.xpcs.geometry import Geometry
from debye.speckle.xpcs.qmap import make_qmap
from debye.speckle.xpcs.simulate import Simulated, brownian
from debye.speckle.xpcs.twotime import two_time

STACKS = {"dense": (1000, 1.0), "sparse": (2000, 0.01)}
"""Frames of 256², and photons a pixel."""


def row(*cells):
    """Print one row of a table."""
    print("| " + " | ".join(f"{c:.3g}" if isinstance(c, float) else str(c) for c in cells) + " |")
    sys.stdout.flush()


def head(*cells):
    """Print the head of a table."""
    row(*cells)
    row(*["---"] * len(cells))


def seconds(*works, repeat=3):
    """Median processor time of each call: of one thread, so that other work does not count."""
    spent = [[] for _ in works]
    for _ in range(repeat):
        for times, work in zip(spent, works, strict=True):
            began = time.process_time()
            work()
            times.append(time.process_time() - began)
    return [statistics.median(times) for times in spent]


def qmap(side=256, bins=8):
    """Rings over a square detector, q in pixels."""
    middle = (side - 1) / 2
    mask = torch.ones(side, side, dtype=torch.bool)
    return make_qmap(Geometry(middle, middle), mask, bins, q_range=(side / 32, side / 2 - 0.5))


def frames(kind):
    """Brownian speckle: 16 decays in the run at the outermost ring, one at the middle ones."""
    count, photons = STACKS[kind]
    seen = Simulated(qmap(), frames=count, photons=photons, diffusion=2e-3, slope=1.0)
    return seen, np.concatenate(list(seen.blocks()))


def correlate(seen, stack):
    """What is measured."""
    correlator = Correlator(seen.qmap, seen.frame_time)
    correlator.update(stack)
    return correlator.finish()


def reference(labels, levels):
    """scikit-beam's multi-tau, or the same scheme in numpy: sums over labels at 8 lags a level."""
    try:
        from skbeam.core.correlation import multi_tau_auto_corr
    except ImportError:
        return "numpy", lambda stack: plain(stack, labels, levels)
    return "scikit-beam", lambda stack: multi_tau_auto_corr(levels, 8, labels, stack)[:2]


def plain(stack, labels, levels, lags=8):
    """Multi-tau frame by frame with a ring buffer a level, after Lumma et al. (2000)."""
    inside = np.flatnonzero(labels)
    label = labels.ravel()[inside] - 1
    size = np.bincount(label)
    buffer = np.zeros((levels, lags, len(inside)))
    seen, found = np.zeros(levels, int), {}
    for frame in stack.reshape(len(stack), -1):
        now = frame[inside].astype(float)
        for level in range(levels):
            buffer[level, seen[level] % lags] = now
            seen[level] += 1
            for lag in range(lags // 2 if level else 1, lags):
                if lag < seen[level]:
                    past = buffer[level, (seen[level] - 1 - lag) % lags]
                    means = [np.bincount(label, x) / size for x in (past * now, past, now)]
                    sums = found.setdefault(lag << level, [0, 0, 0, 0])
                    for i, mean in enumerate((*means, 1)):
                        sums[i] = sums[i] + mean
            if seen[level] % 2:
                break
            now = 0.5 * (now + buffer[level, (seen[level] - 2) % lags])
    delay = np.array(sorted(found))
    return np.stack([found[d][0] * found[d][3] / found[d][1] / found[d][2] for d in delay]), delay


def speed(repeat):
    """g2 with errors, and its rms error, beside a reference in the same run."""
    head("frames", "debye, s", "reference", "reference, s", "ratio", "rms g2", "rms of reference")
    for kind, (count, photons) in STACKS.items():
        seen, stack = frames(kind)
        name, other = reference(seen.qmap.dynamic.labels.numpy(), int(np.log2(count / 8)))
        ours, theirs = seconds(
            partial(correlate, seen, stack), partial(other, stack), repeat=repeat
        )
        found, (g2, delay) = correlate(seen, stack), other(stack)[:2]
        upto = count // 8
        mine = (found.g2 - seen.g2(found.delay))[:, found.delay <= upto].square().mean().sqrt()
        delay = np.asarray(delay)
        kept = (delay > 0) & (delay <= upto)
        away = np.asarray(g2)[kept] - seen.g2(torch.from_numpy(delay[kept])).T.numpy()
        row(
            f"{count}, {photons} photons/pixel",
            ours,
            name,
            theirs,
            theirs / ours,
            float(mine),
            float((away**2).mean() ** 0.5),
        )


def twotime(repeat):
    """Two-time maps of all rings with g2 and errors, beside products of scipy's sparse matrices."""
    seen, stack = frames("sparse")
    labels = seen.qmap.dynamic.labels.flatten().numpy()
    flat = stack.reshape(len(stack), -1)
    rings = [np.flatnonzero(labels == n + 1) for n in range(len(seen.qmap))]
    tables = [csr_matrix(flat[:, ring].astype(np.float32)) for ring in rings]

    def products():
        return [(table @ table.T).toarray() for table in tables]

    def from_frames():
        whole = csr_matrix(flat).tocsc()
        return [(part @ part.T).toarray() for part in (whole[:, r].tocsr() for r in rings)]

    ours, theirs, more = seconds(
        lambda: two_time([stack], seen.qmap), products, from_frames, repeat=repeat
    )
    head("debye, from frames, s", "S·Sᵀ alone, s", "ratio", "S·Sᵀ from frames, s", "ratio")
    row(ours, theirs, ours / theirs, more, ours / more)


def errors(count):
    """Reported error over true scatter, worst and mean over the delays, all rings together."""
    head("speckle", "photons", "realisations", "lowest", "mean", "highest")
    for blur, photons, times in ((0.0, 1.0, 1), (1.0, 1.0, 1), (0.0, 0.02, 4)):
        found, truth = [], None
        for seed in range(times * count):
            seen = brownian(
                side=96, frames=160, diffusion=0.1, blur=blur, photons=photons, seed=seed
            )
            found.append(seen.correlate())
            truth = seen.g2(found[0].delay)
        scatter = torch.stack([c.g2 - truth for c in found]).square().mean(0)
        told = torch.stack([c.error for c in found]).square().mean(0)
        ratio = (told / scatter).log().mean(0).exp().sqrt()
        name = f"blurred, σ = {blur:g} pixel" if blur else "independent pixels"
        row(
            name,
            photons,
            times * count,
            *(float(f(ratio)) for f in (torch.min, torch.mean, torch.max)),
        )


def coverage(count):
    """How often 90 % intervals of n in τ ∝ q^−n and of D hold the truth."""
    inside = []
    for seed in range(count):
        seen = brownian(side=64, frames=300, diffusion=0.15, photons=2.0, seed=seed)
        found = fit(seen.correlate(), "single")
        law, D = power_law(found), diffusion(found)
        inside.append(
            (
                bool(law.power_interval[0] < 2 < law.power_interval[1]),
                bool(D.interval[0] < seen.diffusion < D.interval[1]),
            )
        )
    head("runs", "n, % inside", "D, % inside")
    row(count, *(100 * np.mean(inside, 0)).tolist())


def latency(count):
    """Seconds to take a second's sparse frames at 1 kHz, and from the last to g2."""
    seen = Simulated(qmap(), frames=count, photons=0.01, diffusion=2e-3)
    stack = np.concatenate(list(seen.blocks()))
    correlator = Correlator(seen.qmap, seen.frame_time)
    began = time.process_time()
    for start in range(0, count, 100):
        correlator.update(stack[start : start + 100])
    taken = time.process_time() - began
    began = time.process_time()
    correlator.so_far()
    head("frames", "taken, s for 1,000", "g2 after the last, s")
    row(count, 1000 * taken / count, time.process_time() - began)


def write(path, count, photons, distinct=256):
    """A file of frames of 512² in compressed chunks, which repeat after so many."""
    seen = Simulated(qmap(512), frames=distinct, photons=photons, diffusion=2e-3)
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "data", (count, 512, 512), "u2", chunks=(1, 512, 512), **hdf5plugin.Bitshuffle()
        )
        done = 0
        for block in seen.blocks(32):
            data[done : done + len(block)] = block
            done += len(block)
        chunks = [data.id.read_direct_chunk((n, 0, 0)) for n in range(distinct)]
        for n in range(distinct, count):
            data.id.write_direct_chunk((n, 0, 0), chunks[n % distinct][1])


LOOKED = 1024
"""Frames of which it is told which count: that is done block by block, and its memory is that of a
few blocks, whatever their number."""


def _peak():
    """Largest resident memory of this process so far, GB, and not that of the one it came from."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1e6


def _resident(path):
    """Memory above the libraries, GB, and time of a process that goes from a file to g2."""
    torch.set_num_threads(1)
    brownian(frames=64).correlate()  # all is imported
    before = _peak()
    Stack.open(f"{path}::/data", frames=slice(LOOKED), frame_time=1e-3).examined()
    looked, began = _peak(), time.perf_counter()
    stack = Stack.open(f"{path}::/data", frame_time=1e-3)
    correlator = Correlator(qmap(512), stack.frame_time)
    for block, numbers in stack.blocks():
        correlator.update(block, stack.places(numbers))
    correlator.finish()
    return looked - before, _peak() - before, time.perf_counter() - began


def memory(count):
    """Peak memory above the libraries from a file of frames of 512², and how long it takes."""
    head("frames", "photons a pixel", "to see which count, GB", "to g2, GB", "s")
    for photons in (0.01, 1.0):
        with tempfile.TemporaryDirectory() as folder, get_context("spawn").Pool(1) as pool:
            write(f"{folder}/frames.h5", count, photons)
            row(count, photons, *pool.apply(_resident, (f"{folder}/frames.h5",)))


WORKS = {
    "speed": (speed, 3),
    "twotime": (twotime, 3),
    "errors": (errors, 40),
    "coverage": (coverage, 100),
    "latency": (latency, 2000),
    "memory": (memory, 20_000),
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=WORKS)
    parser.add_argument("--count", type=int, help="repetitions, realisations or frames")
    given = parser.parse_args()
    work, default = WORKS[given.what]
    work(given.count or default)
