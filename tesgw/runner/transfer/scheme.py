"""What a storage scheme has to do, and what schemes share."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import ClassVar, TypeVar
from urllib.parse import quote

from tesgw.errors import StageError
from tesgw.model import FileType, OutputFile
from tesgw.runner.files import Draft, Namespace, Outside

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE = 8  # small files: latency, not bandwidth, is what they cost


class Scheme(ABC):
    """Storage behind some URL schemes. Methods raise StageError with a sentence; they may be cancelled, and repeated."""

    names: ClassVar[tuple[str, ...]]

    @abstractmethod
    async def fetch(self, url: str, type: FileType, to: Namespace, path: str) -> None:
        """Put what `url` names at `path`, whose directory exists, writable for any user. Again: the same, replaced."""

    @abstractmethod
    async def deliver(self, source: Namespace, path: str, url: str) -> list[OutputFile]:
        """Store the file or directory at `path` as `url`. Again: the same, replaced."""


class Special(Scheme):
    """Storage that is told by more than the URL's scheme."""

    @abstractmethod
    def claims(self, url: str) -> bool:
        """Whether the URL is one of this storage."""


def shown(url: str) -> str:
    """The URL for people: without credentials, query and fragment."""
    return re.sub(r"^([^/]*//)[^/?#]*@", r"\1", re.split(r"[?#]", url, maxsplit=1)[0])


def printable(path: str) -> str:
    """The path as valid Unicode, which names on a disk need not be."""
    return os.fsencode(path).decode("utf-8", "replace")


def problem(action: str, name: str, error: OSError) -> StageError:
    """The sentence for a user who asked to read or write this."""
    if isinstance(error, Outside):
        return StageError(f"{name} is outside the directories that this gateway may use: LOCAL_FILE_ROOTS allows them.")
    if isinstance(error, FileNotFoundError):
        return StageError(f"{name} does not exist.")
    if error.errno == errno.ENOSPC:
        return StageError(f"The gateway cannot {action} {name}: its disk is full.")
    return StageError(f"The gateway cannot {action} {name}: {error.strerror or error}.")


def _below(url: str, path: str) -> str:
    """The URL of a file below a directory's; a query, which may be a signature, stays."""
    base, mark, query = url.partition("?")
    return f"{base.rstrip('/')}/{quote(os.fsencode(path))}{mark}{query}"


def files_of(source: Namespace, path: str, url: str) -> list[tuple[str, str]]:
    """The files that an output stands for, flattened: path and URL each. For storage that has no directories."""
    if not stat.S_ISDIR(source.stat(path).st_mode):
        return [(path, url)]
    entries = [entry.path for entry in source.walk(path) if not entry.is_directory]
    return [(f"{path.rstrip('/')}/{entry}", _below(url, entry)) for entry in entries]


@contextlib.asynccontextmanager
async def drafted(to: Namespace, path: str, tag: str) -> AsyncIterator[Draft]:
    """A file at `path` that appears when the block ends, and does not when it fails or is cancelled."""
    draft = to.create(path, tag=tag)
    try:
        yield draft
    except BaseException:
        await asyncio.to_thread(draft.discard)  # freeing many gigabytes takes a while
        raise
    draft.commit()


async def a_few_at_a_time(work: Callable[[T], Awaitable[R]], items: Iterable[T]) -> list[R]:
    """`work` for each item, in the order of the items; the first failure ends the rest."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(item: T) -> R:
        async with slots:
            return await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in items]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
