"""The HTTP interface `/api/v1`: the same figures as the pages, exact."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from dashboards import api_batches
from dashboards.answers import EVENT, UNKNOWN, of_kind
from dashboards.listing import ROWS, Asked, Count, Rows, Start, listed
from dashboards.provenance import certificate_row
from dashboards.read_model import ReadModel, with_state
from dashboards.tables import agent_row, meter_row, table
from footprint.rows import iso
from mrv.errors import InputError, MeterprintError


class BatchEventBody(BaseModel):
    """A batch starts or ends, or somebody states what a source gave to it."""

    model_config = ConfigDict(extra="forbid")
    id: str = Field(min_length=1, max_length=128, description="event id; the same one is one event")
    line: str = Field(min_length=1, max_length=128)
    batch: str = Field(min_length=1, max_length=128)
    product: str | None = Field(default=None, max_length=128, description="only of a start")
    event: str = Field(pattern="^(start|end|declare)$")
    good: str | int | None = Field(default=None, description="exact decimal; only of an end")
    scrap: str | int | None = Field(default=None, description="exact decimal; only of an end")
    t: str = Field(min_length=1, max_length=64, description="ISO 8601 with zone, or ns UTC")
    supersedes: int | None = Field(default=None, ge=0, description="seq of the fact it corrects")
    source: str | None = Field(default=None, max_length=128, description="only of a declaration")
    quantity: str | int | None = Field(default=None, description="exact decimal; of a declaration")
    unit: str | None = Field(default=None, max_length=32, description="only of a declaration")
    u_percent: str | int | None = Field(default=None, description="95 % half-width, per cent")


def _refused(error: MeterprintError, status: int) -> JSONResponse:
    field = error.field if isinstance(error, InputError) else ""
    return JSONResponse(
        {"error": str(error.args[0]), "field": field, "hint": error.hint}, status_code=status
    )


def router(read: ReadModel) -> APIRouter:
    """The routes of the interface."""
    api = APIRouter(prefix="/api/v1")
    api.include_router(api_batches.router(read))

    @api.get("/lines", response_model=Rows)
    def lines(request: Request, start: Start = 0, count: Count = ROWS) -> Response:
        """Lines now, as the plant states them."""
        rows = (
            {
                "line": now.line,
                "name": {"zh": now.name.zh, "en": now.name.en},
                "batch": None if now.result is None else read.row(now.result.batch.id),
                "settled": None if now.settled is None else read.row(now.settled.batch.id),
                "data_at": iso(now.data_at),
                "age_s": now.age_s,
                "stale": now.stale,
            }
            for now in read.lines(start, count)
        )
        return listed(request, rows, start, count, len(read.index().lines))

    @api.get("/meters", response_model=Rows)
    def meters(request: Request, start: Start = 0, count: Count = ROWS, q: Asked = "") -> Response:
        """Instruments, those without a valid certificate first; `q` finds some of them."""
        found = read.instruments().like(q)
        rows = map(meter_row, read.meters(found[start : start + count]))
        return listed(request, rows, start, count, len(found))

    @api.get("/meters.csv", response_class=Response, responses=of_kind("text/csv", "instruments"))
    def meters_csv() -> Response:
        """Every instrument as CSV."""
        return table(map(meter_row, read.meters(read.instruments().rows)))

    @api.get("/certificates", response_model=Rows)
    def certificates(request: Request, start: Start = 0, count: Count = ROWS) -> Response:
        """Certificates of the plant's instruments, with their state now."""
        papers = read.papers()
        shown = with_state(papers[start : start + count])
        rows = (certificate_row(paper, state) for paper, state in shown)
        return listed(request, rows, start, count, len(papers))

    @api.get("/agents")
    def agents() -> list[dict[str, Any]]:
        """Every agent."""
        return [agent_row(row) for row in read.agents()]

    @api.get("/agents.csv", response_class=Response, responses=of_kind("text/csv", "agents"))
    def agents_csv() -> Response:
        """Every agent as CSV."""
        return table(agent_row(row) for row in read.agents())

    @api.get("/findings", response_model=Rows)
    def findings(request: Request, start: Start = 0, count: Count = ROWS) -> Response:
        """Findings, sorted."""
        found = read.findings()
        rows = (
            {
                "rule": f.rule,
                "subject": f.subject,
                "at": iso(f.at or None),
                "severity": f.severity.value,
                "numbers": dict(f.numbers),
            }
            for f in found[start : start + count]
        )
        return listed(request, rows, start, count, len(found))

    @api.get("/journal")
    def journal() -> dict[str, Any]:
        """Size and root of the journal."""
        size, root = read.journal()
        return {"entries": size, "root": root}

    @api.get("/journal/{index}", responses=UNKNOWN)
    def entry(index: int) -> JSONResponse:
        """One entry of the journal: the signed text as it came."""
        found = read.entry(index)
        if found is None:
            return JSONResponse({"error": f"the journal has no entry {index}"}, status_code=404)
        return JSONResponse(
            {
                "index": found.index,
                "kind": found.kind.name.lower(),
                "identity": found.identity,
                "note": found.note.decode(),
            }
        )

    @api.post("/batch-events", status_code=201, responses=EVENT)
    def batch_events(body: BatchEventBody, request: Request) -> JSONResponse:
        """State that a batch starts or ends, or an amount; 201 new, 200 known already."""
        who = request.state.who.name or (request.client.host if request.client else "")
        author = f"http:{who}"
        content = {k: v for k, v in body.model_dump().items() if v is not None}
        try:
            fact, new = read.batch_event(content, author)
        except InputError as error:
            return _refused(error, 409 if error.field == "id" else 422)
        except MeterprintError as error:
            return _refused(error, 503)
        answer = {"chain": fact.header.chain, "seq": fact.header.seq, "new": new}
        return JSONResponse(answer, status_code=201 if new else 200)

    return api
