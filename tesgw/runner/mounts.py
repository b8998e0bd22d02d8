"""Which directories of a job are mounted into an executor's container, and where its files are then. All but links: pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tesgw.errors import StageError
from tesgw.model import FileType, Input, Job
from tesgw.paths import is_within
from tesgw.runner.engine import Look
from tesgw.runner.links import Links, check_distinct, find, follow

TMP = "/tmp"


@dataclass(frozen=True, slots=True)
class Plan:
    """What executors of one image get mounted, as paths of the container on which the image has no links; all but `volumes`
    lie in the job's tree."""

    volumes: Mapping[str, Path]
    directories: tuple[str, ...]
    files: tuple[str, ...]
    """Single files: inputs in directories that the image fills."""
    links: Links
    """The image's, on the way to what the job names."""
    places: Links
    """Those of all images of the job, by which inputs were put into the tree."""

    def follow(self, path: str) -> str:
        """The path as the image has it without links."""
        return follow(path, self.links)

    def place(self, path: str) -> str:
        """Where the tree has what a container has at `path`."""
        return follow(self.follow(path), self.places)

    def covers(self, path: str) -> bool:
        """Whether what the container has at `path` lies on the host, apart from links that executors made."""
        path = self.follow(path)
        return path in self.files or _is_below(path, (*self.directories, *self.volumes))

    def sources(self, tree: Path) -> Iterator[tuple[Path, str]]:
        """Each mount: where it is for this process, and where for the container."""
        for target in (*self.directories, *self.files):
            yield in_tree(tree, self.place(target)), target
        for target, source in self.volumes.items():
            yield source, target

    def view(self, tree: Path) -> dict[str, Path]:
        """The mounted directories of the container, for a `Namespace`."""
        return {**{target: in_tree(tree, self.place(target)) for target in self.directories}, **self.volumes}


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


def are_named(job: Job, volumes: Mapping[str, Path]) -> bool:
    """Whether anybody named a path for this job, so that it matters what images have there."""
    return bool(job.directories or job.inputs or any(not _is_below(volume, always(job)) for volume in volumes))


async def plan(
    job: Job, volumes: Mapping[str, Path], look: Callable[[str], Awaitable[Look]], links: Links, places: Links
) -> Plan:
    """What to mount over an image that `look` looks into. StageError if something has no place in it.

    A named directory below a mounted one lies in that one's tree already.
    """
    check_distinct("gateway's directories", volumes, links)
    there = {follow(path, links): source for path, source in volumes.items()}
    mounted: list[str] = []
    for path in _followed(always(job), links):
        if not _is_below(path, (*mounted, *there)):
            mounted.append(path)
    for path in _followed(candidates(job, volumes), links):
        if not _is_below(path, (*mounted, *there)) and not await _is_filled(path, look):
            mounted.append(path)
    for volume in job.volumes:
        if not _is_below(follow(volume, links), (*mounted, *there)):
            raise StageError(f"The volume {volume} would hide files of the image. Name a directory that the image has not.")
    loose = [item for item in job.inputs if not _is_below(follow(item.path, links), (*mounted, *there))]
    files = tuple(follow(_single(item), links) for item in loose)
    # The engine follows a link that the image has in place of a file, too.
    check_distinct("inputs", (item.path for item in job.inputs), {**links, **await find((), files, look)})
    made = Plan(volumes=there, directories=tuple(mounted), files=files, links=links, places=places)
    if links != places:
        _check_places(made, job, volumes)
    return made


def check(plan: Plan, tree: Path) -> None:
    """StageError if an earlier executor put a link where the next one gets a mount: the engine would follow it on the host.

    Executors run one after another, so nothing changes between this and the start.
    """
    for target in (*plan.directories, *plan.files):
        if leads_through_link(tree, plan.place(target)):
            raise StageError(f"An executor replaced {target} by a symbolic link, so it cannot be mounted for the next one.")


def leads_through_link(tree: Path, path: str) -> bool:
    """Whether anything on the path, itself included, is a link in the tree."""
    place = in_tree(tree, path)
    return any(at.is_symlink() for at in (place, *place.parents) if at != tree and at.is_relative_to(tree))


def _followed(named: Iterable[str], links: Links) -> list[str]:
    return sorted({follow(path, links) for path in named})


async def _is_filled(path: str, look: Callable[[str], Awaitable[Look]]) -> bool:
    # From the top: engines name a new directory in each task, but always below the same one.
    above = [str(parent) for parent in PurePosixPath(path).parents]
    for directory in (*reversed(above[:-1]), path):
        if not (await look(directory)).is_filled:
            return False
    return True


def _check_places(plan: Plan, job: Job, volumes: Mapping[str, Path]) -> None:
    """StageError if what is mounted at a named path is not what the job keeps for it: images may disagree about links."""
    kept = {follow(volume, plan.places) for volume in volumes}
    mounted = (*plan.directories, *plan.files, *plan.volumes)
    for path in (*always(job), *job.directories, *(item.path for item in job.inputs)):
        real = plan.follow(path)
        target = max((target for target in mounted if is_within(real, target)), key=len, default=None)
        if target is None:
            continue
        source = follow(target, plan.places)
        is_misplaced = source + real[len(target) :] != follow(path, plan.places)
        if is_misplaced or _is_below(source, kept) != (target in plan.volumes):
            raise StageError(
                f"The images of this task have different links on the way to {path}. Use a path that is the same in all."
            )


def _single(item: Input) -> str:
    if item.type is FileType.DIRECTORY:
        raise StageError(
            f"The input directory {item.path} would hide files of the image. Give it a path that the image has not."
        )
    return item.path


def _is_below(path: str, directories: Iterable[str]) -> bool:
    return any(is_within(path, directory) for directory in directories)
