"""Many scans from the command line, each into a file of its own; a scan that is still written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from debye.cli.console import (
    BAD_INPUT,
    DONE,
    SOME_FAILED,
    complain,
    interrupted,
    plural,
    progress_bar,
    show,
    tell,
    to_json,
    warn,
)
from debye.cli.stopping import TWICE, graceful_stop
from debye.core import executors
from debye.core.files import folder
from debye.errors import InputError

if TYPE_CHECKING:
    from debye.speckle.data.analysis import Analysis
    from debye.speckle.data.scans import ScanReport
    from debye.speckle.xpcs.correlation import Correlation


def correlate_each(
    stacks: list[str],
    output: Path,
    how: Analysis,
    run: int | None,
    *,
    executor: str,
    executor_config: Path | None,
    workers: int | None,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Correlate each scan into a file of its own.

    Args:
        stacks: What holds the frames of each.
        output: The folder.
        how: What is asked for.
        run: Which run of files of several.
        executor: Who does the work.
        executor_config: TOML file that describes it.
        workers: Scans in work at a time.
        overwrite: Whether results that are there are made anew.
        as_json: Whether to print records.

    Returns:
        The exit code.
    """
    from debye.speckle.data.scans import correlate_scans, scan_jobs

    jobs = scan_jobs(stacks, folder(output).absolute(), how, run)
    preload = ["debye.speckle.data.scans"]
    pool = executors.named(executor, executor_config, workers, output / "parsl", preload)
    good, bad = 0, 0
    stop = graceful_stop("stopping once the scans in work are done", apart=TWICE)
    with stop as stopping, progress_bar() as bar:
        task = bar.add_task("scans", total=len(jobs))
        for report in correlate_scans(
            jobs, pool, overwrite=overwrite, stopping=stopping, notify=tell
        ):
            bar.advance(task)
            good, bad = good + (report.error is None), bad + (report.error is not None)
            _tell(report, as_json=as_json)
        if stopping():
            return interrupted()
    tell(f"{output} holds the results of {plural(len(jobs) - bad, 'scan')}")
    if bad:
        tell(f"{bad} of {len(jobs)} scans failed")
    return DONE if not bad else SOME_FAILED if bad < len(jobs) else BAD_INPUT


def _tell(report: ScanReport, *, as_json: bool) -> None:
    """Print what became of a scan."""
    for note in report.notes:
        warn(f"{report.job.frames_of}: {note}")
    if report.error is not None:
        error, name = report.error, str(report.job.frames_of)
        what = error.what if name in error.what else f"{name}: {error.what}"
        complain(type(error)(what, why=error.why, fix=error.fix))
        return
    record = report.record
    if as_json:
        show(to_json({"output": str(report.job.output), **record}), needed=False)
        return
    contrast = ", ".join(f"{value:.3f}" for value in record["contrast"][:8])
    show(f"{report.job.output.name}: {record['frames']} frames, contrast {contrast}", needed=False)


def followed(
    stacks: list[str],
    how: Analysis,
    output: Path | None,
    *,
    count: int | None,
    timeout: float,
    every: float,
) -> Correlation:
    """Correlate a scan while it is written, with results on the way.

    Args:
        stacks: The file or folder that grows.
        how: What is asked for.
        output: The result file, if one is wanted.
        count: Frames after which to end.
        timeout: Seconds without a new frame after which to end.
        every: Seconds between two results on the way.

    Raises:
        InputError: There are several, or they cannot be read.
    """
    from debye.speckle.data.follow import follow

    if len(stacks) != 1:
        raise InputError(
            "cannot follow several scans at once",
            why=f"{len(stacks)} are given",
            fix="name one file, or one folder of images",
        )

    def look(found: Correlation) -> None:
        if output is not None:
            found.write(output, overwrite=True)
        tell(f"{len(found.numbers)} frames correlated{f', {output}' if output else ''}")

    stop = graceful_stop("stopping with the frames there are", apart=TWICE)
    with stop as stopping:
        return follow(
            stacks[0],
            how,
            count=count,
            timeout=timeout,
            every=every,
            stopping=stopping,
            notify=warn,
            seen=look,
        )
