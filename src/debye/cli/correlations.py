"""`debye learn` of a result file: a law from correlations, where no start is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debye.cli.console import DONE, SOME_FAILED, progress_bar, show, tell, to_json, warn
from debye.core.files import read_toml
from debye.errors import InputError

if TYPE_CHECKING:
    from debye.speckle.unknown_starts.correlations import CorrelationFit
    from debye.speckle.xpcs.correlation import Correlation

TABLES = {
    "sample": "particles, L, settle and step: what Suspension takes",
    "detector": "n, dq and f_mask: what Detector takes",
    "probe": "f_probe: what GaussianProbe takes",
    "cloud": "R and how spheres are lit: what Cloud takes",
    "force": "class, and what it takes: SoftRepulsion or PairSpline",
    "brownian": "diffusion to start from, and age of a sample that grows slower",
    "fit": "simulated, contrast, maps and seed: what CorrelationFit takes",
}
"""Tables of the config."""


def fit_results(
    results: Path, output: Path, config: Path | None, overwrite: bool, as_json: bool
) -> int:
    """Fit the law that a config describes to a result file, and write it.

    Args:
        results: A file of g2.
        output: File of the fitted system.
        config: TOML.
        overwrite: Whether the output may be replaced.
        as_json: Whether to print a record.

    Raises:
        InputError: The config does not describe a sample, or it and the file do not go together.
        ComputationError: The law blows up, or no statistic depends on it.
    """
    from debye.speckle.data.read_results import read_results
    from debye.speckle.fitting.fitted import save
    from debye.speckle.unknown_starts.correlations import agreement

    if config is None:
        raise InputError(
            f"cannot learn from {results} alone",
            why="it holds correlations, and nothing says what the sample is and how it was lit",
            fix="give --config with the tables "
            + ", ".join(f"[{name}]" for name in TABLES)
            + "; where particles only diffuse, debye fit --global --power 2 needs none",
        )
    if output.exists() and not overwrite:
        raise InputError(
            f"{output} exists", why="it would be replaced", fix="add --overwrite, or name another"
        )
    correlation = read_results(results).correlation
    if correlation is None:
        raise InputError(
            f"cannot learn from {results}", why="it holds no g2", fix="correlate the frames again"
        )
    fitting = described(read_toml(config), correlation, config)
    with progress_bar() as bar:
        task = bar.add_task("fitting", total=None)
        for step in fitting.run():
            line = f"step {step.step}  χ² {2 * step.loss:.4g}  moved {step.gradient**0.5:.2g} σ"
            bar.update(task, description=line)
            if bar.disable:
                tell(line)
    fitted = fitting.result(results=results.name)
    save(output, fitted)
    lines, fits = agreement(fitted)
    record = {"formula": fitted.formula, **fitted.card["correlations"], "output": str(output)}
    show(to_json(record) if as_json else "\n".join([*lines, str(output)]))
    if not fits:
        warn(lines[-1])
    return DONE if fits else SOME_FAILED


def described(tables: Mapping[str, Any], correlation: Correlation, config: Path) -> CorrelationFit:
    """The fit that a config describes.

    Args:
        tables: As `TABLES` names them.
        correlation: What was measured.
        config: Where they come from.

    Raises:
        InputError: A table is missing or unknown, or holds what its class does not take.
    """
    from debye.speckle.dynamics.brownian import Ageing, Brownian
    from debye.speckle.dynamics.particles import Particles
    from debye.speckle.serialize import build
    from debye.speckle.unknown_starts.correlations import CorrelationFit, runs_in
    from debye.speckle.unknown_starts.suspension import Suspension

    unknown, missing = set(tables) - set(TABLES), set(TABLES) - set(tables) - {"fit", "brownian"}
    if unknown or missing:
        wrong = sorted(unknown or missing)[0]
        raise InputError(
            f"cannot use {config}",
            why=f"it has {'a' if unknown else 'no'} table [{wrong}]",
            fix="; ".join(f"[{name}] holds {what}" for name, what in TABLES.items()),
        )
    runs, given = runs_in(correlation), dict(tables["sample"])

    def made(name: str, kind: str, **more: Any) -> Any:  # noqa: ANN401 - a class by its name
        return build({"class": kind, "arguments": {**tables.get(name, {}), **more}})

    try:
        L, particles = float(given["L"]), int(given.pop("particles"))
        detector = made("detector", "Detector", L=L)
        cloud = made("cloud", "Cloud", detector=detector, probe=made("probe", "GaussianProbe", L=L))
        force = dict(tables["force"])
        kind = str(force.pop("class", "SoftRepulsion"))
        term = build({"class": kind, "arguments": force})
        law = Particles(term, L=L, periodic=True)
        timed: dict[str, Any] = {
            "frames": len(runs[0].numbers),
            "frame_time": runs[0].frame_time,
        }
        sample = Suspension(cloud, (particles, 2), **(timed | given))
        noise = tables.get("brownian", {})
        system = (Ageing if "age" in noise else Brownian)(law, **noise)
        return CorrelationFit(system, sample, runs, **tables.get("fit", {}))
    except (TypeError, KeyError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"cannot use {config}",
            why=f"a table does not hold what its class takes: {error}",
            fix="; ".join(f"[{name}] holds {what}" for name, what in TABLES.items()),
        ) from error
