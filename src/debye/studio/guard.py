"""What stands between the network and the studio: who may ask, from where, how much at a time.

A page of another site must not be able to use a studio that runs on its reader's machine. So the
host must be the studio's own (a name of another that resolves to this machine is not), the origin
too, and whoever is not on this machine needs a token.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
LOCAL = ("127.0.0.1", "localhost", "[::1]")
COOKIE = "debye-token"


def error_response(status: int, what: str, why: str, fix: str) -> Response:
    """An answer that says what was refused, why, and what to do about it."""
    told = {"error": {"what": what, "why": why, "fix": fix}}
    return Response(json.dumps(told), status, media_type="application/json")


class TooMuch(HTTPException):
    """A body is larger than it may be; noticed while it arrives."""

    def __init__(self, limit: int) -> None:
        super().__init__(413)
        self.limit = limit

    def response(self) -> Response:
        """The answer."""
        return error_response(
            413,
            "the upload is too large",
            f"it holds more than {self.limit / 1e6:g} MB",
            "give less at a time, or start the studio with its path: debye studio FILE",
        )


@dataclass(frozen=True)
class Rules:
    """Who may ask, and how much.

    Args:
        hosts: Values of the Host header that are answered; None answers to any, behind a token.
        token: What whoever asks must show; None on this machine alone.
        most: Bytes of a body.
        most_stack: Bytes of a body that is a stack of frames.
    """

    hosts: frozenset[str] | None
    token: str | None = None
    most: int = 8_000_000
    most_stack: int = 2_000_000_000


class Guard:
    """Middleware that applies the rules, and gives every answer its headers."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self.app, self.rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have it answered."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    kept.setdefault(name, value)
            await send(message)

        refused = self._host(headers) or self._origin(headers, scope) or self._token(headers, scope)
        if refused is None:
            most = self._most(scope)
            refused = self._length(headers, most)
            receive = _counted(receive, most)
        await (refused or self.app)(scope, receive, guarded)

    def _host(self, headers: Mapping[str, str]) -> Response | None:
        if self.rules.hosts is None or headers.get("host") in self.rules.hosts:
            return None
        named = f"the request names {headers.get('host') or 'none'!r}"
        fix = "open the address that debye studio printed"
        return error_response(403, "this studio does not answer to that host", named, fix)

    def _origin(self, headers: Mapping[str, str], scope: Scope) -> Response | None:
        origin, own = headers.get("origin"), f"{scope['scheme']}://{headers.get('host')}"
        within = headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
        visited = scope["method"] == "GET" and not scope["path"].startswith("/api/")
        if origin in (None, own) and (within or visited):
            return None
        why = f"the request comes from {origin or 'another site'}"
        return error_response(
            403, "another site may not use this studio", why, "open the studio itself"
        )

    def _token(self, headers: Headers, scope: Scope) -> Response | None:
        if self.rules.token is None or _same(_shown(headers), self.rules.token):
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and _same(given, self.rules.token):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(COOKIE, self.rules.token, httponly=True, samesite="strict")
            return answer
        fix = "open the address that debye studio printed, or send it as a bearer token"
        return error_response(401, "this studio needs its token", "it was not shown", fix)

    def _most(self, scope: Scope) -> int:
        stack = scope["path"].startswith("/api/stacks")
        return self.rules.most_stack if stack else self.rules.most

    def _length(self, headers: Mapping[str, str], most: int) -> Response | None:
        length = headers.get("content-length", "0")
        return TooMuch(most).response() if not length.isdecimal() or int(length) > most else None


def _counted(receive: Receive, most: int) -> Receive:
    """Messages of a body, until it is too large: one that comes in chunks states no length."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise TooMuch(most)
        return message

    return counted


def _shown(headers: Headers) -> str:
    """The token that a request shows, in its header or cookie."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[COOKIE].value if COOKIE in cookies else ""


def _same(given: str, token: str) -> bool:
    return secrets.compare_digest(given.encode(), token.encode())


def allowed_hosts(host: str, port: int) -> frozenset[str] | None:
    """Host headers that a studio on this machine answers; None where it is open to others.

    Example:
        >>> sorted(allowed_hosts("127.0.0.1", 8000))
        ['127.0.0.1:8000', '[::1]:8000', 'localhost:8000']
    """
    return frozenset(f"{name}:{port}" for name in LOCAL) if is_local(host) else None


def is_local(host: str) -> bool:
    """Whether a host is this machine alone.

    Example:
        >>> is_local("::1"), is_local("0.0.0.0")
        (True, False)
    """
    return host in LOCAL or f"[{host}]" in LOCAL
