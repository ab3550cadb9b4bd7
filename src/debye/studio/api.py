"""What can be asked of the studio over HTTP, all of it JSON or files; docs/studio.md tells it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from debye import __version__
from debye.studio import asked
from debye.studio.shared import Studio

UNITS = ("cm-1", "THz", "meV")
QUANTITIES = (
    "mean-frequency",
    "heat-capacity-per-kg",
    "heat-capacity-per-atom",
    "entropy-per-atom",
    "zero-point-energy-per-atom",
)
"""What a screening can be ranked by."""


async def _about(studio: Studio, request: Request) -> Response:
    known = json.loads(await studio.work(request, "about", stacks=list(map(str, studio.stacks))))
    here = {
        "version": __version__,
        "examples": list(asked.examples()),
        "files": [path.name for path in studio.files],
        "screenings": [path.name for path in studio.screenings],
        "stacks": [path.name for path in studio.stacks],
        "fitted": [path.name for path in studio.fitted],
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


# Frames.


def _stack_path(studio: Studio, known: str) -> str:
    """The file of a stack: one that the studio was started with, by number, or one that was sent.

    Raises:
        Unusable: There is none.
    """
    if known.isdecimal() and len(known) < 5:
        return str(asked.numbered(studio.stacks, int(known)))
    if known not in studio.uploads:
        fix = "send it again: the studio keeps the last few"
        raise asked.Unusable(404, f"there is no stack {known[:40]!r}", "it is not here", fix)
    return str(studio.uploads[known])


async def _upload(studio: Studio, request: Request) -> Response:
    name = asked.file_name(request.query_params.get("name", ""))
    return JSONResponse({"id": await studio.keep(name, request.stream())})


async def _stack(studio: Studio, request: Request) -> Response:
    path = _stack_path(studio, request.path_params["stack"])
    content = await studio.work(request, "stack", path=path)
    return Response(content, media_type="application/json")


async def _frames(studio: Studio, request: Request) -> Response:
    path = _stack_path(studio, request.path_params["stack"])
    query = {k: int(v) if v.isdecimal() else v for k, v in request.query_params.items()}
    start, count = asked.whole(query, "start", 10**9, 0), asked.whole(query, "count", 10**6, 1)
    content = await studio.work(request, "frames", path=path, start=start, count=count)
    plain = {"Content-Encoding": "identity"}  # to pack numbers takes longer than to send them
    return Response(content, media_type="application/octet-stream", headers=plain)


async def _correlate(studio: Studio, request: Request) -> Response:
    return await _correlated(studio, request, "correlate", "application/json")


async def _results(studio: Studio, request: Request) -> Response:
    return await _correlated(studio, request, "results", "application/x-hdf5")


async def _correlated(studio: Studio, request: Request, task: str, kind: str) -> Response:
    path = _stack_path(studio, request.path_params["stack"])
    how, model = asked.correlation(await asked.json_of(request))
    content = await studio.work(request, task, path=path, how=how, model=model)
    return Response(content, media_type=kind)


async def _fitted(studio: Studio, request: Request) -> Response:
    path = asked.numbered(studio.fitted, request.path_params["number"])
    frames = _stack_path(studio, request.query_params.get("stack", "0"))
    content = await studio.work(request, "fitted", path=str(path), frames=frames)
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
    ("POST", "/api/stacks", _upload),
    ("GET", "/api/stacks/{stack}", _stack),
    ("GET", "/api/stacks/{stack}/frames", _frames),
    ("POST", "/api/stacks/{stack}/correlate", _correlate),
    ("POST", "/api/stacks/{stack}/results", _results),
    ("GET", "/api/fitted/{number:int}", _fitted),
    ("GET", "/api/progress/{job}", _progress),
]
"""Method, path, and what answers."""
