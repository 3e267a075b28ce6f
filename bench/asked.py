"""The application asked over its HTTP interface, without a socket."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import httpx
from fastapi import FastAPI


class Asked:
    """A client of one application; a context."""

    def __init__(self, app: FastAPI) -> None:
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1"
        )

    def __enter__(self) -> Self:
        return self

    def get(self, path: str) -> httpx.Response:
        """The answer to a question."""
        return self._runner.run(self._client.get(path))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()
