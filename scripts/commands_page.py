"""Writes docs/reference/commands.md from the help texts of the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from typer.main import get_command  # noqa: E402 (after the path)

from meterprint.cli import app  # noqa: E402 (this tree, not an installed one)

PAGE = REPO / "docs" / "reference" / "commands.md"
HEAD = """# Commands

Written by `python scripts/commands_page.py` from the help texts. Every command takes `--state DIR`
(or `METERPRINT_STATE`); where it keeps nothing there, it makes no difference. Exit status: 0 done,
1 findings or a failed check, 2 usage or bad input.
"""


def commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(words, command) of every command that does something, by name."""
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


def _english(text: str | None) -> str:
    return (text or "").split(" / ")[0].strip().replace("|", "\\|")


def _options(command: Any) -> Iterator[tuple[str, str]]:
    for option in command.params:
        if option.name in ("state", "help"):
            continue
        if option.param_type_name == "argument":
            yield option.metavar or str(option.name).upper(), _english(option.help)
        else:
            default = option.default
            shown = default not in (None, "", False, [], ()) and not callable(default)
            told = f"{_english(option.help)} [{default}]" if shown else _english(option.help)
            yield ", ".join(option.opts), told.strip()


def render() -> str:
    """The page."""
    parts = [HEAD]
    for words, command in commands(get_command(app)):
        parts.append(f"\n## meterprint {' '.join(words)}\n\n{_english(command.help)}\n")
        rows = list(_options(command))
        if rows:
            parts.append("\n| argument or option | meaning |\n|---|---|\n")
            parts += [f"| `{name}` | {meaning} |\n" for name, meaning in rows]
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render())
