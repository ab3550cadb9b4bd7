"""How well spectra lead back to structures.

    OMP_NUM_THREADS=1 python benchmarks/inversion.py DATA.csv --split split.csv [--calibrate]

With ``--model`` and ``--split`` given several times, each model is judged on the rows that its own
split calls valid, as in cross-validation. The measured spectrum of a row is its calculated one;
the candidates are the predictions of that row and of 500 others of other formulas, drawn anew
twenty times for each row. Decoys come from all rows, most of which the model was trained on; the
true structure never does.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import debye
from debye.crystals.data.dataset import read_collection, read_label, read_split
from debye.crystals.data.labels import Collection
from debye.crystals.dos.quadrature import trapezoid_weights
from debye.crystals.dos_io.measured import Measured
from debye.crystals.inversion.instrument import Resolution, response
from debye.crystals.inversion.likelihood import SHIPPED_ERROR, ModelError, Observation, fit
from debye.crystals.inversion.parameters import FreeParameters
from debye.crystals.inversion.refine import Objective, refine, sampled

DECOYS, DRAWS = 500, 20
NOISE = 0.02
"""Of the highest point."""
BROADENING = Resolution((10.0,))
DEMO = Path(debye.__file__).parent / "data" / "demo"


@dataclass(frozen=True)
class Rows:
    """Predictions for all rows, and those that the model did not see."""

    data: Collection
    predicted: Tensor
    unseen: list[int]
    grid: Tensor

    @property
    def formulas(self) -> np.ndarray:
        """Of every row."""
        return np.array([crystal.formula for crystal in self.data.crystals])

    @property
    def compositions(self) -> np.ndarray:
        """Of every row: Ag3S and AgS0.333 are one."""
        return np.array([_composition(c) for c in self.data.crystals])


def _composition(crystal: debye.Crystal) -> str:
    shares = {s: n / crystal.n_atoms for s, n in crystal.composition.items()}
    return " ".join(f"{s}{x:.4f}" for s, x in sorted(shares.items()))


def predict(data: Collection, model: Path, split: Path) -> Rows:
    """Predict every row with one model."""
    predictor = debye.Predictor.load(model)
    total = [p.total for p in predictor(data.crystals)]
    density = torch.stack([(t.density / t.n_atoms).double() for t in total])
    names = {name: i for i, name in enumerate(data.names)}
    unseen = [names[n] for n in read_split(split)["valid"] if n in names]
    return Rows(data, density, unseen, total[0].frequency.double())


Likelihoods = Callable[[int], Tensor]
"""Log-likelihood of the measured spectrum of a row under every row's prediction."""


def of_calculated(rows: Rows, background: str, error: ModelError = SHIPPED_ERROR) -> Likelihoods:
    """The calculated spectrum as it is."""
    A = response(rows.grid, rows.grid, Resolution())

    def of(i: int) -> Tensor:
        observed = Observation.of(Measured(rows.grid, truth(rows, i)), rows.grid)
        return fit(
            observed, rows.predicted @ A.T, background=background, error=error
        ).log_likelihood

    return of


def of_measured(rows: Rows, background: str) -> Likelihoods:
    """The calculated spectrum broadened, with noise."""
    A = response(rows.grid, rows.grid, BROADENING)
    draw = torch.Generator().manual_seed(0)

    def of(i: int) -> Tensor:
        y = A @ truth(rows, i)
        error = (NOISE * y.max()).expand(len(y))
        noisy = y + error * torch.randn(len(y), generator=draw, dtype=y.dtype)
        observed = Observation.of(Measured(rows.grid, noisy, error), rows.grid)
        predicted = rows.predicted @ A.T
        return fit(observed, predicted, background=background, error=SHIPPED_ERROR).log_likelihood

    return of


def truth(rows: Rows, i: int) -> Tensor:
    """The label of a row."""
    return rows.data.spectra.density[i].double()


def ranks(rows: Rows, likelihoods: Likelihoods) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rank of the true structure, its probability, and that of the first, (rows, draws) each."""
    rng = np.random.default_rng(0)
    compositions = rows.compositions
    found = []
    for i in rows.unseen:
        of = likelihoods(i)
        others = np.flatnonzero(compositions != compositions[i])
        for _ in range(DRAWS):
            decoys = of[rng.choice(others, DECOYS, replace=False)]
            p = torch.softmax(torch.cat([of[i : i + 1], decoys]), 0)
            found.append((int((p[1:] > p[0]).sum()) + 1, p[0].item(), p.max().item()))
    table = np.array(found).reshape(len(rows.unseen), DRAWS, 3)
    return table[..., 0], table[..., 1], table[..., 2]


def report_ranks(title: str, models: list[Rows], of: Callable[[Rows], Likelihoods]) -> None:
    """Top-1 and top-10, with the spread of resampled rows, and how sure the first was."""
    parts = [ranks(rows, of(rows)) for rows in models]
    rank, _, first = (np.concatenate([part[k] for part in parts]) for k in range(3))
    top1, top10 = (rank == 1).mean(1), (rank <= 10).mean(1)
    rng = np.random.default_rng(0)
    picks = rng.integers(len(rank), size=(2000, len(rank)))
    print(
        f"{title}: {len(rank)} rows, top-1 {100 * top1.mean():.1f} "
        f"± {100 * top1[picks].mean(1).std():.1f} %, top-10 {100 * top10.mean():.1f} "
        f"± {100 * top10[picks].mean(1).std():.1f} %, median rank {np.median(rank):g}",
        flush=True,
    )
    sure, right = first.ravel(), (rank == 1).ravel()
    for low, high in ((0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.01)):
        within = (sure >= low) & (sure < high)
        if within.any():
            print(
                f"    told {100 * sure[within].mean():.0f} % for the first in "
                f"{100 * within.mean():.0f} % of cases: right in {100 * right[within].mean():.0f} %"
            )


def report_isocompositional(models: list[Rows]) -> None:
    """Among all rows of one composition: other structures of the same atoms."""
    hits, sizes = [], []
    for rows in models:
        of = of_calculated(rows, "none")
        for i in rows.unseen:
            alike = np.flatnonzero(rows.compositions == rows.compositions[i])
            if len(alike) > 1:
                hits.append(int(of(i)[alike].argmax()) == int(np.flatnonzero(alike == i)[0]))
                sizes.append(len(alike))
    if hits:
        chance = np.mean([1 / n for n in sizes])
        print(
            f"among structures of the same composition: {sum(hits)} of {len(hits)} first "
            f"(by chance {chance * len(hits):.1f}; {min(sizes)} to {max(sizes)} candidates)"
        )


def report_misfits(models: list[Rows]) -> None:
    """Misfits of the true structures."""
    A = response(models[0].grid, models[0].grid, Resolution())
    misfits = []
    for rows in models:
        for i in rows.unseen:
            observed = Observation.of(Measured(rows.grid, truth(rows, i)), rows.grid)
            fits = fit(
                observed, (A @ rows.predicted[i])[None], background="none", error=SHIPPED_ERROR
            )
            misfits.append(fits.misfit.item())
    shown = ", ".join(f"{np.quantile(misfits, q):.2f}" for q in (0.5, 0.9, 0.95))
    print(f"misfit of the true structure, 50, 90 and 95 %: {shown}")


def report_alloy() -> None:
    """The Bi fraction of Mg3Sb2(1-x)Bi2x from predicted spectra with noise."""
    predictor = debye.Predictor.load()
    a, b = (debye.read_crystal(DEMO / f"mg3{x}2.cif") for x in ("sb", "bi"))
    draw, found = torch.Generator().manual_seed(0), []
    for x in np.linspace(0.05, 0.95, 19):
        total = predictor.predict(debye.interpolate(a, b, x)).total
        y = total.density.double()
        error = (NOISE * y.max()).expand(len(y))
        noisy = y + error * torch.randn(len(y), generator=draw, dtype=y.dtype)
        observed = Observation.of(Measured(total.frequency, noisy, error), total.frequency)
        refined = refine(Objective(predictor, FreeParameters.between(a, b), observed, error=None))
        (p,) = refined.free_parameters.parameters
        found.append((x, refined.values.item() + p.offset, refined.errors.item()))
    x, value, error = np.array(found).T
    off = value - x
    print(
        f"Bi fraction of Mg3Sb2(1-x)Bi2x from predicted spectra with {100 * NOISE:g} % noise: "
        f"off by {np.sqrt((off**2).mean()):.3f} (root mean square), {np.abs(off).max():.3f} at "
        f"most; told error {error.mean():.3f}, (off/error)² {((off / error) ** 2).mean():.2f}"
    )


def report_calculated_alloy(path: Path) -> None:
    """The same from the one calculated spectrum of an alloy, x = 0.75."""
    label = read_label(path)
    if label is None:
        raise SystemExit(f"{path} holds no labelled spectrum")
    predictor = debye.Predictor.load()
    a, b = (debye.read_crystal(DEMO / f"mg3{x}2.cif") for x in ("sb", "bi"))
    grid = label.frequency.double()
    observed = Observation.of(Measured(grid, label.density.double()), grid)
    objective = Objective(predictor, FreeParameters.between(a, b), observed, background="none")
    refined = refine(objective)
    draws = sampled(objective, refined, 2000) + 0.5
    low, middle, high = torch.quantile(draws, torch.tensor([0.16, 0.5, 0.84]).double()).tolist()
    print(
        f"calculated spectrum of x = 0.75: most likely {refined.values.item() + 0.5:.2f}, "
        f"posterior median {middle:.2f}, 68 % from {low:.2f} to {high:.2f}"
    )


def report_gradients() -> None:
    """Gradients through the network against finite differences, in double precision."""
    predictor, worst = debye.Predictor.load(), 0.0
    for name, pair in (("quartz", "SiGe"), ("rutile", "TiZr"), ("mg3sb2", "SbBi")):
        crystal = debye.read_crystal(DEMO / f"{name}.cif")
        free_parameters = FreeParameters.of(crystal).with_fraction(pair[:2], pair[2:])
        free_parameters = free_parameters.with_lattice().with_positions()
        total = predictor.predict(crystal).total
        observed = Observation.of(Measured(total.frequency, total.density), total.frequency)
        objective = Objective(predictor, free_parameters, observed)
        at = 0.3 * np.cos(np.arange(len(free_parameters.parameters)))
        gradient = objective(at)[1]
        h = 1e-4
        steps = h * np.eye(len(at))
        finite = [(objective(at + s)[0] - objective(at - s)[0]) / (2 * h) for s in steps]
        worst = max(worst, np.abs(gradient - finite).max() / np.abs(gradient).max())
    print(f"gradients against central differences: {worst:.1e} of the largest at most")


def calibrate(models: list[Rows], steps: int = 120, others: int = 300) -> ModelError:
    """The numbers of `ModelError`, its floor held, with which the truth is told most probable.

    Adam on their logarithms; decoys are drawn anew in each step from rows the model was trained on.
    """
    start = vars(SHIPPED_ERROR)
    logs = {name: torch.tensor(np.log(x), requires_grad=True) for name, x in start.items()}
    logs["floor"].requires_grad_(False)  # held where noise does no harm
    free = [x for x in logs.values() if x.requires_grad]
    optimiser = torch.optim.Adam(free, lr=0.05)
    draw = np.random.default_rng(0)
    for _ in range(steps):
        loss = sum(
            _loss(rows, {k: v.exp() for k, v in logs.items()}, draw, others) for rows in models
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimiser.step()
    return ModelError(**{name: float(x.detach().exp()) for name, x in logs.items()})


def report_halves(models: list[Rows]) -> None:
    """Ranks of one half of the unseen rows with the numbers found on the other, both ways."""
    for k in (0, 1):
        error = calibrate([replace(rows, unseen=rows.unseen[k::2]) for rows in models])
        others = [replace(rows, unseen=rows.unseen[1 - k :: 2]) for rows in models]
        told = f"calibrated on the other half ({error})"
        report_ranks(told, others, lambda rows, e=error: of_calculated(rows, "none", e))


def _loss(rows: Rows, numbers: dict[str, Tensor], draw: np.random.Generator, others: int) -> Tensor:
    """-mean log-probability of the true rows, as `fit` has it without noise and background."""
    seen = np.setdiff1d(np.arange(len(rows.data)), rows.unseen)
    index = np.concatenate([rows.unseen, draw.choice(seen, others, replace=False)])
    A = response(rows.grid, rows.grid, Resolution())
    w = trapezoid_weights(rows.grid)
    p = rows.predicted[index] @ A.T
    p = p / (p @ w)[:, None]
    y = rows.data.spectra.density[rows.unseen].double() @ A.T
    y = y / (y @ w)[:, None]
    error = replace(SHIPPED_ERROR, **numbers)
    precision = error.precision(rows.grid, p)  # [candidate, n, n]
    yp = torch.einsum("yi,cij,cj->yc", y, precision, p)
    pp = torch.einsum("ci,cij,cj->c", p, precision, p)
    yy = torch.einsum("yi,cij,yj->yc", y, precision, y)
    scale = yp / pp
    square = (yy - yp * scale) / scale.clamp(min=0.02) ** 2
    likelihood = error.log_likelihood(square.clamp(min=0.0))
    own = torch.arange(len(rows.unseen))
    return -torch.log_softmax(likelihood, -1)[own, own].mean()


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, action="append", default=[])
    parser.add_argument("--split", type=Path, action="append", required=True)
    parser.add_argument("--calibrate", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data, _ = read_collection(args.data)
    # The shipped ensemble has seen every row; the fast model not those that are valid.
    files = args.model or [Path("fast")] * len(args.split)
    models = [predict(data, m, s) for m, s in zip(files, args.split, strict=True)]
    if args.calibrate:
        print(calibrate(models))
        report_halves(models)
        return
    for background in ("none", "linear"):
        told = f"calculated spectra, background {background}"
        report_ranks(told, models, lambda rows, b=background: of_calculated(rows, b))
    for background in ("none", "linear"):
        told = f"broadened by 10 cm-1, 2 % noise, background {background}"
        report_ranks(told, models, lambda rows, b=background: of_measured(rows, b))
    report_isocompositional(models)
    report_misfits(models)
    report_alloy()
    alloy = args.data.with_name("alloy_mg3bi1.5sb0.5.csv")
    if alloy.exists():
        report_calculated_alloy(alloy)
    report_gradients()


if __name__ == "__main__":
    main()
