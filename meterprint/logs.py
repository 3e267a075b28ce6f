"""What the programs say of themselves: on standard error, as text for people or JSON a line."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
"""Level → its number (PEP 282)."""


class _ToStandardError(logging.StreamHandler[TextIO]):
    """Writes to what standard error is at that moment, not to what it was once."""

    @property
    def stream(self) -> TextIO:
        """Standard error now."""
        return sys.stderr

    @stream.setter
    def stream(self, _: TextIO) -> None:
        """Standard error it stays."""


def _writer(*_: object) -> structlog.WriteLogger:
    return structlog.WriteLogger(sys.stderr)


def configure_logs(form: str = "text", level: str = "info") -> None:
    """Send everything of at least `level` to standard error; standard output is for results."""
    rendering: list[Any]
    if form == "json":
        rendering = [
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    else:
        rendering = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=_writer,
        cache_logger_on_first_use=False,
    )
    handler = _ToStandardError()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS["warning"] if level == "info" else LEVELS[level])
