"""marshmallow fields that take JSON at its word: no "8" for 8, no 8.5 for 8, no "yes" for true."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, missing


class Text(fields.String):
    """A string. Most of a task is strings without rules, or none: they skip marshmallow's five calls for each."""

    def deserialize(self, value: Any, attr: str | None = None, data: Mapping[str, Any] | None = None, **kwargs: Any) -> Any:
        if type(value) is str and not self.validators:
            return value
        if value is missing and not self.required:
            return self.load_default
        return super().deserialize(value, attr, data, **kwargs)


class StrictBoolean(fields.Boolean):
    """`true` or `false`."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class StrictInteger(fields.Integer):
    """A number without a fraction; not `true`, not 8.0."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> int:
        if type(value) is not int:
            raise self.make_error("invalid", input=value)
        return value


class StrictNumber(fields.Float):
    """A finite number, as it was sent: 8 stays 8."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> float:
        if type(value) not in (int, float) or not math.isfinite(value):
            raise self.make_error("invalid", input=value)
        number: float = value
        return number


class QueryInteger(fields.Integer):
    """Digits, as a query string holds them: no sign, blank, underscore or digit of another script."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> int:
        if not re.fullmatch("[0-9]{1,9}", value):
            raise self.make_error("invalid", input=value)
        return int(value)


class StringMap(fields.Dict):
    """An object whose values are strings; with `drops_nulls`, members that are null count as not sent."""

    def __init__(self, *, drops_nulls: bool = False, **kwargs: Any) -> None:
        super().__init__(keys=fields.String(), values=fields.String(), **kwargs)
        self.drops_nulls = drops_nulls

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            raise self.make_error("invalid")
        kept = {key: text for key, text in value.items() if text is not None} if self.drops_nulls else value
        if wrong := {key: ["Not a valid string."] for key, text in kept.items() if not isinstance(text, str)}:
            raise ValidationError(wrong)
        return kept
