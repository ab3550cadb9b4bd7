"""The studio as a web application: its page, and what the page asks for, all of it JSON or files.

Every computation is done by a worker while its request lasts: whoever goes away cancels it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from debye import InputError, __version__
from debye.errors import DebyeError
from debye.studio import asked
from debye.studio.guard import Guard, Rules, TooMuch, error_response
from debye.studio.workers import Cancelled, Workers

STATIC = Path(__file__).parent / "static"
JOB = "x-debye-job"
"""A header by which a request names itself, so that another can ask how far it is."""
LONGEST_JOB = 64
UNITS = ("cm-1", "THz", "meV")
QUANTITIES = (
    "mean-frequency",
    "heat-capacity-per-kg",
    "heat-capacity-per-atom",
    "entropy-per-atom",
    "zero-point-energy-per-atom",
)
"""What a screening can be ranked by."""
Answer = Callable[[Request], Awaitable[Response]]


@dataclass
class Studio:
    """What the requests of one studio share.

    Args:
        workers: Who computes.
        rules: Who may ask, and how much.
        files: Structures that it was started with.
        screenings: Folders of screenings that it was started with.
        stacks: Stacks that it was started with.
    """

    workers: Workers
    rules: Rules
    files: tuple[Path, ...] = ()
    screenings: tuple[Path, ...] = ()
    stacks: tuple[Path, ...] = ()
    progress: dict[str, tuple[int, int]] = field(default_factory=dict)

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


def application(studio: Studio) -> Starlette:
    """The application of a studio."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        studio.workers.start()
        try:
            yield
        finally:
            studio.workers.stop()

    routes = [
        Route("/", _page),
        *(Route(path, _with(studio, handler), methods=[method]) for method, path, handler in API),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[
            Middleware(Guard, rules=studio.rules),
            Middleware(GZipMiddleware, minimum_size=1000, compresslevel=5),
        ],
        exception_handlers={
            DebyeError: _explained,
            Cancelled: _cancelled,
            HTTPException: _refused,
            Exception: _broken,
        },
    )


def _with(studio: Studio, handler: Callable[[Studio, Request], Awaitable[Response]]) -> Answer:
    async def answer(request: Request) -> Response:
        return await handler(studio, request)

    return answer


async def _page(_: Request) -> Response:
    return FileResponse(STATIC / "index.html")


# What goes wrong, as JSON.


async def _explained(_: Request, error: Exception) -> Response:
    assert isinstance(error, DebyeError)  # noqa: S101 - starlette's promise
    status = 422 if isinstance(error, InputError) else 500
    return error_response(_status(error, status), error.what, error.why, error.fix)


def _status(error: DebyeError, usual: int) -> int:
    return 503 if error.what == "the computation was stopped" else min(usual, 422)


async def _cancelled(_: Request, __: Exception) -> Response:
    return error_response(499, "cancelled", "nobody waited for the answer", "ask again")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - starlette's promise
    if isinstance(error, TooMuch):
        return error.response()
    if isinstance(error, asked.Unusable):
        return error_response(error.status_code, error.what, error.why, error.fix)
    what = f"there is nothing at {request.method} {request.url.path[:100]}"
    return error_response(error.status_code, what, error.detail, "see docs/studio.md")


async def _broken(_: Request, error: Exception) -> Response:
    why = f"{type(error).__name__}, which debye did not foresee"
    return error_response(500, "the studio failed", why, "please report what you asked")


# What can be asked.


async def _about(studio: Studio, request: Request) -> Response:
    known = json.loads(await studio.work(request, "about"))
    here = {
        "version": __version__,
        "examples": list(asked.examples()),
        "files": [path.name for path in studio.files],
        "screenings": [path.name for path in studio.screenings],
        "stacks": [path.name for path in studio.stacks],
        "most_bytes": studio.rules.most,
        "most_stack_bytes": studio.rules.most_stack,
        "most_seconds": studio.workers.limits.seconds,
    }
    return JSONResponse(known | here)


async def _predict(studio: Studio, request: Request) -> Response:
    return await _answered(studio, request, "predict", {})


async def _bands(studio: Studio, request: Request) -> Response:
    given = await asked.json_of(request)
    return await _answered(studio, request, "bands", {"path": _path(given)})


async def _modes(studio: Studio, request: Request) -> Response:
    given = await asked.json_of(request)
    more = {"path": _path(given), "point": asked.whole(given, "point")}
    return await _answered(studio, request, "modes", more)


async def _export(studio: Studio, request: Request) -> Response:
    from debye.studio.exports import FILES, TYPES

    given, what = await asked.json_of(request), request.path_params["what"]
    if what not in FILES:
        fix = f"ask for one of {', '.join(FILES)}"
        raise asked.Unusable(404, f"there is no file {what[:100]!r}", "it is not known", fix)
    more = {
        "what": what,
        "path": _path(given),
        "unit": asked.word(given, "unit", UNITS, "cm-1"),
    }
    item = asked.item(given, studio.files)
    content = await studio.work(request, "export", item=item, **more)
    return Response(content, media_type=TYPES[Path(what).suffix])


async def _rank(studio: Studio, request: Request) -> Response:
    given = await asked.json_of(request)
    measured = asked.field(given, "measured", dict)
    unit = measured.get("unit")
    content = await studio.work(
        request,
        "rank",
        items=asked.items(given, studio.files),
        name=asked.file_name(asked.field(measured, "name", str)),
        text=asked.field(measured, "text", str),
        unit=None if unit is None else asked.word(measured, "unit", (*UNITS, "K"), "cm-1"),
    )
    return Response(content, media_type="application/json")


async def _screening(studio: Studio, request: Request) -> Response:
    folder = asked.numbered(studio.screenings, request.path_params["number"])
    quantity = request.query_params.get("by", QUANTITIES[0])
    quantity = asked.word({"by": quantity}, "by", QUANTITIES, QUANTITIES[0])
    content = await studio.work(request, "screening", path=str(folder), quantity=quantity)
    return Response(content, media_type="application/json")


async def _progress(studio: Studio, request: Request) -> Response:
    done, of = studio.progress.get(request.path_params["job"], (0, 0))
    return JSONResponse({"done": done, "of": of})


def _path(given: Mapping[str, Any]) -> str:
    return str(asked.field(given, "path", str, "auto"))[:200]


async def _answered(
    studio: Studio, request: Request, task: str, more: Mapping[str, Any]
) -> Response:
    """The answer to a request about one structure."""
    item = asked.item(await asked.json_of(request), studio.files)
    content = await studio.work(request, task, item=item, **more)
    return Response(content, media_type="application/json")


API: list[tuple[str, str, Callable[[Studio, Request], Awaitable[Response]]]] = [
    ("GET", "/api/about", _about),
    ("POST", "/api/predict", _predict),
    ("POST", "/api/bands", _bands),
    ("POST", "/api/modes", _modes),
    ("POST", "/api/export/{what}", _export),
    ("POST", "/api/rank", _rank),
    ("GET", "/api/screenings/{number:int}", _screening),
    ("GET", "/api/progress/{job}", _progress),
]
"""Method, path, and what answers."""
