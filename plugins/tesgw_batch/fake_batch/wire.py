"""Resources as they look on the wire. The double keeps them so, which makes lists and filters cheap."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

import isodate  # type: ignore[import-untyped]  # it has no types

Wire = dict[str, Any]

_versions = itertools.count(1)


def stamp(moment: datetime) -> str:
    """A time that compares as text does."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def duration(text: str) -> timedelta:
    """Raises ValueError or one of its kind."""
    value = isodate.parse_duration(text)
    # Years and months are of no certain length; Batch takes neither.
    if not isinstance(value, timedelta):
        raise ValueError(text)
    return value


def resource(spec: Mapping[str, Any], url: str, state: str, now: datetime) -> Wire:
    """A new resource, as it was asked for, in its first state."""
    wire = {**spec, "url": url, "creationTime": stamp(now), "state": state, "stateTransitionTime": stamp(now)}
    touch(wire, now)
    return wire


def touch(wire: Wire, now: datetime) -> None:
    """Somebody changed it."""
    wire["eTag"] = f"0x{next(_versions):X}"
    wire["lastModified"] = stamp(now)


def move(wire: Wire, state: str, now: datetime) -> None:
    """Change the state of a job or task."""
    wire["previousState"], wire["previousStateTransitionTime"] = wire["state"], wire["stateTransitionTime"]
    wire["state"], wire["stateTransitionTime"] = state, stamp(now)


def headers(wire: Mapping[str, Any], now: datetime) -> dict[str, str]:
    """Of an answer to a change."""
    return {
        "ETag": wire["eTag"],
        "Last-Modified": format_datetime(now.replace(microsecond=0), usegmt=True),
        "DataServiceId": wire["url"],
        "Location": wire["url"],
    }
