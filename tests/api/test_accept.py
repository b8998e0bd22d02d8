"""The short way for clean documents comes to the same end as the schema."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import Schema, ValidationError
from marshmallow.validate import Regexp

from tesgw.api.accept import accept, clean_type
from tesgw.api.fields import Text
from tesgw.api.problems import flatten
from tesgw.api.schemas import (
    EXAMPLE_TASK,
    Document,
    ExecutorSchema,
    InputSchema,
    OutputSchema,
    ResourcesSchema,
    TaskSchema,
)
from tests.api.conftest import executor, task
from tests.api.test_create import FULL_TASK, HINTS

SCHEMA = TaskSchema()
CLEAN = clean_type(SCHEMA)

FILE = {"name": "a", "description": "b", "url": "file:///a", "type": "FILE"}
EVERY_FIELD: dict[str, Any] = {
    **FULL_TASK,
    "inputs": [{**FILE, "path": "/a", "content": "x", "streamable": True}],
    "outputs": [{**FILE, "path": "/b/*", "path_prefix": "/b"}],
    "executors": [{**FULL_TASK["executors"][0], "stdout": "/out"}],
}

DELETED = "(deleted)"
ODD: list[Any] = [DELETED, None, True, "", "x", "/x", "8", "FILE", "file", "DIRECTORY"]
ODD += [0, 1, -1, 8, 8.0, 0.5, -0.0, 2**31 - 1, 2**31, 10**9, 10**9 + 1, 1e9, 1e300, 2**63]
ODD += [[], {}, [None], ["x"], [{}], [["x"]], {"a": None}, {"a": 1}, {"a": "b", "c": "d"}]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place below a value, as what holds it and its key there; of an object also one that is not taken."""
    if isinstance(value, dict):
        yield value, "surprise"
    for key in value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0):
        yield value, key
        yield from _places(value[key])


def _change(place: tuple[Any, Any], odd: Any) -> None:
    holder, key = place
    if odd is not DELETED:
        holder[key] = copy.deepcopy(odd)
    elif isinstance(holder, list) or key in holder:
        del holder[key]


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """Tasks as they are sent, with up to three places changed."""
    document = copy.deepcopy(draw(st.sampled_from([FULL_TASK, HINTS, task(id="x", state="QUEUED", logs=[{"logs": []}])])))
    for _ in range(draw(st.integers(0, 3))):
        _change(draw(st.sampled_from(list(_places(document)))), draw(st.sampled_from(ODD)))
    return document


def _outcome(load: Callable[[Any], Any], document: Any) -> bytes | list[tuple[str, list[str]]]:
    """The JSON that comes of a document (8 is not 8.0 there), or what a client is told is wrong with it."""
    try:
        return orjson.dumps(load(document), option=orjson.OPT_SORT_KEYS)
    except ValidationError as error:
        return list(flatten(error.messages))


def _check_outcome(document: Any) -> None:
    long = _outcome(lambda given: Document.load(SCHEMA, given), copy.deepcopy(document))
    assert _outcome(SCHEMA.load, document) == long, document


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_one_odd_value_loads_or_fails_as_if_there_were_no_short_way(odd: Any) -> None:
    for number in range(len(list(_places(EVERY_FIELD)))):
        document = copy.deepcopy(EVERY_FIELD)
        _change(list(_places(document))[number], odd)
        _check_outcome(document)


@settings(max_examples=200, deadline=None)
@given(documents())
def test_several_odd_values_load_or_fail_as_if_there_were_no_short_way(document: Any) -> None:
    _check_outcome(document)


@pytest.mark.parametrize("document", [EXAMPLE_TASK, FULL_TASK, EVERY_FIELD, task(resources=HINTS["resources"])])
def test_clean_documents_go_the_short_way(document: Any) -> None:
    assert accept(document, CLEAN) == document


def test_the_sample_has_every_field() -> None:
    for name, field in (("inputs", InputSchema), ("outputs", OutputSchema), ("executors", ExecutorSchema)):
        assert set(EVERY_FIELD[name][0]) == set(field().load_fields)
    assert set(EVERY_FIELD["resources"]) == set(ResourcesSchema().load_fields)
    assert set(EVERY_FIELD) == set(SCHEMA.load_fields)


def test_unknown_and_read_only_fields_are_left_out_on_the_short_way_too() -> None:
    sent = task(id="x", creation_time=None, surprise=None, executors=[executor(surprise=[1])])

    assert accept(sent, CLEAN) == task()


def test_what_is_not_clean_is_left_to_the_schema() -> None:
    assert accept(task(name=None), CLEAN) is None
    assert accept(task(tags={"a": None}), CLEAN) is None


def test_a_rule_that_the_short_way_cannot_hold_is_refused_when_the_type_is_made() -> None:
    class Unheard(Schema):
        name = Text(validate=Regexp("x"))

    with pytest.raises(TypeError):
        clean_type(Unheard())
