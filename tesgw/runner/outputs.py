"""After the last executor: finding each output where the executors left it, and delivering it."""

from __future__ import annotations

import asyncio
import os
import posixpath
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from tesgw.errors import StageError
from tesgw.model import FileType, Output, OutputFile
from tesgw.paths import has_wildcards, is_within, literal_parent
from tesgw.runner.archive import Captures
from tesgw.runner.engine import Engine
from tesgw.runner.files import Namespace
from tesgw.runner.mounts import Plan, in_tree
from tesgw.runner.resolve import UNREACHABLE
from tesgw.runner.transfer import Transfers
from tesgw.runner.transfer.scheme import printable
from tesgw.runner.world import JobDir


@dataclass(frozen=True, slots=True)
class Ran:
    """An executor that has ended: its stopped container, and what was mounted there."""

    container: str
    plan: Plan


@dataclass(slots=True)
class Delivery:
    """What became of the outputs."""

    files: list[OutputFile] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


async def stage_out(
    outputs: Sequence[Output], ran: Sequence[Ran], directory: JobDir, engine: Engine, transfers: Transfers
) -> Delivery:
    """Deliver all outputs that there are; again: the same."""
    delivery = Delivery()
    for output in outputs:
        try:
            source, paths = await _find(output, ran, directory, engine)
        except StageError as error:
            delivery.failures.append(f"The output {output.path} could not be read: {error}")
            continue
        if not paths:
            (delivery.unmatched if has_wildcards(output.path) else delivery.missing).append(output.path)
        for path in paths:
            try:
                delivery.files += await _deliver(output, source, path, transfers)
            except StageError as error:
                delivery.failures.append(f"The output {output.path} could not be delivered: {error}")
    return delivery


async def _find(output: Output, ran: Sequence[Ran], directory: JobDir, engine: Engine) -> tuple[Namespace, list[str]]:
    """The files that an output names, in the view of the last executor that has any."""
    view = Namespace({})
    for one in reversed(ran):
        view = await _view(output, one, directory, engine)
        paths = await asyncio.to_thread(_matches, view, output)
        if paths:
            return view, paths
    return view, []


async def _view(output: Output, one: Ran, directory: JobDir, engine: Engine) -> Namespace:
    """The files of a stopped executor as far as this output needs them, taken out of its container where they lie there."""
    if one.plan.follow(output.path) in one.plan.files:
        return Namespace({"/": directory.tree})
    rest = Path(tempfile.mkdtemp(dir=directory.captured))
    mounted = one.plan.view(directory.tree)
    for target in mounted:  # a path is followed from the root, so what lies above a mount has to be there
        in_tree(rest, target).mkdir(parents=True, exist_ok=True)
    captures = Captures(engine, one.container, one.plan, rest)
    is_pattern = has_wildcards(output.path)
    place = literal_parent(output.path) if is_pattern else output.path
    await captures.take(place, output.path if is_pattern else "")
    for target in await asyncio.to_thread(lambda: list(_links_out(directory.tree, place, one.plan))):
        await captures.take_linked(target)
    captures.finish()
    return Namespace({"/": rest, **mounted})


def _links_out(tree: Path, place: str, plan: Plan) -> Iterator[str]:
    """Where links lead to that are on the way to a path of the tree, at it or below it, and from there on.

    Executors are gone, so nothing changes meanwhile.
    """
    pending, seen = [place], set()
    mounted = [plan.place(directory) for directory in plan.directories]
    while pending:
        at = plan.place(pending.pop())
        if at in seen or not any(is_within(at, directory) for directory in mounted):
            continue
        seen.add(at)
        for target in _links(tree, at):
            pending.append(target)
            yield target


def _links(tree: Path, place: str) -> Iterator[str]:
    for step in (*reversed(PurePosixPath(place).parents), PurePosixPath(place)):
        if _is_link(in_tree(tree, str(step))):
            yield posixpath.normpath(posixpath.join(_target(tree, step), PurePosixPath(place).relative_to(step)))
            return
    for directory, names, files in os.walk(in_tree(tree, place)):
        for name in (*names, *files):
            found = Path(directory, name)
            if _is_link(found):
                yield _target(tree, PurePosixPath("/", found.relative_to(tree)))


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:  # a name that is too long for any file
        return False


def _target(tree: Path, link: PurePosixPath) -> str:
    return posixpath.normpath(posixpath.join(link.parent, os.readlink(in_tree(tree, str(link)))))


def _matches(view: Namespace, output: Output) -> list[str]:
    if has_wildcards(output.path):
        return view.glob(output.path)
    try:
        mode = view.stat(output.path).st_mode
    except UNREACHABLE:  # missing, or a link that leads nowhere
        return []
    except OSError as error:
        raise StageError(f"{error.strerror}.") from error
    return [output.path] if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else []


async def _deliver(output: Output, source: Namespace, path: str, transfers: Transfers) -> list[OutputFile]:
    url, kind = output.url, output.type
    if has_wildcards(output.path):
        url = _below(url, path.removeprefix(output.path_prefix or "/").lstrip("/"))
        kind = FileType.FILE  # each match is what it is
    if output.in_place:
        return await asyncio.to_thread(lambda: list(_in_place(source, path, url)))
    return await transfers.deliver(source, path, url, kind)


def _in_place(source: Namespace, path: str, url: str) -> Iterator[OutputFile]:
    status = source.stat(path)
    if not stat.S_ISDIR(status.st_mode):
        yield OutputFile(url=url, path=printable(path), size_bytes=status.st_size)
        return
    for entry in source.walk(path):
        if not entry.is_directory:
            below = printable(posixpath.join(path, entry.path))
            yield OutputFile(url=_below(url, entry.path), path=below, size_bytes=entry.size)


def _below(url: str, path: str) -> str:
    """The URL of something below a directory's: encoded as URLs are, unless it is a bare path; a query stays."""
    if url.startswith("/"):
        return f"{url.rstrip('/')}/{printable(path)}"
    base, mark, query = url.partition("?")
    return f"{base.rstrip('/')}/{quote(os.fsencode(path))}{mark}{query}"
