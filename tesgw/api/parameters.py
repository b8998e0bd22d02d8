"""What of a task's resources and hints a backend honours, and the sentences about what it does not. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any

from tesgw.errors import InvalidTask
from tesgw.model import MissingOutputs

MISSING_OUTPUTS = "missing_outputs"
_AT = "resources.backend_parameters"


def unheeded_hints(task: Mapping[str, Any], *, has_zones: bool, has_preemptible: bool) -> Iterator[str]:
    """A sentence for each hint in the task that changes nothing here."""
    resources = task.get("resources", {})
    if resources.get("zones") and not has_zones:
        yield "resources.zones has no effect on this backend."
    if resources.get("preemptible") and not has_preemptible:
        yield "resources.preemptible has no effect on this backend."
    if any(item.get("streamable") for item in task.get("inputs", ())):
        yield "inputs.streamable has no effect on this backend: inputs are copied before the first executor."


def keep_supported(resources: dict[str, Any], supported: Container[str]) -> list[str]:
    """Reduce backend_parameters to supported ones, keys in lower case; a sentence for each that goes.

    InvalidTask if one has to go and the task is strict, or if two keys differ in case alone.
    """
    sent: Mapping[str, str] = resources.get("backend_parameters", {})
    kept: dict[str, str] = {}
    dropped = []
    for key, value in sent.items():
        if key.lower() in kept:
            raise _refused(key, "Given twice: keys are case-insensitive.")
        if key.lower() in supported:
            kept[key.lower()] = value
        elif resources.get("backend_parameters_strict"):
            raise _refused(key, "Not supported, and backend_parameters_strict is set.")
        else:
            dropped.append(f"The backend parameter {key!r} is not supported and was ignored.")
    if sent:
        resources["backend_parameters"] = kept
    return dropped


def missing_outputs(task: Mapping[str, Any]) -> MissingOutputs | None:
    """What the task itself wants done about missing outputs. InvalidTask if that is nothing we know."""
    value = task.get("resources", {}).get("backend_parameters", {}).get(MISSING_OUTPUTS)
    if value is None:
        return None
    try:
        return MissingOutputs(value)
    except ValueError:
        raise _refused(MISSING_OUTPUTS, "Must be one of: error, warn.") from None


def _refused(key: str, sentence: str) -> InvalidTask:
    return InvalidTask(f"The task is not valid: {_AT}.{key}: {sentence}", {f"{_AT}.{key}": [sentence]})
