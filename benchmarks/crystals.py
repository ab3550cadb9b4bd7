"""Speed of the crystals half: an epoch, start-up, throughput; and how exact its symmetries are.

    OMP_NUM_THREADS=1 python benchmarks/crystals.py DATA.csv --config benchmarks/density.toml

DATA.csv has its split.csv beside it. One core is used. Times are medians over rounds, and each
stands beside something measured in the same rounds, because machines differ and are shared.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from debye.crystals.data.dataset import read_collection, read_split, subset
from debye.crystals.data.labels import Collection
from debye.crystals.training.begun import settings_of
from debye.crystals.training.run import TrainingRun

ROUNDS = 5


def seconds(command: list[str]) -> float:
    """Wall time of a whole process."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def epoch(data: Collection, split: Path, config: Path) -> None:
    """Seconds of a training epoch, forward, backward, step and collation."""
    parts = read_split(split)
    train, valid = subset(data, parts, "train"), subset(data, parts, "valid")
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(config, None)
        settings = replace(settings, recipe=replace(settings.recipe, epochs=ROUNDS))
        run = TrainingRun(train, valid, Path(folder) / "run", settings)
        times, begun = [], time.perf_counter()
        for step in run.steps():
            if step.ends_epoch:
                times.append(time.perf_counter() - begun)
                begun = time.perf_counter()
    print(f"training epoch, {len(train)} crystals: {statistics.median(times):.2f} s")


def start_up(quartz: Path) -> None:
    """`debye dos quartz.cif` as a whole process, beside `import torch` alone."""
    debye = [sys.executable, "-m", "debye", "dos", str(quartz)]
    torch_alone = [sys.executable, "-c", "import torch"]
    pairs = [(seconds(debye), seconds(torch_alone)) for _ in range(ROUNDS)]
    whole, bare = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"debye dos quartz.cif: {whole:.2f} s; import torch alone: {bare:.2f} s")


def warm(data: Collection) -> None:
    """Both shipped models on all rows, in a process that has begun."""
    from debye.crystals.predict.predictor import Predictor

    for name in (None, "fast"):
        predictor = Predictor.load(name)
        list(predictor(data.crystals[:50]))
        begun = time.perf_counter()
        list(predictor(data.crystals))
        rate = len(data) / (time.perf_counter() - begun)
        print(f"warm, {name or 'ensemble'}: {rate:.0f} crystals/s")


def throughput(data: Collection, count: int = 5000) -> None:
    """`debye dos --model fast` on one file of many crystals, as a whole process."""
    from debye.crystals.structure_io.read import write_structures

    crystals = [data.crystals[i % len(data)] for i in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "crystals.xyz"
        write_structures(path, crystals)
        command = [sys.executable, "-m", "debye", "dos", str(path), "--model", "fast"]
        times = [seconds(command) for _ in range(3)]
    middle = statistics.median(times)
    print(f"debye dos --model fast, {count} crystals in one file: {count / middle:.0f} crystals/s")


def symmetry(data: Collection, model: str | None, count: int = 100) -> None:
    """Largest relative change of a spectrum under rotation, permutation and repetition.

    A supercell has other wave vectors, so it tells how well they sample the zone.
    """
    from debye.crystals.predict.predictor import Predictor
    from debye.crystals.structure.crystal import Crystal

    predictor, rng = Predictor.load(model), np.random.default_rng(0)
    worst = {"rotation": 0.0, "permutation": 0.0, "supercell": 0.0}
    for crystal in data.crystals[:count]:
        before = predictor.predict(crystal).total.to("3").density
        R, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        order = rng.permutation(crystal.n_sites)
        species = [crystal.species[i] for i in order]
        changed = {
            "rotation": Crystal(crystal.species, crystal.positions @ R.T, crystal.cell @ R.T),
            "permutation": Crystal(species, crystal.positions[order], crystal.cell),
            "supercell": crystal.supercell((2, 1, 1)),
        }
        for name, other in changed.items():
            after = predictor.predict(other).total.to("3").density
            change = ((after - before).abs().max() / before.max()).item()
            worst[name] = max(worst[name], change)
    for name, change in worst.items():
        print(f"{model or 'ensemble'}, largest relative change under {name}: {change:.1e}")


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--config", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data, _ = read_collection(args.data)
    epoch(data, args.data.with_name("split.csv"), args.config)
    start_up(Path(__file__).parents[1] / "src/debye/data/demo/quartz.cif")
    warm(data)
    throughput(data)
    symmetry(data, "fast")
    symmetry(data, None)


if __name__ == "__main__":
    main()
