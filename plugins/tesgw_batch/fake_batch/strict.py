"""Bodies of requests against the models of Microsoft's SDK: what those do not know, or do not allow, is refused."""

from __future__ import annotations

import importlib
import typing
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from types import NoneType, SimpleNamespace
from typing import Any, NamedTuple

from tesgw_batch.fake_batch.problems import Problem, invalid, missing
from tesgw_batch.fake_batch.wire import Wire, duration


class Field(NamedTuple):
    type: Any
    is_required: bool
    is_read_only: bool


def check(model: type, body: Any, *, is_request: bool = True) -> Wire:
    """The body, if it is one of that model. Raises `Problem`. Requests may leave out what only the service says."""
    if not isinstance(body, dict):
        raise Problem(400, "InvalidRequestBody", "The specified request body is not syntactically valid.")
    _object(model, body, "", is_request)
    return body


@cache
def fields(model: Any) -> Mapping[str, Field]:
    """The fields of a model, by their names on the wire."""
    rest = model.__new__(model)  # which is when the SDK finds out what fields there are
    types = typing.get_type_hints(model, localns={"_models": _names(model)})
    return {
        field._rest_name: Field(types[name], NoneType not in typing.get_args(types[name]), field._visibility == ["read"])
        for name, field in rest._attr_to_rest_field.items()
    }


def _names(model: Any) -> SimpleNamespace:
    """What the annotations of a model know as `_models`: all that its package exports."""
    return SimpleNamespace(
        **{
            **vars(importlib.import_module(model.__module__.rpartition(".")[0])),
            **vars(importlib.import_module(model.__module__)),
        }
    )


def _object(model: type, value: dict[str, Any], path: str, is_request: bool) -> None:
    known = fields(model)
    for name, item in value.items():
        if name not in known:
            raise invalid(f"{path}{name}", item, "There is no such property.")
        if item is not None:
            _value(known[name].type, item, f"{path}{name}", is_request)
    for name, field in known.items():
        if field.is_required and value.get(name) is None and not (is_request and field.is_read_only):
            raise missing(f"{path}{name}")


def _value(annotation: Any, value: Any, path: str, is_request: bool) -> None:
    origin, options = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Union:
        _value(narrowest(options), value, path, is_request)
    elif origin is list:
        for index, item in enumerate(_of(list, value, path)):
            _value(options[0], item, f"{path}[{index}]", is_request)
    elif origin is dict:
        for name, item in _of(dict, value, path).items():
            _value(options[1], item, f"{path}.{name}", is_request)
    elif is_model(annotation):
        _object(annotation, _of(dict, value, path), f"{path}.", is_request)
    else:
        _scalar(annotation, value, path)


def narrowest(options: tuple[Any, ...]) -> Any:
    """Enums are declared as `Union[str, TheEnum]`, whatever may be missing as `Optional`."""
    return next((each for each in options if isinstance(each, type) and issubclass(each, Enum)), options[0])


def is_model(annotation: Any) -> bool:
    return hasattr(annotation, "_is_model")


def _scalar(annotation: Any, value: Any, path: str) -> None:
    if annotation is timedelta:
        _parsed(duration, value, path, "It is no ISO 8601 duration.")
    elif annotation is datetime:
        _parsed(datetime.fromisoformat, value, path, "It is no ISO 8601 time.")
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        _parsed(annotation, value, path, f"It is none of {', '.join(_values(annotation))}.")
    elif annotation is not Any:
        _of(annotation, value, path)


def _values(enum: type[Enum]) -> Iterator[str]:
    return (str(member.value) for member in enum)


def _parsed(parse: Callable[[str], object], value: Any, path: str, reason: str) -> None:
    try:
        parse(_of(str, value, path))
    except ValueError as error:  # isodate's own is one
        raise invalid(path, value, reason) from error


def _of(kind: type, value: Any, path: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise invalid(path, value, f"It is no {kind.__name__}.")
    return value
