"""The files of a task as its executors see them: an image for each, and directories that they share."""

from __future__ import annotations

import contextlib
import os
import posixpath
import shutil
from pathlib import Path

from tesgw.errors import StageError
from tesgw.model import FileType, Input, Job
from tesgw.runner.files import Namespace
from tesgw.runner.resolve import UNREACHABLE, find
from tesgw.runner.transfer.scheme import problem
from tesgw.runner.world import JobDir
from tesgw_process import sandbox
from tesgw_process.machine import Machine

_MODE = 0o1777  # whoever the user of an image is


class Rooms:
    """One root for each executor, mounted for as long as this process lives: outputs are read there, too.

    A directory that the task names is one and the same in all of them, unless an image has files of its own there. Whatever
    else an executor changes lies in memory, and only its own root has it.
    """

    def __init__(self, job: Job, machine: Machine, directory: JobDir) -> None:
        self._job = job
        self._machine = machine
        self._tree = directory.tree
        self._scratch = directory.path / "roots"
        self._always = (job.layout.task_dir, "/tmp")
        self._own = {*job.volumes, *(item.path for item in job.inputs if item.type is FileType.DIRECTORY)}
        self.roots: list[Path] = []
        self.views: list[Namespace] = []
        """What each executor sees, safe against links. The directories of all tasks are no part of those above them."""

    def add(self) -> None:
        """Make the root of the next executor. StageError for what has no place in its image."""
        index = len(self.roots)
        image = self._machine.image(self._job.executors[index].image)
        if not self.roots:
            self._scratch.mkdir(exist_ok=True)
            sandbox.mount("tmpfs", str(self._scratch), "tmpfs")
        root = _mount_image(image, self._scratch / str(index))
        if self._machine.has_network:
            _copy_names(Namespace({"/": root}))
        for path in self._always:
            self._share(root, path)
        for path, source in self._machine.volumes.items():
            with find({(): source}, "/") as ours, find({(): root}, path, make=_MODE) as place:
                sandbox.bind(ours.handle, place.handle)
        for path in sorted({*self._job.directories, *self._own, self._job.layout.shared}):
            self._share(root, path)
        view = Namespace({"/": root, **self._machine.volumes})
        for item in self._job.inputs if self.views else ():
            self._carry_over(item, self.views[-1], view)
        self.roots.append(root)
        self.views.append(view)

    def _share(self, root: Path, path: str) -> None:
        # Links that an image or an executor made are followed inside of what they lie in. Nothing runs there meanwhile.
        try:
            with find({(): root}, path, make=_MODE) as place, find({(): self._tree}, path, make=_MODE) as ours:
                if place.status.st_dev != root.stat().st_dev:  # it lies in a directory that is shared
                    return
                if path in self._always or not os.listdir(place.handle):
                    sandbox.bind(ours.handle, place.handle)
                elif path in self._own:
                    raise StageError(f"{path} would hide files of the image. Name a directory that the image has not.")
        except OSError as error:
            raise problem("make", path, error) from error

    def _carry_over(self, item: Input, last: Namespace, view: Namespace) -> None:
        """Where an image has files of its own, an input is copied from one executor to the next, as the last one left it."""
        parent = posixpath.dirname(item.path)
        view.make_dirs(parent, keep_existing=True)
        try:
            if item.type is FileType.DIRECTORY or os.path.samestat(last.stat(parent), view.stat(parent)):
                return
            mode = last.stat(item.path).st_mode & 0o777
            with (
                open(last.open(item.path), "rb") as source,
                view.create(item.path, mode) as draft,
                open(draft.fd, "wb", closefd=False) as target,
            ):
                shutil.copyfileobj(source, target)
        except UNREACHABLE:  # it was removed
            return


def _mount_image(image: Path, scratch: Path) -> Path:
    """Where the image is to be seen, writable: what is changed lies in `scratch`, and the image stays as it is."""
    upper, work, root = (scratch / name for name in ("upper", "work", "root"))
    for directory in (scratch, upper, work, root):
        directory.mkdir(mode=0o755)
    options = f"lowerdir={_escaped(image)},upperdir={_escaped(upper)},workdir={_escaped(work)}"
    sandbox.mount("overlay", str(root), "overlay", options=options)
    return root


def _escaped(path: Path) -> str:
    """As overlayfs takes it, whose options are separated by commas, and lower directories by colons."""
    return "".join(f"\\{character}" if character in "\\,:" else character for character in str(path))


def _copy_names(view: Namespace) -> None:
    """Who shares the network of the machine knows other machines by the same names."""
    view.make_dirs("/etc", 0o755, keep_existing=True)
    for path in ("/etc/hosts", "/etc/resolv.conf"):
        with contextlib.suppress(FileNotFoundError):
            content = Path(path).read_bytes()
            with view.create(path, 0o644) as draft:
                os.write(draft.fd, content)
