"""Inputs before the first executor, outputs after the last: finding them; `Transfers` moves them."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from tesgw.errors import StageError
from tesgw.model import FileType, Input, Job, Output, OutputFile
from tesgw.paths import has_wildcards
from tesgw.runner.files import Namespace
from tesgw.runner.resolve import UNREACHABLE
from tesgw.runner.transfer import Transfers
from tesgw.runner.transfer.scheme import a_few_at_a_time, printable, problem


async def stage_in(job: Job, view: Namespace, transfers: Transfers) -> None:
    """Put the inputs where the first executor sees them; one that is there already, in a shared directory, stays."""

    async def fetch(item: Input) -> None:
        if item.content or not item.url:
            await transfers.write(item.content or "", view, item.path)
        else:
            await transfers.fetch(item.url, item.type, view, item.path)

    # Directories first: a file that is put into one of them has to win.
    for kind in (FileType.DIRECTORY, FileType.FILE):
        await a_few_at_a_time(fetch, [item for item in job.inputs if item.type is kind])


def check_disk(job: Job, directory: Path) -> None:
    """StageError if the task asks for more room than there is."""
    wanted, free = job.resources.disk_gb or 0, shutil.disk_usage(directory).free / 10**9
    if wanted > free:
        raise StageError(f"The task asks for disk_gb={wanted:g}, but only {free:.1f} GB are free here.")


@dataclass(slots=True)
class Delivery:
    """What became of the outputs."""

    files: list[OutputFile] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """A sentence for each that is not there."""
    unmatched: list[str] = field(default_factory=list)
    """A sentence for each pattern that nothing matches."""
    failures: list[str] = field(default_factory=list)
    """A sentence for each that could not be delivered."""


async def stage_out(outputs: Sequence[Output], views: Sequence[Namespace], transfers: Transfers) -> Delivery:
    """Deliver each output as the last executor has it that has any."""
    delivery = Delivery()
    for output in outputs:
        try:
            found = [(view, path) for view in views for path in _matches(view, output)]
            for view, path in [pair for pair in found if pair[0] is found[-1][0]]:
                delivery.files += await transfers.deliver(view, path, *_target(output, path))
        except StageError as error:
            delivery.failures.append(f"The output {output.path} could not be delivered: {error}")
            continue
        if not found and has_wildcards(output.path):
            delivery.unmatched.append(f"The output {output.path} matches nothing.")
        elif not found:
            delivery.missing.append(f"The output {output.path} does not exist after the executors have run.")
    return delivery


def _matches(view: Namespace, output: Output) -> list[str]:
    try:
        if has_wildcards(output.path):
            return view.glob(output.path)
        mode = view.stat(output.path).st_mode
    except UNREACHABLE:
        return []
    except OSError as error:
        raise problem("read", output.path, error) from error
    return [output.path] if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else []


def _target(output: Output, path: str) -> tuple[str, FileType]:
    """The URL and type of a file that an output names. What a pattern matches goes below its URL, and is what it is."""
    if not has_wildcards(output.path):
        return output.url, output.type
    below = path.removeprefix(output.path_prefix or "/").lstrip("/")
    if output.url.startswith("/"):
        return f"{output.url.rstrip('/')}/{printable(below)}", FileType.FILE
    base, mark, query = output.url.partition("?")
    return f"{base.rstrip('/')}/{quote(os.fsencode(below))}{mark}{query}", FileType.FILE
