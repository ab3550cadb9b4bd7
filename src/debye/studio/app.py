"""The studio as a web application: its page, and what the page asks for, all of it JSON or files.

Every computation is done by a worker while its request lasts: whoever goes away cancels it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from debye import InputError
from debye.errors import DebyeError
from debye.studio import asked
from debye.studio.api import API
from debye.studio.guard import Guard, TooMuch, error_response
from debye.studio.shared import Studio
from debye.studio.workers import Cancelled

STATIC = Path(__file__).parent / "static"
Answer = Callable[[Request], Awaitable[Response]]


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
            ClientDisconnect: _cancelled,
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
