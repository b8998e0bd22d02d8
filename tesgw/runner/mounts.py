"""Which directories of a job are mounted into an executor's container, and where its files are then. All but links: pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tesgw.errors import StageError
from tesgw.model import FileType, Input, Job
from tesgw.paths import is_within

TMP = "/tmp"


@dataclass(frozen=True, slots=True)
class Plan:
    """What executors of one image get mounted, as paths of the container; all but `volumes` lie in the job's tree."""

    volumes: Mapping[str, Path]
    directories: tuple[str, ...]
    files: tuple[str, ...]
    """Single files: inputs in directories that the image fills."""

    def covers(self, path: str) -> bool:
        """Whether what the container has at `path` lies on the host, apart from links."""
        return path in self.files or _is_below(path, (*self.directories, *self.volumes))

    def sources(self, tree: Path) -> Iterator[tuple[Path, str]]:
        """Each mount: where it is for this process, and where for the container."""
        for target in (*self.directories, *self.files):
            yield in_tree(tree, target), target
        for target, source in self.volumes.items():
            yield source, target

    def view(self, tree: Path) -> dict[str, Path]:
        """The mounted directories of the container, for a `Namespace`."""
        return {**{target: in_tree(tree, target) for target in self.directories}, **self.volumes}


def in_tree(tree: Path, path: str) -> Path:
    """Where the tree keeps what the container has at `path`."""
    return tree / path.lstrip("/")


def always(job: Job) -> tuple[str, ...]:
    """Directories mounted whatever the image holds there."""
    return (job.layout.task_dir, TMP)


def candidates(job: Job, volumes: Mapping[str, Path]) -> list[str]:
    """The directories that are mounted if the image lacks them or has them empty, parents first."""
    wanted = {*job.directories, *job.volumes, *(item.path for item in job.inputs if item.type is FileType.DIRECTORY)}
    return sorted(path for path in wanted - {"/"} if not _is_below(path, (*always(job), *volumes)))


async def plan(job: Job, volumes: Mapping[str, Path], is_filled: Callable[[str], Awaitable[bool]]) -> Plan:
    """What to mount over an image of which `is_filled` knows the directories. StageError if something has no place in it.

    A named directory below a mounted one lies in that one's tree already.
    """
    mounted = list(always(job))
    for path in candidates(job, volumes):
        if not _is_below(path, mounted) and not await is_filled(path):
            mounted.append(path)
    places = (*mounted, *volumes)
    for volume in job.volumes:
        if not _is_below(volume, places):
            raise StageError(f"The volume {volume} would hide files of the image. Name a directory that the image has not.")
    loose = [item for item in job.inputs if not _is_below(item.path, places)]
    return Plan(volumes=volumes, directories=tuple(mounted), files=tuple(_single(item) for item in loose))


def check(plan: Plan, tree: Path) -> None:
    """StageError if an earlier executor put a link where the next one gets a mount: the engine would follow it on the host.

    Executors run one after another, so nothing changes between this and the start.
    """
    for target in (*plan.directories, *plan.files):
        if leads_through_link(tree, target):
            raise StageError(f"An executor replaced {target} by a symbolic link, so it cannot be mounted for the next one.")


def leads_through_link(tree: Path, path: str) -> bool:
    """Whether anything on the path, itself included, is a link in the tree."""
    place = in_tree(tree, path)
    return any(at.is_symlink() for at in (place, *place.parents) if at != tree and at.is_relative_to(tree))


def _single(item: Input) -> str:
    if item.type is FileType.DIRECTORY:
        raise StageError(
            f"The input directory {item.path} would hide files of the image. Give it a path that the image has not."
        )
    return item.path


def _is_below(path: str, directories: tuple[str, ...] | list[str]) -> bool:
    return any(is_within(path, directory) for directory in directories)
