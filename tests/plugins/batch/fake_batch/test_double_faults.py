"""The service's own faults on demand, and the count of requests."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError, ServiceResponseError

from tests.plugins.batch.fake_batch.double import Double, code, task

ADD = "POST /jobs/{jobId}/tasks"


async def test_who_is_throttled_is_told_when_to_ask_again(double: Double) -> None:
    await double.job()
    double.batch.faults.throttled(ADD, times=2, retry_after=7)

    for _ in range(2):
        with pytest.raises(HttpResponseError) as caught:
            await double.add(task())
        assert (caught.value.status_code, code(caught.value)) == (429, "TooManyRequests")
        answer: Any = caught.value.response
        assert answer.headers["Retry-After"] == "7"
        await double.client.get_job("job")  # another route
    await double.add(task())


async def test_a_fault_that_lasts_is_taken_back(double: Double) -> None:
    double.batch.faults.refusing(times=None)
    for _ in range(2):
        with pytest.raises(HttpResponseError) as caught:
            await double.job()
        assert caught.value.status_code == 500

    double.batch.faults.lift()
    await double.job()


async def test_a_service_that_is_down_does_nothing(double: Double) -> None:
    double.batch.faults.down()
    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        await double.job()

    double.batch.faults.lift()
    assert [each.id async for each in double.client.list_jobs()] == []


async def test_a_request_whose_answer_is_lost_is_carried_out(double: Double) -> None:
    double.batch.faults.loses_answers("POST /jobs")
    with pytest.raises(AzureError):
        await double.job()

    assert [each.id async for each in double.client.list_jobs()] == ["job"]


async def test_a_slow_service_answers_late(double: Double) -> None:
    double.batch.faults.slow(seconds=0.3)
    begun = time.monotonic()
    await double.job()
    assert time.monotonic() - begun >= 0.3


async def test_requests_are_counted_by_what_they_ask(double: Double) -> None:
    await double.job()
    await double.add(task("a"), task("b"))
    await asyncio.gather(double.states(), double.states())

    assert double.batch.requests == {"POST /jobs": 1, ADD: 2, "GET /jobs/{jobId}/tasks": 2}
