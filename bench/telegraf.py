"""Starts Telegraf, a peer: MQTT at QoS 1 with a persistent session into an InfluxDB 1.x.

The settings are its fair ones: it acknowledges a message after its output has taken it, keeps as
many undelivered messages as several batches hold, and buffers on disk (or in memory, its default).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.telegraf import telegraf_path

BATCH = 5_000
"""Lines of one write: InfluxDB's advice, and ours."""
UNDELIVERED = 20_000
"""Messages it may hold without acknowledging them; at least a batch, or it never fills one."""
START_TRIES = 300
"""Times its log is looked at for the connection, 0.1 s apart."""

CONFIG = """[agent]
  interval = "1s"
  flush_interval = "200ms"
  metric_batch_size = {batch}
  metric_buffer_limit = 1000000
  buffer_strategy = "{strategy}"
  buffer_directory = "{folder}/buffer"
  omit_hostname = true
  logfile = "{folder}/log"
[[outputs.influxdb]]
  urls = ["{url}"]
  database = "{database}"
  retention_policy = "rp"
  username = "{user}"
  password = "{password}"
  skip_database_creation = true
[[inputs.mqtt_consumer]]
  servers = ["tcp://127.0.0.1:{port}"]
  topics = ["{topic}"]
  qos = 1
  persistent_session = true
  client_id = "telegraf"
  max_undelivered_messages = {undelivered}
  topic_tag = "topic"
  data_format = "json_v2"
  [[inputs.mqtt_consumer.json_v2]]
    measurement_name = "reading"
    timestamp_path = "t"
    timestamp_format = "unix_ms"
    [[inputs.mqtt_consumer.json_v2.field]]
      path = "kwh"
      type = "float"
"""


class Telegraf:
    """One running Telegraf; its messages are `{"t": unix ms, "kwh": number}`."""

    def __init__(
        self,
        folder: Path,
        port: int,
        topic: str,
        url: str,
        database: str,
        user: str = "",
        password: str = "",
        *,
        strategy: str = "disk",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "buffer").mkdir(exist_ok=True)
        self._log = folder / "log"
        config = folder / "telegraf.conf"
        config.write_text(
            CONFIG.format(
                batch=BATCH,
                folder=folder,
                strategy=strategy,
                url=url,
                database=database,
                user=user,
                password=password,
                port=port,
                topic=topic,
                undelivered=UNDELIVERED,
            )
        )
        self.process = subprocess.Popen(
            [str(telegraf_path()), "--config", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(START_TRIES):
            if "Connected [tcp" in self.log():
                return
            try:
                code = self.process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
            raise RuntimeError(f"Telegraf ended with {code}: {self.log()[-2000:]}")
        self.stop()
        raise RuntimeError(f"Telegraf does not connect: {self.log()[-2000:]}")

    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def stop(self) -> None:
        """End it; returns when it is gone."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
