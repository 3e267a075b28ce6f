"""Sets up an InfluxDB: first user, database, retention, down-sampled levels. Twice changes nothing.

1.8: retention policies and continuous queries, by InfluxQL. 2: buckets, a mapping for InfluxQL and
tasks, by its HTTP interface. Retention that is there is changed only where it is asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from ingest.influx_connection import POLICY, InfluxConnection, InfluxError, named, quoted
from ingest.influx_levels import (
    LEVELS,
    Level,
    continuous_query,
    flux,
    query_name,
    select,
    task,
    task_name,
)

DAY_S = 86_400
CREATED, CHANGED, KEPT = "created", "changed", "kept"
"""What became of an object."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """One object of the server, and what was done about it."""

    kind: str
    """user | organisation | database | retention | bucket | mapping | continuous query | task."""
    name: str
    """Its name."""
    action: str
    """created | changed | kept."""
    detail: str
    """What holds now."""


def prepare(server: InfluxConnection, keep_days: int | None = None) -> list[Prepared]:
    """Set up what the readings need; readings are kept `keep_days`, 0 = for ever.

    None leaves a retention that is there alone and makes a new one for ever. Raises InfluxError.
    """
    make = _prepare_1 if server.major() == 1 else _prepare_2
    with server.understood():
        return make(server, keep_days)


def fill(server: InfluxConnection, start: datetime, stop: datetime) -> int:
    """Compute every level anew in [start, stop), a day at a time; how many days.

    For what came too late for continuous queries and tasks: a backlog, a rebuild.
    """
    start = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    address, days, major = server.address, 0, server.major()
    while start < stop:
        end = start + timedelta(days=1)
        for level in LEVELS:
            if major == 1:
                low, high = (round(t.timestamp()) * 10**9 for t in (start, end))
                bounds = f"WHERE time >= {low} AND time < {high} "
                server.run(select(address.database, POLICY, level, bounds))
            else:
                texts = (t.isoformat().replace("+00:00", "Z") for t in (start, end))
                program = flux(address.database, POLICY, level, *texts)
                words = {"query": program, "type": "flux"}
                _call(server, "POST", "/api/v2/query", words, org=address.org)
        start, days = end, days + 1
    return days


def _kept_for(seconds: int) -> str:
    return f"kept {seconds // DAY_S} days" if seconds else "kept for ever"


def _prepare_1(server: InfluxConnection, keep_days: int | None) -> list[Prepared]:
    address = server.address
    base, policy = named(address.database), named(POLICY)
    done = _first_user(server)
    (found,) = server.query("SHOW DATABASES")
    if address.database not in _values(found, "name"):
        duration = f"{keep_days}d" if keep_days else "INF"
        server.run(f"CREATE DATABASE {base} WITH DURATION {duration} NAME {policy}")
        detail = _kept_for((keep_days or 0) * DAY_S)
        done.append(Prepared("database", address.database, CREATED, detail))
    else:
        done.append(Prepared("database", address.database, KEPT, "is there"))
        done.append(_policy(server, POLICY, keep_days, default=True))
    for level in LEVELS:
        done.append(_policy(server, level.name, level.keep_days, default=False))
    (found,) = server.query("SHOW CONTINUOUS QUERIES")
    known = {
        row[0]: row[1]
        for series in found
        if series["name"] == address.database
        for row in series.get("values", [])
    }
    for level in LEVELS:
        wanted, name = (
            continuous_query(address.database, POLICY, level),
            query_name(level),
        )
        action = CREATED
        if name in known:
            action = KEPT if _bare(known[name]) == _bare(wanted) else CHANGED
        if action == CHANGED:
            server.run(f"DROP CONTINUOUS QUERY {named(name)} ON {base}")
        if action != KEPT:
            server.run(wanted)
        done.append(Prepared("continuous query", name, action, _rhythm(level)))
    return done


def _rhythm(level: Level) -> str:
    return f"windows of {level.name}, every {level.every}, {level.back} back"


def _first_user(server: InfluxConnection) -> list[Prepared]:
    """A server that wants users and has none takes the first one from anybody."""
    address = server.address
    try:
        server.query("SHOW DATABASES")
    except InfluxError as error:
        if "create admin user first" not in str(error) or not address.username:
            raise
    else:
        return []
    server.run(
        f"CREATE USER {named(address.username)} "
        f"WITH PASSWORD {quoted(address.password)} WITH ALL PRIVILEGES"
    )
    return [Prepared("user", address.username, CREATED, "the first one, all privileges")]


def _bare(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace('"', "")).strip()


def _values(found: list[dict[str, Any]], column: str) -> list[Any]:
    return [
        row[series["columns"].index(column)] for series in found for row in series.get("values", [])
    ]


def _policy(
    server: InfluxConnection, name: str, keep_days: int | None, *, default: bool
) -> Prepared:
    base = named(server.address.database)
    (found,) = server.query(f"SHOW RETENTION POLICIES ON {base}")
    known = dict(
        zip(_values(found, "name"), map(_seconds, _values(found, "duration")), strict=True)
    )
    wanted = (keep_days or 0) * DAY_S
    text = f"DURATION {f'{keep_days}d' if keep_days else 'INF'} REPLICATION 1"
    ending = " DEFAULT" if default else ""
    if name not in known:
        server.run(f"CREATE RETENTION POLICY {named(name)} ON {base} {text}{ending}")
        return Prepared("retention", name, CREATED, _kept_for(wanted))
    if keep_days is None or known[name] == wanted:
        return Prepared("retention", name, KEPT, _kept_for(known[name]))
    server.run(f"ALTER RETENTION POLICY {named(name)} ON {base} {text}{ending}")
    return Prepared("retention", name, CHANGED, _kept_for(wanted))


def _seconds(text: str) -> int:
    """Seconds of a duration as 1.x shows it: 43920h0m0s."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+)([hms])", text))


def _call(server: InfluxConnection, method: str, path: str, body: Any = None, **words: str) -> Any:
    """What the server answers; {} where GET finds nothing. Raises InfluxError."""
    try:
        answer = server.http.request(method, path, json=body, params=words)
    except httpx.HTTPError as error:
        raise InfluxError(f"{server.url} does not answer: {error}") from error
    if method == "GET" and answer.status_code == httpx.codes.NOT_FOUND:
        return {}
    if answer.is_error:
        raise InfluxError(
            f"{server.url} answers {answer.status_code} to {method} {path}: {answer.text[:300]}",
            hint="check METERPRINT_INFLUX_TOKEN and METERPRINT_INFLUX_ORG",
        )
    is_json = "json" in answer.headers.get("Content-Type", "")
    return answer.json() if is_json and answer.content else None


def _prepare_2(server: InfluxConnection, keep_days: int | None) -> list[Prepared]:
    address = server.address
    done = _onboard(server)
    known = _call(server, "GET", "/api/v2/orgs", org=address.org).get("orgs", [])
    if not known:
        raise InfluxError(
            f"{server.url} has no organisation {address.org}", hint="set METERPRINT_INFLUX_ORG"
        )
    org = str(known[0]["id"])
    bucket, entry = _bucket(server, org, address.bucket, keep_days)
    done += [entry, _mapping(server, org, bucket)]
    for level in LEVELS:
        done.append(_bucket(server, org, f"{address.database}/{level.name}", level.keep_days)[1])
    for level in LEVELS:
        done.append(_task(server, org, level))
    return done


def _onboard(server: InfluxConnection) -> list[Prepared]:
    """A new server has no user: make the first one from the environment."""
    address = server.address
    if not _call(server, "GET", "/api/v2/setup")["allowed"]:
        return []
    if not (address.username and address.password and address.token):
        raise InfluxError(
            f"{server.url} is new and has no user yet",
            hint="set METERPRINT_INFLUX_USER, _PASSWORD and _TOKEN: they become its first user's",
        )
    words = {
        "username": address.username,
        "password": address.password,
        "token": address.token,
        "org": address.org,
        "bucket": address.bucket,
    }
    _call(server, "POST", "/api/v2/setup", words)
    return [
        Prepared("user", address.username, CREATED, "the first one, with the given token"),
        Prepared("organisation", address.org, CREATED, "the first one"),
    ]


def _bucket(
    server: InfluxConnection, org: str, name: str, keep_days: int | None
) -> tuple[str, Prepared]:
    found = _call(server, "GET", "/api/v2/buckets", orgID=org, name=name).get("buckets", [])
    wanted = (keep_days or 0) * DAY_S
    rules = [{"type": "expire", "everySeconds": wanted}]
    if not found:
        words = {"orgID": org, "name": name, "retentionRules": rules if wanted else []}
        made = _call(server, "POST", "/api/v2/buckets", words)
        return str(made["id"]), Prepared("bucket", name, CREATED, _kept_for(wanted))
    known = sum(int(rule["everySeconds"]) for rule in found[0]["retentionRules"])
    bucket = str(found[0]["id"])
    if keep_days is None or known == wanted:
        return bucket, Prepared("bucket", name, KEPT, _kept_for(known))
    _call(server, "PATCH", f"/api/v2/buckets/{bucket}", {"retentionRules": rules})
    return bucket, Prepared("bucket", name, CHANGED, _kept_for(wanted))


def _mapping(server: InfluxConnection, org: str, bucket: str) -> Prepared:
    """InfluxQL without a policy, and DELETE, go to the bucket of the readings."""
    address = server.address
    words = {"database": address.database, "retention_policy": POLICY}
    detail = f"InfluxQL on {address.database}.{POLICY}"
    found = _call(server, "GET", "/api/v2/dbrps", orgID=org, db=address.database)["content"]
    for known in found:
        if known.get("virtual") or known["retention_policy"] != POLICY:
            continue
        if known["default"] and known["bucketID"] == bucket:
            return Prepared("mapping", address.bucket, KEPT, detail)
        _call(server, "DELETE", f"/api/v2/dbrps/{known['id']}", orgID=org)
    _call(
        server,
        "POST",
        "/api/v2/dbrps",
        {"orgID": org, "bucketID": bucket, "default": True, **words},
    )
    return Prepared("mapping", address.bucket, CREATED, detail)


def _task(server: InfluxConnection, org: str, level: Level) -> Prepared:
    address = server.address
    name = task_name(address.database, level)
    wanted = task(address.database, POLICY, level)
    found = _call(server, "GET", "/api/v2/tasks", orgID=org, name=name)["tasks"]
    detail = _rhythm(level)
    if not found:
        words = {"orgID": org, "flux": wanted, "status": "active"}
        _call(server, "POST", "/api/v2/tasks", words)
        return Prepared("task", name, CREATED, detail)
    if found[0]["flux"].strip() == wanted.strip() and found[0]["status"] == "active":
        return Prepared("task", name, KEPT, detail)
    words = {"flux": wanted, "status": "active"}
    _call(server, "PATCH", f"/api/v2/tasks/{found[0]['id']}", words)
    return Prepared("task", name, CHANGED, detail)
