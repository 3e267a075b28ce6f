"""Lists of the HTTP interface, a stretch at a time."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import Query, Request, Response

ROWS = 100
"""Rows of a list where nobody says how many."""
MOST = 10_000
"""Most rows of one answer."""
Start = Annotated[int, Query(ge=0, le=10**9, description="place of the first row, from 0")]
Count = Annotated[int, Query(ge=1, le=MOST, description="most rows of the answer")]
Asked = Annotated[str, Query(max_length=100, description="what is looked for, in any case")]


def say_rest(request: Request, response: Response, start: int, count: int, total: int) -> None:
    """Say in the headers how long the list is and where it goes on (RFC 8288, `rel="next"`)."""
    response.headers["X-Total-Count"] = str(total)
    if start + count < total:
        asked = {**request.query_params, "start": str(start + count), "count": str(count)}
        response.headers["Link"] = f'<{request.url.path}?{urlencode(asked)}>; rel="next"'
