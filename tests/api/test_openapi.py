"""The served document: valid OpenAPI 3, and all of GA4GH's in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV30SpecValidator

from tests.api.conftest import Gateway
from tests.api.specification import BASE, specification


@pytest.fixture
async def document(gateway: Gateway) -> dict[str, Any]:
    served = await gateway.get("/openapi.json", base="")
    return dict(served)


def _parameters(operation: dict[str, Any]) -> set[tuple[str, str]]:
    shared = specification()["components"]["parameters"]
    listed = [
        shared[item["$ref"].rpartition("/")[2]] if "$ref" in item else item for item in operation.get("parameters", ())
    ]
    return {(item["in"], item["name"]) for item in listed}


def _operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in specification()["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


async def test_the_document_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.0.")
    assert list(OpenAPIV30SpecValidator(document).iter_errors()) == []


async def test_two_gateways_in_one_process_serve_the_same_document(document: dict[str, Any], gateway_with: Any) -> None:
    other = await gateway_with()

    assert await other.get("/openapi.json", base="") == document


@pytest.mark.parametrize("base", [BASE, "/v1"])
async def test_it_has_every_operation_and_parameter_of_the_specification(document: dict[str, Any], base: str) -> None:
    for path, method, operation in _operations():
        ours = document["paths"][base + path][method]
        assert _parameters(operation) == {(item["in"], item["name"]) for item in ours["parameters"]}
        assert ("requestBody" in operation) == ("requestBody" in ours)
        assert {"200"} <= set(ours["responses"])


async def test_it_has_every_schema_and_property_of_the_specification(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name, schema in specification()["components"]["schemas"].items():
        # The enumerations stand where they are used; the service's own types come from another specification.
        if schema.get("type") != "object":
            continue
        for field, theirs in schema.get("properties", {}).items():
            ours = schemas[name]["properties"][field]
            assert theirs.get("type", ours.get("type")) == ours.get("type"), (name, field)
        # But for the exit code of an executor that still runs.
        assert set(schema.get("required", ())) - {"exit_code"} <= set(schemas[name].get("required", ()))
    enums = {name: specification()["components"]["schemas"][name]["enum"] for name in ("tesState", "tesFileType")}
    assert sorted(schemas["tesTask"]["properties"]["state"]["enum"]) == sorted(enums["tesState"])
    assert schemas["tesInput"]["properties"]["type"]["enum"] == enums["tesFileType"]


async def test_read_only_fields_are_marked(document: dict[str, Any]) -> None:
    properties = document["components"]["schemas"]["tesTask"]["properties"]

    assert [name for name, field in properties.items() if field.get("readOnly")] == ["id", "state", "logs", "creation_time"]
