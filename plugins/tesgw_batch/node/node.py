"""The node that this process runs on, as Azure Batch and the start task have set it up."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tesgw.errors import StageError

FILE_SHARE = "azfiles"
"""Where pools mount the file share, below the node's mounts directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """https://learn.microsoft.com/azure/batch/batch-compute-node-environment-variables"""

    id: str
    pool: str
    task_dir: Path
    """The Batch task's working directory."""
    shared_dir: Path
    mounts_dir: Path

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> Self:
        """Raises KeyError for a variable that is missing."""
        return cls(
            id=environment["AZ_BATCH_NODE_ID"],
            pool=environment["AZ_BATCH_POOL_ID"],
            task_dir=Path(environment["AZ_BATCH_TASK_WORKING_DIR"]),
            shared_dir=Path(environment["AZ_BATCH_NODE_SHARED_DIR"]),
            mounts_dir=Path(environment["AZ_BATCH_NODE_MOUNTS_DIR"]),
        )

    @property
    def instance(self) -> str:
        """The label of all containers of this node's tasks, by which the guard knows them."""
        return f"{self.pool}/{self.id}"

    @property
    def work_dir(self) -> Path:
        return self.task_dir / "tesgw"

    @property
    def file_share(self) -> Path:
        return self.mounts_dir / FILE_SHARE

    def heartbeat(self, job_id: str) -> Path:
        """The file that the guard watches: its name is the job's id, its age that of the last sign of life."""
        return self.shared_dir / "tesgw" / "heartbeats" / job_id

    def check(self) -> None:
        """StageError if the start task has not run here."""
        if not (self.shared_dir / "tesgw" / "ready").exists():
            raise StageError(
                f"The nodes of pool {self.pool} lack the start task of tesgw, which keeps tasks away from the node. "
                "Whoever made the pool can add it: `tesgw-batch start-task` prints its command line."
            )
