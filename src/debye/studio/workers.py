"""Where the studio computes: processes that are killed at their limits, and replaced.

    server  →  task, arguments (JSON)  →  worker  →  progress …, answer or refusal  →  server

Messages are bytes, the first of which says their kind; nothing is unpickled. A worker keeps the
model and what it last computed, which another can compute again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from debye import ComputationError, DebyeError, InputError
from debye.core.executors import follow_parent, process_context

READY, PROGRESS, ANSWER, REFUSED = b"y", b"p", b"a", b"r"
KINDS = {kind.__name__: kind for kind in (InputError, ComputationError)}
POLL = 0.1
"""Seconds between looks at the clock, and at whether anybody still waits."""
STARTING = 120.0
"""Seconds that a worker may take to load its model."""


@dataclass(frozen=True)
class Limits:
    """What a computation may take.

    Args:
        seconds: Of time.
        megabytes: Of memory beyond what a worker takes that waits; of Linux's kernel, elsewhere
            it is not bounded.
    """

    seconds: float = 120.0
    megabytes: int = 4000


class Cancelled(Exception):  # noqa: N818 - no error: it was asked for
    """Nobody waits for the answer any more."""


@dataclass
class Worker:
    """A process that computes, and this end of the pipe to it."""

    process: BaseProcess
    pipe: Connection
    ready: bool = False

    @classmethod
    def start(cls, model: str | None, limits: Limits) -> Worker:
        """A new one, which begins to load the model."""
        context = process_context(["debye.studio.tasks"])
        ours, theirs = context.Pipe()
        arguments = (theirs, model, limits.megabytes)
        process = context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        theirs.close()
        return cls(process, ours)

    def stop(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.join()
        self.pipe.close()

    async def message(self) -> bytes | None:
        """Its next message, if there is one within `POLL`."""
        return await asyncio.to_thread(
            lambda: self.pipe.recv_bytes() if self.pipe.poll(POLL) else None
        )


Waiting = Callable[[], Awaitable[bool]]
"""Whether somebody still waits for the answer."""
Progress = Callable[[int, int], None]
"""Is told how much is done, and of how much."""


@dataclass
class Workers:
    """The processes of a studio.

    Args:
        count: How many compute at a time; others wait.
        model: A model file, ``fast``, ``labels``, or None for the shipped ensemble.
        limits: Of each computation.
    """

    count: int
    model: str | None
    limits: Limits
    _idle: list[Worker] = field(default_factory=list)
    _all: list[Worker] = field(default_factory=list)
    _freed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def start(self) -> None:
        """Start them."""
        for _ in range(self.count):
            self._add()

    def stop(self) -> None:
        """End them."""
        for worker in self._all:
            worker.stop()

    def _add(self) -> None:
        worker = Worker.start(self.model, self.limits)
        self._all.append(worker)
        self._idle.insert(0, worker)

    async def run(
        self, task: str, arguments: Mapping[str, Any], waiting: Waiting, progress: Progress
    ) -> bytes:
        """Have a task done: the answer as its bytes.

        Raises:
            Cancelled: Nobody waits any more.
            InputError: What was given cannot be used.
            ComputationError: It failed, took too long or too much memory.
        """
        worker = await self._taken(waiting)
        try:
            await self._until_ready(worker, waiting)
            worker.pipe.send_bytes(json.dumps([task, arguments]).encode())
            answer = await self._answer(worker, waiting, progress)
        except (EOFError, ConnectionError, BrokenPipeError):
            await self._replace(worker)
            raise _stopped("its process died", worker.process.exitcode) from None
        except (Cancelled, ComputationError, asyncio.CancelledError):
            await self._replace(worker)
            raise
        except BaseException:
            await self._give_back(worker)
            raise
        await self._give_back(worker)
        return answer

    async def _taken(self, waiting: Waiting) -> Worker:
        """A worker that is idle: the one used last, which remembers most."""
        while True:
            async with self._freed:
                if self._idle:
                    return self._idle.pop()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._freed.wait(), POLL)
            if not await waiting():
                raise Cancelled

    async def _until_ready(self, worker: Worker, waiting: Waiting) -> None:
        end = time.monotonic() + STARTING
        while not worker.ready:
            message = await worker.message()
            worker.ready = message == READY
            if message and message[:1] == REFUSED:
                raise _refusal(message)
            _check(end, STARTING)
            if not await waiting():
                raise Cancelled

    async def _answer(self, worker: Worker, waiting: Waiting, progress: Progress) -> bytes:
        end = time.monotonic() + self.limits.seconds
        while True:
            message = await worker.message()
            if message is None:
                _check(end, self.limits.seconds)
                if not await waiting():
                    raise Cancelled
            elif message[:1] == PROGRESS:
                progress(*json.loads(message[1:]))
            elif message[:1] == REFUSED:
                raise _refusal(message)
            else:
                return message[1:]

    async def _give_back(self, worker: Worker) -> None:
        async with self._freed:
            self._idle.append(worker)
            self._freed.notify()

    async def _replace(self, worker: Worker) -> None:
        worker.stop()
        async with self._freed:
            self._all.remove(worker)
            self._add()
            self._freed.notify()


def _check(end: float, limit: float) -> None:
    if time.monotonic() > end:
        raise _stopped(f"it took longer than {limit:g} s, the limit of this studio")


def _stopped(why: str, code: int | None = None) -> ComputationError:
    names = {-one.value: one.name for one in signal.Signals}
    how = f" ({names.get(code, f'exit code {code}')})" if code else ""
    fix = "give a smaller cell, or do it on the command line, which has no limit"
    return ComputationError("the computation was stopped", why=why + how, fix=fix)


def _refusal(message: bytes) -> DebyeError:
    kind, what, why, fix = json.loads(message[1:])
    return KINDS[kind](what, why=why, fix=fix)


# In the worker.


def _work(pipe: Connection, model: str | None, megabytes: int) -> None:
    """Load the model, then do tasks until the other end is closed."""
    from debye.studio.tasks import Bench

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    follow_parent()
    try:
        bench = Bench.open(model)
    except DebyeError as error:
        pipe.send_bytes(_refused(error))
        return
    _bound(megabytes)
    pipe.send_bytes(READY)

    def progress(done: int, of: int) -> None:
        pipe.send_bytes(PROGRESS + json.dumps([done, of]).encode())

    with contextlib.suppress(EOFError):
        while True:
            task, arguments = json.loads(pipe.recv_bytes())
            pipe.send_bytes(_done(partial(bench.do, task, arguments, progress)))


def _done(work: Callable[[], bytes]) -> bytes:
    try:
        return ANSWER + work()
    except Exception as error:  # noqa: BLE001 - whatever it is, whoever asked is answered
        if _is_of_memory(error):
            return _refused(_stopped("it took more memory than the limit of this studio"))
        if isinstance(error, DebyeError):
            return _refused(error)
        traceback.print_exc()
        why = f"{type(error).__name__}: {error}, which debye did not foresee"
        fix = "please report it with what you gave"
        return _refused(ComputationError("this cannot be computed", why=why, fix=fix))


def _refused(error: DebyeError) -> bytes:
    kind = next(name for name, known in KINDS.items() if isinstance(error, known))
    return REFUSED + json.dumps([kind, error.what, error.why, error.fix]).encode()


OF_MEMORY = ("alloc", "MemoryError", "failed to map segment")
"""What errors of other kinds say that are one of memory; the last one a library's first import."""


def _is_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, was a want of memory."""
    while error is not None:
        if isinstance(error, MemoryError) or any(sign in str(error) for sign in OF_MEMORY):
            return True
        error = error.__context__
    return False


def _bound(megabytes: int) -> None:
    """Let the kernel refuse this process more memory than it may have."""
    try:
        import resource
        from pathlib import Path

        now = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    except (ImportError, OSError):
        return
    resource.setrlimit(resource.RLIMIT_DATA, (now + megabytes * 1_000_000,) * 2)
