"""`meterprint influx init` on real servers: database, retention, down-sampling; twice is once."""

from __future__ import annotations

import itertools
import json
import re
import threading
from datetime import UTC, datetime, timedelta

import pytest

from ingest.influx_connection import InfluxConnection
from ingest.influx_levels import LEVELS, query_name, task_name
from ingest.influx_setup import _call as call
from ingest.influx_setup import fill, prepare
from ingest.series_influx import InfluxStore
from meterprint.influx_settings import address_of
from meterprint.views import open_park
from mrv.errors import InputError
from mrv.series import Series, SeriesChunk, SeriesKey
from tests.conftest import INFLUXDS, REPO, missing
from tests.meterprint.processes import run

NAMES = (f"init-{n}" for n in itertools.count())
S = 10**9
KEY = SeriesKey("agent", "line", "m.power")


def command(server, *words, **environment):
    """What a command answers with the server's credentials in its environment."""
    secrets = server.environment()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**secrets, **environment}.items():
            patch.setenv(name, value)
        done = run(*words, "--json")
    assert done.returncode == 0, done.stderr
    for name in ("METERPRINT_INFLUX_TOKEN", "METERPRINT_INFLUX_PASSWORD"):
        assert name not in secrets or secrets[name] not in done.stdout + done.stderr
    return json.loads(done.stdout)


def init(server, database, *words, **environment):
    where = ("--influx", server.url, "--database", database)
    rows = command(server, "influx", "init", *where, *words, **environment)
    return {(row["kind"], row["name"]): (row["action"], row["detail"]) for row in rows}


@pytest.mark.influx
def test_init_twice_is_once_and_says_so(influxd):
    name = next(NAMES)
    first = init(influxd, name)
    assert {action for action, _ in first.values()} == {"created"}
    second = init(influxd, name)
    assert {action for action, _ in second.values()} == {"kept"}
    server = InfluxConnection(influxd.address(name))
    for level in LEVELS:
        if influxd.major == 1:
            (found,) = server.query("SHOW CONTINUOUS QUERIES")
            rows = [row for s in found if s["name"] == name for row in s["values"]]
            assert [row[0] for row in rows].count(query_name(level)) == 1
        else:
            found = call(server, "GET", "/api/v2/tasks", name=task_name(name, level))
            assert [task["status"] for task in found["tasks"]] == ["active"]
    server.close()


@pytest.mark.influx
def test_retention_is_changed_only_where_it_is_asked_for(influxd):
    name = next(NAMES)
    where = ("database", name) if influxd.major == 1 else ("bucket", f"{name}/rp")
    again = ("retention", "rp") if influxd.major == 1 else where
    assert init(influxd, name, "--keep", "400")[where] == ("created", "kept 400 days")
    assert init(influxd, name)[again] == ("kept", "kept 400 days")
    assert init(influxd, name, "--keep", "0")[again] == ("changed", "kept for ever")
    assert init(influxd, name, "--keep", "30")[again] == ("changed", "kept 30 days")
    assert init(influxd, name, "--keep", "30")[again] == ("kept", "kept 30 days")


@pytest.mark.influx
def test_what_somebody_changed_is_put_right(influxd):
    name = next(NAMES)
    init(influxd, name)
    server = InfluxConnection(influxd.address(name))
    level = LEVELS[0]
    if influxd.major == 1:
        server.run(f'DROP CONTINUOUS QUERY "{query_name(level)}" ON "{name}"')
        server.run(
            f'CREATE CONTINUOUS QUERY "{query_name(level)}" ON "{name}" BEGIN SELECT '
            f'max(value) INTO "{name}"."15m".reading FROM "{name}".rp.reading '
            "GROUP BY time(15m), * END"
        )
    else:
        (task,) = call(server, "GET", "/api/v2/tasks", name=task_name(name, level))["tasks"]
        call(server, "PATCH", f"/api/v2/tasks/{task['id']}", {"status": "inactive"})
    server.close()
    actions = [action for action, _ in init(influxd, name).values()]
    assert actions.count("changed") == 1
    assert set(init(influxd, name).values()) >= {("kept", "windows of 15m, every 5m, 2h back")}


@pytest.mark.influx
@pytest.mark.parametrize("version", INFLUXDS)
def test_a_new_server_gets_its_first_user_from_files(version, tmp_path):
    from scripts.influx_servers import PASSWORD, Influxd
    from scripts.influxd_builds import influxd_path

    if not influxd_path(version).exists():
        missing(f"influxd {version}")
    server = Influxd(version, tmp_path / "influxd")
    server.start()
    try:
        (tmp_path / "password").write_text(f"{PASSWORD}\n")
        files = {
            "METERPRINT_INFLUX_PASSWORD": "",
            "METERPRINT_INFLUX_PASSWORD_FILE": str(tmp_path / "password"),
        }
        done = init(server, "meterprint", **files)
        assert done["user", "meterprint"][0] == "created"
        assert ("user", "meterprint") not in init(server, "meterprint", **files)
    finally:
        server.stop()


def power(store, start, count):
    rows = [(start + 10 * i * S, (i * 37) % 500 - 100) for i in range(count)]
    good = [1 if i % 50 else 0 for i in range(count)]
    series = Series(
        [t for t, _ in rows], [v if g else 0 for (_, v), g in zip(rows, good, strict=True)], good
    )
    store.append([SeriesChunk(KEY, series)])
    return list(zip(series.t, series.v, series.ok, strict=True))


def windows(rows, width):
    """What a level must hold, by hand."""
    found = {}
    for t, v, ok in rows:
        held = found.setdefault(t // width * width, ([], []))
        held[0 if ok else 1].append(v)
    return {
        t: (good[-1], min(good), max(good), sum(good) / len(good), len(good), len(failed))
        for t, (good, failed) in found.items()
    }


def level_points(server, level):
    text = "SELECT last, min, max, mean, count, failed FROM reading"
    (found,) = server.query(text, policy=level.name)
    return {row[0]: tuple(v or 0 for v in row[1:]) for series in found for row in series["values"]}


@pytest.mark.influx
def test_levels_hold_what_their_windows_hold(influxd):
    address = influxd.address(next(NAMES))
    server = InfluxConnection(address)
    prepare(server)
    store = InfluxStore.at(address, "site")
    start = datetime(2026, 11, 20, 8, tzinfo=UTC)
    rows = power(store, round(start.timestamp()) * S, 1000)
    assert fill(server, start, start.replace(hour=20)) == 1
    for level, width in zip(LEVELS, (900 * S, 3600 * S), strict=True):
        wanted = windows(rows, width)
        found = level_points(server, level)
        assert found.keys() == wanted.keys()
        for t, row in wanted.items():
            assert found[t] == pytest.approx(row, rel=1e-12)
    store.close()
    server.close()


@pytest.mark.influx
def test_the_server_itself_keeps_the_levels_up_to_date(influxd):
    address = influxd.address(next(NAMES))
    server = InfluxConnection(address)
    prepare(server)
    store = InfluxStore.at(address, "site")
    now = round(datetime.now(UTC).timestamp())
    start = (now // 900 - 4) * 900
    rows = [row for row in power(store, start * S, 180) if row[0] < (start + 1800) * S]
    if influxd.major == 1:
        (found,) = server.query("SHOW CONTINUOUS QUERIES")
        texts = {
            row[0]: row[1] for s in found if s["name"] == address.database for row in s["values"]
        }
        text = texts[query_name(LEVELS[0])]
        select = text[text.index("BEGIN") + 5 : text.rindex("END")]
        server.run(select.replace("GROUP BY", f"WHERE time >= {start}s GROUP BY"))
    else:
        name = task_name(address.database, LEVELS[0])
        (task,) = call(server, "GET", "/api/v2/tasks", name=name)["tasks"]
        made = call(server, "POST", f"/api/v2/tasks/{task['id']}/runs", {})
        path, state = f"/api/v2/tasks/{task['id']}/runs/{made['id']}", ""
        while state not in ("success", "failed", "canceled"):
            threading.Event().wait(0.02)
            state = call(server, "GET", path).get("status", "not begun")
        assert state == "success", call(server, "GET", f"{path}/logs")
    found = level_points(server, LEVELS[0])
    for t, row in windows(rows, 900 * S).items():
        assert found[t] == pytest.approx(row, rel=1e-12)
    store.close()
    server.close()


@pytest.mark.influx
def test_the_queries_of_the_how_to_are_answered(influxd):
    address = influxd.address(next(NAMES))
    server = InfluxConnection(address)
    prepare(server)
    store = InfluxStore.at(address, "site")
    now = datetime.now(UTC)
    first = round(now.timestamp()) * S - 72 * 3600 * S
    times = [first + i * 600 * S for i in range(72 * 6)]
    good = [1 if i % 20 else 0 for i in range(len(times))]
    rows = Series(times, [7 * i * ok for i, ok in enumerate(good)], good)
    store.append([SeriesChunk(SeriesKey("a", "line", "main.energy"), rows)])
    assert fill(server, now - timedelta(days=3), now) == 4
    text = (REPO / "docs/how-to/influxdb.md").read_text()
    queries = re.findall(r"^SELECT .*$", text, re.MULTILINE)
    assert len(queries) == 3
    for query in queries:
        (found,) = server.query(query)
        assert found, query
    store.close()
    server.close()


def test_credentials_come_from_the_environment_and_are_never_shown(tmp_path):
    (tmp_path / "token").write_text("t0ken\n")
    address = address_of(
        "http://x", "db", {"METERPRINT_INFLUX_TOKEN_FILE": str(tmp_path / "token")}
    )
    assert address.token == "t0ken"
    assert "t0ken" not in repr(address)
    with pytest.raises(InputError, match="both set"):
        address_of(
            "http://x",
            "db",
            {"METERPRINT_INFLUX_TOKEN": "x", "METERPRINT_INFLUX_TOKEN_FILE": "y"},
        )
    with pytest.raises(InputError, match="TOKEN_FILE"):
        address_of("http://x", "db", {"METERPRINT_INFLUX_TOKEN_FILE": str(tmp_path / "none")})
    with pytest.raises(InputError, match="no address"):
        address_of("x:8086", "db", {})
    with pytest.raises(InputError, match="database"):
        address_of("http://x", "a/b", {})


def test_init_without_a_server_says_what_to_do():
    done = run("influx", "init", "--influx", "http://127.0.0.1:9")
    assert done.returncode == 2
    assert "does not answer" in done.stderr
    assert "hint: start InfluxDB" in done.stderr


def test_status_shows_what_was_parked(tmp_path):
    from meterprint.site import open_site

    open_site(tmp_path, "s").close()
    words = ["influx", "status", "--state", str(tmp_path), "--json"]
    clean = run(*words)
    assert clean.returncode == 0
    assert json.loads(clean.stdout)["parked"] == {}
    park = open_park(tmp_path)
    park.add(["reading value=1 1"], "unable_to_parse", "no reason")
    park.save()
    done = run(*words)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["parked"] == {"unable_to_parse": 1}
    assert report["points"][0]["line"] == "reading value=1 1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", report["points"][0]["at"])
    assert report["lag"] == report["entries"] > 0
