"""The settings of the local backend."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tesgw import Setting

SETTINGS = (
    Setting(
        name="LOCAL_SHARED_GLOBAL_DIR",
        type=str,
        default="",
        why="The host directory that every task sees as `/tes-wd/shared-global`, for engines such as Cromwell that keep "
        "their files there. Empty: `shared-global` in `LOCAL_WORK_DIR`.",
    ),
    Setting(
        name="LOCAL_FILE_ROOTS",
        type=tuple,
        default=(),
        why="Host directories that `file://` URLs and bare paths in tasks may read and write; none unless named here.",
    ),
    Setting(
        name="LOCAL_CPU_CORES",
        type=float,
        default=0.0,
        least=0,
        why="How many CPU cores the running tasks may ask for together. 0: all that the engine has.",
    ),
    Setting(
        name="LOCAL_RAM_GB",
        type=float,
        default=0.0,
        least=0,
        why="How many gigabytes of memory the running tasks may ask for together. 0: all that the engine has.",
    ),
    Setting(
        name="LOCAL_MAX_TASKS",
        type=int,
        default=0,
        least=0,
        why="How many tasks run at once, whatever they ask for. 0: four for each core, at least 8.",
    ),
    Setting(
        name="LOCAL_NETWORK",
        type=str,
        default="bridge",
        choices=("bridge", "host", "none"),
        why="The Docker network of executors: `none` cuts them off, `host` gives them this machine's own.",
    ),
    Setting(
        name="LOCAL_EXTRA_MOUNTS",
        type=tuple,
        default=(),
        why="Host directories mounted read-write, at the same path, in every task; for Toil's job store, for example.",
    ),
)


def work_dir(settings: Mapping[str, Any]) -> Path:
    """Where the gateway keeps the files of running tasks."""
    return Path(settings["LOCAL_WORK_DIR"]).absolute()


def shared_global(settings: Mapping[str, Any]) -> Path:
    """The host directory behind `/tes-wd/shared-global`."""
    configured = settings["LOCAL_SHARED_GLOBAL_DIR"]
    return Path(configured).absolute() if configured else work_dir(settings) / "shared-global"


def file_roots(settings: Mapping[str, Any]) -> tuple[Path, ...]:
    """The host directories that tasks may name."""
    return tuple(Path(root).absolute() for root in settings["LOCAL_FILE_ROOTS"])


def extra_mounts(settings: Mapping[str, Any]) -> tuple[Path, ...]:
    """The host directories that every task sees at their own path."""
    return tuple(Path(mount).absolute() for mount in settings["LOCAL_EXTRA_MOUNTS"])
