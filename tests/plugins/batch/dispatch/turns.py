"""A fleet whose dispatch takes its turns when it is told to, with storage left out."""

from __future__ import annotations

from azure.batch import models
from tesgw_batch import mapping
from tesgw_batch.client import Batch
from tesgw_batch.dispatch import Dispatch
from tesgw_batch.documents import Report
from tesgw_batch.entry import Entry
from tesgw_batch.mapping import Need, Plan
from tesgw_batch.pools import Pools

from tesgw import Handle, Observation, State
from tests.plugins.batch.fake_batch.double import Double, pool, until
from tests.plugins.batch.gateway import PLAN, entry

ADD = "POST /jobs/{jobId}/addtaskcollection"
LIST = "GET /jobs/{jobId}/tasks"
THEIRS = Need(pool_id="theirs")


class Fleet:
    """The jobs of a gateway, whose runners say what `words` hold. `ended` is what it was told to end."""

    def __init__(self, double: Double, batch: Batch, its: Plan = PLAN) -> None:
        self.entries: dict[str, Entry] = {}
        self.words: dict[str, Report] = {}
        self.ended: list[tuple[str, State, str]] = []
        self.image = "endless"
        self.shown = ""
        self.dispatch = Dispatch(self, batch, Pools(batch, None, its, lambda: double.clock.now().timestamp()))

    def take(self, *entries: Entry) -> None:
        self.entries.update({each.job_id: each for each in entries})

    def claim(self, entry: Entry, state: State = State.RUNNING) -> None:
        """A runner says so, and the gateway has read it."""
        entry.report = self.words[entry.job_id] = Report(
            node="tvm1", observation=Observation(handle=Handle(entry.job_id), state=state)
        )

    async def options(self, entry: Entry) -> models.BatchTaskCreateOptions:
        return mapping.task_options(entry.job_id, self.shown, "https://order?sig=1", self.image)

    def end(self, entry: Entry, state: State, reason: str) -> None:
        entry.is_ending = True
        self.ended.append((entry.job_id, state, reason))

    async def reread(self, entry: Entry) -> None:
        entry.report = self.words.get(entry.job_id, entry.report)


async def run(double: Double, fleet: Fleet, job_id: str = "task-1", state: str = "running") -> Entry:
    """Have a node that needs no start task, and a job there in this state."""
    object.__setattr__(double.batch.pace, "boot_seconds", 0.0)
    await double.client.create_pool(pool("theirs", targetDedicatedNodes=1))  # type: ignore[arg-type]  # a wire form
    fleet.take(found := entry(job_id, THEIRS))
    await fleet.dispatch.add()
    await double.until_task(state, job_id, found.batch_job)
    if state == "running":

        async def has_started() -> bool:
            return job_id in [name for name, _ in double.started]

        await until(has_started)
    return found


async def tasks(double: Double) -> list[str]:
    """Of all jobs."""
    jobs = [each.id async for each in double.client.list_jobs() if each.state == "active"]
    return sorted([each.id or "" for job in jobs async for each in double.client.list_tasks(job)])
