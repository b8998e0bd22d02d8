"""The JSON that answers consist of. [pure]

Everything is rendered when it is written, and nothing is parsed to be read. The text of a task is its JSON from behind its
state to the end: its body, which is the document, and its logs. An entry is one element of the logs, or nothing while there
is nothing to say; the tail is the part of the text that changes with the entry of the current attempt, up to the end.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from tesgw.model import ExecutorLog, Observation
from tesgw.states import State

_FIRST, _NEXT = ',"logs":[', ","


@dataclass(frozen=True, slots=True)
class Shown:
    """A part of a text as the two views show it."""

    basic: str
    full: str


def time_text(time: dt.datetime) -> str:
    """RFC 3339 in UTC, with milliseconds."""
    return time.astimezone(dt.UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def bodies(document: Mapping[str, Any], created: dt.datetime) -> Shown:
    """The bodies of a new task."""
    document = {"creation_time": time_text(created), **document}
    full = _json(document)[1:-1]
    inputs = document.get("inputs", ())
    if not any("content" in file for file in inputs):
        return Shown(full, full)
    bare = [{key: value for key, value in file.items() if key != "content"} for file in inputs]
    return Shown(_json({**document, "inputs": bare})[1:-1], full)


def tail(attempt: int, entry: Shown) -> Shown:
    """The tail with this entry of that attempt; earlier attempts have always left one."""
    opening, nothing = (_FIRST, "}") if attempt == 1 else (_NEXT, "]}")
    return Shown(*(f"{opening}{text}]}}" if text else nothing for text in (entry.basic, entry.full)))


def entry_of(attempt: int, tail: Shown) -> Shown:
    """The entry in the tail of that attempt."""
    opening = _FIRST if attempt == 1 else _NEXT
    return Shown(*(text[len(opening) : -2] for text in (tail.basic, tail.full)))


def first_entry(warnings: Sequence[str]) -> Shown:
    """The entry of an attempt of which nothing is known yet but what was said at the creation."""
    return _entry({}, [], [], warnings) if warnings else Shown("", "")


def entry(observation: Observation, warnings: Sequence[str]) -> Shown:
    """The entry that tells what was observed. A reason is said as the last system log."""
    if observation.state is State.QUEUED and not (observation.reason or observation.system_logs):
        return first_entry(warnings)
    task_log: dict[str, Any] = _times(observation.start_time, observation.end_time)
    if observation.metadata:
        task_log["metadata"] = dict(observation.metadata)
    outputs = [{"url": o.url, "path": o.path, "size_bytes": str(o.size_bytes)} for o in observation.outputs]
    reason = [observation.reason] if observation.reason else []
    return _entry(task_log, observation.executors, outputs, [*warnings, *observation.system_logs, *reason])


def closed(current: Shown, end: dt.datetime, reason: str) -> Shown:
    """The entry of an attempt that ends without a last observation, for this reason."""

    def close(text: str) -> dict[str, Any]:
        task_log: dict[str, Any] = orjson.loads(text) if text else {"logs": [], "outputs": []}
        return {"end_time": time_text(end), **task_log}

    full = close(current.full)
    if reason:
        full["system_logs"] = [*full.get("system_logs", ()), reason]
    return Shown(_json(close(current.basic)), _json(full))


def _entry(
    task_log: dict[str, Any],
    executors: Sequence[ExecutorLog],
    outputs: Sequence[Mapping[str, str]],
    system_logs: Sequence[str],
) -> Shown:
    basic = {"logs": [_bare(log) for log in executors], "outputs": outputs, **task_log}
    full = {**basic, "logs": [_bare(log) | _streams(log) for log in executors]}
    if system_logs:
        full["system_logs"] = system_logs
    return Shown(_json(basic), _json(full))


def _bare(log: ExecutorLog) -> dict[str, Any]:
    # TES requires exit_code, but an executor that still runs has none, and any number would be a lie.
    code = {} if log.exit_code is None else {"exit_code": log.exit_code}
    return _times(log.start_time, log.end_time) | code


def _streams(log: ExecutorLog) -> dict[str, str]:
    return {name: text for name, text in (("stdout", log.stdout), ("stderr", log.stderr)) if text}


def _times(start: dt.datetime | None, end: dt.datetime | None) -> dict[str, Any]:
    return {name: time_text(time) for name, time in (("start_time", start), ("end_time", end)) if time is not None}


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
