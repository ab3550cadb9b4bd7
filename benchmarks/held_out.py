"""The lattice of crystals that a network never saw, against the force constants kept from it.

    OMP_NUM_THREADS=1 python benchmarks/held_out.py DATA.csv RUN FORCE_CONSTANTS [--new FOLDER]

RUN is that of a `debye ensemble`, FORCE_CONSTANTS the folder that it was taught by. Each row is
predicted by the networks of the fold that left it out, with all of its formula. Wave vectors are
those at which the supercell of the force constants is exact; sound is the three slowest modes at
six short wave vectors, beside those of elastic constants where these are known. A row is unstable
if it has a mode below -30 cm⁻¹ at those that are looked at. Intervals and probabilities are fitted
on one half of the rows and tried on the other half. With --new the networks of all folds, together
and one by one, are compared with force constants of crystals that none of them was shown.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from debye.crystals.data.dataset import read_labelled, read_split
from debye.crystals.data.force_constants import SHORT, LatticeLabel, read_force_constants
from debye.crystals.data.labels import Collection
from debye.crystals.dos.thermo import heat_capacity
from debye.crystals.graph import Graph
from debye.crystals.lattice.dos import low_discrepancy
from debye.crystals.lattice.force_constants import (
    ForceConstants,
    frequencies,
    mean_force_constants,
)
from debye.crystals.lattice.site_states import UNSTABLE
from debye.crystals.model.network import PhononNet
from debye.crystals.predict.model_files import TAUGHT_BEYOND
from debye.crystals.predict.predictor import Predictor
from debye.crystals.structure.crystal import Crystal
from debye.crystals.training.crossval import SPLIT, load_final
from debye.crystals.uncertainty.modes import FoundModes, ModesCalibration
from debye.units import CM1_TO_K, R

COLD = 20.0
"""K."""
HIGH = 1000.0
"""cm⁻¹."""
STRAINED = "strained-"
"""Begins the name of a copy of a row whose lengths are all longer or shorter."""


@dataclass(frozen=True)
class Held:
    """A crystal that was kept from the networks."""

    found: Tensor
    """(Q, 3n) cm⁻¹, where the force constants are exact."""
    truth: Tensor
    sound: Tensor
    """(6, 3) cm⁻¹ at short wave vectors."""
    true_sound: Tensor
    modes: FoundModes
    cold: tuple[float, float]
    """Heat capacities at `COLD`, the one predicted and the true one."""
    error: float
    """cm⁻¹, root mean square over `found`."""


def modes(force_constants: ForceConstants, q: Tensor) -> Tensor:
    """(Q, 3n) cm⁻¹."""
    D = force_constants.dynamical_matrix(q.to(force_constants.values).unsqueeze(0))
    return frequencies(torch.linalg.eigvalsh(D)).squeeze(0)


def cold_capacity(force_constants: ForceConstants) -> float:
    """Σ (x e^{x/2} / (eˣ − 1))² over the modes of a dense mesh, per atom, in k_B."""
    n = len(force_constants.mass)
    omega = modes(force_constants.double(), low_discrepancy(max(200, 4_000 // n)).double())
    x = CM1_TO_K * omega.abs().clamp(min=1e-3) / COLD
    return float((x / (2 * torch.sinh(x / 2))).square().sum(-1).mean() / n)


def predicted(nets: Sequence[PhononNet], crystal: Crystal) -> ForceConstants:
    """The mean force constants of those that have some."""
    able = [net for net in nets if net.force_constant_head]
    return mean_force_constants(
        [net.force_constants(Graph.of(crystal, net.cutoff)) for net in able]
    )


def held(nets: Sequence[PhononNet], crystal: Crystal, label: LatticeLabel, card: dict) -> Held:
    """Compare one crystal."""
    theirs, ours = label.folded.unfolded(), predicted(nets, crystal)
    exact, short = label.folded.commensurate, label.q[-SHORT:]
    found, truth = modes(ours, exact), modes(theirs, exact.double()).float()
    slow, fast = modes(ours, short)[:, :3], frequencies(label.square[-SHORT:, :3])
    square = torch.linalg.eigvalsh(ours.dynamical_matrix(label.q.unsqueeze(0)))
    every = FoundModes(frequencies(square).flatten(), frequencies(label.square).flatten())
    prediction = Predictor(nets[0], card).predict(crystal)
    cold = float(heat_capacity(prediction.total, COLD)) / crystal.n_sites / R
    error = float((found - truth).square().mean().sqrt())
    return Held(found, truth, slow, fast, every, (cold, cold_capacity(theirs)), error)


def all_held(
    rows: Collection, run: Path, folder: Path
) -> Iterator[tuple[list[PhononNet], Collection, dict[str, LatticeLabel], dict]]:
    """The networks of each fold, the rows kept from them, and labels that they were not shown."""
    for fold in sorted(run.glob("fold-*")):
        loaded = [load_final(path.parent) for path in sorted(fold.glob("*/final.safetensors"))]
        out = rows.take(read_split(fold / SPLIT)["valid"])
        labels, _ = read_force_constants(folder, out)
        yield [net for net, _ in loaded], out, labels, loaded[0][1]


def gruneisen(
    nets: Sequence[PhononNet], label: LatticeLabel, strained: LatticeLabel
) -> tuple[float, float]:
    """γ = -d ln ω̄ / d ln V between a row and its strained copy, predicted and true."""
    both = [label.folded, strained.folded]
    volumes = [abs(np.linalg.det(each.crystal.cell)) for each in both]
    q = low_discrepancy(64)
    pairs = [[predicted(nets, x.crystal) for x in both], [x.unfolded() for x in both]]
    means = [[float(modes(K, q).clamp(min=0).mean()) for K in of] for of in pairs]
    return tuple(-float(np.log(b / a) / np.log(volumes[1] / volumes[0])) for a, b in means)  # type: ignore[return-value]


def line(what: str, values: Sequence[float] | np.ndarray, unit: str = "") -> None:
    """Median and mean of what was found."""
    values = np.asarray(values)
    if len(values):
        numbers = f"{np.median(values):8.3g} {np.mean(values):8.3g} {unit}"
        print(f"{what:58} {len(values):5} {numbers}", flush=True)


def stability(each: Sequence[Held]) -> None:
    """Unstable crystals found, and whether their probabilities are what happens."""
    truth = np.array([x.modes.truth.min().item() < UNSTABLE for x in each])
    found = np.array([x.modes.found.min().item() < UNSTABLE for x in each])
    print(f"unstable: {(truth & found).sum()} of {truth.sum()} found, ", end="")
    print(f"{(found & ~truth).sum()} of {(~truth).sum()} stable ones said to be")
    P = np.zeros(len(each))
    for part, calibration in halves(each):
        P[part] = [calibration.unstable(each[i].modes.found.min().item()) for i in part]
    print(f"Brier score {np.mean((P - truth) ** 2):.4f}; of the rate alone ", end="")
    print(f"{np.mean((truth.mean() - truth) ** 2):.4f}")
    for low, high in ((0, 0.05), (0.05, 0.2), (0.2, 0.5), (0.5, 1.01)):
        of = (low <= P) & (high > P)
        if of.any():
            print(
                f"  P {low:.2f} to {high:.2f}: {of.sum():5} rows, mean {P[of].mean():.3f}, ", end=""
            )
            print(f"{truth[of].mean():.3f} unstable")


def halves(each: Sequence[Held]) -> Iterator[tuple[np.ndarray, ModesCalibration]]:
    """Rows to try, and what was fitted to the others."""
    error = torch.tensor([x.error for x in each]).clamp(min=1.0)
    flat = torch.full_like(error, float(error.mean()))
    for odd in (0, 1):
        others = np.arange(1 - odd, len(each), 2)
        fitted = ModesCalibration.fit([each[i].modes for i in others], flat[others])
        yield np.arange(odd, len(each), 2), fitted


def coverage(each: Sequence[Held], level: float) -> float:
    """Fraction of true frequencies inside their intervals, the mean over crystals, %."""
    inside = []
    mean = torch.tensor(np.mean([x.error for x in each]))
    for part, fitted in halves(each):
        for i in part:
            x = each[i].modes
            inside.append(
                ((x.found - x.truth).abs() <= fitted.half(x.found, mean, level)).float().mean()
            )
    return 100 * float(torch.stack(inside).mean())


def report(each: Sequence[Held], gamma: Sequence[tuple[float, float]]) -> None:
    """The table."""
    print(f"{'':58}  rows   median     mean")
    line("RMSE of frequencies at exact wave vectors", [x.error for x in each], "cm⁻¹")
    high = [x.error for x in each if x.truth.max() > HIGH]
    line(f"  of crystals with modes above {HIGH:g} cm⁻¹", high, "cm⁻¹")
    slow = [x for x in each if x.true_sound.min() > 0 and x.modes.truth.min() > UNSTABLE]
    off = [((x.sound - x.true_sound) / x.true_sound).median().item() for x in slow]
    line("sound, |relative error|", np.abs(off))
    line("sound, relative error", off)
    cold = np.array([x.cold for x in slow])
    line(f"C_V at {COLD:g} K, |relative error|", np.abs(cold[:, 0] / cold[:, 1] - 1))
    line(f"C_V at {COLD:g} K, relative error", cold[:, 0] / cold[:, 1] - 1)
    if gamma:
        g = np.array(gamma)
        line("Grüneisen parameter, predicted", g[:, 0])
        line("Grüneisen parameter, true", g[:, 1])
        line("Grüneisen parameter, |difference|", np.abs(g[:, 0] - g[:, 1]))
    stability(each)
    for level in (0.5, 0.8, 0.9, 0.95):
        print(f"{100 * level:.0f} % intervals of frequencies cover {coverage(each, level):.1f} %")


def report_new(rows: Collection, run: Path, known: Path, folder: Path) -> None:
    """The networks of all folds on crystals that none was shown, together and alone."""
    folds = list(all_held(rows, run, known))
    nets, card = [net for nets, *_ in folds for net in nets], folds[0][3]
    labels, _ = read_force_constants(folder, rows)
    seen = {crystal.formula for crystal in rows.crystals} | set(card["data"][TAUGHT_BEYOND])
    new = [x for x in labels.values() if x.folded.crystal.formula not in seen]
    with torch.no_grad():
        together = [held(nets, x.folded.crystal, x, card) for x in new]
        alone = [[held([net], x.folded.crystal, x, card) for x in new] for net in nets]
    line("new crystals: RMSE of frequencies, all networks", [x.error for x in together], "cm⁻¹")
    line("  one network", [x.error for each in alone for x in each], "cm⁻¹")
    stable = [k for k, x in enumerate(together) if x.modes.truth.min() > UNSTABLE]
    line("  stable ones: all networks", [together[k].error for k in stable], "cm⁻¹")
    line("  one network", [each[k].error for each in alone for k in stable], "cm⁻¹")
    for name, each in (("all networks", together), ("one", [x for of in alone for x in of])):
        truth, found = (
            np.array([x.min().item() < UNSTABLE for x in modes])
            for modes in zip(*((x.modes.truth, x.modes.found) for x in each), strict=True)
        )
        print(f"  unstable by {name}: {(truth & found).sum()} of {truth.sum()} found, ", end="")
        print(f"{(found & ~truth).sum()} of {(~truth).sum()} stable ones said to be")


def main() -> None:
    """Read words, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("force_constants", type=Path)
    parser.add_argument("--new", type=Path, help="force constants of crystals not shown, alone")
    asked = parser.parse_args()
    rows, _, _ = read_labelled(asked.data)
    if asked.new:
        report_new(rows, asked.run, asked.force_constants, asked.new)
        return
    each: list[Held] = []
    gamma: list[tuple[float, float]] = []
    for nets, out, labels, card in all_held(rows, asked.run, asked.force_constants):
        with torch.no_grad():
            for name, crystal in zip(out.names, out.crystals, strict=True):
                if name not in labels:
                    continue
                each.append(held(nets, crystal, labels[name], card))
                if (strained := labels.get(STRAINED + name)) is not None:
                    gamma.append(gruneisen(nets, labels[name], strained))
    report(each, gamma)


if __name__ == "__main__":
    main()
