"""What errors of Azure Batch become, and the faults of the SDK (15.1), which do not reach us."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from tesgw_batch import client
from tesgw_batch.client import Batch, Refused

from tesgw import BackendUnavailable
from tests.plugins.batch.client.service import ADD, answering, described, gone, problem, tasks
from tests.plugins.batch.fake_batch.double import ACCOUNT, Double, until

# Errors

PASSES = [
    (401, problem("AuthenticationFailed", "No."), "credentials.*BATCH_ACCOUNT_KEY"),
    (403, problem("AuthorizationFailure", "No."), "credentials.*BATCH_ACCOUNT_KEY"),
    (408, problem("OperationTimedOut", "No."), "408 OperationTimedOut"),
    (429, problem("TooManyRequests", "No."), "429 TooManyRequests"),
    (500, problem("InternalError", "No."), "500 InternalError"),
    (502, "<html>A proxy speaks</html>", "502"),
    (503, problem("ServerBusy", "No."), "503 ServerBusy"),
    (504, None, "504"),
    (200, "<html>Please sign in</html>", "cannot answer now"),
    (302, "<html>Moved</html>", "cannot answer now"),
]


@pytest.mark.parametrize(("status", "body", "words"), PASSES, ids=[str(each[0]) for each in PASSES])
async def test_what_may_pass_is_unavailable(status: int, body: Any, words: str) -> None:
    async with answering(status, body) as batch:
        with pytest.raises(BackendUnavailable, match=words) as caught:
            await batch.pools("")
    assert "127.0.0.1" not in str(caught.value)


STAYS = [
    (400, problem("InvalidPropertyValue", "It is invalid.", PropertyName="id"), "InvalidPropertyValue"),
    (404, problem("PoolNotFound", "It is not there."), "PoolNotFound"),
    (409, problem("JobBeingTerminated", "It is ending."), "JobBeingTerminated"),
    (413, problem("RequestBodyTooLarge", "It is too large."), "RequestBodyTooLarge"),
    (404, None, "404"),
]


@pytest.mark.parametrize(("status", "body", "code"), STAYS, ids=[f"{each[0]}-{each[2]}" for each in STAYS])
async def test_what_will_not_pass_is_refused(status: int, body: Any, code: str) -> None:
    async with answering(status, body) as batch:
        with pytest.raises(Refused) as caught:
            await batch.pools("")
    assert caught.value.code == code
    assert str(caught.value).startswith(f"Azure Batch refused: {code}: ")


async def test_a_refusal_says_why_without_the_lines_about_the_request() -> None:
    body = problem("InvalidPropertyValue", "It is invalid.", PropertyName="vmSize", Reason="no such size")
    async with answering(400, body) as batch:
        with pytest.raises(Refused) as caught:
            await batch.create_job("job", "pool")
    assert str(caught.value) == (
        "Azure Batch refused: InvalidPropertyValue: It is invalid.; PropertyName: vmSize; Reason: no such size"
    )


async def test_a_wrong_key_is_a_matter_of_the_operator(double: Double) -> None:
    wrong = Batch(double.batch.url, AzureNamedKeyCredential(ACCOUNT, "d3Jvbmc="))
    with pytest.raises(BackendUnavailable, match="BATCH_ACCOUNT_KEY") as caught:
        await wrong.pools("")
    await wrong.close()
    assert "d3Jvbmc=" not in str(caught.value)


async def test_a_service_that_is_not_there_is_unavailable(double: Double, batch: Batch) -> None:
    await double.batch.stop()
    with pytest.raises(BackendUnavailable, match="cannot be reached"):
        await batch.pools("")


async def test_a_service_that_does_not_answer_is_unavailable(
    double: Double, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CALL_SECONDS", 0.2)
    double.batch.faults.slow(seconds=60)
    with pytest.raises(BackendUnavailable, match="did not answer"):
        await batch.pools("")


# What is wrong with the SDK (15.1): each test shows it, and that it does not reach us.


async def test_the_sdk_repeats_a_collection_for_ever_and_we_do_not(double: Double, batch: Batch) -> None:
    await batch.create_job("job", "pool")
    double.batch.faults.refusing(ADD, times=None)
    endless = asyncio.create_task(double.client.create_tasks("job", tasks("a")))
    await until(lambda: asked(double, 20))
    endless.cancel()
    await asyncio.gather(endless, return_exceptions=True)

    before = double.batch.requests[ADD]
    with pytest.raises(BackendUnavailable, match="500"):
        await batch.add("job", tasks("a"))
    assert double.batch.requests[ADD] == before + 1


async def asked(double: Double, times: int) -> bool:
    return double.batch.requests[ADD] >= times


async def test_the_sdk_does_not_tell_why_there_is_no_file_and_we_do_not_ask(double: Double, batch: Batch) -> None:
    await batch.create_job("job", "pool")
    with pytest.raises(ResourceNotFoundError) as caught:
        await double.client.download_task_file("job", "task", "stderr.txt")
    assert caught.value.error is None

    assert await batch.stderr("job", "task") == ""


async def test_the_pollers_of_the_sdk_hide_failures_and_we_do_not_poll(double: Double, batch: Batch) -> None:
    await batch.create_job("job", "pool")
    double.batch.faults.refusing("GET /jobs/{jobId}", times=None)
    poller = await double.client.begin_delete_job("job", force=True, polling_interval=0)
    await poller.result()
    assert poller.status() == "Failed"

    before = double.batch.requests["GET /jobs/{jobId}"]
    await batch.create_pool(described())
    await batch.create_job("other", "pool")
    await batch.delete_job("other")
    await batch.delete_pool("pool")
    await until(lambda: gone(batch))
    assert double.batch.requests["GET /jobs/{jobId}"] == before
    assert double.batch.requests["GET /pools/{poolId}"] == 0


async def test_the_sdk_logs_a_traceback_for_an_empty_body_and_we_keep_it_quiet(
    double: Double, caplog: pytest.LogCaptureFixture
) -> None:
    noisy = logging.getLogger("azure.batch._utils.model_base")

    async def ask() -> None:
        with pytest.raises(HttpResponseError):
            await double.client.get_task_file_properties("job", "task", "stderr.txt")

    await ask()
    assert not [each for each in caplog.records if each.name == noisy.name]

    with caplog.at_level(logging.DEBUG, noisy.name):
        await ask()
    assert [each for each in caplog.records if each.name == noisy.name]
