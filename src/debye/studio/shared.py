"""What the requests of one studio share: who computes, what is open, how far each job is."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from typing import Any

from starlette.requests import Request

from debye.studio.guard import Rules
from debye.studio.workers import Workers

JOB = "x-debye-job"
"""A header by which a request names itself, so that another can ask how far it is."""
LONGEST_JOB = 64
MOST_UPLOADS = 8
"""Stacks that are kept of those that were sent; the oldest makes way."""


@dataclass
class Studio:
    """What the requests of one studio share.

    Args:
        workers: Who computes.
        rules: Who may ask, and how much.
        folder: Where stacks that are sent are kept.
        files: Structures that it was started with.
        screenings: Folders of screenings that it was started with.
        stacks: Stacks that it was started with.
        fitted: Fitted systems that it was started with.
    """

    workers: Workers
    rules: Rules
    folder: str
    files: tuple[Path, ...] = ()
    screenings: tuple[Path, ...] = ()
    stacks: tuple[Path, ...] = ()
    fitted: tuple[Path, ...] = ()
    uploads: dict[str, Path] = field(default_factory=dict, init=False)
    progress: dict[str, tuple[int, int]] = field(default_factory=dict, init=False)

    async def work(self, request: Request, task: str, **arguments: Any) -> bytes:  # noqa: ANN401
        """Have a worker do a task while the request lasts.

        Raises:
            Cancelled: Who asked has gone away.
            InputError: What was given cannot be used.
            ComputationError: It failed, took too long or too much memory.
        """
        job = request.headers.get(JOB, "")[:LONGEST_JOB]

        def progress(done: int, of: int) -> None:
            self.progress[job] = (done, of)

        async def waiting() -> bool:
            return not await request.is_disconnected()

        progress(0, 0)
        try:
            return await self.workers.run(task, arguments, waiting, progress)
        finally:
            self.progress.pop(job, None)

    async def keep(self, name: str, content: AsyncIterator[bytes]) -> str:
        """Keep a stack that is sent, under a name that nobody can guess."""
        known = secrets.token_urlsafe(12)
        home = Path(self.folder) / known
        home.mkdir()
        try:
            with (home / name).open("wb") as file:
                async for part in content:
                    file.write(part)
        except BaseException:
            rmtree(home)
            raise
        self.uploads[known] = home / name
        while len(self.uploads) > MOST_UPLOADS:
            rmtree(self.uploads.pop(next(iter(self.uploads))).parent)
        return known
