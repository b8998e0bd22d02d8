"""GA4GH's TES 1.1 as a judge of documents; `data/` holds it word for word."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # it has no types
from jsonschema import Draft4Validator  # type: ignore[import-untyped]  # it has no types
from referencing import Registry
from referencing.jsonschema import DRAFT4

PATH = Path(__file__).parent / "data" / "tes-1.1.openapi.yaml"
BASE = "/ga4gh/tes/v1"


@cache
def specification() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(PATH.read_text())
    return document


def faults(schema: str, document: Any, *, is_running: bool = False) -> list[str]:
    """What is wrong with a document by the specification, keys that it does not name included.

    The executor of a running task may lack its exit code, the one thing that the specification has no answer to.
    """
    spec = copy.deepcopy(specification())
    for known in spec["components"]["schemas"].values():
        if "properties" in known:
            known["additionalProperties"] = False
    if is_running:
        del spec["components"]["schemas"]["tesExecutorLog"]["required"]
    registry: Registry[Any] = Registry().with_resource("urn:tes", DRAFT4.create_resource(spec))
    validator = Draft4Validator({"$ref": f"urn:tes#/components/schemas/{schema}"}, registry=registry)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]
