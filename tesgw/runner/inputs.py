"""Before the first executor: the job's tree with its directories, and the inputs in it."""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import shutil
from collections.abc import Mapping
from pathlib import Path

from tesgw.errors import StageError
from tesgw.model import FileType, Input, Job
from tesgw.paths import is_within
from tesgw.runner import mounts
from tesgw.runner.files import Namespace
from tesgw.runner.links import Links, follow
from tesgw.runner.transfer import Transfers
from tesgw.runner.transfer.scheme import a_few_at_a_time, problem
from tesgw.runner.world import JobDir


async def stage_in(job: Job, directory: JobDir, volumes: Mapping[str, Path], links: Links, transfers: Transfers) -> None:
    """Make the job's directories and fetch its inputs, by the links of its images; again: the same.

    StageError for what cannot be had.
    """
    volumes = {follow(path, links): source for path, source in volumes.items()}
    files = Namespace({"/": directory.tree, **volumes})
    await asyncio.to_thread(_prepare, job, directory, volumes, links)
    await asyncio.to_thread(_make_directories, job, volumes, links, files)

    async def fetch(item: Input) -> None:
        if item.in_place:
            await asyncio.to_thread(_check, files, item)
        elif item.content or not item.url:
            await transfers.write(item.content or "", files, item.path)
        else:
            await transfers.fetch(item.url, item.type, files, item.path)

    # Directories first: a file that is put into one of them has to win.
    for kind in (FileType.DIRECTORY, FileType.FILE):
        await a_few_at_a_time(fetch, [item for item in job.inputs if item.type is kind])


def _prepare(job: Job, directory: JobDir, volumes: Mapping[str, Path], links: Links) -> None:
    free = shutil.disk_usage(directory.path).free
    if (job.resources.disk_gb or 0) * 10**9 > free:
        raise StageError(
            f"The task asks for disk_gb={job.resources.disk_gb:g}, but only {free / 10**9:.1f} GB are free here."
        )
    tree = Namespace({"/": directory.tree})
    for volume in volumes:  # else the engine makes a root-owned mount point
        tree.make_dirs(volume)
    for link, target in links.items():
        tree.make_dirs(posixpath.dirname(link))
        with contextlib.suppress(FileExistsError):
            mounts.in_tree(directory.tree, link).symlink_to(target)


def _make_directories(job: Job, volumes: Mapping[str, Path], links: Links, files: Namespace) -> None:
    parents = {posixpath.dirname(item.path) for item in job.inputs} - {"/"}
    for path in sorted({*mounts.always(job), job.layout.shared, *job.directories, *job.volumes, *parents}):
        in_volume = any(is_within(follow(path, links), volume) for volume in volumes)
        files.make_dirs(path, keep_existing=in_volume)


def _check(files: Namespace, item: Input) -> None:
    try:
        files.stat(item.path)
    except OSError as error:
        raise problem("read", item.path, error) from error
