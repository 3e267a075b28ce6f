"""Texts of the pages in Chinese and English; every key has both."""

from __future__ import annotations

from dashboards.texts_codes import CODES
from dashboards.texts_help import HELP
from dashboards.texts_pages import PAGES

LANGUAGES = ("zh", "en")
"""Languages of the pages; the first is the default."""

TEXTS: dict[str, tuple[str, str]] = {**PAGES, **CODES}
"""Key → (zh, en)."""


def text(key: str, language: str, **values: object) -> str:
    """The text of a key. Raises KeyError for a key nobody wrote."""
    chosen = TEXTS[key][LANGUAGES.index(language)]
    return chosen.format(**values) if values else chosen


def code(family: str, name: str, language: str) -> str:
    """A code in words; one nobody translated stands with blanks for its underscores."""
    key = f"{family}_{name}"
    return text(key, language) if key in TEXTS else name.replace("_", " ")


def explanations(language: str) -> list[tuple[str, str, str]]:
    """(anchor, term, meaning) of the help page."""
    place = LANGUAGES.index(language)
    return [(anchor, term[place], meaning[place]) for anchor, term, meaning in HELP]


def choose_language(asked: str | None, cookie: str | None, header: str | None) -> str:
    """Language of a request: what was asked, what was chosen before, what the browser prefers."""
    for wanted in (asked, cookie):
        if wanted in LANGUAGES:
            return wanted
    first = (header or "").split(",")[0].strip().lower()
    return "en" if first and not first.startswith("zh") else "zh"
