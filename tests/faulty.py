"""Backends that break the contract, each in one way: the process backend, but for what the class's name says."""

from __future__ import annotations

import asyncio
import dataclasses
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tesgw_process import ProcessBackend
from tesgw_process.harness import ProcessHarness

from tesgw import (
    BackendContext,
    BackendUnavailable,
    Capability,
    Executor,
    ExecutorLog,
    Handle,
    Job,
    Layout,
    Observation,
    Resources,
    State,
    Task,
    hookimpl,
)
from tesgw.model import MissingOutputs


class Faulty(ProcessBackend):
    """What the faults have in common: a job may be changed before it runs, and an observation before it is told."""

    def change(self, job: Job) -> Job:
        return job

    def tell(self, observation: Observation) -> Observation:
        return observation

    @hookimpl
    async def submit(self, ctx: BackendContext, job: Job) -> Handle:
        return await super().submit(ctx=ctx, job=self.change(job))

    @hookimpl
    async def poll(self, ctx: BackendContext, handles: Sequence[Handle]) -> Sequence[Observation]:
        return [self.tell(each) for each in await super().poll(ctx=ctx, handles=handles)]


class _Executors(Faulty):
    """Changes executors one by one."""

    def change(self, job: Job) -> Job:
        return dataclasses.replace(job, executors=tuple(map(self.change_one, job.executors)))

    def change_one(self, executor: Executor) -> Executor:
        return executor

    def through_shell(self, executor: Executor, script: str) -> Executor:
        """The command becomes the arguments of a script."""
        return dataclasses.replace(executor, command=("sh", "-c", script, "sh", *executor.command))


class _Logs(Faulty):
    """Changes the logs of executors one by one."""

    def tell(self, observation: Observation) -> Observation:
        return dataclasses.replace(observation, executors=tuple(map(self.change_log, observation.executors)))

    def change_log(self, log: ExecutorLog) -> ExecutorLog:
        return log


class LosesTheFirstSubmit(Faulty):
    def __init__(self) -> None:
        super().__init__()
        self.lost: set[str] = set()

    @hookimpl
    async def submit(self, ctx: BackendContext, job: Job) -> Handle:
        if job.id not in self.lost:
            self.lost.add(job.id)
            return Handle(job.id)
        return await super().submit(ctx=ctx, job=job)


class WaitsForTheEndInSubmit(Faulty):
    @hookimpl
    async def submit(self, ctx: BackendContext, job: Job) -> Handle:
        handle = await super().submit(ctx=ctx, job=job)
        while (await super().poll(ctx=ctx, handles=[handle]))[0].end_time is None:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)
        return handle


class RefusesToSubmitAgain(Faulty):
    def __init__(self) -> None:
        super().__init__()
        self.submitted: set[str] = set()

    @hookimpl
    async def submit(self, ctx: BackendContext, job: Job) -> Handle:
        if job.id in self.submitted:
            raise KeyError(job.id)
        self.submitted.add(job.id)
        return await super().submit(ctx=ctx, job=job)


class GivesAnotherHandleEachTime(Faulty):
    count = 0

    @hookimpl
    async def submit(self, ctx: BackendContext, job: Job) -> Handle:
        self.count += 1
        return Handle((await super().submit(ctx=ctx, job=job)).job_id, str(self.count))


class StartsTwiceAfterARestart(Faulty):
    """The second object does not know what the first has started."""

    generation = 0

    def __init__(self) -> None:
        super().__init__()
        StartsTwiceAfterARestart.generation += 1
        self.generation = StartsTwiceAfterARestart.generation

    def change(self, job: Job) -> Job:
        return dataclasses.replace(job, id=f"{job.id}.{self.generation}")

    @hookimpl
    async def submit(self, ctx: BackendContext, job: Job) -> Handle:
        await super().submit(ctx=ctx, job=job)
        return Handle(job.id)

    @hookimpl
    async def poll(self, ctx: BackendContext, handles: Sequence[Handle]) -> Sequence[Observation]:
        theirs = [Handle(f"{handle.job_id}.{self.generation}") for handle in handles]
        seen = await super().poll(ctx=ctx, handles=theirs)
        return [dataclasses.replace(each, handle=handle) for each, handle in zip(seen, handles, strict=True)]

    @hookimpl
    async def cancel(self, ctx: BackendContext, handle: Handle) -> None:
        await super().cancel(ctx=ctx, handle=Handle(f"{handle.job_id}.{self.generation}"))


class PollsOneJobOnly(Faulty):
    @hookimpl
    async def poll(self, ctx: BackendContext, handles: Sequence[Handle]) -> Sequence[Observation]:
        return await super().poll(ctx=ctx, handles=handles[:1])


class FailsOnUnknownJobs(Faulty):
    def tell(self, observation: Observation) -> Observation:
        if observation.state is State.UNKNOWN:
            raise KeyError(observation.handle.job_id)
        return observation


class TellsAnotherEndEachTime(Faulty):
    def tell(self, observation: Observation) -> Observation:
        return dataclasses.replace(observation, end_time=observation.end_time and datetime.now(UTC))


class SaysCompleteTooEarly(Faulty):
    def tell(self, observation: Observation) -> Observation:
        return dataclasses.replace(observation, state=State.COMPLETE) if observation.executors else observation


class IgnoresCancel(Faulty):
    @hookimpl
    async def cancel(self, ctx: BackendContext, handle: Handle) -> None:
        return None


class CancelsByTokenOnly(Faulty):
    """A submit whose answer was lost can then not be cancelled."""

    @hookimpl
    async def submit(self, ctx: BackendContext, job: Job) -> Handle:
        return Handle((await super().submit(ctx=ctx, job=job)).job_id, "token")

    @hookimpl
    async def cancel(self, ctx: BackendContext, handle: Handle) -> None:
        if handle.token:
            await super().cancel(ctx=ctx, handle=handle)


class RunsAgainAfterCancel(Faulty):
    """What was cancelled is reported as running for good, once it is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.canceled: set[str] = set()

    @hookimpl
    async def cancel(self, ctx: BackendContext, handle: Handle) -> None:
        self.canceled.add(handle.job_id)
        await super().cancel(ctx=ctx, handle=handle)

    def tell(self, observation: Observation) -> Observation:
        is_gone = observation.state is State.UNKNOWN and observation.handle.job_id in self.canceled
        return dataclasses.replace(observation, state=State.RUNNING) if is_gone else observation


class KeepsWhatEnded(Faulty):
    """Says that it has forgotten, but removes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.forgotten: set[str] = set()

    @hookimpl
    async def cancel(self, ctx: BackendContext, handle: Handle) -> None:
        [seen] = await super().poll(ctx=ctx, handles=[handle])
        if seen.end_time is None:
            await super().cancel(ctx=ctx, handle=handle)
        self.forgotten.add(handle.job_id)

    def tell(self, observation: Observation) -> Observation:
        is_forgotten = observation.end_time is not None and observation.handle.job_id in self.forgotten
        return Observation(handle=observation.handle, state=State.UNKNOWN) if is_forgotten else observation


class JoinsArgv(_Executors):
    def change_one(self, executor: Executor) -> Executor:
        return dataclasses.replace(executor, command=("sh", "-c", " ".join(executor.command)))


class CutsStdin(_Executors):
    def change_one(self, executor: Executor) -> Executor:
        return self.through_shell(executor, 'head -c 65536 | "$@"') if executor.stdin else executor


class RunsExecutorsAtOnce(_Executors):
    """All but the last are sent to the background."""

    def change(self, job: Job) -> Job:
        *first, last = job.executors
        script = "".join(f"({shlex.join(each.command)}) & " for each in first) + shlex.join(last.command) + "; wait"
        return dataclasses.replace(job, executors=(dataclasses.replace(last, command=("sh", "-c", script)),))


class ForgetsEnv(_Executors):
    def change_one(self, executor: Executor) -> Executor:
        return dataclasses.replace(executor, env={})


class ForgetsWorkdir(_Executors):
    def change_one(self, executor: Executor) -> Executor:
        return dataclasses.replace(executor, workdir=None)


class StopsAtIgnoredErrors(_Executors):
    def change_one(self, executor: Executor) -> Executor:
        return dataclasses.replace(executor, ignore_error=False)


class MixesStreams(_Executors):
    def change_one(self, executor: Executor) -> Executor:
        return self.through_shell(executor, '"$@" 2>&1')


class LeaksTaskDirectories(_Executors):
    """What other tasks have in `/tes-wd` appears there."""

    def change_one(self, executor: Executor) -> Executor:
        leak = "/tes-wd/shared-global/.leak"
        return self.through_shell(executor, f'mkdir -p {leak}; touch {leak}/of-another; cp {leak}/* /tes-wd/; exec "$@"')


class ForgetsStderr(_Logs):
    def change_log(self, log: ExecutorLog) -> ExecutorLog:
        return dataclasses.replace(log, stderr="")


class DropsExitCodes(_Logs):
    def change_log(self, log: ExecutorLog) -> ExecutorLog:
        return dataclasses.replace(log, exit_code=log.exit_code and 1)


class KeepsTheHeadOfLogs(_Logs):
    def change_log(self, log: ExecutorLog) -> ExecutorLog:
        return dataclasses.replace(log, stdout=log.stdout[:1000])


class ShowsLogsAtTheEndOnly(Faulty):
    def tell(self, observation: Observation) -> Observation:
        return observation if observation.end_time else dataclasses.replace(observation, executors=())


class HidesReasons(Faulty):
    def tell(self, observation: Observation) -> Observation:
        return dataclasses.replace(observation, system_logs=(), reason="")


class FetchesInputsForEveryExecutor(Faulty):
    @hookimpl
    async def submit(self, ctx: BackendContext, job: Job) -> Handle:
        for url in [each.url for each in job.inputs if each.url and each.url.startswith("http")] * (len(job.executors) - 1):
            async with ctx.http.get(url) as answer:
                await answer.read()
        return await super().submit(ctx=ctx, job=job)


class IgnoresResources(Faulty):
    def change(self, job: Job) -> Job:
        return dataclasses.replace(job, resources=Resources())


class WaitsForTheImpossible(Faulty):
    """Takes what can never run, and has it wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: set[str] = set()

    @hookimpl
    async def submit(self, ctx: BackendContext, job: Job) -> Handle:
        if (job.resources.ram_gb or 0) > 100_000:
            self.waiting.add(job.id)
            return Handle(job.id)
        return await super().submit(ctx=ctx, job=job)

    def tell(self, observation: Observation) -> Observation:
        waits = observation.handle.job_id in self.waiting
        return dataclasses.replace(observation, state=State.QUEUED, reason="no room") if waits else observation


class ForgetsOutputs(Faulty):
    def change(self, job: Job) -> Job:
        return dataclasses.replace(job, outputs=())


class ForgetsWildcards(Faulty):
    def change(self, job: Job) -> Job:
        return dataclasses.replace(job, outputs=tuple(each for each in job.outputs if each.path_prefix is None))


class GuessesSizes(Faulty):
    def tell(self, observation: Observation) -> Observation:
        sized = tuple(dataclasses.replace(each, size_bytes=0) for each in observation.outputs)
        return dataclasses.replace(observation, outputs=sized)


class PassesOverMissingOutputs(Faulty):
    def change(self, job: Job) -> Job:
        return dataclasses.replace(job, missing_outputs=MissingOutputs.WARN)


class ForgetsContent(Faulty):
    def change(self, job: Job) -> Job:
        return dataclasses.replace(job, inputs=tuple(each for each in job.inputs if each.content is None))


class OpensAllFiles(Faulty):
    """Reads whatever `file://` URLs name."""

    @hookimpl
    async def submit(self, ctx: BackendContext, job: Job) -> Handle:
        if not isinstance(ctx.settings, dict):
            ctx.settings = {**ctx.settings, "PROCESS_FILE_ROOTS": ("/",)}
        return await super().submit(ctx=ctx, job=job)


class ForgetsTheEnvironmentOfAzureBatch(Faulty):
    @hookimpl
    async def filesystem_layout(self, ctx: BackendContext, task: Task) -> Layout:
        return Layout(environment={})


class LosesJobsUnderLoad(Faulty):
    def __init__(self) -> None:
        super().__init__()
        self.open: set[str] = set()

    @hookimpl
    async def submit(self, ctx: BackendContext, job: Job) -> Handle:
        self.open.add(job.id)
        return await super().submit(ctx=ctx, job=job) if len(self.open) % 40 else Handle(job.id)


class IgnoresZones(Faulty):
    capabilities = frozenset({Capability.ZONES})


class ProvisionsNothing(Faulty):
    @hookimpl
    async def provision(
        self, ctx: BackendContext, request: Mapping[str, Any], report: Callable[[str], None]
    ) -> Mapping[str, str]:
        raise BackendUnavailable("not today")


class ImpatientHarness(ProcessHarness):
    """Gives up on a test soon: some faults have it wait for ever."""

    patience_seconds = 10.0
