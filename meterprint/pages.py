"""Serves the pages of a running site."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import uvicorn

from dashboards.agent_health import AgentState
from dashboards.app import create_app
from dashboards.guard import Door, check_bind
from dashboards.read_model import ReadModel
from dashboards.running import Trouble
from footprint.plant import PlantModel
from ingest.bundler import make_bundle
from ingest.engine_shell import EngineShell
from ingest.entry import Entry
from ingest.origins import Place
from ingest.quarantine import QuarantineError
from meterprint.live import LiveSite
from meterprint.metrics import metrics_text
from mrv.errors import InputError, MeterprintError
from mrv.fact import Fact

if TYPE_CHECKING:
    from meterprint.demo.run import Demo

BUNDLE_TRIES = 4
"""Times a bundle is made again because a fact came in meanwhile."""
START_TRIES = 400
"""Times a starting server is asked whether it is up, 25 ms apart."""

log = structlog.get_logger("pages")


class RunningSite:
    """A live site as the pages see it."""

    def __init__(self, live: LiveSite) -> None:
        self._live = live
        self.agent_states: Mapping[str, AgentState] = live.agent_states
        self.arrivals: Mapping[str, int] = live.arrivals

    @property
    def engine(self) -> EngineShell:
        """The engine."""
        return self._live.site.engine

    def troubles(self) -> list[Trouble]:
        """What keeps the site from being up to date now, the gravest first."""
        return self._live.troubles()

    def plant(self) -> PlantModel | None:
        """The plant as stated last."""
        return self._live.site.plant()

    def journal_head(self) -> tuple[int, str]:
        """Number of entries and root, hex."""
        journal = self._live.site.journal
        return journal.size, journal.root().hex()

    def quarantined(self) -> Mapping[str, int]:
        """Messages refused, by agent."""
        try:
            return self._live.site.quarantine.by_agent()
        except QuarantineError as error:
            log.warning("quarantine_unreadable", error=str(error), hint=error.hint)
            return {}  # `doctor` names it; the pages of the plant go on

    def index_of(self, identity: str) -> int | None:
        """Index of an entry of the journal."""
        return self._live.site.journal.index_of(identity)

    def indexes(self, epoch: Place, first: int, last: int) -> dict[int, list[int]]:
        """Indexes of the envelopes of an (agent, stream, epoch) by number, first to last."""
        return self._live.site.journal.indexes(epoch, first, last)

    def entry(self, index: int) -> Entry | None:
        """An entry of the journal; None = there is none."""
        journal = self._live.site.journal
        return journal.entry(index) if 0 <= index < journal.size else None

    def bundle(self, batch: str) -> bytes:
        """The evidence bundle of a batch. Raises InputError.

        Made again where a fact comes in meanwhile: the checkpoint would bind one the engine has
        not seen.
        """
        site = self._live.site
        for _ in range(BUNDLE_TRIES):
            before = site.journal.chain_heads()
            with site.engine.held() as engine:
                data = make_bundle(site.journal, site.keyring, engine, batch)
            if site.journal.chain_heads() == before:
                return data
        raise MeterprintError("facts come in while the bundle is made", hint="ask again")

    def batch_event(self, body: dict[str, Any], author: str) -> tuple[Fact, bool]:
        """Take a batch event. Raises InputError."""
        return self._live.batch_event(body, author)


class PageServer:
    """The web server in a thread of its own. Raises MeterprintError where it cannot listen."""

    def __init__(
        self,
        live: LiveSite,
        port: int,
        host: str = "127.0.0.1",
        door: Door | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        *,
        behind_proxy: bool = False,
    ) -> None:
        read = ReadModel(RunningSite(live), live.site.engine.changes.wait)
        encrypted = certificate is not None
        config = uvicorn.Config(
            create_app(read, lambda: metrics_text(live), door),
            host=check_bind(
                host,
                accounts=door is not None and door.accounts is not None,
                encrypted=encrypted or behind_proxy,
            ),
            port=port,
            log_config=None,
            timeout_graceful_shutdown=2,
            ssl_certfile=certificate,
            ssl_keyfile=key,
            proxy_headers=behind_proxy,
        )
        try:
            config.load()
        except OSError as error:  # ssl.SSLError is one
            raise InputError(
                f"{certificate} and {key} are no certificate and its key: {error}",
                field="web.certificate",
            ) from error
        self._server = uvicorn.Server(config)
        self._socket = self._listen(host, port)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="pages", daemon=True
        )
        self._thread.start()
        self.port = int(self._socket.getsockname()[1])
        for _ in range(START_TRIES):
            if self._server.started:
                break
            self._thread.join(timeout=0.025)
            if not self._thread.is_alive():
                raise MeterprintError(f"the pages on {host}:{self.port} ended at their start")
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if encrypted else 'http'}://{shown}:{self.port}/"

    @staticmethod
    def _listen(host: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except (OSError, OverflowError) as error:
            listener.close()
            reason = error.strerror if isinstance(error, OSError) else error
            raise MeterprintError(
                f"the pages cannot be served on {host}:{port}: {reason}",
                hint="is the port taken? --port 0 takes any free one",
            ) from error
        return listener

    def stop(self) -> None:
        """End it; returns when it is gone."""
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self._socket.close()


def links(demo: Demo, url: str) -> list[str]:
    """What to tell somebody who has just started the demo."""
    return [
        f"operator / 工厂运行人员:     {url}",
        f"metrologist / 计量人员:     {url}meters",
        f"verifier / 核查人员:        {url}batches",
        f"API:                       {url}api/docs",
        f"{demo.live.broker.label}:                 127.0.0.1:{demo.live.broker.port}",
        "Ctrl-C ends it; a second start goes on where this one stopped.",
    ]
