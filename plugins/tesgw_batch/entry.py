"""One job that was submitted and not yet released, as this gateway knows it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from azure.batch import models

from tesgw_batch.archive import Label
from tesgw_batch.documents import ENDS, Report

SILENT_SECONDS = 20.0  # more than runners pause between attempts to reach the storage


@dataclass(slots=True)
class Entry:
    job_id: str
    label: Label
    is_written: bool = True
    """Its order lies in storage."""
    report: Report | None = None
    """What the status document says; None while nobody has claimed the job."""
    etag: str = ""
    silent_since: float | None = None
    """When it was first seen, by the monotonic clock, that the runner let its lease end."""
    batch_job: str = ""
    """Where its Batch task is; empty: it has to be added."""
    task: models.BatchTask | None = None
    """As Batch last told of it."""
    has_begun: bool = False
    """A node has the Batch task, or had it."""
    is_ending: bool = False
    """Its last word is being written here."""

    @property
    def is_silent(self) -> bool:
        """Its runner hangs, or was killed, or its node is gone; it has had time to come back."""
        return self.silent_since is not None and time.monotonic() - self.silent_since > SILENT_SECONDS

    @property
    def is_over(self) -> bool:
        """Nothing of it runs any more, and nothing will."""
        return self.report is not None and self.report.observation.state in ENDS
