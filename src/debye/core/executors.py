"""Where work is done: one seam, `concurrent.futures.Executor`, filled by processes, Parsl or Dask.

A config of Parsl or Dask is TOML. Its tables are the arguments of the library's classes; the key
``class`` names one, out of a list, and nothing else in it is looked up or run.

    python -m debye.core.executors

is Parsl's interchange, which ends when the run that started it does, killed or not. By itself it
would go on, its workers waiting for tasks until their allocation ends.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import shlex
import signal
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from debye.core.files import read_toml
from debye.errors import InputError

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized


Result = TypeVar("Result")
Item = TypeVar("Item")

EXECUTORS = ("local", "parsl", "dask")

worker_number: int | None = None
"""Which of its machine's workers this process is, from 0; None where `local` did not start it."""


@dataclass
class ExecutorPool:
    """Executors as a long run uses them: entered, given work, made again when broken.

    Args:
        open: Makes an executor, and puts on the stack what must be closed at the end.
        width: How many tasks can be worked on at a time.
        lost: What a future raises whose worker has died.
    """

    open: Callable[[ExitStack], Executor]
    width: int
    lost: tuple[type[BaseException], ...]
    _stack: ExitStack = field(default_factory=ExitStack)
    _executor: Executor | None = None

    def __enter__(self) -> ExecutorPool:
        self._executor = self.open(self._stack)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def submit(self, work: Callable[..., Result], *args: object) -> Future[Result]:
        """Have some work done, by a new executor if the last is broken."""
        assert self._executor is not None, "enter it first"  # noqa: S101 - ours to get right
        try:
            return self._executor.submit(work, *args)
        except BrokenExecutor:
            self._executor = self.open(self._stack)
            return self._executor.submit(work, *args)

    def landed(self, flying: dict[Future[Result], Item]) -> Generator[Result, None, list[Item]]:
        """Wait for work in flight and yield what has come back, which is in flight no more.

        Where a worker has died, all is awaited: others' work may be lost with it, and what is done
        again must be alone, to tell what kills.

        Args:
            flying: What is in work, and what it is of.

        Returns:
            What was lost.
        """
        lost: list[Item] = []
        done, _ = wait(flying, return_when=FIRST_COMPLETED)
        while done:
            for future in done:
                item = flying.pop(future)
                try:
                    yield future.result()
                except self.lost:
                    lost.append(item)
            done = set(wait(flying).done) if lost else set()
        return lost


def cores() -> int:
    """The processor cores that this process may use.

    Example:
        >>> cores() >= 1
        True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def local(workers: int, preload: Sequence[str] = ()) -> ExecutorPool:
    """Processes of this machine.

    Args:
        workers: How many.
        preload: Modules that are imported once for all of them, where that can be.
    """

    def pool(stack: ExitStack) -> Executor:
        context = process_context(preload)
        executor = ProcessPoolExecutor(
            workers, context, initializer=_start_worker, initargs=(context.Value("i", 0),)
        )
        stack.callback(executor.shutdown, cancel_futures=True)
        return executor

    return ExecutorPool(pool, workers, (BrokenExecutor,))


def named(
    name: str,
    config: str | os.PathLike[str] | None,
    workers: int | None,
    scratch: Path,
    preload: Sequence[str] = (),
) -> ExecutorPool:
    """The executor that is asked for by name, with its config.

    Args:
        name: One of ``EXECUTORS``.
        config: TOML file that describes a Parsl or Dask executor.
        workers: Tasks in work at a time; the cores of this machine, or what the config has, if
            None.
        scratch: Where Parsl keeps its logs.
        preload: Modules that local processes import once.

    Raises:
        InputError: There is none of that name, the config would not be used or cannot be read, or
            nobody would do the work.
    """
    if name not in EXECUTORS:
        why = f"the choices are {', '.join(EXECUTORS)}"
        raise InputError(f"there is no executor {name!r}", why=why, fix="choose one of them")
    if workers is not None and workers < 1:
        why = "somebody must do the work"
        raise InputError(f"cannot use {workers} workers", why=why, fix="give one at least")
    if name == "local":
        if config is not None:
            raise InputError(
                f"the executor config {config} would not be used",
                why="local processes need no config",
                fix="choose the executor parsl or dask",
            )
        return local(workers or cores(), preload)
    table = read_toml(config) if config else {}
    return parsl(table, workers, scratch) if name == "parsl" else dask(table, workers)


def process_context(preload: Sequence[str]) -> Any:  # noqa: ANN401 - the contexts share no public class
    """Processes forked from a clean one that has imported torch, where that can be.

    Args:
        preload: Modules that it has imported too.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", *preload])
    return context


def _start_worker(started: Synchronized[int]) -> None:
    """Set a worker up: Ctrl-C is its parent's affair, and it does not outlive it."""
    global worker_number
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with started.get_lock():
        worker_number, started.value = started.value, started.value + 1
    follow_parent()


def follow_parent() -> None:
    """End this process, which multiprocessing has started, when its parent ends."""
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            # Nothing may be tidied up: the pool's queues have nobody at their other end.
            os._exit(1)

    Thread(target=follow, daemon=True).start()


Classes = Mapping[str, Callable[..., Any]]

INTERCHANGE = "debye.core.executors"
# Its scripts need not be on the PATH where debye is called by its full name.
POOL = f"{shlex.quote(sys.executable)} -m parsl.executors.high_throughput.process_worker_pool"

ANY_PORT = {"dashboard_address": ":0"}
KEPT = {
    "MALLOC_TRIM_THRESHOLD_": 2**28,
    "MALLOC_MMAP_THRESHOLD_": 2**25,
    "MALLOC_ARENA_MAX": 1,
}
"""Environment of Dask's workers. It has them give freed memory back at once, and tensors, freed and
asked for again at every step, would then cost as much in the kernel as in the network."""


def parsl(config: Mapping[str, Any], workers: int | None, scratch: Path) -> ExecutorPool:
    """Parsl's executors: allocations of PBS, Slurm and others, or this machine.

    Args:
        config: Arguments of ``parsl.Config``, whose ``executors``, ``provider`` and ``launcher``
            are tables with a ``class`` of Parsl. Without ``executors``: this machine.
        workers: Tasks in work at a time; if None, as many as the config has workers.
        scratch: Where Parsl keeps its logs, unless the config has a ``run_dir``.

    Raises:
        InputError: Parsl is missing, or the config names what there is not.
    """
    try:
        from parsl import Config, executors, launchers, providers
        from parsl.concurrent import ParslPoolExecutor
        from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost
    except ImportError as error:
        raise _missing("parsl", error) from error

    known = {n: getattr(m, n) for m in (executors, providers, launchers) for n in m.__all__}
    plain = {"run_dir": str(scratch), "initialize_logging": False}
    given = {"executors": [_this_machine(workers)], **config}
    made = build({**plain, **given}, known, "parsl.Config", Config)
    for executor in made.executors:
        if getattr(executor, "interchange_launch_cmd", None) == ["interchange.py"]:
            executor.interchange_launch_cmd = [sys.executable, "-m", INTERCHANGE]

    def pool(stack: ExitStack) -> Executor:
        return stack.enter_context(ParslPoolExecutor(made))

    width = workers or sum(map(_workers_of, made.executors))
    return ExecutorPool(pool, width, (WorkerLost, ManagerLost))


def _this_machine(workers: int | None) -> dict[str, Any]:
    """Parsl's workers on this machine, for a run without a config."""
    from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD

    return {
        "class": "HighThroughputExecutor",
        "address": "127.0.0.1",
        "max_workers_per_node": workers or cores(),
        "cores_per_worker": 1e-6,  # so that they may be more than the cores
        "launch_cmd": DEFAULT_LAUNCH_CMD.replace("process_worker_pool.py", POOL),
        "heartbeat_period": 5,
        "heartbeat_threshold": 20,
        "provider": {"class": "LocalProvider", "init_blocks": 1, "max_blocks": 1},
    }


def _workers_of(executor: Any) -> int:  # noqa: ANN401 - any of Parsl's
    """How many tasks one of Parsl's executors can have in work, at its largest."""
    provider = getattr(executor, "provider", None)
    if provider is None:
        return int(getattr(executor, "max_threads", 1))
    nodes = provider.max_blocks * getattr(provider, "nodes_per_block", 1)
    here = max(getattr(executor, "workers_per_node", 1), len(executor.available_accelerators), 1)
    return int(nodes * here)


def dask(config: Mapping[str, Any], workers: int | None) -> ExecutorPool:
    """A Dask cluster: one that runs, one to be started, or workers on this machine.

    Args:
        config: ``address`` or ``scheduler_file`` of a cluster that runs; or ``cluster``, a table
            with a ``class`` of dask-jobqueue or ``LocalCluster``, and ``jobs``, how many to ask
            for. Without either: this machine.
        workers: Tasks in work at a time; if None, as many as the cluster has threads.

    Raises:
        InputError: Dask is missing, the config names what there is not, or nobody answers.
    """
    try:
        import dask.config
        from distributed import Client, LocalCluster
        from distributed.scheduler import KilledWorker
    except ImportError as error:
        raise _missing("dask", error) from error

    unknown = sorted(set(config) - {"address", "scheduler_file", "cluster", "jobs"})
    if unknown:
        raise _misfit("dask", f"{unknown[0]!r} is none of address, scheduler_file, cluster, jobs")

    def executor(stack: ExitStack) -> Executor:
        scheduler = {k: config[k] for k in ("address", "scheduler_file") if k in config}
        if not scheduler:
            known = {"LocalCluster": LocalCluster, **_jobqueue(config)}
            table = _cluster(config, workers)
            environment = "distributed.nanny.pre-spawn-environ"
            as_it_is = dask.config.get(environment)
            once = {"distributed.scheduler.allowed-failures": 0}  # who asks knows what to do
            stack.enter_context(dask.config.set({environment: as_it_is | KEPT, **once}))
            cluster = stack.enter_context(build(table, known, "cluster"))
            if "jobs" in config:
                cluster.scale(jobs=config["jobs"])
            scheduler = {"address": cluster}
        try:
            client = stack.enter_context(Client(**scheduler))
        except (OSError, ValueError) as error:
            raise _misfit("dask", f"no scheduler answers at {scheduler}: {error}") from error
        pool.width = workers or max(sum(client.nthreads().values()), config.get("jobs", 1))
        return client.get_executor(pure=False)

    pool = ExecutorPool(executor, workers or 1, (KilledWorker,))
    return pool


def _local_cluster(workers: int | None) -> dict[str, Any]:
    return {
        "class": "LocalCluster",
        "n_workers": workers or cores(),
        "threads_per_worker": 1,
        **ANY_PORT,
    }


def _cluster(config: Mapping[str, Any], workers: int | None) -> Mapping[str, Any]:
    """The table of the cluster to be started.

    A dashboard takes any port that is free: on a login node somebody else has the usual one.
    """
    table = config.get("cluster", _local_cluster(workers))
    if table.get("class") == "LocalCluster":
        return table
    return {**table, "scheduler_options": {**ANY_PORT, **table.get("scheduler_options", {})}}


def _jobqueue(config: Mapping[str, Any]) -> Classes:
    """The clusters of dask-jobqueue, if one is asked for."""
    if config.get("cluster", {}).get("class") in (None, "LocalCluster"):
        return {}
    try:
        import dask_jobqueue
    except ImportError as error:
        raise _missing("dask-jobqueue", error) from error
    names = ("SLURMCluster", "PBSCluster", "LSFCluster", "SGECluster", "HTCondorCluster")
    return {name: getattr(dask_jobqueue, name) for name in names}


def build(
    table: Mapping[str, Any], known: Classes, what: str, kind: Callable[..., Any] | None = None
) -> Any:  # noqa: ANN401 - whatever the class makes
    """Make what a table of a config describes: a class, called with the table's other keys.

    Args:
        table: Its values may be such tables again, or lists of them.
        known: The classes that ``class`` may name.
        what: Where the table stands in the config; named in the error.
        kind: The class, where the table names none.

    Raises:
        InputError: The class is not known, or does not take these arguments.

    Example:
        >>> build({"class": "dict", "a": {"class": "dict", "b": 1}}, {"dict": dict}, "config")
        {'a': {'b': 1}}
        >>> build({"class": "os.system"}, {"dict": dict}, "config")
        Traceback (most recent call last):
        debye.errors.InputError: cannot use the executor's config: config
          why: there is no class 'os.system'
          fix: name one of dict
    """
    name = table.get("class")
    if kind is None and name not in known:
        why = f"there is no class {name!r}" if "class" in table else "it names no class"
        raise _misfit(what, why, f"name one of {', '.join(known)}")

    def value(key: str, given: object) -> object:
        if isinstance(given, Mapping) and "class" in given:
            return build(given, known, f"{what}.{key}")
        return [value(key, item) for item in given] if isinstance(given, list) else given

    arguments = {key: value(key, given) for key, given in table.items() if key != "class"}
    try:
        return (kind or known[str(name)])(**arguments)
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise _misfit(what, str(error)) from error


def _misfit(what: str, why: str, fix: str = "see the library's own manual of it") -> InputError:
    return InputError(f"cannot use the executor's config: {what}", why=why, fix=fix)


def _missing(library: str, error: ImportError) -> InputError:
    extra = library.partition("-")[0]
    return InputError(
        f"cannot work with {library}",
        why=f"it is not installed ({error})",
        fix=f"python -m pip install 'debye[{extra}]', or use --executor local",
    )


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main() -> None:
    """Run the interchange, in a process whose parent is the run."""
    Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
    runpy.run_module("parsl.executors.high_throughput.interchange", run_name="__main__")


if __name__ == "__main__":
    main()
