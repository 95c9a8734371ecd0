"""Who may ask, and for how much: Host, Origin, token, size of the request; no traceback in any answer."""

import hmac
import ipaddress
import json
import logging
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vspsr.explorer.limits import Limits

_log = logging.getLogger("vspsr.explorer")

_VIEWER_STYLE = "'sha256-9xTiqzfwFaL2SGb1rmr8gysEwVVjIvqWAgmZgqFqpEE='"  # the one that OpenSeadragon makes
_POLICY = (
    f"default-src 'none'; script-src 'self'; style-src 'self' {_VIEWER_STYLE}; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]


class _TooLargeError(Exception):
    """The body of a request exceeds its limit."""


class Guard:
    """ASGI middleware.

    A page of another origin can neither read nor cause anything: it does not know the token, its Origin is refused,
    and so is a Host name that somebody's DNS leads here.

    Args:
        app: the application.
        token: what every request must carry, as the cookie that "/?token=…" sets or as "Authorization: Bearer …".
        hosts: names allowed in the Host header, beside "localhost" and IP addresses.
        limits: on the size of requests.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: frozenset[str], limits: Limits) -> None:
        self._app, self._token, self._limits = app, token, limits
        self._hosts = hosts | {"localhost"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = list(message.get("headers", []))
                if not any(k == b"cache-control" for k, _ in headers):
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": [*headers, *_HEADERS]}
            await send(message)

        headers = {k.lower(): v.decode("latin-1") for k, v in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is None:
            try:
                await self._app(scope, self._counted(scope, receive), sending)
                return
            except _TooLargeError:
                refusal = self._too_large(scope)
            except Exception:
                _log.exception("internal error at %s", scope["path"])
                refusal = (500, "internal error: the server's log has the details")
        if not started:
            await _answer(sending, *refusal)

    def _refusal(self, scope: Scope, headers: dict[bytes, str]) -> tuple[int, str] | None:
        host = headers.get(b"host", "")
        if not self._is_ours(host):
            return 403, "the Host header is not one of this server's names"
        origin = headers.get(b"origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            return 403, "the request comes from another site's page"
        if not self._has_token(scope, headers):
            return 401, "the token is missing or wrong: use the address that `vspsr explore` printed"
        length = headers.get(b"content-length", "0")
        if length.isdecimal() and int(length) > self._most(scope):
            return self._too_large(scope)
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            urlsplit(f"//{host}").port  # noqa: B018 - raises for what is no port
        except ValueError:
            return False
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _has_token(self, scope: Scope, headers: dict[bytes, str]) -> bool:
        kind, _, bearer = headers.get(b"authorization", "").partition(" ")
        given = [bearer] if kind.lower() == "bearer" else []
        try:
            cookie = SimpleCookie(headers.get(b"cookie", "")).get(cookie_name(scope))
        except CookieError:
            cookie = None
        if cookie is not None:
            given.append(cookie.value)
        if scope["path"] == "/":
            given += parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        return any(hmac.compare_digest(g.encode(), self._token.encode()) for g in given)

    def _most(self, scope: Scope) -> int:
        upload = scope["path"].endswith(("/sessions", "/files"))
        return self._limits.upload_bytes if upload else self._limits.request_bytes

    def _too_large(self, scope: Scope) -> tuple[int, str]:
        return 413, f"the request is larger than {self._most(scope) / 1e6:.3g} MB"

    def _counted(self, scope: Scope, receive: Receive) -> Receive:
        """The request's body, as long as it keeps within the limit."""
        left = self._most(scope)

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise _TooLargeError
            return message

        return counted


def cookie_name(scope: Scope) -> str:
    """Cookies do not tell ports apart: two explorers of one machine need two names."""
    server = scope.get("server") or ("", 0)
    return f"vspsr-{server[1] or 0}"


async def _answer(send: Send, status: int, text: str) -> None:
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
