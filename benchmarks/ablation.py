"""What earns its place in the network: a learning curve and an ablation table.

    python benchmarks/ablation.py DATA/data.csv DATA/split.csv RUNS [--only NAME …]

Every line of the table is one training on the train rows, judged on the validation rows by the
weights of its last epoch, so that no row chose anything. What is finished in RUNS is not done
again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from debye.core.device import seeded
from debye.core.neighbors import sum_onto
from debye.core.radial import bessel_basis, smooth_cutoff
from debye.crystals.data.dataset import read_collection, read_split, subset
from debye.crystals.data.labels import Collection
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.graph import Graph
from debye.crystals.model.network import Features, PhononNet, SpeciesEmbedding
from debye.crystals.training.config import Settings
from debye.crystals.training.evaluate import spectrum_errors
from debye.crystals.training.examples import LabelledGraph
from debye.crystals.training.out_of_fold import head_outputs_of
from debye.crystals.training.run import FINAL, LAST, TrainingRun

EPOCHS = 24
BASE = {
    "network": {"channels": 32, "layers": 2},
    "recipe": {"epochs": EPOCHS},
    "isotopes": {"share": 0.0},
}
"""A small network trained for a short time: the differences are wanted, not the last percent."""


class PlainEncoder(nn.Module):
    """Messages that read the components of the directions as plain numbers: not equivariant."""

    def __init__(self, channels: int, layers: int, cutoff: float, basis: int, norm: float) -> None:
        super().__init__()
        self.cutoff, self.basis, self.norm = cutoff, basis, norm
        self.embedding = SpeciesEmbedding(channels)
        seen = 2 * channels + basis + 3
        self.messages = nn.ModuleList(
            nn.Sequential(nn.Linear(seen, 64), nn.SiLU(), nn.Linear(64, channels))
            for _ in range(layers)
        )
        self.kept = nn.ModuleList(nn.Linear(channels, channels) for _ in range(layers))

    def forward(self, graph: Graph) -> Features:
        """Scalars of every site, and no tensors worth the name."""
        r = graph.vector.norm(dim=-1)
        n = graph.vector / r.unsqueeze(-1)
        waves, fade = bessel_basis(r, self.cutoff, self.basis), smooth_cutoff(r, self.cutoff)
        h = self.embedding(graph)
        scalars = [h]
        for message, kept in zip(self.messages, self.kept, strict=True):
            seen = torch.cat([h[graph.center], h[graph.other], waves, n], dim=-1)
            sent = message(seen) * fade.unsqueeze(-1)
            total = sum_onto(graph.center, sent, graph.n_sites) * self.norm
            h = nn.functional.silu(kept(h) + total)
            scalars.append(h)
        return Features(torch.cat(scalars, dim=-1), h.unsqueeze(1))


class PlainRun(TrainingRun):
    """Trains a network with a `PlainEncoder`, on crystals as they lie or turned at random."""

    turned = False

    def _network(self) -> PhononNet:
        net = super()._network()
        with seeded(self.settings.recipe.seed):
            net.encoder = PlainEncoder(
                net.channels, net.layers, net.r_max, net.basis, net.neighbours**-0.5
            )
        return net

    def _batches(self, epoch: int) -> Iterator[LabelledGraph]:
        for k, batch in enumerate(super()._batches(epoch)):
            seed = torch.Generator().manual_seed(1000 * epoch + k)
            yield batch._replace(graph=turned(batch.graph, seed)) if self.turned else batch


class TurnedRun(PlainRun):
    """Rotation augmentation: every crystal is turned anew each time it is seen."""

    turned = True


def turned(graph: Graph, seed: torch.Generator) -> Graph:
    """Every crystal turned by a rotation of its own."""
    Q, R = torch.linalg.qr(torch.randn(graph.n_crystals, 3, 3, generator=seed))
    Q = Q * R.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
    Q = Q * torch.linalg.det(Q)[:, None, None].sign()
    vector = torch.einsum("eij,ej->ei", Q[graph.crystal[graph.center]], graph.vector)
    return replace(graph, vector=vector)


def variants() -> Iterator[tuple[str, dict[str, object], float, type[TrainingRun]]]:
    """Name, changes to the network, share of the training rows, and how to train."""
    for share in (0.1, 0.25, 0.5):
        yield f"{share:.0%} of the data", {}, share, TrainingRun
    for seed in range(4):
        yield f"seed {seed}", {"seed": seed}, 1.0, TrainingRun
    for l_max in (0, 1, 3):
        yield f"l_max = {l_max}", {"l_max": l_max}, 1.0, TrainingRun
    yield "not equivariant", {}, 1.0, PlainRun
    yield "not equivariant, turned", {}, 1.0, TurnedRun
    squares = {"positive": True, "r_pairs": 5.0}
    alone, both = {"heads": ["force_constants"]}, {"heads": ["force_constants", "density"]}
    yield "force constants alone", alone | squares, 1.0, TrainingRun
    yield "force constants and density", both | squares, 1.0, TrainingRun


def settings_of(changes: dict[str, object]) -> Settings:
    """The base settings with some changed."""
    tables = deepcopy(BASE)
    tables["recipe"]["seed"] = changes.pop("seed", 0)
    tables["network"] |= changes
    return Settings.from_tables(tables)


def judged(predicted: Tensor, rows: Collection) -> str:
    """Three errors as cells of a table."""
    spectra = Spectrum(rows.spectra.frequency, predicted, rows.spectra.n_atoms)
    e = spectrum_errors(spectra, rows.spectra)
    return f"{e.mse.mean():.4f} | {e.mae.mean():.4f} | {e.wasserstein.mean():.1f} |"


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("split")
    parser.add_argument("runs", type=Path)
    parser.add_argument("--only", nargs="*")
    asked = parser.parse_args()
    rows, _ = read_collection(asked.data)
    split = read_split(asked.split)
    train, valid = subset(rows, split, "train"), subset(rows, split, "valid")
    gen = torch.Generator().manual_seed(0)
    mixed = torch.randperm(len(train), generator=gen).tolist()
    print("| variant | MSE | MAE | Wasserstein, cm⁻¹ |\n|---|---|---|---|")
    of_seeds = []
    for name, changes, share, kind in variants():
        if asked.only and name not in asked.only:
            continue
        part = train.take([train.names[i] for i in mixed[: round(share * len(train))]])
        folder = asked.runs / name.replace(" ", "-").replace("%", "percent")
        resume = (folder / LAST).exists()
        run = kind(part, valid, folder, settings_of(dict(changes)), resume=resume)
        if not (folder / FINAL).exists():
            for _ in run.steps():
                pass
        model = run.averaged()
        predicted = head_outputs_of(model, valid)
        print(f"| {name} | {judged(predicted[:, -1], valid)}", flush=True)
        if len(model.heads) > 1:
            print(f"| … its force constants | {judged(predicted[:, 0], valid)}", flush=True)
        if isinstance(run, PlainRun):
            graph = turned(Graph.batch([Graph.of(c, model.r_max) for c in valid.crystals]), gen)
            with torch.no_grad():
                print(f"| … on turned crystals | {judged(model(graph).total, valid)}", flush=True)
        if name.startswith("seed"):
            of_seeds.append(predicted)
            if len(of_seeds) > 1:
                mean = torch.cat(of_seeds, 1).mean(1)
                print(f"| mean of {len(of_seeds)} seeds | {judged(mean, valid)}", flush=True)


if __name__ == "__main__":
    main()
