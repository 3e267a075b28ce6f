"""The pages, organised by question: now, batches, meters, words."""

from __future__ import annotations

import time
import uuid
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from dashboards.agent_health import Health
from dashboards.batch_page import batch_values
from dashboards.line_card import card
from dashboards.page import Page
from dashboards.pager import Pager
from dashboards.read_model import ReadModel
from dashboards.texts import explanations
from mrv.errors import MeterprintError

ROWS = 100
"""Batches or instruments on one page."""
CARDS = 24
"""Lines on one page."""
FINDINGS = 100
"""Findings on the page of instruments."""
Number = Annotated[int, Query(ge=1, le=10**6)]
"""Number of a page."""
Asked = Annotated[str, Query(max_length=100)]
"""What is looked for."""
ILL = (Health.OFFLINE, Health.FAULT, Health.CATCHING_UP, Health.SILENT)
"""States of an agent that need a word above the tables."""
SEEN_S = 3.0
"""Longest wait until a batch event shows in the results, s."""


def router(read: ReadModel) -> APIRouter:
    """The routes of the pages."""
    pages = APIRouter(include_in_schema=False)

    @pages.get("/")
    def home(request: Request, page: Number = 1) -> Response:
        shown = Page(read, request)
        pager = Pager("/", page, CARDS, len(read.index().lines))
        cards = [card(shown, now) for now in read.lines(pager.start, CARDS)]
        return shown.render("now.html", cards=cards, pager=pager)

    @pages.get("/fragments/line/{name}")
    def line_fragment(name: str, request: Request) -> Response:
        now = read.line(name)
        if now is None:
            return Response(status_code=404)
        page = Page(read, request)
        return page.render("line.html", card=card(page, now))

    @pages.get("/fragments/troubles")
    def troubles_fragment(request: Request) -> Response:
        return Page(read, request).render("troubles.html")

    @pages.get("/batches")
    def batches(request: Request, page: Number = 1) -> Response:
        start = (page - 1) * ROWS
        rows = read.batches(start, ROWS)
        total, provisional = read.batch_count()
        shown = Page(read, request)
        partial = any(r.boundary == "gate_to_gate" for r in rows)
        return shown.render(
            "batches.html",
            per_unit=shown.t("partial_per_unit") if partial else shown.t("per_unit"),
            total=total,
            open=provisional,
            batches=rows,
            first=start + 1,
            number=page,
            older=start + ROWS < total,
        )

    @pages.get("/batches/{name}")
    def batch(name: str, request: Request) -> Response:
        page = Page(read, request)
        result = read.batch(name)
        if result is None:
            return page.render("missing.html", 404)
        return page.render("batch.html", **batch_values(page, result))

    @pages.get("/meters")
    def meters(request: Request, page: Number = 1, q: Asked = "") -> Response:
        shown = health(read, page, q)
        findings = read.site_findings()
        return Page(read, request).render(
            "meters.html",
            **shown,
            papers=read.certificates(row.instrument.id for row in shown["rows"]),
            findings=findings[:FINDINGS],
            more=max(len(findings) - FINDINGS, 0),
        )

    @pages.get("/fragments/health")
    def health_fragment(request: Request, page: Number = 1, q: Asked = "") -> Response:
        return Page(read, request).render("health.html", **health(read, page, q))

    @pages.get("/help")
    def words(request: Request) -> Response:
        page = Page(read, request)
        return page.render("help.html", words=explanations(page.language))

    @pages.post("/batches")
    def batch_event(
        request: Request,
        line: Annotated[str, Form()],
        event: Annotated[str, Form()],
        batch: Annotated[str, Form()],
        product: Annotated[str, Form()] = "",
        good: Annotated[str, Form()] = "0",
        scrap: Annotated[str, Form()] = "0",
    ) -> Response:
        page = Page(read, request)
        body: dict[str, Any] = {
            "id": str(uuid.uuid4()),
            "line": line,
            "event": event,
            "batch": batch.strip(),
            "t": str(time.time_ns()),
        }
        body |= {"product": product} if event == "start" else {"good": good, "scrap": scrap or "0"}
        try:
            read.batch_event(body, f"page:{page.who.name}" if page.who.name else "page")
        except MeterprintError as error:
            return _answer(page, line, body, error)
        _wait_for(read, body["batch"], ends=event == "end")
        return _answer(page, line, body, None)

    return pages


def health(read: ReadModel, number: int = 1, asked: str = "") -> dict[str, Any]:
    """How agents and some of the instruments are now."""
    total, bad, found = read.meter_count(asked)
    pager = Pager("/meters", number, ROWS, found, asked)
    agents = read.agents()
    return {
        "rows": read.meters(pager.start, ROWS, asked),
        "total": total,
        "bad": bad,
        "pager": pager,
        "asked": asked,
        "query": urlencode({"page": number, "q": asked}),
        "agents": agents,
        "ill": [row for row in agents if row.health in ILL],
    }


def _wait_for(read: ReadModel, batch: str, *, ends: bool) -> None:
    """Until the event is in the results, so that the answer shows it."""
    until = time.monotonic() + SEEN_S
    while (left := until - time.monotonic()) > 0:
        version = read.version
        result = read.batch(batch)
        if result is not None and (result.batch.end is not None or not ends):
            return
        read.wait_change(version, left)


def _answer(page: Page, line: str, body: dict[str, Any], error: MeterprintError | None) -> Response:
    """The line's card where only that is asked for, else a page."""
    name = body["batch"]
    ends = body["event"] == "end"
    said = page.t("ended", batch=name) if ends else page.t("started", batch=name)
    fault = "" if error is None else ": ".join(filter(None, (str(error), error.hint)))
    status = 200 if error is None else 422
    if page.partial:
        now = page.read.line(line)
        if now is not None:
            entered = {} if error is None else {k: str(v) for k, v in body.items()}
            values = card(page, now, entered, "" if error else said, fault)
            return page.render("line.html", status, card=values)
    if error is None:
        return RedirectResponse("/", status_code=303)
    return page.render("refused.html", status, fault=fault)
