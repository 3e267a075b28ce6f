"""Foreign JSON: numbers as their text, members once, pointers; and the names of what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from json.scanner import make_scanner
from typing import Any, NoReturn, cast

from ingest.bridge_mapping import Pointer
from mrv.errors import WireError
from mrv.strict_json import refuse_half_surrogates

MALFORMED, TOO_LARGE = "malformed", "too_large"
UNKNOWN_TOPIC, UNKNOWN_DEVICE = "unknown_topic", "unknown_device"
NO_TIME, TIME_BEHIND, TIME_AHEAD = "no_time", "time_behind", "time_ahead"
CONFLICT = "conflict"
"""Reasons for which a message is refused; a conflict states another value for a time we know."""
MISSING, NOT_A_NUMBER, TOO_FINE = "missing", "not_a_number", "too_fine"
OUT_OF_RANGE, WRONG_UNIT, BAD_QUALITY = "out_of_range", "wrong_unit", "bad_quality"
REDELIVERED, RETAINED = "redelivered", "retained"
"""Flags of a null reading. Stamped on receipt, but the broker had sent it before, or had kept it:
nobody knows when it was read."""
ROUNDED = "rounded"
"""Flag of a reading with digits beyond the resolution, where the mapping says to round."""
ABSENT: Any = object()
"""What stands at a pointer that leads nowhere."""


class Numeral(str):
    """The text of a JSON number, which a string of the same characters is not."""

    __slots__ = ()


class Refused(Exception):
    """The message is refused: a reason and what was seen."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Refused(MALFORMED, "a member stands twice")
    return members


def _no_number(text: str) -> NoReturn:
    raise Refused(MALFORMED, f"{text} is no JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_float=Numeral, parse_int=Numeral, parse_constant=_no_number
)


_SCAN: Callable[[str, int], tuple[Any, int]] = cast("Any", make_scanner)(_DECODER)
"""The decoder without its care for white space around the value."""


def read_json(payload: bytes) -> Any:
    """The document, its numbers as Numeral. Raises Refused."""
    try:
        text = payload.decode()
        try:
            document, end = _SCAN(text, 0)
        except StopIteration:
            end = -1
        if end != len(text):
            document = _DECODER.decode(text)
        if "\\u" in text:
            refuse_half_surrogates(document)
        return document  # noqa: TRY300
    except UnicodeDecodeError as error:
        raise Refused(MALFORMED, f"not UTF-8 at byte {error.start}") from error
    except WireError as error:
        raise Refused(MALFORMED, str(error)) from error
    except (ValueError, RecursionError) as error:
        raise Refused(MALFORMED, f"no JSON: {str(error)[:200]}") from error


def at(document: Any, pointer: Pointer) -> Any:
    """What stands at a pointer (RFC 6901 §4), `ABSENT` where there is nothing."""
    for token in pointer:
        if isinstance(document, dict):
            document = document.get(token, ABSENT)
        elif isinstance(document, list) and token.isdecimal() and token.isascii():
            place = int(token) if len(token) < 9 else len(document)
            leading = len(token) > 1 and token[0] == "0"
            document = document[place] if place < len(document) and not leading else ABSENT
        else:
            return ABSENT
    return document
