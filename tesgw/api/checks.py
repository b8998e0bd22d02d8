"""The rules of a task document that a single field cannot see. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from marshmallow import ValidationError

from tesgw import paths
from tesgw.model import FileType

CONTENT_MAX_BYTES = 1024 * 1024
# Linux starts no program with more: see "Limits on size of arguments and environment" in execve(2).
ARGUMENT_MAX_BYTES = 32 * 4096 - 1
ARGUMENTS_MAX_BYTES = 2_000_000  # a quarter of the usual stack of 8 MiB, less what the runner adds

Item = Mapping[str, Any]


class Findings(dict[str, list[str]]):
    """Field paths, each with the sentences about it."""

    def add(self, field: str, sentence: str) -> None:
        self.setdefault(field, []).append(sentence)

    def path(self, field: str, path: str, check: Callable[[str], str] = paths.clean_file) -> str:
        """The path as `check` shortens it; if it refuses the path, a finding, and the path as it is."""
        try:
            return check(path)
        except ValueError as reason:
            self.add(field, f"{reason}.")
            return path


def check_task(task: Item) -> None:
    """Raise ValidationError with all that is wrong in a task whose fields are right one by one."""
    found = Findings()
    _check_inputs(task.get("inputs", ()), found)
    for index, output in enumerate(task.get("outputs", ())):
        _check_output(f"outputs.{index}", output, found)
    for index, executor in enumerate(task["executors"]):
        _check_executor(f"executors.{index}", executor, found)
    for index, volume in enumerate(task.get("volumes", ())):
        found.path(f"volumes.{index}", volume, paths.check_volume)
    if found:
        raise ValidationError(dict(found))


def _check_inputs(inputs: Sequence[Item], found: Findings) -> None:
    places: dict[str, int] = {}
    for index, item in enumerate(inputs):
        _check_source(f"inputs.{index}", item, found)
        path = found.path(f"inputs.{index}.path", item["path"])
        if places.setdefault(path, index) != index:
            found.add(f"inputs.{index}.path", "Another input has this path.")
    # Component by component, so that what lies below a path comes right after it.
    for above, below in pairwise(sorted(places, key=lambda path: path.split("/"))):
        if inputs[places[above]]["type"] == FileType.FILE and paths.is_within(below, above):
            found.add(f"inputs.{places[below]}.path", f"{above!r} is an input of type FILE: nothing can lie below it.")


def _check_source(at: str, item: Item, found: Findings) -> None:
    content = item.get("content")
    if not item.get("url") and content is None:
        found.add(f"{at}.url", "An input needs a url or a content.")
    if content is None:
        return
    if len(content) > CONTENT_MAX_BYTES or len(content.encode()) > CONTENT_MAX_BYTES:
        found.add(f"{at}.content", "Longer than 1 MiB: give it a url.")
    if item["type"] == FileType.DIRECTORY and (content or not item.get("url")):
        found.add(f"{at}.content", "Content makes a file, so the type cannot be DIRECTORY.")


def _check_output(at: str, item: Item, found: Findings) -> None:
    path = found.path(f"{at}.path", item["path"])
    if not paths.has_wildcards(path):
        return
    if not item.get("path_prefix"):
        found.add(f"{at}.path_prefix", "Required, because path has wildcards.")
        return
    prefix = found.path(f"{at}.path_prefix", item["path_prefix"], paths.clean)
    if paths.has_wildcards(prefix) or not paths.is_within(path, prefix):
        found.add(f"{at}.path_prefix", "Must be a directory above path, without wildcards.")


def _check_executor(at: str, executor: Item, found: Findings) -> None:
    if not executor["command"][0]:
        found.add(f"{at}.command.0", "The program to execute cannot be empty.")
    if executor.get("workdir"):
        found.path(f"{at}.workdir", executor["workdir"], paths.clean)
    for stream in ("stdin", "stdout", "stderr"):
        # Empty is how some clients say nothing.
        if executor.get(stream):
            found.path(f"{at}.{stream}", executor[stream])
    for name in executor.get("env", ()):
        if not name or "=" in name:
            found.add(f"{at}.env.{name}", "The name of a variable cannot be empty or hold '='.")
    _check_sizes(at, executor["command"], executor.get("env", {}), found)


def _check_sizes(at: str, command: Sequence[str], env: Mapping[str, str], found: Findings) -> None:
    if sum(map(len, (*command, *env, *env.values()))) * 4 < ARGUMENT_MAX_BYTES:  # the usual case; 4 bytes a character
        return
    named = {f"command.{index}": argument for index, argument in enumerate(command)}
    named |= {f"env.{name}": f"{name}={value}" for name, value in env.items()}
    sizes = {name: len(text.encode()) for name, text in named.items()}
    for name, size in sizes.items():
        if size > ARGUMENT_MAX_BYTES:
            found.add(f"{at}.{name}", f"Longer than {ARGUMENT_MAX_BYTES} bytes: put it into a file, by an input.")
    if sum(sizes.values()) + 9 * len(sizes) > ARGUMENTS_MAX_BYTES:
        found.add(f"{at}.command", f"With env, more than {ARGUMENTS_MAX_BYTES} bytes: put it into a file, by an input.")
