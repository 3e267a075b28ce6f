"""The web application: pages, HTTP interface, one stream of changes a browser."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.staticfiles import StaticFiles

from dashboards import api, login, pages
from dashboards.answers import ACCESS
from dashboards.guard import Call, Door, guarded
from dashboards.read_model import ReadModel
from dashboards.running import ENDED
from dashboards.stream import Changes, stream

STATIC = Path(__file__).parent / "static"
DOCS = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Meterprint API</title>'
    '<link rel="stylesheet" href="/static/vendor/swagger-ui-5.35.0.css">'
    '<link rel="icon" href="/static/icon.svg"></head><body><div id="docs"></div>'
    '<script src="/static/vendor/swagger-ui-5.35.0.js"></script>'
    '<script src="/static/docs.js"></script></body></html>'
)
BEARER = HTTPBearer(auto_error=False, description="a token of `meterprint user token`")
"""How the description of the interface tells programs to log in; the door itself checks it."""


def _described(_: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]) -> None:
    """Puts the bearer token into the description."""


def create_app(read: ReadModel, metrics: Callable[[], str], door: Door | None = None) -> FastAPI:
    """The application over a running site; `metrics` gives the Prometheus text.

    Without a `door` whoever reaches it may do everything: only for loopback.
    """
    entrance = door or Door()
    changes = Changes(read)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with changes.following():
            yield

    app = FastAPI(
        title="Meterprint",
        version=version("meterprint"),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )

    @app.middleware("http")
    async def guard(request: Request, call: Call) -> Response:
        return await guarded(entrance, request, call)

    @app.exception_handler(RequestValidationError)
    async def refused(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:])
        seen = str(first.get("input"))[:200]
        answer = {"error": first["msg"], "field": field, "seen": seen, "hint": "see /api/docs"}
        return JSONResponse(answer, status_code=422)

    @app.get("/healthz", include_in_schema=False)
    def healthz() -> PlainTextResponse:
        ended = [one.detail for one in read.troubles() if one.code == ENDED]
        text = "".join(f"{ENDED}: {part}\n" for part in ended)
        return PlainTextResponse(text or "ok\n", 503 if ended else 200)

    @app.get("/readyz", include_in_schema=False)
    def readyz() -> PlainTextResponse:
        found = read.troubles()
        text = "".join(f"{one.code}: {one.detail}".rstrip(": ") + "\n" for one in found)
        return PlainTextResponse(text or "ok\n", 503 if found else 200)

    @app.get("/metrics", include_in_schema=False)
    def metrics_text() -> PlainTextResponse:
        return PlainTextResponse(metrics(), media_type="text/plain; version=0.0.4")

    @app.get("/api/docs", include_in_schema=False)
    def docs() -> Response:
        return Response(DOCS, media_type="text/html; charset=utf-8")

    @app.get("/events", include_in_schema=False)
    async def events(request: Request) -> StreamingResponse:
        return StreamingResponse(
            stream(changes, request.is_disconnected), media_type="text/event-stream"
        )

    described = [Security(_described)] if entrance.accounts is not None else []
    app.include_router(api.router(read), dependencies=described, responses=ACCESS)
    app.include_router(pages.router(read))
    app.include_router(login.router(entrance, read))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app
