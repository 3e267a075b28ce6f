"""The check that keys were in force when they signed: judged by places in the journal (ADR 46).

A key counts from the registry fact that enrols it until the one that revokes it. What decides is
where the journal took an entry in, not the time in it: whoever holds a stolen key writes that time.
"""

from __future__ import annotations

from collections.abc import Iterator

from footprint.bundle import header_file, key_fact_file
from footprint.opened_bundle import Broken, NotCheckable, OpenedBundle
from footprint.reading_checks import included
from mrv.fact import REGISTRY
from mrv.verification.audit import EnrolledKey
from mrv.verification.note import PublicKey, claims, split

KEY_FACTS_FOLDER = key_fact_file(0).partition("/")[0] + "/"
"""Folder of the key facts with their places."""
SHOWS_PLACES = 2
"""Layout from which on a bundle shows the places of key facts."""


def _signed(opened: OpenedBundle) -> Iterator[tuple[str, int, list[PublicKey]]]:
    """(file, journal index, agent keys that signed) of each table and envelope."""
    book = opened.keys()
    for folder in ("tables/", "envelopes/"):
        for name, index, _, note, _ in opened.entries(folder):
            _, lines = split(note)
            yield name, index, [key for key, _ in claims(lines, book.agent(lines[0].name))]


def keys_in_force(opened: OpenedBundle) -> str:
    """Each entry was taken in while a key that signed it was in force."""
    book = opened.keys()
    signed = list(_signed(opened))
    used = {key.vkey: key for _, _, keys in signed for key in keys}
    periods = {vkey: book.periods(key, "agent") for vkey, key in used.items()}
    ended = sorted(v for v, spans in periods.items() if spans[0].revoked_at is not None)
    if opened.layout < SHOWS_PLACES:
        if ended:
            raise NotCheckable(
                f"this bundle of layout {opened.layout} does not show when {', '.join(ended)} "
                "was revoked: ask the site for a new one"
            )
        return f"{len(used)} keys, none of them revoked"
    places = _places(opened)
    for name, index, keys in signed:
        if not any(_covers(span, index, places) for k in keys for span in periods[k.vkey]):
            said = "; ".join(_told(span, places) for k in keys for span in periods[k.vkey])
            raise Broken(
                f"the journal took it in as entry {index}", name, f"a key in force: {said}"
            )
    return f"{len(used)} keys, {len(ended)} of them revoked later"


def _places(opened: OpenedBundle) -> dict[int, int]:
    """Journal index of the key facts the bundle shows, by number in the registry."""
    headers = opened.headers(REGISTRY)
    included(opened, 2, KEY_FACTS_FOLDER)
    places: dict[int, int] = {}
    last = -1
    for name, index, _, note, _ in opened.entries(KEY_FACTS_FOLDER):
        number = name.removeprefix(KEY_FACTS_FOLDER).removesuffix(".json")
        seq = int(number) if number.isascii() and number.isdigit() else len(headers)
        if seq >= len(headers) or name != key_fact_file(seq) or note != headers[seq]:
            raise Broken("it is not the registry's fact of that number", name)
        if index <= last:
            raise Broken(f"entry {index} stands after entry {last}", name)
        places[seq] = last = index
    return places


def _place(seq: int, places: dict[int, int]) -> int:
    if seq not in places:
        raise Broken(
            f"the place of the key fact {REGISTRY}#{seq} is left out",
            header_file(REGISTRY),
            f"{key_fact_file(seq)} with its proof",
        )
    return places[seq]


def _covers(span: EnrolledKey, index: int, places: dict[int, int]) -> bool:
    """Whether a key was in force at a journal index."""
    begun = _place(span.enrolled_at, places) < index
    return begun and (span.revoked_at is None or index < _place(span.revoked_at, places))


def _told(span: EnrolledKey, places: dict[int, int]) -> str:
    revoked = "" if span.revoked_at is None else f" to {_place(span.revoked_at, places) - 1}"
    return f"{span.key.vkey} from entry {_place(span.enrolled_at, places) + 1} on{revoked}"
