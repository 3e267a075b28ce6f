"""The pages, organised by question: now, batches, meters, words."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Iterable
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from markupsafe import Markup

from dashboards import format as numbers
from dashboards.agent_health import Health
from dashboards.batch_page import batch_values
from dashboards.line_card import card
from dashboards.page import ROWS, Page
from dashboards.pager import pager as pager_of
from dashboards.read_model import ReadModel
from dashboards.shown import STALE_S, AgentRow, InstrumentRow
from dashboards.texts import explanations
from ingest.sorted_findings import Alike
from mrv.errors import MeterprintError

AGENTS = 25
"""Agents on one page of instruments."""
TOLD = 5
"""Agents that need a word, above the tables."""
CARDS = 24
"""Lines on one page."""
FINDINGS = 5
"""Findings of a rule on the page of instruments."""
Number = Annotated[int, Query(ge=1, le=10**6)]
"""Number of a page."""
Rule = Annotated[str, Query(min_length=1, max_length=100)]
"""A rule of findings."""
Asked = Annotated[str, Query(max_length=200)]
"""What is looked for."""
ILL = (Health.OFFLINE, Health.FAULT, Health.CATCHING_UP, Health.SILENT)
"""States of an agent that need a word above the tables."""
WORST = {health: place for place, health in enumerate(Health)}
"""Order of agents: the worst first."""
SEEN_S = 3.0
"""Longest wait until a batch event shows in the results, s."""


def router(read: ReadModel) -> APIRouter:
    """The routes of the pages."""
    pages = APIRouter(include_in_schema=False)

    @pages.get("/")
    def home(request: Request, page: Number = 1) -> Response:
        shown = Page(read, request)
        pager = pager_of("/", page, CARDS, len(read.index().lines))
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
        total, provisional = read.batch_count()
        pager = pager_of("/batches", page, ROWS, total)
        shown = Page(read, request)
        names = read.newest(pager.start, ROWS)
        figures = [figure for name in names if (figure := read.figure(name)) is not None]
        partial = any(figure.boundary == "gate_to_gate" for figure in figures)
        per_unit = shown.t("partial_per_unit") if partial else shown.t("per_unit")
        return shown.render(
            "batches.html",
            per_unit=per_unit,
            total=total,
            open=provisional,
            rows=[batch_row(shown, name, per_unit) for name in names],
            pager=pager,
        )

    @pages.get("/batches/{name}")
    def batch(name: str, request: Request) -> Response:
        page = Page(read, request)
        result = read.batch(name)
        if result is None:
            return page.render("missing.html", 404)
        return page.render("batch.html", **batch_values(page, result))

    @pages.get("/meters")
    def meters(request: Request, page: Number = 1, agents: Number = 1, q: Asked = "") -> Response:
        shown = Page(read, request)
        values = health(shown, page, agents, q)
        return shown.render(
            "meters.html",
            **values,
            papers=read.papers_of(row.id for row in values["instruments"]),
            known=len(read.papers()),
            odd=alike(shown, read.site_findings(0, FINDINGS)),
        )

    @pages.get("/findings")
    def findings(request: Request, rule: Rule, page: Number = 1) -> Response:
        shown = Page(read, request)
        longest = max((group.count for group in read.site_findings(0, 0, rule)), default=0)
        pager = pager_of("/findings", page, ROWS, longest, rule, asks="rule")
        groups = read.site_findings(pager.start, ROWS, rule)
        return shown.render("findings.html", rule=rule, odd=alike(shown, groups), pager=pager)

    @pages.get("/fragments/health")
    def health_fragment(
        request: Request, page: Number = 1, agents: Number = 1, q: Asked = ""
    ) -> Response:
        shown = Page(read, request)
        return shown.render("health.html", **health(shown, page, agents, q))

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


def batch_row(page: Page, name: str, per_unit: str) -> Markup:
    """The row of a batch in the list; kept until the batch is computed again."""
    read = page.read
    stamp = read.stamp(name)
    place = (name, per_unit)
    held = page.held("batch_row.html", place, read, stamp)
    result = read.batch(name) if held is None else None
    if result is None:
        return held or Markup()
    return page.kept("batch_row.html", place, read, stamp, r=result, per_unit=per_unit)


def health(page: Page, number: int, agents_page: int, asked: str) -> dict[str, Any]:
    """How agents and some of the instruments are now."""
    read = page.read
    order = read.instruments()
    found = order.like(asked)
    pager = pager_of("/meters", number, ROWS, len(found), asked)
    rows = read.meters(found[pager.start : pager.stop])
    near = {row.instrument.agent for row in rows}
    agents = sorted(read.agents(), key=lambda a: _first(a, near, asked))
    ill = [row for row in agents if row.health in ILL]
    agent_pager = pager_of(
        "/meters", agents_page, AGENTS, len(agents), asked, name="agents", anchor="agents"
    )
    listed = agents[agent_pager.start : agent_pager.stop]
    here = {row.name for row in listed}
    told = 0 if asked else TOLD  # what is looked for comes first
    query = {"page": pager.number, "agents": agent_pager.number, "q": asked}
    return {
        "rows": [meter_row(page, row, here) for row in rows],
        "instruments": [row.instrument for row in rows],
        "total": len(order.rows),
        "bad": order.bad,
        "pager": pager,
        "asked": asked,
        "query": urlencode({k: v for k, v in query.items() if v not in (1, "")}),
        "agents": [agent_row(page, row) for row in listed],
        "agent_pager": agent_pager,
        "agent_count": len(agents),
        "found": len(found),
        "ill": ill[:told],
        "ill_more": len(ill) - told,
    }


def _first(agent: AgentRow, near: Collection[str], asked: str) -> tuple[bool, bool, int, str]:
    """Those a search means stand before all others, then the worst."""
    wanted = asked.strip().casefold()
    named = bool(wanted) and wanted in agent.name.casefold()
    reads = bool(wanted) and agent.name in near
    return not named, not reads, WORST[agent.health], agent.name


def meter_row(page: Page, row: InstrumentRow, here: Collection[str]) -> dict[str, Any]:
    """The row of an instrument; what no reading changes of it is kept."""
    item, age = row.instrument, row.age_s
    agent = f"#agent-{item.agent}"
    if item.agent and item.agent not in here:
        agent = page.meters(item.agent, f"agent-{item.agent}")
    return {
        "fixed": page.kept(
            "meter_row.html", (item.id, agent), row.support, None, row=row.support, agent=agent
        ),
        "value": numbers.symbol(row.last_value) or "–",
        "at": "" if age is None else page.moment(row.last_at),
        "ago": "" if age is None else page.ago(age),
        "old": age is not None and age > STALE_S,
    }


def agent_row(page: Page, row: AgentRow) -> Markup:
    """The row of an agent."""
    ago = "" if row.silent_s is None else page.ago(row.silent_s)
    late = row.behind_s if row.health is Health.CATCHING_UP else None
    behind = "" if late is None else page.span(late)
    seen = (row.health, row.depth, behind, ago, row.seen_at, row.last_at, row.envelopes)
    stamp = (*seen, row.quarantined)
    return page.kept("agent_row.html", row.name, None, stamp, a=row, ago=ago, behind=behind)


def alike(page: Page, groups: Iterable[Alike]) -> list[tuple[Alike, list[Markup]]]:
    """Groups of findings with each finding in words, which are kept."""
    return [
        (
            group,
            [
                page.kept("finding.html", finding, None, finding.severity, f=finding)
                for finding in group.first
            ],
        )
        for group in groups
    ]


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
