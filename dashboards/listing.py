"""Lists of the HTTP interface, a stretch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Query, Request, Response
from msgspec.json import encode

ROWS = 100
"""Rows of a list where nobody says how many."""
MOST = 10_000
"""Most rows of one answer."""
Rows = list[dict[str, Any]]
"""What the description of the interface says of a list."""
Start = Annotated[int, Query(ge=0, le=10**9, description="place of the first row, from 0")]
Count = Annotated[int, Query(ge=1, le=MOST, description="most rows of the answer")]
Asked = Annotated[str, Query(max_length=200, description="what is looked for, in any case")]


def listed(
    request: Request, rows: Iterable[Mapping[str, Any]], start: int, count: int, total: int
) -> Response:
    """Rows as JSON; the headers say how long the list is and where it goes on.

    That is `X-Total-Count`, and `Link` with `rel="next"` (RFC 8288).
    """
    headers = {"X-Total-Count": str(total)}
    if start + count < total:
        asked = {**request.query_params, "start": str(start + count), "count": str(count)}
        headers["Link"] = f'<{request.url.path}?{urlencode(asked)}>; rel="next"'
    return Response(encode(list(rows)), media_type="application/json", headers=headers)
