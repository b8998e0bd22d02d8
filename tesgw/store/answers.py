"""The JSON of a task, as an expression that the database evaluates.

SQLite joins a page faster than Python does, and in a thread of its own: there, Python would take the interpreter lock
once for every row.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

from tesgw.model import Dialect, View
from tesgw.states import TES_1_0
from tesgw.store.tables import basics, fulls, tasks

Text = sa.ColumnElement[str]


class utf8(sa.sql.functions.GenericFunction[bytes]):
    """A text as bytes."""

    type = sa.LargeBinary()
    inherit_cache = True


class listed(sa.sql.functions.GenericFunction[bytes]):
    """The texts of all rows, in their order and with commas between them, as bytes; NULL if there are none."""

    type = sa.LargeBinary()
    inherit_cache = True


class elements(sa.sql.functions.GenericFunction[Any]):
    """The texts in a JSON array, as the rows of a table with one column, `value`."""

    inherit_cache = True


@compiles(utf8, "sqlite")
def _(element: utf8, compiler: sa.Compiled, **kw: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **kw)} AS BLOB)"


@compiles(utf8, "postgresql")
def _(element: utf8, compiler: sa.Compiled, **kw: Any) -> str:
    return f"convert_to({compiler.process(element.clauses, **kw)}, 'UTF8')"


@compiles(listed, "sqlite")
def _(element: listed, compiler: sa.Compiled, **kw: Any) -> str:
    return f"CAST(group_concat({compiler.process(element.clauses, **kw)}) AS BLOB)"


@compiles(listed, "postgresql")
def _(element: listed, compiler: sa.Compiled, **kw: Any) -> str:
    return f"convert_to(string_agg({compiler.process(element.clauses, **kw)}, ','), 'UTF8')"


@compiles(elements, "sqlite")
def _(element: elements, compiler: sa.Compiled, **kw: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **kw)})"


@compiles(elements, "postgresql")
def _(element: elements, compiler: sa.Compiled, **kw: Any) -> str:
    return f"json_array_elements_text(CAST({compiler.process(element.clauses, **kw)} AS JSON))"


def answer(view: View, dialect: Dialect) -> Text:
    """The JSON of a task."""
    start = sa.literal('{"id":"') + tasks.c.id + '","state":"' + _shown_state(dialect)
    return start + '"}' if view is View.MINIMAL else start + '",' + _text(_table(view), dialect)


def source(view: View) -> sa.FromClause:
    """The tables that `answer` reads."""
    return tasks if view is View.MINIMAL else tasks.join(_table(view), _table(view).c.seq == tasks.c.seq)


def _table(view: View) -> sa.Table:
    return basics if view is View.BASIC else fulls


def _shown_state(dialect: Dialect) -> Text:
    if dialect is Dialect.TES_1_1:
        return tasks.c.state
    return sa.case({str(state): str(shown) for state, shown in TES_1_0.items()}, value=tasks.c.state, else_=tasks.c.state)


def _text(table: sa.Table, dialect: Dialect) -> Text:
    text, body_end, tail_start = table.c.text, table.c.body_end, table.c.tail_start
    if dialect is Dialect.TES_1_1:
        return text
    # Clients of 1.0 read the first entry, so they are shown the last one only, or none while the attempt has none.
    body = sa.func.substr(text, 1, body_end, type_=sa.Text)
    entry = sa.literal(',"logs":[') + sa.func.substr(text, tail_start + 2)  # from behind the comma
    last = sa.case((sa.func.substr(text, tail_start + 1, 1) == ",", entry), else_="}")
    return sa.case((tail_start == body_end, text), else_=body + last)
