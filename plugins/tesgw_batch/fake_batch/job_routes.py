"""The requests about jobs and tasks."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from azure.batch import models
from azure.batch.models import _models

from tesgw_batch.fake_batch import filters
from tesgw_batch.fake_batch.answers import ACCOUNT, body, changed, many, one, optional_body
from tesgw_batch.fake_batch.jobs import Job
from tesgw_batch.fake_batch.limits import COLLECTION, check_job, check_job_values, check_task
from tesgw_batch.fake_batch.problems import Problem, invalid
from tesgw_batch.fake_batch.tasks import Task
from tesgw_batch.fake_batch.wire import Wire, touch

routes = web.RouteTableDef()


def _job(request: web.Request) -> Job:
    return request.app[ACCOUNT].job(request.match_info["jobId"])


def _task(request: web.Request) -> Task:
    return _job(request).task(request.match_info["taskId"])


@routes.post("/jobs")
async def add(request: web.Request) -> web.Response:
    spec = await body(request, models.BatchJobCreateOptions)
    check_job(spec)
    return changed(request, request.app[ACCOUNT].add_job(spec).wire, 201)


@routes.get("/jobs")
async def list_all(request: web.Request) -> web.Response:
    wires = (job.wire for job in request.app[ACCOUNT].jobs())
    return many(request, wires, models.BatchJob, filters.JOBS)


@routes.get("/jobs/{jobId}")
async def get(request: web.Request) -> web.Response:
    return one(request, _job(request).wire, models.BatchJob)


@routes.patch("/jobs/{jobId}")
async def patch(request: web.Request) -> web.Response:
    changes = await body(request, models.BatchJobUpdateOptions)
    return _update(request, changes)


@routes.put("/jobs/{jobId}")
async def put(request: web.Request) -> web.Response:
    changes = await body(request, models.BatchJob)
    defaults: Wire = {"priority": 0, "maxParallelTasks": -1, "constraints": {}, "onAllTasksComplete": "noaction"}
    return _update(request, {**defaults, "metadata": [], **changes})


def _update(request: web.Request, changes: Wire) -> web.Response:
    check_job_values(changes)
    job = _job(request)
    job.update(changes)
    return changed(request, job.wire, 200)


@routes.delete("/jobs/{jobId}")
async def delete(request: web.Request) -> web.Response:
    request.app[ACCOUNT].delete_job(request.match_info["jobId"])
    return web.Response(status=202)


@routes.post("/jobs/{jobId}/terminate")
async def terminate(request: web.Request) -> web.Response:
    options = await optional_body(request, _models.BatchJobTerminateOptions)
    job = _job(request)
    job.terminate(options.get("terminateReason") or "UserTerminate")
    return changed(request, job.wire, 202)


@routes.post("/jobs/{jobId}/disable")
async def disable(request: web.Request) -> web.Response:
    options = await body(request, models.BatchJobDisableOptions)
    job = _job(request)
    job.disable(options["disableTasks"])
    return changed(request, job.wire, 202)


@routes.post("/jobs/{jobId}/enable")
async def enable(request: web.Request) -> web.Response:
    job = _job(request)
    job.enable()
    return changed(request, job.wire, 202)


@routes.get("/jobs/{jobId}/taskcounts")
async def task_counts(request: web.Request) -> web.Response:
    return web.json_response(_job(request).counts())


@routes.post("/jobs/{jobId}/tasks")
async def add_task(request: web.Request) -> web.Response:
    spec = await body(request, models.BatchTaskCreateOptions)
    check_task(spec)
    return changed(request, _job(request).add(spec).wire, 201)


@routes.post("/jobs/{jobId}/addtaskcollection")
async def add_tasks(request: web.Request) -> web.Response:
    specs: list[Wire] = (await body(request, models.BatchTaskGroup))["value"]
    if not 1 <= len(specs) <= COLLECTION:
        raise invalid("value", len(specs), f"It has to have from 1 to {COLLECTION} tasks.")
    job = _job(request)
    job.check_open()
    return web.json_response({"value": [_outcome(job, spec) for spec in specs]})


def _outcome(job: Job, spec: Wire) -> Wire:
    """Each task of a collection is taken or refused for itself."""
    outcome: dict[str, Any] = {"taskId": spec["id"]}
    try:
        check_task(spec)
        wire = job.add({name: value for name, value in spec.items() if value is not None}).wire
    except Problem as problem:
        return {**outcome, "status": "servererror" if problem.status >= 500 else "clienterror", "error": problem.body()}
    told = {name: wire[name] for name in ("eTag", "lastModified")}
    return {**outcome, **told, "status": "success", "location": wire["url"]}


@routes.get("/jobs/{jobId}/tasks")
async def list_tasks(request: web.Request) -> web.Response:
    wires = (task.wire for task in _job(request).tasks.values())
    return many(request, wires, models.BatchTask, filters.TASKS)


@routes.get("/jobs/{jobId}/tasks/{taskId}")
async def get_task(request: web.Request) -> web.Response:
    return one(request, _task(request).wire, models.BatchTask)


@routes.put("/jobs/{jobId}/tasks/{taskId}")
async def put_task(request: web.Request) -> web.Response:
    constraints = (await body(request, models.BatchTask)).get("constraints") or {}
    task = _task(request)
    task.wire["constraints"] = constraints
    touch(task.wire, request.app[ACCOUNT].world.clock.now())
    return changed(request, task.wire, 200)


@routes.delete("/jobs/{jobId}/tasks/{taskId}")
async def delete_task(request: web.Request) -> web.Response:
    job = _job(request)
    job.remove(_task(request))
    return web.Response(status=200)


@routes.post("/jobs/{jobId}/tasks/{taskId}/terminate")
async def terminate_task(request: web.Request) -> web.Response:
    job, task = _job(request), _task(request)
    job.end(task)
    return changed(request, task.wire, 204)


@routes.post("/jobs/{jobId}/tasks/{taskId}/reactivate")
async def reactivate_task(request: web.Request) -> web.Response:
    job, task = _job(request), _task(request)
    job.reactivate(task)
    return changed(request, task.wire, 204)
