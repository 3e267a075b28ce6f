"""The HTTP interface `/api/v1`: the same figures as the pages, exact."""

from __future__ import annotations

import csv
import io
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from dashboards.provenance import certificates_json, factor_json
from dashboards.read_model import ReadModel
from footprint.rows import batch_row, iso
from mrv.errors import InputError, MeterprintError


class BatchEventBody(BaseModel):
    """A batch starts or ends."""

    model_config = ConfigDict(extra="forbid")
    id: str = Field(min_length=1, max_length=128, description="event id; the same one is one event")
    line: str = Field(min_length=1, max_length=128)
    batch: str = Field(min_length=1, max_length=128)
    product: str | None = Field(default=None, max_length=128, description="only of a start")
    event: str = Field(pattern="^(start|end)$")
    good: str | int | None = Field(default=None, description="exact decimal; only of an end")
    scrap: str | int | None = Field(default=None, description="exact decimal; only of an end")
    t: str = Field(min_length=1, max_length=64, description="ISO 8601 with zone, or ns UTC")
    supersedes: int | None = Field(default=None, ge=0, description="seq of the fact it corrects")


class Refusal(BaseModel):
    """Why something was not done."""

    error: str
    """What was wrong."""
    field: str = ""
    """Field concerned, "" = none."""
    hint: str = ""
    """What to do."""
    seen: str = ""
    """What was seen in the field."""


class Taken(BaseModel):
    """A batch event, as it was entered."""

    chain: str
    """Chain of facts."""
    seq: int
    """Place in the chain."""
    new: bool
    """False: the event was known already."""


Answers = dict[int | str, dict[str, Any]]
UNKNOWN: Answers = {404: {"model": Refusal, "description": "there is nothing of that name"}}
"""Answer to a name nobody has."""
EVENT: Answers = {
    200: {"model": Taken, "description": "known already"},
    201: {"model": Taken, "description": "entered"},
    400: {"model": Refusal, "description": "not JSON"},
    403: {"model": Refusal, "description": "a request from another site's page"},
    409: {"model": Refusal, "description": "the event id is known with another content"},
    422: {"model": Refusal, "description": "a field is not as it should be"},
    503: {"model": Refusal, "description": "the journal cannot be written now"},
}
"""Answers to a batch event."""


def _plain(kind: str, what: str) -> Answers:
    return {200: {"content": {kind: {}}, "description": what}, **UNKNOWN}


def _refused(error: MeterprintError, status: int) -> JSONResponse:
    field = error.field if isinstance(error, InputError) else ""
    return JSONResponse(
        {"error": str(error.args[0]), "field": field, "hint": error.hint}, status_code=status
    )


def router(read: ReadModel) -> APIRouter:
    """The routes of the interface."""
    api = APIRouter(prefix="/api/v1")

    @api.get("/lines")
    def lines() -> list[dict[str, Any]]:
        """Every line now."""
        return [
            {
                "line": now.line,
                "name": {"zh": now.name.zh, "en": now.name.en},
                "batch": None if now.result is None else batch_row(now.result),
                "settled": None if now.settled is None else batch_row(now.settled),
                "data_at": iso(now.data_at),
                "age_s": now.age_s,
                "stale": now.stale,
            }
            for now in read.lines()
        ]

    @api.get("/batches")
    def batches() -> list[dict[str, Any]]:
        """All batches, newest first."""
        return [batch_row(result) for result in read.batches()]

    @api.get(
        "/batches/{name}.csv",
        response_class=Response,
        responses=_plain("text/csv", "contributions"),
    )
    def batch_csv(name: str) -> Response:
        """Contributions of a batch as CSV."""
        result = read.batch(name)
        if result is None:
            return JSONResponse({"error": f"no batch is called {name}"}, status_code=404)
        rows = result.to_json()["sources"]
        buffer = io.StringIO()
        columns = [c for c in rows[0] if c != "parts"] if rows else ["source"]
        columns += ["digest", "journal_size"]
        about = {"digest": result.digest(), "journal_size": read.journal()[0]}
        rows = [{**row, **about} for row in rows]
        writer = csv.DictWriter(buffer, columns, extrasaction="ignore", lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(rows)
        return Response(buffer.getvalue(), media_type="text/csv; charset=utf-8")

    @api.get("/batches/{name}", responses=UNKNOWN)
    def batch(name: str) -> Response:
        """One batch, whole."""
        result = read.batch(name)
        if result is None:
            return JSONResponse({"error": f"no batch is called {name}"}, status_code=404)
        value = {
            **result.to_json(),
            "digest": result.digest(),
            "revisions": [
                {
                    "index": r.index,
                    "digest": r.digest,
                    "state": r.state.value,
                    "per_unit": r.footprint,
                }
                for r in read.revisions(name)
            ],
            "findings": [{"rule": f.rule, "subject": f.subject} for f in result.findings],
            "factors": [factor_json(factor) for factor in read.factors(result)],
            "certificates": certificates_json(read.certificates(result)),
        }
        return JSONResponse(value)

    @api.get("/batches/{name}/evidence", responses=UNKNOWN)
    def evidence(name: str) -> Response:
        """The envelopes a batch draws on, and the head of the journal."""
        if read.batch(name) is None:
            return JSONResponse({"error": f"no batch is called {name}"}, status_code=404)
        return JSONResponse(read.evidence(name).to_json())

    @api.get(
        "/batches/{name}/bundle.zip",
        response_class=Response,
        responses=_plain("application/zip", "evidence bundle"),
    )
    def bundle(name: str) -> Response:
        """The evidence bundle of a batch."""
        try:
            data = read.bundle(name)
        except InputError as error:
            return _refused(error, 404)
        return Response(data, media_type="application/zip")

    @api.get(
        "/entries/{identity}",
        response_class=Response,
        responses=_plain("text/plain", "the entry as it was signed"),
    )
    def entry(identity: str) -> Response:
        """A journal entry as it was signed: envelope, channel table or fact header."""
        known = len(identity) == 64 and all(c in "0123456789abcdef" for c in identity)
        note = read.signed_note(identity) if known else None
        if note is None:
            return JSONResponse({"error": f"the journal has no entry {identity}"}, status_code=404)
        return Response(note, media_type="text/plain; charset=utf-8")

    @api.get("/meters")
    def meters() -> list[dict[str, Any]]:
        """Every instrument."""
        return [
            {
                "instrument": row.instrument.id,
                "kind": row.instrument.kind,
                "serial": row.instrument.serial,
                "certificate": row.certificate,
                "certificate_state": row.state,
                "due": iso(row.due),
                "last_at": iso(row.last_at),
                "last_value": row.last_value,
            }
            for row in read.meters()
        ]

    @api.get("/agents")
    def agents() -> list[dict[str, Any]]:
        """Every agent."""
        return [
            {
                "agent": row.name,
                "online": row.online,
                "depth": row.depth,
                "envelopes": row.envelopes,
                "last_at": iso(row.last_at),
                "quarantined": row.quarantined,
            }
            for row in read.agents()
        ]

    @api.get("/findings")
    def findings() -> list[dict[str, Any]]:
        """All findings."""
        return [
            {
                "rule": f.rule,
                "subject": f.subject,
                "at": iso(f.at or None),
                "severity": f.severity.value,
                "numbers": dict(f.numbers),
            }
            for f in read.findings()
        ]

    @api.get("/journal")
    def journal() -> dict[str, Any]:
        """Size and root of the journal."""
        size, root = read.journal()
        return {"entries": size, "root": root}

    @api.post("/batch-events", status_code=201, responses=EVENT)
    def batch_events(body: BatchEventBody, request: Request) -> JSONResponse:
        """State that a batch starts or ends; 201 new, 200 known already."""
        author = f"http:{request.client.host if request.client else ''}"
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
