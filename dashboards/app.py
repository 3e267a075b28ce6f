"""The web application: pages, HTTP interface, one stream of changes a browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles

from dashboards import api, pages
from dashboards.read_model import ReadModel
from mrv.errors import InputError

STATIC = Path(__file__).parent / "static"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Addresses that are served without authentication."""
POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
"""Content security policy: nothing from elsewhere, nothing inline."""
DOCS = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Meterprint API</title>'
    '<link rel="stylesheet" href="/static/vendor/swagger-ui-5.35.0.css">'
    '<link rel="icon" href="/static/icon.svg"></head><body><div id="docs"></div>'
    '<script src="/static/vendor/swagger-ui-5.35.0.js"></script>'
    '<script src="/static/docs.js"></script></body></html>'
)


def check_bind(host: str) -> str:
    """The host, if it is loopback. Raises InputError: there is no authentication yet."""
    if host not in LOOPBACK:
        raise InputError(
            f"{host} is not the loopback interface and no authentication is configured",
            field="host",
            hint="serve on 127.0.0.1 behind a reverse proxy that authenticates",
        )
    return host


def create_app(read: ReadModel, metrics: Callable[[], str]) -> FastAPI:
    """The application over a running site; `metrics` gives the Prometheus text."""
    app = FastAPI(title="Meterprint", version=version("meterprint"), docs_url=None, redoc_url=None)

    @app.middleware("http")
    async def guard(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.method == "POST" and _foreign(request):
            return JSONResponse({"error": "a form of another site"}, status_code=403)
        response = await call(request)
        policy = POLICY
        if request.url.path == "/api/docs":
            policy = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
        response.headers["Content-Security-Policy"] = policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
        return response

    @app.exception_handler(RequestValidationError)
    async def refused(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:])
        seen = str(first.get("input"))[:200]
        answer = {"error": first["msg"], "field": field, "seen": seen, "hint": "see /api/docs"}
        return JSONResponse(answer, status_code=422)

    @app.get("/healthz", include_in_schema=False)
    def healthz() -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    @app.get("/readyz", include_in_schema=False)
    def readyz() -> PlainTextResponse:
        ready = read.plant() is not None
        return PlainTextResponse("ok\n" if ready else "no plant\n", 200 if ready else 503)

    @app.get("/metrics", include_in_schema=False)
    def metrics_text() -> PlainTextResponse:
        return PlainTextResponse(metrics(), media_type="text/plain; version=0.0.4")

    @app.get("/api/docs", include_in_schema=False)
    def docs() -> Response:
        return Response(DOCS, media_type="text/html; charset=utf-8")

    @app.get("/events", include_in_schema=False)
    async def events(request: Request) -> StreamingResponse:
        return StreamingResponse(_stream(read, request), media_type="text/event-stream")

    app.include_router(api.router(read))
    app.include_router(pages.router(read))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


def _foreign(request: Request) -> bool:
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")


async def _stream(read: ReadModel, request: Request) -> AsyncIterator[str]:
    version_seen = -1
    while not await request.is_disconnected():
        now = await asyncio.to_thread(read.wait_change, version_seen, 1.0)
        if now != version_seen:
            version_seen = now
            yield f"id: {now}\nevent: change\ndata: {now}\n\n"
        else:
            yield ": ping\n\n"
