"""Who may ask, and for how much: Host, Origin, token, size of the request; no traceback in any answer."""

import hmac
import ipaddress
import logging
from urllib.parse import urlsplit

from fastapi import HTTPException
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vspsr.explorer.limits import Limits

_log = logging.getLogger("vspsr.explorer")

_VIEWER_STYLE = "'sha256-9xTiqzfwFaL2SGb1rmr8gysEwVVjIvqWAgmZgqFqpEE='"  # the one that OpenSeadragon makes
_POLICY = (
    f"default-src 'none'; script-src 'self'; style-src 'self' {_VIEWER_STYLE}; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


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
                headers = MutableHeaders(scope=message)
                headers.setdefault("cache-control", "no-store")
                headers.update(_HEADERS)
            await send(message)

        try:
            self._check(HTTPConnection(scope))
            await self._app(scope, self._counted(scope, receive), sending)
            return
        except HTTPException as refusal:
            status, text = refusal.status_code, refusal.detail
        except Exception:
            _log.exception("internal error at %s", scope["path"])
            status, text = 500, "internal error: the server's log has the details"
        if not started:
            await JSONResponse({"error": text}, status)(scope, receive, sending)

    def _check(self, request: HTTPConnection) -> None:
        """HTTPException if the request is refused."""
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if not self._is_ours(host):
            raise HTTPException(403, "the Host header is not one of this server's names")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            raise HTTPException(403, "the request comes from another site's page")
        if not self._has_token(request):
            raise HTTPException(401, "the token is missing or wrong: use the address that `vspsr explore` printed")
        length = request.headers.get("content-length", "0")
        if length.isdecimal():
            self._check_size(request.scope, int(length))

    def _is_ours(self, host: str) -> bool:
        try:
            place = urlsplit(f"//{host}")
            name, _ = place.hostname or "", place.port  # a ValueError for what is no port
            return name in self._hosts or bool(ipaddress.ip_address(name))
        except ValueError:
            return False

    def _has_token(self, request: HTTPConnection) -> bool:
        kind, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = [bearer] if kind.lower() == "bearer" else []
        given.append(request.cookies.get(cookie_name(request.scope), ""))
        if request.scope["path"] == "/":
            given += request.query_params.getlist("token")
        return any(hmac.compare_digest(g.encode(), self._token.encode()) for g in given)

    def _check_size(self, scope: Scope, size: int) -> None:
        """HTTPException if a request's body of so many bytes is too large."""
        upload = scope["path"].endswith(("/sessions", "/files"))
        most = self._limits.upload_bytes if upload else self._limits.request_bytes
        if size > most:
            raise HTTPException(413, f"the request is larger than {most / 1e6:.3g} MB")

    def _counted(self, scope: Scope, receive: Receive) -> Receive:
        """The request's body, as long as it keeps within the limit."""
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            self._check_size(scope, size)
            return message

        return counted


def cookie_name(scope: Scope) -> str:
    """Cookies do not tell ports apart: two explorers of one machine need two names."""
    server = scope.get("server") or ("", 0)
    return f"vspsr-{server[1] or 0}"
