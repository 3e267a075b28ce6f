"""The HTTP interface to batches: figures, what they rest on, their evidence."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from dashboards.answers import BUSY, UNKNOWN, missing, of_kind
from dashboards.listing import ROWS, Count, Rows, Start, listed
from dashboards.provenance import certificate_row, source_rows
from dashboards.read_model import ReadModel
from dashboards.tables import table
from footprint.batch import BatchResult
from footprint.rows import batch_row
from mrv.errors import InputError, MeterprintError


def batch_value(read: ReadModel, result: BatchResult) -> dict[str, Any]:
    """A batch, whole: figure, factors, certificates, envelopes, revisions, findings."""
    name = result.batch.id
    used = {row.certificate for row in result.sources if row.certificate}
    mine = read.papers_of(sorted({row.instrument for row in result.sources}))
    papers = [certificate_row(c, state) for c, state in mine if c.id in used]
    evidence = read.evidence(name)
    size, root = read.journal()
    place = f"/api/v1/batches/{quote(name)}"
    return {
        **result.to_json(),
        "digest": read.digest(name),
        "uncertainty_budget": [
            {"component": component, "u": u, "share": share}
            for component, u, share in result.components.budget()
        ],
        "factors": [use.to_json() for use in read.factors(result)],
        "certificates": papers,
        "evidence": {
            "runs": [run.to_json() for run in evidence.runs],
            "envelopes": evidence.envelopes,
            "checkpoint": {"entries": size, "root": root},
            "bundle": f"{place}/bundle",
        },
        "revisions": [
            {
                "index": r.index,
                "digest": r.digest,
                "state": r.state.value,
                "per_unit": r.footprint,
            }
            for r in read.revisions(name)
        ],
        "findings": [
            {"rule": f.rule, "subject": f.subject, "numbers": dict(f.numbers)}
            for f in result.findings
        ],
    }


def router(read: ReadModel) -> APIRouter:
    """The routes of batches."""
    api = APIRouter()

    @api.get("/batches", response_model=Rows)
    def batches(request: Request, start: Start = 0, count: Count = ROWS) -> Response:
        """Batches, newest first."""
        rows = (row for name in read.newest(start, count) if (row := read.row(name)) is not None)
        return listed(request, rows, start, count, read.batch_count()[0])

    @api.get("/batches.csv", response_class=Response, responses=of_kind("text/csv", "batches"))
    def batches_csv() -> Response:
        """All batches as CSV."""
        rows = [batch_row(result) for result in read.batches()]
        lists = ("waits", "incomplete")
        return table({k: " ".join(v) if k in lists else v for k, v in r.items()} for r in rows)

    @api.get(
        "/batches/{name}.csv",
        response_class=Response,
        responses=of_kind("text/csv", "contributions"),
    )
    def batch_csv(name: str) -> Response:
        """Contributions of a batch as CSV, with the factor of each."""
        result = read.batch(name)
        if result is None:
            return missing(name)
        return table(source_rows(result, read.factors(result)))

    @api.get(
        "/batches/{name}/envelopes.csv",
        response_class=Response,
        responses=of_kind("text/csv", "envelopes"),
    )
    def envelopes_csv(name: str) -> Response:
        """Envelopes a batch draws on as CSV, one a row."""
        if read.batch(name) is None:
            return missing(name)
        return table(row for run in read.runs(name) for row in run.rows())

    @api.get("/batches/{name}/envelopes", responses=UNKNOWN)
    def envelopes(name: str) -> Response:
        """Envelopes a batch draws on."""
        if read.batch(name) is None:
            return missing(name)
        return JSONResponse([row for run in read.runs(name) for row in run.rows()])

    @api.get(
        "/batches/{name}/bundle",
        response_class=Response,
        responses={**of_kind("application/zip", "evidence bundle"), **BUSY},
    )
    def bundle(name: str) -> Response:
        """The evidence bundle of a batch: `meterprint verify` recomputes it."""
        try:
            data = read.bundle(name)
        except InputError:
            return missing(name)
        except MeterprintError as error:
            return JSONResponse({"error": str(error), "hint": error.hint}, status_code=503)
        head = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}.zip"}
        return Response(data, media_type="application/zip", headers=head)

    @api.get("/batches/{name}", responses=UNKNOWN)
    def batch(name: str) -> Response:
        """One batch, whole."""
        result = read.batch(name)
        return missing(name) if result is None else JSONResponse(batch_value(read, result))

    return api
