"""Screening at scale: structures by substitution, then throughput, memory, executors and deaths.

    python benchmarks/screening.py make DATA.csv 100000 substituted.xyz
    python benchmarks/screening.py cut substituted.xyz
    python benchmarks/screening.py run substituted.xyz
    python benchmarks/screening.py scale substituted.xyz
    python benchmarks/screening.py executors substituted.xyz
    python benchmarks/screening.py kills substituted.xyz

Each run is a `debye screen` of its own, on the processors that are there. Memory is the
proportional set size: pages that processes share are shared out among them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import psutil

SEED = 7


# Structures.


def likely(symbol: str, known: set[str]) -> list[str]:
    """Elements that may stand where one stood, itself among them.

    Of the same group; or transition metals at most two groups apart, whose covalent radii are
    within 0.35 Å and electronegativities within 0.5. Hydrogen is no alkali metal, and stays.
    """
    from ase.data import covalent_radii

    from debye.crystals.structure.elements import (
        ATOMIC_NUMBERS,
        electronegativity,
        periodic_position,
    )

    def fits(other: str) -> bool:
        z, n = ATOMIC_NUMBERS[symbol], ATOMIC_NUMBERS[other]
        (_, group, block), (_, there, kind) = periodic_position(z), periodic_position(n)
        metals = kind == block == "d" and abs(there - group) <= 2
        near = (
            abs(covalent_radii[n] - covalent_radii[z]) <= 0.35
            and abs(electronegativity(n) - electronegativity(z)) <= 0.5
        )
        return (there == group and 1 not in (z, n)) or other == symbol or (metals and near)

    return sorted(other for other in known if fits(other))


def substituted(data: Path, count: int) -> Iterator:
    """Different crystals made of the ordered ones of a collection, each once, in random order.

    Every element of a prototype becomes a likely one, no two the same; lengths are scaled by the
    sum of the covalent radii of the atoms.
    """
    from ase.data import covalent_radii

    from debye.crystals.data.dataset import read_collection
    from debye.crystals.structure.crystal import Crystal
    from debye.crystals.structure.elements import ATOMIC_NUMBERS

    rng = random.Random(SEED)
    collection, _ = read_collection(data)
    prototypes = [c for c in collection.crystals if c.is_ordered]
    known = {s for c in prototypes for s in c.elements}
    choices = {s: likely(s, known) for s in known}
    radius = {s: covalent_radii[ATOMIC_NUMBERS[s]] for s in known}
    made = set()
    while len(made) < count:
        index = rng.randrange(len(prototypes))
        old = prototypes[index]
        swap = {s: rng.choice(choices[s]) for s in old.elements}
        key = (index, *sorted(swap.items()))
        if key in made or len(set(swap.values())) < len(swap):
            continue
        made.add(key)
        before = old.symbols()
        after = [swap[s] for s in before]
        scale = sum(radius[s] for s in after) / sum(radius[s] for s in before)
        yield Crystal(after, scale * old.positions, scale * old.cell, f"{old.name}-{len(made)}")


def make(data: Path, count: int, output: Path) -> None:
    """Write the structures as extended xyz, one at a time."""
    from debye.crystals.structure_io.write import to_xyz

    begun, atoms = time.perf_counter(), 0
    with output.open("w") as stream:
        for crystal in substituted(data, count):
            stream.write(to_xyz(crystal))
            atoms += crystal.n_sites
    spent = time.perf_counter() - begun
    print(f"{count} structures of {atoms / count:.1f} atoms in {spent:.0f} s")


def first(source: Path, count: int, target: Path) -> Path:
    """The first frames of an xyz file."""
    with source.open() as stream, target.open("w") as out:
        for _ in range(count):
            line = stream.readline()
            out.writelines([line, *islice(stream, int(line) + 1)])
    return target


def cut(source: Path) -> None:
    """How fast a file is cut into shards, which the run itself does on one core."""
    from debye.crystals.screening.worker import shards

    begun, used = time.perf_counter(), time.process_time()
    count = sum(len(shard.pieces) for shard in shards([source], 1000))
    spent, used = time.perf_counter() - begun, time.process_time() - used
    print(f"{count} structures cut: {count / spent:.0f}/s, {count / used:.0f} per processor second")


# Runs.


def command(source: Path, output: Path, *options: object) -> list[str]:
    """The words of a `debye screen`."""
    words = ["screen", source, "--output", output, "--top", 0, "--device", "cpu", "--model", "fast"]
    words += options
    return [sys.executable, "-m", "debye", *map(str, words)]


class Run:
    """A screening as a process: how long it took, and the largest memory of its processes."""

    def __init__(self, source: Path, output: Path, *options: object) -> None:
        self.output, self.begun = output, time.perf_counter()
        self.process = psutil.Popen(command(source, output, *options), stderr=subprocess.PIPE)
        self.parent = self.worker = self.together = 0
        self.spent: dict[int, float] = {}

    def wait(self) -> float:
        """Seconds until it ends; its memory and processor time are looked at on the way."""
        while self.process.poll() is None:
            self._look()
            time.sleep(0.5)
        if self.process.returncode not in (0, 3):
            raise SystemExit(self.process.stderr.read().decode())
        return time.perf_counter() - self.begun

    def _look(self) -> None:
        sizes = []
        for process in [self.process, *children(self.process)]:
            try:
                sizes.append(process.memory_full_info().pss)
                times = process.cpu_times()
                self.spent[process.pid] = times.user + times.system
            except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
                sizes.append(0)
        self.parent = max(self.parent, sizes[0])
        self.worker = max(self.worker, *sizes[1:], 0)
        self.together = max(self.together, sum(sizes))

    @property
    def cpu(self) -> float:
        """Processor seconds of all its processes, start and end included."""
        return sum(self.spent.values())

    @property
    def rate(self) -> float:
        """Structures per second between the first and the last part: without start and end."""
        dates = sorted(p.stat().st_mtime for p in self.output.glob("parts/*.parquet"))
        each = counted(self.output) / len(dates)
        return each * (len(dates) - 1) / (dates[-1] - dates[0])


def children(process: psutil.Process) -> list[psutil.Process]:
    """All processes that one has started, and those they have."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def counted(folder: Path) -> int:
    """Structures of a screening that is done."""
    return json.loads((folder / "debye-screen.json").read_text())["done"]["structures"]


def finished(folder: Path) -> int:
    """Parts that are there."""
    return len(list(folder.glob("parts/part-*")))


def report(name: str, run: Run, spent: float) -> None:
    """Print a line about a run."""
    total = counted(run.output)
    print(
        f"{name}: {total} structures in {spent:.1f} s, {total / spent:.0f}/s whole, "
        f"{run.rate:.0f}/s between first and last part, "
        f"{total / run.cpu:.0f} per processor second; memory in MB: parent "
        f"{run.parent / 1e6:.0f}, largest worker {run.worker / 1e6:.0f}, all together "
        f"{run.together / 1e6:.0f}; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def whole(source: Path, scratch: Path) -> None:
    """Everything, with two workers; then the first thousand, for its memory."""
    for name, file in (("all", source), ("1,000", first(source, 1000, scratch / "1000.xyz"))):
        size = 1000 if name == "all" else 250
        run = Run(file, scratch / name, "--workers", 2, "--shard-size", size)
        report(name, run, run.wait())


def scale(source: Path, scratch: Path, count: int, rounds: int = 3) -> None:
    """One worker against two, in turns."""
    file = first(source, count, scratch / "some.xyz")
    rates: dict[int, list[float]] = {1: [], 2: []}
    work: dict[int, list[float]] = {1: [], 2: []}
    for k in range(rounds):
        for workers, found in rates.items():
            run = Run(file, scratch / f"{workers}-{k}", "--workers", workers, "--shard-size", 500)
            report(f"{workers} workers", run, run.wait())
            found.append(run.rate)
            work[workers].append(counted(run.output) / run.cpu)
    for name, of in (("time", rates), ("processor time", work)):
        ratio = [
            two / one / (2 if of is rates else 1) for one, two in zip(of[1], of[2], strict=True)
        ]
        print(f"efficiency of two workers by {name}: median {statistics.median(ratio):.2f}", ratio)


def executors(source: Path, scratch: Path, count: int, rounds: int = 3) -> None:
    """The same work by local processes, Parsl and Dask, in turns."""
    file = first(source, count, scratch / "some.xyz")
    spent: dict[str, list[float]] = {"local": [], "parsl": [], "dask": []}
    rates: dict[str, list[float]] = {name: [] for name in spent}
    for k in range(rounds):
        for name, times in spent.items():
            options = ("--executor", name, "--workers", 2, "--shard-size", 500)
            run = Run(file, scratch / f"{name}-{k}", *options)
            times.append(run.wait())
            rates[name].append(run.rate)
            report(name, run, times[-1])
    for name in ("parsl", "dask"):
        time_more = [b / a - 1 for a, b in zip(spent["local"], spent[name], strict=True)]
        rate_more = [a / b - 1 for a, b in zip(rates["local"], rates[name], strict=True)]
        print(
            f"{name} over local: {statistics.median(time_more):+.1%} of the whole time, "
            f"{statistics.median(rate_more):+.1%} between first and last part"
        )


def kills(source: Path, scratch: Path, count: int, times: int = 20) -> None:
    """Kill the run or one of its workers at random moments, go on, and compare the rows."""
    rng = random.Random(SEED)
    file = first(source, count, scratch / "some.xyz")
    options = ("--workers", 2, "--shard-size", count // 400)
    undisturbed = Run(file, scratch / "undisturbed", *options)
    plain = undisturbed.wait()
    report("undisturbed", undisturbed, plain)
    output, killed = scratch / "killed", {"parent": 0, "worker": 0}
    begun = time.perf_counter()
    run = Run(file, output, *options)
    while sum(killed.values()) < times and run.process.poll() is None:
        done = finished(output)
        while finished(output) == done and run.process.poll() is None:
            time.sleep(0.05)  # a kill at every start would only measure the starts
        time.sleep(rng.uniform(0.0, 0.5))
        workers = [p for p in children(run.process) if not children(p)]
        if run.process.poll() is not None:
            break
        if rng.random() < 0.5 or not workers:
            run.process.kill()
            run.process.wait()
            killed["parent"] += 1
            _, left = psutil.wait_procs(workers, timeout=60)
            assert not left, "workers were left behind"
            run = Run(file, output, *options)
        else:
            with contextlib.suppress(psutil.NoSuchProcess):  # it may just have ended
                rng.choice(workers).kill()
            killed["worker"] += 1
    run.wait()
    spent = time.perf_counter() - begun
    lost, double = compare(scratch / "undisturbed", output)
    print(
        f"{killed['parent']} kills of the parent and {killed['worker']} of workers: {lost} rows "
        f"lost or different, {double} twice; {spent:.0f} s instead of {plain:.0f} s"
    )


def compare(one: Path, other: Path) -> tuple[int, int]:
    """Rows that are missing or differ, and rows that are there twice."""
    from pyarrow import parquet

    rows, again = (
        [r for part in folder.glob("parts/*") for r in parquet.read_table(part).to_pylist()]
        for folder in (one, other)
    )
    found = {row["id"]: row for row in again}
    lost = sum(row["id"] not in found or not same(row, found[row["id"]]) for row in rows)
    return lost, len(again) - len(found)


def same(one: dict, other: dict) -> bool:
    """Equal, less the rounding of other batches."""
    close = all(
        abs(a - b) <= 1e-5 for a, b in zip(one["dos"] or [], other["dos"] or [], strict=True)
    )
    return close and (one["formula"], one["error"]) == (other["formula"], other["error"])


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["make", "cut", "run", "scale", "executors", "kills"])
    parser.add_argument("rest", nargs="+")
    parser.add_argument("--count", type=int, default=12_000, help="structures of smaller runs")
    args = parser.parse_args()
    if args.what == "make":
        make(Path(args.rest[0]), int(args.rest[1]), Path(args.rest[2]))
        return
    if args.what == "cut":
        cut(Path(args.rest[0]))
        return
    scratch = Path(tempfile.mkdtemp(prefix="debye-screening-"))
    work = {
        "run": whole,
        "scale": partial(scale, count=args.count),
        "executors": partial(executors, count=args.count),
        "kills": partial(kills, count=args.count),
    }[args.what]
    try:
        work(Path(args.rest[0]), scratch)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
