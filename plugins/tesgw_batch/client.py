"""The Batch account, as far as the gateway asks it. What is wrong with the SDK (15.1) is dealt with here, once.

Every call may be repeated: what exists already, or is gone already, is success. Raises `BackendUnavailable` for what may
pass, and `Refused` with Azure's code for what will not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from json import JSONDecodeError
from typing import Any, TypeVar

from azure.batch import models
from azure.batch.aio import BatchClient
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from tesgw import BackendRefused, BackendUnavailable
from tesgw.loops import Backoff

T = TypeVar("T")

CALL_SECONDS = 60.0
COLLECTION = 100  # https://learn.microsoft.com/rest/api/batchservice/task/add-collection
INTERVAL = timedelta(minutes=5)  # the shortest that Batch evaluates a formula at
# One pool is asked too often, not the account: https://learn.microsoft.com/rest/api/batchservice/batch-status-and-error-codes
_TOO_SOON = "TooManyEnableAutoScaleRequests"

_BEGINNING = "bytes=0-4095"

# It logs a traceback for each error whose body is empty, which those of HEAD requests are.
logging.getLogger("azure.batch._utils.model_base").setLevel(logging.CRITICAL)


class Refused(BackendRefused):
    """Azure Batch says no, and why; `code` is its word for it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"Azure Batch refused: {code}: {message}" if code else f"Azure Batch refused: {message}")
        self.code = code


class Gate:
    """Holds everybody up while the service says that it is asked too much."""

    def __init__(self) -> None:
        self._opens_at = 0.0
        self._backoff = Backoff(1.0, 60.0)

    async def enter(self) -> None:
        while (pause := self._opens_at - time.monotonic()) > 0:  # noqa: ASYNC110 - it may be closed again meanwhile
            await asyncio.sleep(pause)

    def close(self, seconds: float | None) -> None:
        """For as long as the service asks for, or else for growing pauses."""
        pause = self._backoff.pause()
        self._opens_at = max(self._opens_at, time.monotonic() + (pause if seconds is None else seconds))

    def passed(self) -> None:
        self._backoff.reset()


class Batch:
    """A Batch account. `credential` is an AzureNamedKeyCredential or an asynchronous TokenCredential."""

    def __init__(self, url: str, credential: Any) -> None:
        # Repeating is for our loops, which know what is still wanted, and hold up everybody together.
        self._client = BatchClient(url, credential, retry_total=0)
        self._gate = Gate()

    async def close(self) -> None:
        await self._client.close()

    # Pools

    async def create_pool(self, pool: models.BatchPoolCreateOptions) -> None:
        with _allowed("PoolExists"):
            await self._call(lambda: self._client.create_pool(pool))

    async def pools(self, prefix: str) -> list[models.BatchPool]:
        """Those whose ids begin so, but for those that are being deleted."""
        found = await self._list(lambda: self._client.list_pools(filter=f"startswith(id,'{prefix}')"))
        return [pool for pool in found if pool.state != "deleting"]

    async def rescale(self, pool_id: str, formula: str) -> bool:
        """Have the pool evaluate this formula at once; False if it was asked to too lately."""
        options = models.BatchPoolEnableAutoScaleOptions(auto_scale_formula=formula, auto_scale_evaluation_interval=INTERVAL)
        try:
            await self._call(lambda: self._client.enable_pool_auto_scale(pool_id, options))
        except Refused as error:
            if error.code == _TOO_SOON:
                return False
            raise
        return True

    async def node_counts(self) -> list[models.BatchPoolNodeCounts]:
        """How many nodes of each pool are in which state."""
        return await self._list(lambda: self._client.list_pool_node_counts())

    async def nodes(self, pool_id: str, state: str) -> list[models.BatchNode]:
        """The nodes of a pool in this state."""
        return await self._list(lambda: self._client.list_nodes(pool_id, filter=f"state eq '{state}'"))

    async def remove_nodes(self, pool_id: str, node_ids: Sequence[str]) -> None:
        """At most 100 of them. A pool that is being resized keeps them until it is asked again."""
        options = models.BatchNodeRemoveOptions(node_ids=list(node_ids)[:100])
        with _allowed("PoolNotFound", "PoolBeingDeleted", "NodeNotFound", "PoolBeingResized"):
            await self._call(lambda: self._client.begin_remove_nodes(pool_id, options))

    async def delete_pool(self, pool_id: str) -> None:
        with _allowed("PoolNotFound", "PoolBeingDeleted"):
            await self._call(lambda: self._client.begin_delete_pool(pool_id))

    # Jobs

    async def create_job(self, job_id: str, pool_id: str) -> None:
        """Make a job that stays until it is deleted. Raises `Refused` for one that is being deleted."""
        job = models.BatchJobCreateOptions(id=job_id, pool_info=models.BatchPoolInfo(pool_id=pool_id))
        with _allowed("JobExists"):
            await self._call(lambda: self._client.create_job(job))

    async def jobs(self, prefix: str) -> list[models.BatchJob]:
        """Those whose ids begin so and that run tasks, or will when whoever disabled them lets them."""
        wanted = ["id", "state", "poolInfo", "creationTime"]
        found = await self._list(lambda: self._client.list_jobs(filter=f"startswith(id,'{prefix}')", select=wanted))
        return [job for job in found if job.state not in ("terminating", "completed", "deleting")]

    async def delete_job(self, job_id: str) -> None:
        with _allowed("JobNotFound", "JobBeingDeleted"):
            await self._call(lambda: self._client.begin_delete_job(job_id, force=True))

    # Tasks

    async def add(self, job_id: str, tasks: Sequence[models.BatchTaskCreateOptions]) -> dict[str, Refused | None]:
        """Add at most 100 tasks. By id: None for one that is there now, `Refused` for one that never will be.

        Those that are missing in the answer were not added this time.
        """
        # `create_tasks` repeats for ever, without a pause, what the service cannot do now (15.1).
        group = models.BatchTaskGroup(task_values=list(tasks))
        answer = await self._call(lambda: self._client.create_task_collection(job_id, group))
        return dict(_outcomes(answer.result_values or ()))

    async def tasks(self, job_id: str, since: datetime | None = None) -> list[models.BatchTask] | None:
        """The tasks of a job whose state has changed since then; None if the job is gone."""
        chosen = f"stateTransitionTime ge DateTime'{since:%Y-%m-%dT%H:%M:%SZ}'" if since else None
        wanted = ["id", "state", "stateTransitionTime", "executionInfo", "nodeInfo"]
        try:
            return await self._list(lambda: self._client.list_tasks(job_id, filter=chosen, select=wanted))
        except Refused as error:
            if error.code in ("JobNotFound", "JobBeingDeleted"):
                return None
            raise

    async def delete_task(self, job_id: str, task_id: str) -> None:
        """Remove a task, whatever it does; what it started in containers goes on."""
        with _allowed("JobNotFound", "TaskNotFound", "JobBeingDeleted", "JobCompleted", "JobBeingTerminated"):
            await self._call(lambda: self._client.delete_task(job_id, task_id))

    async def stderr(self, job_id: str, task_id: str) -> str:
        """The beginning of what a task wrote to standard error, as long as its node is there; else nothing."""
        return await self._beginning(
            lambda: self._client.download_task_file(job_id, task_id, "stderr.txt", ocp_range=_BEGINNING)
        )

    async def start_task_stderr(self, pool_id: str, node_id: str) -> str:
        """The beginning of what a node's start task wrote to standard error, if there is any."""
        path = "startup/stderr.txt"
        return await self._beginning(lambda: self._client.download_node_file(pool_id, node_id, path, ocp_range=_BEGINNING))

    async def _beginning(self, download: Callable[[], Awaitable[AsyncIterator[bytes]]]) -> str:
        async def read() -> bytes:
            return b"".join([chunk async for chunk in await download()])

        with contextlib.suppress(BackendRefused, BackendUnavailable):
            return (await self._call(read)).decode(errors="replace").strip()
        return ""

    async def _list(self, ask: Callable[[], AsyncIterator[T]]) -> list[T]:
        async def collect() -> list[T]:
            return [item async for item in ask()]

        return await self._call(collect)

    async def _call(self, call: Callable[[], Awaitable[T]]) -> T:
        await self._gate.enter()
        try:
            async with asyncio.timeout(CALL_SECONDS):
                result = await call()
        except (AzureError, JSONDecodeError, TimeoutError) as error:  # the SDK lets the second one through
            problem = _translated(error)
            if isinstance(error, HttpResponseError) and error.status_code in (429, 503) and not isinstance(problem, Refused):
                self._gate.close(_retry_after(error))
            raise problem from error
        self._gate.passed()
        return result


@contextlib.contextmanager
def _allowed(*codes: str) -> Iterator[None]:
    """These refusals say that what was wanted is so already."""
    try:
        yield
    except Refused as error:
        if error.code not in codes:
            raise


def _outcomes(results: Collection[models.BatchTaskCreateResult]) -> Iterator[tuple[str, Refused | None]]:
    for result in results:
        code = result.error.code or "" if result.error else ""
        if result.status == "success" or code == "TaskExists":
            yield result.task_id, None
        elif result.status == "clienterror":
            yield result.task_id, Refused(code, _message(result.error))


def _retry_after(error: HttpResponseError) -> float | None:
    try:
        return float(error.response.headers["Retry-After"])  # type: ignore[union-attr]  # or there is none
    except (AttributeError, KeyError, ValueError):
        return None


def _translated(error: Exception) -> BackendUnavailable | Refused:
    if isinstance(error, TimeoutError):
        return BackendUnavailable(f"Azure Batch did not answer in {CALL_SECONDS:.0f} s.")
    if isinstance(error, JSONDecodeError):
        return BackendUnavailable("Azure Batch cannot answer now: what answers in its place does not speak its language.")
    if isinstance(error, ClientAuthenticationError) or getattr(error, "status_code", None) == 403:
        return BackendUnavailable(
            "Azure Batch refuses the gateway's credentials: see BATCH_ACCOUNT_NAME, BATCH_ACCOUNT_KEY and the role of its "
            "identity."
        )
    if not isinstance(error, HttpResponseError):
        return BackendUnavailable(f"Azure Batch cannot be reached: {type(error).__name__}.")
    model: Any = getattr(error, "model", None) or error.error
    code, message = getattr(model, "code", None) or "", _message(model)
    status = error.status_code or 0
    if code != _TOO_SOON and (status in (408, 429) or status >= 500 or status < 400):
        return BackendUnavailable(f"Azure Batch cannot answer now: {status} {code}".strip() + ".")
    return Refused(code or str(status), message)


def _message(error: Any) -> str:
    """The sentence of an error, without the lines about the request that follow it; and what its details say."""
    message = getattr(error, "message", None)
    text = str(getattr(message, "value", None) or message or "no reason given").split("\n")[0]
    details = [f"{each.key}: {each.value}" for each in getattr(error, "error_values", None) or ()]
    return "; ".join([text, *details])
