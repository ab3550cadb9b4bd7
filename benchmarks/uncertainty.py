"""Does the uncertainty hold? Coverage, width, and how well the expected error ranks the errors.

    python benchmarks/uncertainty.py DATA.csv OUT-OF-FOLD.safetensors \
        [--unseen-elements LEO.safetensors] [--force-constants DIR] [--plot rejection.png] \
        > benchmarks/uncertainty.md

OUT-OF-FOLD is what `debye ensemble` leaves in its folder: of every row, the head_outputs of the
network that never saw it. A calibration is fitted on half of the rows, at random, and judged on the
other half; the tables are means over 50 such halves, so no row judges a calibration that it has
taken part in. LEO is a file of the same kind in which the rows are those with some elements, and
the networks were trained without any row that holds one; for it the calibration is that of all rows
without those elements.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from debye.crystals.data.dataset import read_collection
from debye.crystals.data.force_constants import apart, read_force_constants
from debye.crystals.data.labels import Collection
from debye.crystals.dos.quantities import OnGrid
from debye.crystals.training.out_of_fold import OutOfFold, load_out_of_fold
from debye.crystals.uncertainty.applicability import TrainingSet
from debye.crystals.uncertainty.calibration import Calibration, distance, truth_of
from debye.crystals.uncertainty.features import FEATURES, HeadOutputs, UncertaintyFeatures
from debye.crystals.uncertainty.uncertainty import (
    FAMILIES,
    SHOWN_LEVELS,
    Uncertainty,
    coverage,
    family,
    rejection_curve,
    rejection_gain,
)

HALVES = 50
REACH = 5.0
NAMES = {
    "mean_frequency": "mean frequency, cm⁻¹",
    "zero_point_energy": "zero-point energy, kJ/mol",
    "heat_capacity": "C_V(300 K), J/K/mol",
    "entropy": "S(300 K), J/K/mol",
    "density": "density at each frequency, of the peak",
}
KEPT = (0, 10, 20, 30, 50, 70)
"""Shares of the rows left out, per cent."""

Judged = dict[tuple[str, float], list[tuple[Tensor, Tensor, Tensor]]]
"""By quantity and level: rows, what part of each is inside, widths; one a half."""


def features_of(
    rows: Collection, result: OutOfFold, known: TrainingSet, *, member: bool
) -> tuple[UncertaintyFeatures, OnGrid]:
    """Features and truth of rows, each left out of the training set if it is a member of it."""
    applicabilities = [
        known.applicability(c, i if member else None) for i, c in enumerate(rows.crystals)
    ]
    head_outputs = HeadOutputs(result.head_outputs, result.kinds, result.answers)
    grid = rows.spectra.frequency.tolist()
    return UncertaintyFeatures.of(head_outputs, grid, applicabilities), truth_of(rows.spectra)


def at(truth: OnGrid, rows: Tensor) -> OnGrid:
    """Some rows of the truth."""
    return OnGrid(truth.frequency, truth.density[rows])


def halves(n: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Random halves of n rows."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(HALVES):
        order = torch.randperm(n, generator=generator)
        yield order[: n // 2], order[n // 2 :]


def judge(
    features: UncertaintyFeatures, truth: OnGrid, known: TrainingSet, kinds: tuple[str, ...]
) -> tuple[Judged, Tensor]:
    """Coverage of every half by a calibration on the other, and the mean expected error of rows."""
    judged: Judged = defaultdict(list)
    expected, times = torch.zeros(2, len(truth.density), dtype=torch.float64)
    for fitted_on, rows in halves(len(truth.density)):
        fitted = Calibration.fit(features.take(fitted_on), at(truth, fitted_on), known, kinds)
        uncertainty = Uncertainty.of(fitted, features.take(rows))
        expected[rows] += uncertainty.expected_error
        times[rows] += 1
        for level in SHOWN_LEVELS:
            for name, of in coverage(uncertainty, at(truth, rows), level).items():
                judged[name, level].append((rows, of.inside, of.width))
    return judged, expected / times


def print_coverage(judged: Judged, groups: dict[str, Tensor]) -> None:
    """A table for each group of rows."""
    for group, of_group in groups.items():
        print(f"\n{group}, {int(of_group.sum())} rows:\n")
        print("| quantity | " + " | ".join(f"{100 * x:g} %" for x in SHOWN_LEVELS), end="")
        print(" | mean width at 50 % | at 90 % |\n|---|" + "---|" * (len(SHOWN_LEVELS) + 2))
        for name, title in NAMES.items():
            shares, widths = [], {}
            for level in SHOWN_LEVELS:
                each = [(i[of_group[r]], w[of_group[r]]) for r, i, w in judged[name, level]]
                inside, width = (torch.cat(x).mean().item() for x in zip(*each, strict=True))
                shares.append(f"{100 * inside:.1f} %")
                widths[level] = f"{width:.3g}"
            print(f"| {title} | {' | '.join(shares)} | {widths[0.5]} | {widths[0.9]} |")


def print_rejection(score: Tensor, error: Tensor) -> None:
    """Mean error of the rows kept, by the fraction left out, beside the best there can be."""
    print("\n| rows left out | " + " | ".join(f"{k} %" for k in KEPT) + " |")
    print("|---|" + "---|" * len(KEPT))
    for title, by in (("by expected error", score), ("by the error itself", error)):
        curve = rejection_curve(by, error)
        cells = [f"{curve[int(k / 100 * len(curve))].item():.1f}" for k in KEPT]
        print(f"| {title} | {' | '.join(cells)} |")
    ranks = [np.argsort(np.argsort(x.numpy())) for x in (score, error)]
    print(
        f"\nGain over rejecting at random, of that of a perfect ranking: "
        f"{100 * rejection_gain(score, error):.0f} %; Spearman correlation "
        f"{np.corrcoef(*ranks)[0, 1]:.2f}."
    )


def print_refined(rows: Collection, result: OutOfFold, score: Tensor, folder: Path) -> None:
    """What the spectra gain where the worst expected are computed from force constants."""
    labels, _ = read_force_constants(folder, rows)
    known = [i for i, name in enumerate(rows.names) if name in labels]
    view = result.spectra(rows).density[known]
    truth = rows.spectra.density[known]
    scaled = [x / x.amax(-1, keepdim=True) for x in (view, truth)]
    predicted = (scaled[0] - scaled[1]).square().mean(-1)
    computed = torch.tensor(
        [apart(labels[rows.names[i]].folded.unfolded(), rows.spectra.density[i]) for i in known]
    )
    order = score[known].argsort(descending=True)
    print(f"\n{len(known)} rows with force constants, mean squared error in the max-1 view:\n")
    print("| computed | none | the worst 10 % expected | 25 % | 25 % at random | all |")
    print("|---|---|---|---|---|---|")
    cells = []
    for fraction in (0.0, 0.1, 0.25):
        mixed = predicted.clone()
        chosen = order[: round(fraction * len(known))]
        mixed[chosen] = computed[chosen].to(mixed)
        cells.append(float(mixed.mean()))
    cells += [float(0.75 * predicted.mean() + 0.25 * computed.mean()), float(computed.mean())]
    print(f"| MSE | {' | '.join(f'{cell:.4f}' for cell in cells)} |")


def draw_rejection(score: Tensor, error: Tensor, path: Path) -> None:
    """The error–rejection curve."""
    from debye.plot import save
    from debye.plot.evaluation import rejection_figure

    save(rejection_figure(score, error), path)


def print_model(fitted: Calibration) -> None:
    """What the expected error is made of."""
    print("\n| feature | weight | counts at least as |\n|---|---|---|")
    error = fitted.scales.error
    for name, weight, low in zip(FEATURES, error.weights, error.lowest, strict=True):
        print(f"| {name} | {weight.item():.3g} | {low.item():.3g} |")
    print(f"| constant | {error.offset:.3g} | |")


def groups_of(rows: Collection) -> dict[str, Tensor]:
    """All rows, each family, and the largest cells."""
    families = [family(c) for c in rows.crystals]
    atoms = torch.tensor([c.n_atoms for c in rows.crystals])
    largest = torch.quantile(atoms, 0.9)
    return {
        "All": torch.ones(len(rows), dtype=torch.bool),
        **{
            name.capitalize(): torch.tensor([f == name for f in families])
            for name in (*FAMILIES, "others")
        },
        f"Cells of {largest:g} atoms or more": atoms >= largest,
    }


def unseen_elements(rows: Collection, result: OutOfFold, path: Path) -> None:
    """Coverage on rows with elements that neither the networks nor the calibration knew."""
    left_out = load_out_of_fold(path)
    held = rows.take(left_out.names)
    names = set(left_out.names)
    kept = [i for i, name in enumerate(rows.names) if name not in names]
    others = rows.take([rows.names[i] for i in kept])
    known = TrainingSet.of(others.crystals, REACH)
    part = OutOfFold(
        others.names, result.fold[kept], result.kinds, result.head_outputs[kept], result.answers
    )
    fitted = Calibration.fit(*features_of(others, part, known, member=True), known, result.kinds)
    features, truth = features_of(held, left_out, known, member=False)
    uncertainty = Uncertainty.of(fitted, features)
    every = torch.arange(len(held))
    judged: Judged = {
        (name, level): [(every, of.inside, of.width)]
        for level in SHOWN_LEVELS
        for name, of in coverage(uncertainty, truth, level).items()
    }
    print("\n## Unseen elements")
    print_coverage(judged, {"Rows with elements left out": torch.ones(len(held)).bool()})
    error = distance(features.spectra, truth)
    print(
        f"\nMean error {error.mean().item():.1f} cm⁻¹, "
        f"expected {uncertainty.expected_error.mean():.1f}."
    )


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out_of_fold", type=Path)
    parser.add_argument("--unseen-elements", type=Path)
    parser.add_argument("--force-constants", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    data, _ = read_collection(args.data)
    result = load_out_of_fold(args.out_of_fold)
    rows = data.take(result.names)
    known = TrainingSet.of(rows.crystals, REACH)
    features, truth = features_of(rows, result, known, member=True)
    error = distance(features.spectra, truth)
    judged, expected = judge(features, truth, known, result.kinds)
    print("# Uncertainty")
    print(f"\nMean Wasserstein error of the {len(rows)} rows: {error.mean().item():.1f} cm⁻¹.")
    print("\n## Coverage and width")
    print_coverage(judged, groups_of(rows))
    print("\n## Error against rejection\n\nMean Wasserstein distance of the rows kept, cm⁻¹:")
    print_rejection(expected, error)
    if args.plot:
        draw_rejection(expected, error, args.plot)
    if args.force_constants:
        print_refined(rows, result, expected, args.force_constants)
    print("\n## Expected error")
    print_model(Calibration.fit(features, truth, known, result.kinds))
    if args.unseen_elements:
        unseen_elements(rows, result, args.unseen_elements)


if __name__ == "__main__":
    main()
