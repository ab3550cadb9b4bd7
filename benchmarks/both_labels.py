"""What each part of a network that is taught by both kinds of labels earns.

    python benchmarks/both_labels.py DATA.csv SPLIT.csv FORCE_CONSTANTS RUNS [--only NAME …]

Every line is a short training of a small network by both-labels.toml, but for what its name says,
on the training rows, judged on the validation rows by the weights of its last epoch: errors of the
spectra in the max-1 view, and of the frequencies against the force constants of the validation
rows, the median over the crystals. What is finished in RUNS is not done again.
"""

from __future__ import annotations

import argparse
import csv
from copy import deepcopy
from pathlib import Path
from typing import Any

from debye.core.files import folder, read_toml
from debye.crystals.data.dataset import read_collection, read_split, subset
from debye.crystals.data.force_constants import LatticeLabel, read_force_constants
from debye.crystals.data.labels import Collection
from debye.crystals.training.config import Settings
from debye.crystals.training.run import FINAL, METRICS, TrainingRun

CONFIG = Path(__file__).with_name("both-labels.toml")
SMALL = {"network": {"channels": 32}, "recipe": {"epochs": 12}, "batch_size": 12}
"""The differences are wanted, not the last percent."""
FREE_5 = {"network": {"r_pairs": 5.0}}
POSITIVE_5 = {"network": {"r_pairs": 5.0, "positive": True}}
RIGID = {"strain": {"fraction": 0.0}}
LINES: dict[str, tuple[dict[str, Any], float, bool]] = {
    "all": ({}, 1.0, True),
    "positive pairs to 5 A": (POSITIVE_5, 1.0, True),
    "free pairs to 5 A": (FREE_5, 1.0, True),
    "spectra alone": ({}, 0.0, False),
    "spectra alone, positive pairs to 5 A": (POSITIVE_5, 0.0, False),
    "no strain, as labels or in training": (RIGID, 1.0, True),
    "rows alone have force constants": ({}, 1.0, False),
    "half of the rows have": ({}, 0.5, False),
    "a quarter of the rows has": ({}, 0.25, False),
}
"""Settings, of how many rows force constants are taught, and whether those of others are."""


def settings(changes: dict[str, Any]) -> Settings:
    """Those of the config file, small and changed."""
    tables = deepcopy(read_toml(CONFIG))
    for change in (SMALL, changes):
        for name, value in change.items():
            tables[name] = {**tables.get(name, {}), **value} if isinstance(value, dict) else value
    return Settings.from_tables(tables)


def chosen(
    labels: dict[str, LatticeLabel], rows: set[str], fraction: float, *, others: bool, strain: bool
) -> dict[str, LatticeLabel]:
    """The labels of a line: of every so manieth row, and of other crystals or not."""
    named = sorted(name for name in labels if name in rows)
    kept = set(named[:: round(1 / fraction)]) if fraction else set()
    if others:
        kept |= {n for n in labels if n not in rows and (strain or not n.startswith("strained"))}
    return {name: label for name, label in labels.items() if name in kept}


def main() -> None:
    """Train, line by line, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("data", "split", "force_constants", "runs"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--only", nargs="*", default=[*LINES], choices=[*LINES])
    asked = parser.parse_args()
    parts, (rows, _) = read_split(asked.split), read_collection(asked.data)
    train, valid = subset(rows, parts, "train"), subset(rows, parts, "valid")
    labels, _ = read_force_constants(
        asked.force_constants, rows, train=parts["train"], valid=parts["valid"]
    )
    held = {name: labels.pop(name) for name in parts["valid"] if name in labels}
    print("| variant | taught | MSE | MAE | Wasserstein, cm⁻¹ | frequencies, cm⁻¹ |")
    print("|---|---|---|---|---|---|")
    for name in asked.only:
        changes, fraction, others = LINES[name]
        taught = chosen(
            labels, {*train.names}, fraction, others=others, strain=changes is not RIGID
        )
        run = asked.runs / name.replace(" ", "-")
        row = trained(run, settings(changes), train, valid, taught | held)
        numbers = (row["valid_mse"], row["valid_mae"], row["valid_wasserstein"])
        told = " | ".join(f"{float(x):.4g}" for x in (*numbers, row["valid_frequency"]))
        print(f"| {name} | {len(taught)} | {told} |", flush=True)


def trained(
    path: Path,
    settings: Settings,
    train: Collection,
    valid: Collection,
    labels: dict[str, LatticeLabel],
) -> dict[str, str]:
    """The last line of a training's log."""
    if not (path / FINAL).exists():
        for _ in TrainingRun(
            train, valid, folder(path), settings, labels=labels, overwrite=True
        ).steps():
            pass
    with (path / METRICS).open() as file:
        return list(csv.DictReader(file))[-1]


if __name__ == "__main__":
    main()
