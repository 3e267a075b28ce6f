"""What an InfluxDB answers, as channels, points and stretches of time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mrv.series import SeriesKey


def key_of(tags: Mapping[str, str]) -> SeriesKey:
    """The channel of a series by its tags. Raises LookupError where one is missing."""
    return SeriesKey(*(tags[name] for name in ("agent", "stream", "channel")))


def points_in(found: Sequence[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(time, fields) of the points of an answer."""
    for series in found:
        names = series["columns"][1:]
        for t, *values in series["values"]:
            yield int(t), dict(zip(names, values, strict=True))


def stretches(times: Mapping[int, object]) -> list[tuple[int, int]]:
    """Stretches that hold all times, cut where a gap is wider than a tenth of the whole."""
    ordered = sorted(times)
    widest = (ordered[-1] - ordered[0]) // 10
    found = [(ordered[0], ordered[0])]
    for t in ordered[1:]:
        low, high = found[-1]
        if t - high > widest:
            found.append((t, t))
        else:
            found[-1] = (low, t)
    return found
