"""What a machine gives its runners, and where a job keeps its things there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import msgspec

from tesgw.model import Handle, Observation
from tesgw.runner.engine import Engine
from tesgw.runner.transfer import Transfers
from tesgw.states import State

_LAUNCHERS = Path(__file__).parent / "launcher"


@dataclass(frozen=True, slots=True)
class World:
    """What a machine gives its runners; one for each gateway."""

    engine: Engine
    transfers: Transfers
    work_dir: Path
    volumes: Mapping[str, Path]
    """Directories that outlive tasks, by the path executors see: the shared-global directory, extra mounts."""
    network: str
    """`bridge`, `host` or `none`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What has to survive the gateway: beside the containers, the only record of how far a job came."""

    is_staged: bool = False
    """The inputs are there: fetching them again would undo what executors did to them."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Those of the images, by which the inputs were put into the tree."""
    created: int = 0
    """How many executors got a container. One that is missing among them must not be made again."""
    observation: Observation


@dataclass(frozen=True, slots=True)
class JobDir:
    """`status.json`; `tree/`, the task's files by container path; `io/`, streams that the task does not name; `captured/`,
    files taken out of stopped containers.

    The directory above is closed to other users: programs that executors leave behind with a setuid bit are out of reach.
    """

    path: Path

    @classmethod
    def of(cls, work_dir: Path, job_id: str) -> Self:
        return cls(work_dir / "jobs" / job_id)

    @property
    def tree(self) -> Path:
        return self.path / "tree"

    @property
    def captured(self) -> Path:
        return self.path / "captured"

    @property
    def streams(self) -> Path:
        return self.path / "io"

    def stream(self, index: int, name: str) -> Path:
        return self.streams / f"{index}.{name}"

    def make(self, executors: int) -> None:
        """Make what is missing; what is there stays."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for directory in (self.tree, self.captured, self.streams):
            directory.mkdir(parents=True, exist_ok=True)
        for index in range(executors):
            for name in ("stdout", "stderr"):
                stream = self.stream(index, name)
                stream.touch()
                stream.chmod(0o666)  # whatever the umask: the image's user writes it

    def load(self) -> Status:
        """What `save` kept last; a new job's status if nothing, or nothing readable, is there."""
        try:
            return msgspec.json.decode((self.path / "status.json").read_bytes(), type=Status)
        except (FileNotFoundError, msgspec.DecodeError):
            return Status(observation=Observation(handle=Handle(self.path.name), state=State.QUEUED))

    def save(self, status: Status, *, to_disk: bool = False) -> None:
        """Replace what was kept. `to_disk` waits until it would survive a power cut."""
        draft = self.path / "status.json.new"
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(status))
            if to_disk:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(self.path / "status.json")


def launcher(work_dir: Path, architecture: str) -> Path:
    """The program that starts executors, for this machine, at a path that stays: containers outlive upgrades of tesgw."""
    data = (_LAUNCHERS / architecture).read_bytes()
    path = work_dir / "launcher" / f"{hashlib.sha256(data).hexdigest()[:16]}-{architecture}"
    if not path.exists():
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_bytes(data)
        draft.chmod(0o755)
        draft.replace(path)
    return path
