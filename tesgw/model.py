"""The nouns that cross boundaries, as frozen dataclasses. Field names are those of TES where TES has the thing.

A value that exists is valid: the API checks documents before it makes one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tesgw.states import State


class FileType(StrEnum):
    """`tesFileType`."""

    FILE = "FILE"
    DIRECTORY = "DIRECTORY"


class View(StrEnum):
    """Which fields an answer holds, as TES defines it."""

    MINIMAL = "MINIMAL"
    BASIC = "BASIC"
    FULL = "FULL"


class Dialect(StrEnum):
    """Which TES a client speaks: 1.0 under `/v1`, 1.1 under `/ga4gh/tes/v1`."""

    TES_1_0 = "1.0"
    TES_1_1 = "1.1"


class MissingOutputs(StrEnum):
    """What a declared output that does not exist does to a task whose executors succeeded."""

    ERROR = "error"
    WARN = "warn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """One command in one container. `command` is argv, passed verbatim; `env` is what the command sees."""

    image: str
    command: tuple[str, ...]
    workdir: str | None = None
    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    ignore_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A file or directory to be there before the first executor, from `url` or, if not None, from `content`."""

    path: str
    url: str | None = None
    content: str | None = None
    type: FileType = FileType.FILE
    in_place: bool = False
    """The file is where it has to be, on a volume that outlives the task: check that it exists, copy nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A file or directory to be kept after the last executor. With `path_prefix`, `path` may hold POSIX wildcards."""

    path: str
    url: str
    type: FileType = FileType.FILE
    path_prefix: str | None = None
    in_place: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a task asks for; None means it did not ask. Gigabytes are 10^9 bytes."""

    cpu_cores: int | None = None
    ram_gb: float | None = None
    disk_gb: float | None = None
    preemptible: bool | None = None
    zones: tuple[str, ...] = ()
    backend_parameters: Mapping[str, str] = field(default_factory=dict)
    """Only those the backend supports, keys in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One attempt at a TES task, as far as running it needs to know."""

    id: str
    executors: tuple[Executor, ...]
    attempt: int = 1
    name: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    volumes: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)
    missing_outputs: MissingOutputs = MissingOutputs.ERROR

    @property
    def job_id(self) -> str:
        """The name of this attempt at every backend; the same for a repeated submit."""
        return f"{self.id}-{self.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where a backend gives executors their directories (container paths), and the environment they see."""

    task_dir: str = "/tes-wd"
    shared: str = "/tes-wd/shared"
    shared_global: str = "/tes-wd/shared-global"
    outliving: tuple[str, ...] = ("/tes-wd/shared-global",)
    """Directories that are not the task's own: files whose URL names their path there are used in place."""
    environment: Mapping[str, str] = field(default_factory=lambda: {"AZ_BATCH_TASK_DIR": "/tes-wd"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """All that a runner needs to run one attempt at a task; made by `staging.plan`, JSON by msgspec."""

    id: str
    name: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    """The task's own, which some backends heed."""
    executors: tuple[Executor, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    directories: tuple[str, ...]
    """Container directories the task names: made where an image lacks them, shared by all executors."""
    volumes: tuple[str, ...]
    resources: Resources
    layout: Layout
    missing_outputs: MissingOutputs


@dataclass(frozen=True, slots=True)
class Handle:
    """What a backend gave for a job. `job_id` is ours; `token` is the backend's own, opaque to the gateway."""

    job_id: str
    token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorLog:
    """`tesExecutorLog`; `exit_code` is None while the executor runs. `stdout` and `stderr` are tails."""

    start_time: dt.datetime | None = None
    end_time: dt.datetime | None = None
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """`tesOutputFileLog`: one file that was delivered."""

    url: str
    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a backend sees of a job now.

    `state` is QUEUED, INITIALIZING, RUNNING, a terminal state, PREEMPTED (try again as a new attempt) or
    UNKNOWN (the backend has no such job). `reason` says why a job waits. `executors` holds one entry for each that started.
    """

    handle: Handle
    state: State
    start_time: dt.datetime | None = None
    end_time: dt.datetime | None = None
    executors: tuple[ExecutorLog, ...] = ()
    outputs: tuple[OutputFile, ...] = ()
    system_logs: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting, declared once: its default's type is its type unless `type` says otherwise; `why` is for the operator."""

    name: str
    type: type
    default: Any
    why: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    secret: bool = False
