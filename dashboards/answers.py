"""What the interface answers where it does not answer with the thing itself."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel


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
"""Status → description, as FastAPI takes them."""
UNKNOWN: Answers = {404: {"model": Refusal, "description": "there is nothing of that name"}}
"""Answer to a name nobody has."""
ACCESS: Answers = {
    401: {"model": Refusal, "description": "accounts are configured and nobody is logged in"},
    403: {"model": Refusal, "description": "the account may not do this, or a foreign page asks"},
    421: {"model": Refusal, "description": "the site is not known by this host name"},
}
"""Answers of the door, to any request."""
EVENT: Answers = {
    200: {"model": Taken, "description": "known already"},
    201: {"model": Taken, "description": "entered"},
    400: {"model": Refusal, "description": "not JSON"},
    409: {"model": Refusal, "description": "the event id is known with another content"},
    422: {"model": Refusal, "description": "a field is not as it should be"},
    503: {"model": Refusal, "description": "the journal cannot be written now"},
}
"""Answers to a batch event."""
BUSY: Answers = {503: {"model": Refusal, "description": "ask again"}}
"""Answer while facts come in."""


def of_kind(kind: str, what: str) -> Answers:
    """Answers of a route that gives a file of media type `kind`."""
    return {200: {"content": {kind: {}}, "description": what}, **UNKNOWN}


def missing(name: str) -> JSONResponse:
    """The answer to a batch nobody started."""
    return JSONResponse({"error": f"no batch is called {name}"}, status_code=404)
