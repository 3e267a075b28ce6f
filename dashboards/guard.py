"""The door: where the web server may listen, and who may ask for what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from fastapi import Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from dashboards.access import LOCAL, NOBODY, PASSER_BY, Right, Who, right_of
from dashboards.accounts import Accounts
from dashboards.sessions import COOKIE, Sessions
from mrv.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Addresses that are served without authentication."""
POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
"""Content security policy: nothing from elsewhere, nothing inline."""
READS = ("GET", "HEAD")
"""Methods that change nothing."""

Call = Callable[[Request], Awaitable[Response]]
"""The rest of the application."""


@dataclass(frozen=True, slots=True)
class Door:
    """How the pages know who asks."""

    accounts: Accounts | None = None
    """Accounts; None = none are configured, and whoever is on this machine may do everything."""
    public: bool = False
    """Whether who is not logged in may see figures."""
    names: tuple[str, ...] = ()
    """Host names by which the pages may be asked for, besides loopback."""
    secure: bool = False
    """Whether cookies travel over TLS only."""
    sessions: Sessions = field(default_factory=Sessions)
    """Who is logged in."""

    def who(self, request: Request) -> Who:
        """Who asks: by a token, by a session, or nobody that is known."""
        if self.accounts is None:
            return LOCAL
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self.accounts.by_token(token.strip()) or NOBODY
        name = self.sessions.name_of(request.cookies.get(COOKIE, ""))
        role = self.accounts.role_of(name) if name is not None else None
        if name is not None and role is not None:
            return Who(name, role)
        return PASSER_BY if self.public else NOBODY


def check_bind(host: str, *, accounts: bool, encrypted: bool) -> str:
    """The host, if pages may be served there. Raises InputError with what is missing."""
    if host in LOOPBACK:
        return host
    if not accounts:
        raise InputError(
            f"everybody who reaches {host} could read all and state batches: no account is "
            "configured",
            field="web.host",
            hint="`meterprint user set NAME --role operator` makes one; until then the pages stay "
            "on 127.0.0.1",
        )
    if not encrypted:
        raise InputError(
            f"passwords would cross the network in the clear on {host}: no certificate is "
            "configured",
            field="web.certificate",
            hint="name web.certificate and web.key, or say web.behind_proxy where a proxy speaks "
            "TLS",
        )
    return host


def _foreign(request: Request) -> bool:
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")


def _misdirected(request: Request, names: Sequence[str]) -> bool:
    """Whether a page elsewhere has its own name point here (DNS rebinding)."""
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname
    except ValueError:
        return True
    return host not in (*LOOPBACK, *names)


def _refusal(status: int, error: str, hint: str) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(
        {"error": error, "field": "", "hint": hint, "seen": ""}, status_code=status, headers=headers
    )


def _check(door: Door, request: Request) -> Response | None:
    """The answer of the door itself; None = come in."""
    if door.accounts is None and _misdirected(request, door.names):
        return _refusal(
            421,
            f"these pages are not {request.headers.get('host', '')[:80]!r}",
            "ask by 127.0.0.1, or list the name under web.names",
        )
    if request.method not in READS and _foreign(request):
        return _refusal(403, "a form of another site", "use the forms of these pages")
    who = door.who(request)
    request.state.who = who
    needed = right_of(request.method, request.url.path)
    if who.may(needed):
        return None
    if who.name:
        return _refusal(
            403, f"{who.name} ({who.role}) may not do this", f"ask for a role with '{needed}'"
        )
    page = "text/html" in request.headers.get("accept", "")
    if page and request.method in READS and needed is not Right.OPEN:
        back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        language = request.query_params.get("lang", "")
        asked = f"&lang={quote(language, safe='')}" if language else ""
        return RedirectResponse(f"/login?next={quote(back, safe='')}{asked}", status_code=303)
    return _refusal(401, "log in, or send a token", "Authorization: Bearer TOKEN, or /login")


async def guarded(door: Door, request: Request, call: Call) -> Response:
    """Let a request in or not, and mark every answer with the policy of the pages."""
    response = _check(door, request) or await call(request)
    policy = POLICY
    if request.url.path == "/api/docs":
        policy = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
    response.headers["Content-Security-Policy"] = policy
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    if door.accounts is not None and not request.url.path.startswith("/static/"):
        response.headers.setdefault("Cache-Control", "no-store")
    return response
