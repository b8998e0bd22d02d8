"""What is decided before a task runs: `plan` turns a task and a layout into a job. Pure."""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Iterator
from urllib.parse import unquote

from tesgw import paths
from tesgw.model import Executor, FileType, Input, Job, Layout, Output, Task


def plan(task: Task, layout: Layout) -> Job:
    """The job for this attempt at the task. The same arguments give the same job; ValueError for a path no task may name."""
    inputs = tuple(_input(item, layout) for item in task.inputs)
    outputs = tuple(_output(item, layout) for item in task.outputs)
    executors = tuple(_executor(item, layout) for item in task.executors)
    volumes = tuple(dict.fromkeys(paths.check_volume(volume) for volume in task.volumes))
    named = {*_of_files(inputs, outputs), *_of_executors(executors), *volumes}
    return Job(
        id=task.job_id,
        name=task.name,
        tags=task.tags,
        executors=executors,
        inputs=inputs,
        outputs=outputs,
        directories=tuple(sorted(named - {"/"})),
        volumes=volumes,
        resources=task.resources,
        layout=layout,
        missing_outputs=task.missing_outputs,
    )


def _input(item: Input, layout: Layout) -> Input:
    path = paths.clean_file(item.path)
    in_place = not item.content and _names(item.url, path, layout)
    return dataclasses.replace(item, path=path, in_place=in_place)


def _output(item: Output, layout: Layout) -> Output:
    path = paths.clean_file(item.path)
    if not paths.has_wildcards(path):
        return dataclasses.replace(item, path=path, path_prefix=None, in_place=_names(item.url, path, layout))
    prefix = paths.clean(item.path_prefix or "/")
    return dataclasses.replace(item, path=path, path_prefix=prefix, in_place=_names(item.url, prefix, layout))


def _executor(item: Executor, layout: Layout) -> Executor:
    def cleaned(path: str | None) -> str | None:
        return paths.clean_file(path) if path else None

    return dataclasses.replace(
        item,
        workdir=paths.clean(item.workdir) if item.workdir else None,
        stdin=cleaned(item.stdin),
        stdout=cleaned(item.stdout),
        stderr=cleaned(item.stderr),
        env={**layout.environment, **item.env},
    )


def _names(url: str | None, path: str, layout: Layout) -> bool:
    """Whether the URL means this very path on a volume that outlives the task."""
    if not any(paths.is_within(path, volume) for volume in layout.outliving):
        return False
    raw = (url or "").removeprefix("file://").removeprefix("localhost")
    return any(_is_path(candidate, path) for candidate in (unquote(raw), raw))


def _is_path(candidate: str, path: str) -> bool:
    try:
        return paths.clean(candidate) == path
    except ValueError:
        return False


def _of_files(inputs: tuple[Input, ...], outputs: tuple[Output, ...]) -> Iterator[str]:
    items: tuple[Input | Output, ...] = (*inputs, *outputs)
    for item in items:
        if isinstance(item, Output) and paths.has_wildcards(item.path):
            yield paths.literal_parent(item.path)
        else:
            yield item.path if item.type is FileType.DIRECTORY else posixpath.dirname(item.path)


def _of_executors(executors: tuple[Executor, ...]) -> Iterator[str]:
    for executor in executors:
        yield from (posixpath.dirname(path) for path in (executor.stdin, executor.stdout, executor.stderr) if path)
        if executor.workdir:
            yield executor.workdir
