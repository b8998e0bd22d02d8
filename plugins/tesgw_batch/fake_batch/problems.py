"""What Azure Batch refuses, and the answer that says so.

The codes are those of https://learn.microsoft.com/rest/api/batchservice/batch-status-and-error-codes.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from aiohttp import web


class Problem(Exception):
    """A request that is answered with an error. `values` are its details."""

    def __init__(self, status: int, code: str, message: str, **values: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.values = values

    def body(self) -> dict[str, Any]:
        """As it stands in an answer, or in the outcome of one task of a collection."""
        text = f"{self.message}\nRequestId:{uuid.uuid4()}\nTime:{datetime.now(UTC).isoformat()}"
        body: dict[str, Any] = {"code": self.code, "message": {"lang": "en-US", "value": text}}
        if self.values:
            body["values"] = [{"key": key, "value": value} for key, value in self.values.items()]
        return body

    def answer(self) -> web.Response:
        return web.json_response({"odata.metadata": "#error", **self.body()}, status=self.status)


def invalid(name: str, value: object, reason: str) -> Problem:
    """A property of a body has a value that it must not have."""
    text = "The value provided for one of the properties in the request body is invalid."
    return Problem(400, "InvalidPropertyValue", text, PropertyName=name, PropertyValue=str(value), Reason=reason)


def missing(name: str) -> Problem:
    text = "A required property was not specified in the request body."
    return Problem(400, "MissingRequiredProperty", text, PropertyName=name)


def bad_query(name: str, value: str, reason: str) -> Problem:
    text = "Value for one of the query parameters specified in the request URI is invalid."
    return Problem(
        400, "InvalidQueryParameterValue", text, QueryParameterName=name, QueryParameterValue=value, Reason=reason
    )


def absent(kind: str) -> Problem:
    """There is no such pool, job, task, node."""
    return Problem(404, f"{kind}NotFound", f"The specified {kind.lower()} does not exist.")


def conflict(code: str, message: str) -> Problem:
    return Problem(409, code, message)


def unknown_here(what: str) -> Problem:
    """Azure Batch has it, its double has not."""
    return Problem(501, "NotImplemented", f"The double of Azure Batch has no {what}.")
