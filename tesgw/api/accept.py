"""The short way for clean documents: msgspec types, made from the schemas that decide what a request may hold.

marshmallow is what costs most when a task is created. So a document is first held against a type. What the type takes, its
schema would take too, and load the same from it; whatever else comes, nulls and faults, is for the schema to judge.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union, get_args

import msgspec
from marshmallow import Schema, fields, missing
from marshmallow.validate import Length, OneOf, Range, Validator
from msgspec import UNSET, Meta, UnsetType

from tesgw.api.fields import StrictBoolean, StrictInteger, StrictNumber, StringMap, Text

_TYPES: dict[type[fields.Field[Any]], Any] = {
    Text: str,
    StrictBoolean: bool,
    StrictInteger: int,
    StrictNumber: int | float,
    StringMap: dict[str, str],
}


def accept(document: Any, clean: type[msgspec.Struct]) -> dict[str, Any] | None:
    """What the schema loads from this document, before it looks at the whole; None: only the schema can tell."""
    try:
        loaded: dict[str, Any] = msgspec.to_builtins(msgspec.convert(document, clean))
    except msgspec.ValidationError:
        return None
    return loaded


def clean_type(schema: Schema) -> type[msgspec.Struct]:
    """The type of documents in which this schema finds nothing wrong and nothing to leave out but unknown fields.

    Fields and validators have to be of kinds that are known here.
    """
    members = [_member(name, field) for name, field in schema.load_fields.items()]
    return msgspec.defstruct(type(schema).__name__, members, kw_only=True)


def _member(name: str, field: fields.Field[Any]) -> tuple[str, Any] | tuple[str, Any, Any]:
    if field.required:
        return name, _type(field)
    if field.load_default is missing:
        return name, _type(field) | UnsetType, UNSET
    return name, _type(field), field.load_default


def _type(field: Any) -> Any:
    match field:
        case fields.Nested():
            kind: Any = clean_type(field.schema)
            kind = list[kind] if field.many else kind
        case fields.List():
            kind = list[_type(field.inner)]  # type: ignore[misc]  # made at run time
        case _:
            kind = _TYPES[type(field)]
    for validator in field.validators:
        kind = _narrowed(kind, validator)
    return kind


def _narrowed(kind: Any, validator: Validator) -> Any:
    match validator:
        case OneOf():
            return Literal[tuple(validator.choices)]
        case Length():
            return Annotated[kind, Meta(min_length=validator.min, max_length=validator.max)]
        case Range():
            # msgspec has bounds for `int` and for `float`, not for `int | float`.
            return Union[*(Annotated[each, Meta(ge=validator.min, le=validator.max)] for each in get_args(kind) or [kind])]
    raise TypeError(f"{validator!r} has no counterpart in msgspec")
