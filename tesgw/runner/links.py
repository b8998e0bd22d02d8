"""Links of images on the way to the directories that a job names: two names of one directory have to be one directory.

The engine follows them when it mounts, so of two mounts that mean one place one would hide the other.
"""

from __future__ import annotations

import posixpath
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from tesgw import paths
from tesgw.errors import StageError
from tesgw.model import FileType, Input
from tesgw.paths import is_within
from tesgw.runner.engine import Look
from tesgw.runner.resolve import MAX_LINKS, split

Links = Mapping[str, str]
"""The path of each link, itself free of links, and where it leads in the end."""


def follow(path: str, links: Links) -> str:
    """Where a path leads; beyond the last link by name only."""
    for _ in range(MAX_LINKS):
        link = next((link for link in links if is_within(path, link)), None)
        if link is None:
            return path
        path = links[link] + path[len(link) :]
    raise StageError(f"The images of this task have links that lead in circles, to {path} too. Name other paths.")


async def find(hiding: Iterable[str], named: Iterable[str], look: Callable[[str], Awaitable[Look]]) -> dict[str, str]:
    """The links on the way to these paths in an image. `hiding` are mounted, so nothing below them is the image's.

    StageError for a link that leads where no task may put anything.
    """
    links: dict[str, str] = {}
    hidden: list[str] = []

    async def real(path: str) -> str:
        done, todo = "/", split(path)
        for index, name in enumerate(todo, 1):
            done = posixpath.normpath(posixpath.join(done, name))
            here = Look(is_filled=False) if any(is_within(done, directory) for directory in hidden) else await look(done)
            if here.link:
                link, done = done, await real(posixpath.join(posixpath.dirname(done), here.link))
                links[link] = _checked(link, done)
            elif not here.is_filled:
                return posixpath.normpath(posixpath.join(done, *todo[index:]))
        return done

    for path in hiding:
        hidden.append(await real(path))
    for path in named:
        await real(path)
    return links


def check_distinct(what: str, named: Iterable[str], links: Links) -> None:
    """StageError if two of these paths are one place by the links."""
    names: dict[str, str] = {}
    for path in named:
        other = names.setdefault(follow(path, links), path)
        if other != path:
            raise StageError(f"The {what} {other} and {path} are one place in the task's image: {_ADVICE}")


def merge(images: Iterable[Links], inputs: Sequence[Input]) -> dict[str, str]:
    """The links of all images of a job in one. StageError for inputs that would be one file or directory."""
    found = {link: target for of_one in images for link, target in of_one.items()}
    # None behind another: the tree gets these links, and the host must not follow one while making the next.
    links = {link: found[link] for link in found if follow(posixpath.dirname(link), found) == posixpath.dirname(link)}
    check_distinct("inputs", (item.path for item in inputs), links)
    for item in inputs:
        if item.type is FileType.FILE and item.path in links:
            raise StageError(f"The input {item.path} is a file, but a directory in the task's image: {_ADVICE}")
    return links


_ADVICE = "a link makes it so. Use another path or image."


def _checked(link: str, target: str) -> str:
    try:
        return paths.clean_file(target)
    except ValueError as error:
        raise StageError(f"A link in the task's image leads from {link} to {target}: {error}. Use another path.") from error
