"""The engine's codes as words, each with a link to what it speaks of."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from dashboards.page import Page


@dataclass(frozen=True, slots=True)
class Words:
    """A code in words."""

    words: str
    """What it says."""
    subject: str
    """What it speaks of, "" = nothing more."""
    link: str
    """Where that is shown, "" = nowhere."""


def _meter(page: Page, channel: str) -> str:
    name = channel.partition(".")[0]
    return page.meters(name, name)


def _paper(page: Page, number: str) -> str:
    return page.meters(number, f"cert-{number}")


def wait(page: Page, code: str) -> Words:
    """What a batch waits for: batch_end, pool:<ns>, declared:<source>, <reason>:<channel>."""
    name, _, subject = code.partition(":")
    words = page.code("wait", name)
    if name == "pool":
        return Words(words, page.moment(int(subject)), "")
    if name == "declared":
        return Words(words, page.source(subject), "")
    return Words(words, subject, _meter(page, subject) if subject else "")


def lack(page: Page, code: str) -> Words:
    """Why a batch is incomplete: `<reason>:<source or product>`."""
    name, _, subject = code.partition(":")
    return Words(page.code("lack", name), page.source(subject), "")


def component(page: Page, name: str) -> Words:
    """Where an uncertainty comes from: `<family>:<what>`."""
    family, _, what = name.partition(":")
    words = page.code("comp", family)
    if family == "factor":
        return Words(words, what, f"#factor-{quote(what, safe='')}")
    if family == "mpe":
        known = page.has_instrument(what)
        return Words(words, what, _meter(page, what) if known else _paper(page, what))
    if family == "cal":
        paper, _, point = what.rpartition(":")
        return Words(words, f"{paper} {point}", _paper(page, paper))
    if family == "declared":
        return Words(words, page.source(what.partition(":")[0]), "")
    if family == "gap":
        channel, _, at = what.rpartition(":")
        return Words(words, f"{channel} {page.moment(int(at))}", _meter(page, channel))
    return Words(words, what.partition(":")[0], _meter(page, what))
