"""Asking a running site over HTTP."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request

from footprint.batch import BatchState


def get(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


def get_bytes(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read()


def post(url, body, **headers):
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def submit(url, fields, **headers):
    """Send a form; status and page."""
    data = urllib.parse.urlencode(fields).encode()
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def settled(plant):
    """Name of a batch that is final; waited for, as a new batch can open the others again."""
    engine = plant[0].site.engine
    version = 0
    while True:
        for name, result in sorted(engine.results.items()):
            if result.state is BatchState.FINAL:
                return name
        seen = engine.changes.wait(version, 120)
        assert seen > version, "the plant stands still"
        version = seen


def ids(page):
    return set(re.findall(r'\bid="([^"]+)"', page))


def anchors(page, start="#"):
    found = re.findall(rf'href="{re.escape(start)}([^"]+)"', page)
    return {urllib.parse.unquote(name) for name in found}
