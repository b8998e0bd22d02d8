"""The statements that answer clients: tasks by their ids, and pages of tasks by their filters."""

from __future__ import annotations

import base64
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import orjson
import sqlalchemy as sa

from tesgw.errors import InvalidQuery
from tesgw.model import Dialect, View
from tesgw.states import TES_1_0, State
from tesgw.store import answers
from tesgw.store.tables import tags, tasks

_ENOUGH = 10_000  # to count further would cost more than it saves


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQuery:
    """Which tasks a page shows, newest first. A tag with an empty value asks for the key alone."""

    name_prefix: str = ""
    state: State | None = None
    tags: tuple[tuple[str, str], ...] = ()
    page_size: int = 256
    page_token: str = ""
    view: View = View.MINIMAL
    dialect: Dialect

    def states(self) -> tuple[State, ...] | None:
        """The states that are shown as the one asked for; None where any will do."""
        if self.state is None:
            return None
        return tuple(state for state in State if self._shown(state) == self.state)

    def _shown(self, state: State) -> State:
        return TES_1_0.get(state, state) if self.dialect is Dialect.TES_1_0 else state

    def distinct_tags(self) -> tuple[tuple[str, str], ...]:
        """The tags that are asked for, each once."""
        return tuple(sorted(set(self.tags)))

    def token(self, seq: int) -> str:
        """The token of the page after the task `seq`; it is good for these filters only."""
        return base64.urlsafe_b64encode(seq.to_bytes(8, "big") + self._filters()).decode()

    def before(self) -> int:
        """The number that the tasks of this page are below. Raises `InvalidQuery`."""
        if not self.page_token:
            return 2**63 - 1
        try:
            token = base64.b64decode(self.page_token, altchars=b"-_", validate=True)
        except ValueError:
            token = b""
        if len(token) != 15 or token[8:] != self._filters():
            raise InvalidQuery("The page_token is not one that was given for this list with these filters.")
        return int.from_bytes(token[:8], "big", signed=True)

    def _filters(self) -> bytes:
        return _fingerprint(self.name_prefix, self.states(), self.tags and self.distinct_tags())


@lru_cache(maxsize=500)
def _fingerprint(name_prefix: str, states: tuple[State, ...] | None, tags: tuple[tuple[str, str], ...]) -> bytes:
    return hashlib.blake2b(orjson.dumps([name_prefix, states, tags]), digest_size=7).digest()


@cache
def several(view: View, dialect: Dialect) -> sa.Select[Any]:
    """The statement for the id and the JSON of every task whose id is in the JSON array `:ids`."""
    statement = sa.select(tasks.c.id, answers.utf8(answers.answer(view, dialect))).select_from(answers.source(view))
    return statement.where(is_asked_for())


def is_asked_for() -> sa.ColumnElement[bool]:
    """Whether the task's id is in the JSON array `:ids`."""
    ids = answers.elements(sa.bindparam("ids", type_=sa.Text)).table_valued("value")
    return tasks.c.id.in_(sa.select(ids.c.value))


def values_of(query: TaskQuery) -> dict[str, Any]:
    """The values for the statements of `query`."""
    end = prefix_end(query.name_prefix)
    values: dict[str, Any] = {"before": query.before(), "size": query.page_size, "one_more": query.page_size + 1}
    values |= {f"state{n}": str(state) for n, state in enumerate(query.states() or ())}
    values |= ({"prefix": query.name_prefix} if query.name_prefix else {}) | ({"end": end} if end else {})
    for n, (key, value) in enumerate(query.distinct_tags()):
        values |= {f"key{n}": key} | ({f"value{n}": value} if value else {})
    return values


def counts_of(query: TaskQuery) -> Sequence[sa.Select[Any]]:
    """For each filter that may lead the search, the statement that counts its tasks; none where there is no choice.

    These are the tags, if there are several, or the name.
    """
    wanted = query.distinct_tags()
    if len(wanted) > 1:
        return [_count_tag(n, bool(value)) for n, (_, value) in enumerate(wanted)]
    return [_count_names(bool(prefix_end(query.name_prefix)))] if query.name_prefix and not wanted else []


def page_of(query: TaskQuery, counts: Sequence[int]) -> sa.Select[Any]:
    """The statement for a page of `query`, given what `counts_of` counted.

    One row: how many tasks there are, of the page and one more; the number of the page's last; and their JSON, joined.
    """
    wanted = query.distinct_tags()
    order = sorted(range(len(wanted)), key=counts.__getitem__) if len(wanted) > 1 else range(len(wanted))
    shape = _Shape(
        view=query.view,
        dialect=query.dialect,
        states=len(query.states() or ()),
        has_prefix=bool(query.name_prefix),
        has_end=bool(prefix_end(query.name_prefix)),
        is_name_rare=not wanted and bool(counts) and counts[0] < _ENOUGH,
        tags=tuple((n, bool(wanted[n][1])) for n in order),
    )
    return _page(shape)


def prefix_end(prefix: str) -> str:
    """The least text that is greater than every text with this prefix, by code points; empty where there is none."""
    kept = prefix.rstrip(chr(sys.maxunicode))
    if not kept:
        return ""
    code = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if code == 0xD800 else code)  # surrogates are no characters


@dataclass(frozen=True, slots=True)
class _Shape:
    view: View
    dialect: Dialect
    states: int
    has_prefix: bool
    has_end: bool
    is_name_rare: bool
    tags: tuple[tuple[int, bool], ...]
    """Number, and whether it has a value; the rarest first."""

    @property
    def has_filters(self) -> bool:
        return bool(self.states or self.has_prefix or self.tags)


@lru_cache(maxsize=500)
def _page(shape: _Shape) -> sa.Select[Any]:
    numbers = _numbers(shape).cte("numbers")
    # A filter whose index is not in the order of the page sorts what it finds: numbers, not documents.
    is_shown = tasks.c.seq.in_(sa.select(numbers.c.seq)) if shape.has_filters else tasks.c.seq < sa.bindparam("before")
    shown = sa.select(tasks.c.seq, answers.answer(shape.view, shape.dialect).label("answer"))
    shown = shown.select_from(answers.source(shape.view)).where(is_shown)
    page = shown.order_by(tasks.c.seq.desc()).limit(sa.bindparam("size")).subquery("page")
    count = sa.select(sa.func.count()).select_from(numbers).scalar_subquery()
    return sa.select(count, sa.func.min(page.c.seq), answers.listed(page.c.answer))


def _numbers(shape: _Shape) -> sa.Select[Any]:
    source: sa.FromClause = tasks
    seq: sa.ColumnElement[int] = tasks.c.seq
    state: sa.ColumnElement[str] = tasks.c.state
    if shape.is_name_rare:
        # As expressions, neither has an index: else SQLite walks all tasks, or all of a state, and not those few names.
        seq, state = seq + 0, state + ""
    conditions = _named(shape.has_prefix, shape.has_end)
    wanted = [_tag(n, has_value) for n, has_value in shape.tags]
    if wanted:
        # The rarest tag leads: to look up the tags of task after task takes a thousand times as long.
        lead, is_wanted = wanted[0]
        seq = lead.c.seq
        source = lead.join(tasks, tasks.c.seq == seq)
        conditions.append(is_wanted)
    conditions += [sa.exists().where(condition, tag.c.seq == seq) for tag, condition in wanted[1:]]
    if shape.states:
        conditions.append(state.in_([sa.bindparam(f"state{n}") for n in range(shape.states)]))
    numbers = sa.select(seq.label("seq")).select_from(source).where(seq < sa.bindparam("before"), *conditions)
    return numbers.order_by(seq.desc()).limit(sa.bindparam("one_more"))


def _named(has_prefix: bool, has_end: bool) -> list[sa.ColumnElement[bool]]:
    conditions = [tasks.c.name >= sa.bindparam("prefix")] if has_prefix else []
    return conditions + ([tasks.c.name < sa.bindparam("end")] if has_end else [])


def _tag(n: int, has_value: bool) -> tuple[sa.FromClause, sa.ColumnElement[bool]]:
    tag = tags.alias(f"tag{n}")
    condition = tag.c.key == sa.bindparam(f"key{n}")
    return tag, sa.and_(condition, tag.c.value == sa.bindparam(f"value{n}")) if has_value else condition


@lru_cache(maxsize=500)
def _count_tag(n: int, has_value: bool) -> sa.Select[Any]:
    tag, condition = _tag(n, has_value)
    return _count(sa.select(tag.c.seq).where(condition))


@lru_cache(maxsize=2)
def _count_names(has_end: bool) -> sa.Select[Any]:
    return _count(sa.select(tasks.c.seq).where(*_named(True, has_end)))


def _count(rows: sa.Select[Any]) -> sa.Select[Any]:
    return sa.select(sa.func.count()).select_from(rows.limit(_ENOUGH).subquery())
