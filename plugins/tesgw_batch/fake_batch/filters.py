"""`$filter` and `$select`, as far as Azure documents them.

https://learn.microsoft.com/rest/api/batchservice/odata-filters-in-batch says which property of what may be asked how.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tesgw_batch.fake_batch.problems import bad_query
from tesgw_batch.fake_batch.strict import fields
from tesgw_batch.fake_batch.wire import Wire, stamp

Predicate = Callable[[Mapping[str, Any]], bool]
Compare = Callable[[Any, Any], bool]

COMPARE: dict[str, Compare] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}
STATE = ("eq", "ne")
ORDER = tuple(COMPARE)
TEXT = (*ORDER, "startswith")
EQUAL = ("eq",)

Allowed = Mapping[str, tuple[str, ...]]

_COMMON: Allowed = {
    "id": TEXT,
    "state": STATE,
    "stateTransitionTime": ORDER,
    "creationTime": ORDER,
    "lastModified": ORDER,
}
POOLS: Allowed = {
    **_COMMON,
    "allocationState": STATE,
    "allocationStateTransitionTime": ORDER,
    "enableAutoScale": STATE,
    "vmSize": TEXT,
}
JOBS: Allowed = {
    **_COMMON,
    "priority": ORDER,
    "executionInfo/startTime": ORDER,
    "executionInfo/endTime": ORDER,
    "executionInfo/poolId": TEXT,
}
TASKS: Allowed = {
    **_COMMON,
    "executionInfo/startTime": ORDER,
    "executionInfo/endTime": ORDER,
    "executionInfo/exitCode": ORDER,
    "executionInfo/retryCount": ORDER,
    "executionInfo/result": STATE,
    "nodeInfo/nodeId": TEXT,
}
NODES: Allowed = {
    "state": STATE,
    "stateTransitionTime": ORDER,
    "lastBootTime": ORDER,
    "allocationTime": ORDER,
    "startTaskInfo/state": EQUAL,
    "startTaskInfo/result": STATE,
    "startTaskInfo/exitCode": ORDER,
}
NODE_COUNTS: Allowed = {"poolId": EQUAL}
IMAGES: Allowed = {"osType": STATE, "verificationType": STATE, "nodeAgentSKUId": STATE}
FILES: Allowed = {"name": ("startswith",)}

_LITERAL = r"'(?P<text>(?:[^']|'')*)'|(?i:datetime)'(?P<time>[^']*)'|(?P<number>-?\d+)|(?P<flag>true|false)"
_COMPARISON = re.compile(rf"\s*(?P<name>[\w/]+)\s+(?P<verb>eq|ne|gt|ge|lt|le)\s+(?:{_LITERAL})\s*")
_STARTS = re.compile(r"\s*startswith\(\s*(?P<name>[\w/]+)\s*,\s*'(?P<text>(?:[^']|'')*)'\s*\)\s*")
_JOINT = re.compile(r"(?i:and|or)(?=\s)")


def predicate(text: str, allowed: Allowed) -> Predicate:
    """What a `$filter` asks of a resource on the wire. Raises `Problem` for one that Azure does not document."""
    at, alternatives = 0, [[]]  # type: tuple[int, list[list[Predicate]]]
    while True:
        match = _STARTS.match(text, at) or _COMPARISON.match(text, at)
        if match is None:
            raise _refused(text, f"It cannot be read at {text[at:]!r}.")
        alternatives[-1].append(_condition(match, allowed, text))
        at = match.end()
        if at == len(text):
            return lambda wire: any(all(each(wire) for each in group) for group in alternatives)
        joint = _JOINT.match(text, at)
        if joint is None:
            raise _refused(text, f"It cannot be read at {text[at:]!r}.")
        at = joint.end()
        if joint[0].lower() == "or":
            alternatives.append([])


def _condition(match: re.Match[str], allowed: Allowed, text: str) -> Predicate:
    parts = match.groupdict()
    name, verb = parts["name"], parts.get("verb", "startswith")
    if verb not in allowed.get(name, ()):
        raise _refused(text, f"{name} cannot be asked for with {verb}.")
    path, wanted = name.split("/"), _literal(parts, text)
    compare: Compare = COMPARE.get(verb, str.startswith)
    return lambda wire: _holds(compare, _look(wire, path), wanted)


def _holds(compare: Compare, value: Any, wanted: Any) -> bool:
    """Nothing compares with what is not there, but that it differs."""
    if value is None:
        return compare is operator.ne
    try:
        return compare(value, wanted)
    except TypeError:
        return False


def _look(wire: Any, path: list[str]) -> Any:
    for name in path:
        wire = wire.get(name) if wire else None
    return wire


def _literal(parts: Mapping[str, str | None], text: str) -> Any:
    if (time := parts.get("time")) is not None:
        return _time(time, text)
    if (number := parts.get("number")) is not None:
        return int(number)
    if (flag := parts.get("flag")) is not None:
        return flag == "true"
    return (parts["text"] or "").replace("''", "'")


def _time(time: str, text: str) -> str:
    try:
        moment = datetime.fromisoformat(time)
    except ValueError as error:
        raise _refused(text, f"{time!r} is no time.") from error
    return stamp(moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC))


def _refused(text: str, reason: str) -> Exception:
    return bad_query("$filter", text, reason)


def selection(text: str, model: type) -> Callable[[Wire], Wire]:
    """What a `$select` leaves of a resource. Raises `Problem` for names that the resource does not have."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in fields(model):
            raise bad_query("$select", text, f"There is no property {name}.")
    return lambda wire: {name: wire[name] for name in names if name in wire}
