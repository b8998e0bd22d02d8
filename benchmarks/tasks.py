"""The tasks that benchmarks use: one that does nothing, and one as engines send them, with what a backend reports of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from tesgw import ExecutorLog, Handle, Observation, OutputFile, State
from tesgw.model import MissingOutputs
from tesgw.store import NewTask, TaskStore

NO_OP = {"executors": [{"image": "busybox", "command": ["true"]}]}
CHUNK = 1000
_BUCKET = "https://storage.example.org/project-17/run-2024-03-18/sample-0042"


def realistic() -> dict[str, Any]:
    """4 inputs, 5 outputs, one executor, 3 tags: 2.7 KB, as workflow engines send them."""
    inputs = [
        _file(name, "inputs") for name in ("reads_1.fastq.gz", "reads_2.fastq.gz", "reference.fa", "known-sites.vcf.gz")
    ]
    outputs = [_file(name, "outputs") for name in ("aligned.bam", "aligned.bam.bai", "metrics.txt", "rc", "script.log")]
    command = [
        "/bin/bash",
        "-euo",
        "pipefail",
        "-c",
        "bwa mem -t 8 -R '@RG\\tID:s1' reference.fa reads_1 reads_2 | sort " * 4,
    ]
    executor: dict[str, Any] = {
        "image": "registry.example.org/genomics/bwa-samtools:0.7.17-1.19",
        "command": command,
        "workdir": "/scratch",
        "stdout": "/scratch/stdout",
        "stderr": "/scratch/stderr",
        "env": {"TMPDIR": "/scratch/tmp", "SAMPLE": "sample-0042"},
    }
    return {
        "name": "align sample-0042",
        "description": "Align paired reads to the reference and sort them by coordinate.",
        "inputs": inputs,
        "outputs": outputs,
        "executors": [executor],
        "resources": {"cpu_cores": 8, "ram_gb": 15.5, "disk_gb": 100.0, "preemptible": False},
        "tags": {"workflow_id": "0e8f1f2a-5c1d-4f7e-9a3e-27b0a1d0c001", "root": "0e8f1f2a", "call": "align"},
    }


def _file(name: str, kind: str) -> dict[str, str]:
    path = f"/cromwell-executions/align/0e8f1f2a/call-align/{kind}/{name}"
    return {"name": name, "url": f"{_BUCKET}/{kind}/{name}", "path": path, "type": "FILE"}


def finished(job_id: str, ended: datetime) -> Observation:
    """A complete end of such a task: 4.5 KB as the answer of view FULL."""
    started = ended - timedelta(minutes=7)
    log = ExecutorLog(start_time=started, end_time=ended, exit_code=0, stdout="", stderr="[M::mem] 80000 reads\n" * 22)
    outputs = [OutputFile(url=each["url"], path=each["path"], size_bytes=123_456_789) for each in realistic()["outputs"]]
    return Observation(
        handle=Handle(job_id),
        state=State.COMPLETE,
        start_time=started,
        end_time=ended,
        executors=(log,),
        outputs=tuple(outputs),
    )


async def fill(uri: str, count: int) -> None:
    """Put so many finished tasks into an empty database."""
    store = await TaskStore.open(uri)
    try:
        for start in range(0, count, CHUNK):
            await _add(store, [f"{number:026d}" for number in range(start, min(count, start + CHUNK))])
    finally:
        await store.close()


async def _add(store: TaskStore, ids: list[str]) -> None:
    now, document = datetime.now(UTC), realistic()
    await asyncio.gather(*(store.add(_new(task_id, now, document)) for task_id in ids))
    recorded = await store.record([finished(f"{task_id}-1", now) for task_id in ids])
    await asyncio.gather(*(store.retired(task_id) for task_id in ids))
    assert all(recorded)


def _new(task_id: str, created: datetime, document: dict[str, Any]) -> NewTask:
    return NewTask(
        id=task_id,
        created=created,
        backend="never",
        document=document,
        missing_outputs=MissingOutputs.ERROR,
        warnings=(),
    )
