"""What this machine gives its tasks: the settings, and the directories and images they name."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from tesgw import BackendRefused, BackendUnavailable, Layout, Setting
from tesgw.errors import StageError
from tesgw.runner.files import Namespace
from tesgw.runner.removal import remove_tree

SETTINGS = (
    Setting(
        name="PROCESS_IMAGES_DIR",
        type=str,
        default="",
        why="The directory of images: root file systems, each named as tasks name it (percent-encoded: `/` is `%2F`). "
        "Empty: `process/images` in `LOCAL_WORK_DIR`.",
    ),
    Setting(
        name="PROCESS_SHARED_GLOBAL_DIR",
        type=str,
        default="",
        why="The directory that every task sees as `/tes-wd/shared-global`. Empty: `process/shared-global` in "
        "`LOCAL_WORK_DIR`.",
    ),
    Setting(
        name="PROCESS_FILE_ROOTS",
        type=tuple,
        default=(),
        why="Directories that `file://` URLs and bare paths in tasks may read and write; none unless named here.",
    ),
    Setting(
        name="PROCESS_NETWORK",
        type=str,
        default="host",
        choices=("host", "none"),
        why="The network of executors: this machine's own, or `none`.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The settings, as a supervisor is told them."""

    work_dir: Path
    images_dir: Path
    shared_global: Path
    file_roots: tuple[Path, ...]
    has_network: bool

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        work_dir = Path(settings["LOCAL_WORK_DIR"]).absolute() / "process"
        return cls(
            work_dir=work_dir,
            images_dir=Path(settings["PROCESS_IMAGES_DIR"] or work_dir / "images").absolute(),
            shared_global=Path(settings["PROCESS_SHARED_GLOBAL_DIR"] or work_dir / "shared-global").absolute(),
            file_roots=tuple(Path(root).absolute() for root in settings["PROCESS_FILE_ROOTS"]),
            has_network=settings["PROCESS_NETWORK"] == "host",
        )

    @property
    def volumes(self) -> dict[str, Path]:
        """The directories that outlive tasks, by the path executors see."""
        return {Layout().shared_global: self.shared_global}

    @property
    def readable(self) -> Namespace:
        """What `file://` URLs may name: the allowed roots, and the shared directory by the name that tasks know it by."""
        return Namespace({**{str(root): root for root in self.file_roots}, **self.volumes})

    def make(self) -> None:
        """Make the directories that are missing. BackendUnavailable where that cannot be done."""
        try:
            for name in ("jobs", "forgotten"):
                (self.work_dir / name).mkdir(mode=0o700, parents=True, exist_ok=True)
            self.images_dir.mkdir(parents=True, exist_ok=True)
            if not self.shared_global.exists():
                self.shared_global.mkdir(parents=True)
                self.shared_global.chmod(0o1777)
        except OSError as error:
            raise BackendUnavailable(f"{error.filename} cannot be used: {error.strerror}.") from error

    def image(self, name: str) -> Path:
        """The root file system of this name; StageError if there is none."""
        place = self._place(name)
        if not place.is_dir():
            raise StageError(f"There is no image {name} here. Whoever runs this gateway can put its files into {place}.")
        return place

    def unpack(self, name: str, archive: str) -> None:
        """Make an image of a tar archive; one that exists stays as it is. BackendRefused if that cannot be done."""
        place = self._place(name)
        if place.exists():
            return
        self.make()
        draft = Path(tempfile.mkdtemp(dir=self.images_dir, prefix="."))
        command = ("tar", "-x", "-p", "--numeric-owner", "--exclude=./dev/*", "-f", archive, "-C", str(draft))
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            remove_tree(draft)
            raise BackendRefused(f"{archive} cannot be unpacked: {done.stderr.strip()}")
        draft.chmod(0o755)
        draft.rename(place)

    def _place(self, name: str) -> Path:
        if not name or name.startswith("."):
            raise BackendRefused(f"{name!r} cannot be the name of an image.")
        return self.images_dir / quote(name, safe="")
