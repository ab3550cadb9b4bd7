"""Where shards are worked on: one seam, `concurrent.futures.Executor`, which anybody may fill.

Here are processes of this machine; `debye.crystals.screening.clusters` has Parsl and Dask.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

Result = TypeVar("Result")


@dataclass
class Engine:
    """Executors as a screening uses them: entered, given work, made again when broken.

    Args:
        open: Makes an executor, and puts on the stack what must be closed at the end.
        width: How many shards can be worked on at a time.
        lost: What a future raises whose worker has died.
    """

    open: Callable[[ExitStack], Executor]
    width: int
    lost: tuple[type[BaseException], ...]
    _stack: ExitStack = field(default_factory=ExitStack)
    _executor: Executor | None = None

    def __enter__(self) -> Engine:
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


def cores() -> int:
    """The processor cores that this process may use.

    Example:
        >>> cores() >= 1
        True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def local(workers: int) -> Engine:
    """Processes of this machine.

    Args:
        workers: How many.
    """

    def pool(stack: ExitStack) -> Executor:
        context = _context()
        executor = ProcessPoolExecutor(
            workers, context, initializer=_start_worker, initargs=(context.Value("i", 0),)
        )
        stack.callback(executor.shutdown, cancel_futures=True)
        return executor

    return Engine(pool, workers, (BrokenExecutor,))


def _context() -> Any:  # noqa: ANN401 - the contexts share no public class
    """Processes forked from a clean one that has imported torch, where that can be."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["debye.crystals.screening.worker"])
    return context


def _start_worker(started: Synchronized[int]) -> None:
    """Set a worker up: Ctrl-C is its parent's affair, and it does not outlive it."""
    from debye.crystals.screening import worker as work

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with started.get_lock():
        work.rank, started.value = started.value, started.value + 1
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            # Nothing may be tidied up: the pool's queues have nobody at their other end.
            os._exit(1)

    Thread(target=follow, daemon=True).start()
