"""What Azure refuses, its double refuses: with the SDK as the client, as the backend is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from azure.batch import models
from azure.batch.aio import BatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from tesgw_batch.fake_batch import Quotas
from tesgw_batch.fake_batch.signature import authorization

from tests.plugins.batch.fake_batch.double import ACCOUNT, KEY, VM, Double, code, details, pool, scaling, task

SHARE = {
    "accountName": "storage",
    "accountKey": "key",
    "azureFileUrl": "https://storage.file.core.windows.net/share",
    "relativeMountPath": "share",
}


async def refusal(request: Any) -> HttpResponseError:
    with pytest.raises(HttpResponseError) as caught:
        await request
    return caught.value


@pytest.mark.parametrize(
    ("spec", "expected", "name"),
    [
        (pool(colour="red"), "InvalidPropertyValue", "colour"),
        (pool(startTask={"commandLine": "true", "retries": 1}), "InvalidPropertyValue", "startTask.retries"),
        ({"id": "pool", "vmSize": "standard_d4ads_v5"}, "MissingRequiredProperty", "virtualMachineConfiguration"),
        (pool(startTask={"waitForSuccess": True}), "MissingRequiredProperty", "startTask.commandLine"),
        (pool(targetDedicatedNodes="1"), "InvalidPropertyValue", "targetDedicatedNodes"),
        (pool(targetDedicatedNodes=True), "InvalidPropertyValue", "targetDedicatedNodes"),
        (pool(resizeTimeout="15 minutes"), "InvalidPropertyValue", "resizeTimeout"),
        (pool(taskSchedulingPolicy={"nodeFillType": "full"}), "InvalidPropertyValue", "taskSchedulingPolicy.nodeFillType"),
        (pool("with space"), "InvalidPropertyValue", "id"),
        (pool("x" * 65), "InvalidPropertyValue", "id"),
        (pool(displayName="x" * 1025), "InvalidPropertyValue", "displayName"),
        (pool(vmSize="standard_d4_v1"), "InvalidPropertyValue", "vmSize"),
        (pool(taskSlotsPerNode=17), "InvalidPropertyValue", "taskSlotsPerNode"),
        (pool(vmSize="standard_d96ads_v5", taskSlotsPerNode=257), "InvalidPropertyValue", "taskSlotsPerNode"),
        (pool(targetLowPriorityNodes=-1), "InvalidPropertyValue", "targetLowPriorityNodes"),
        (
            pool(mountConfiguration=[{"azureFileShareConfiguration": SHARE}] * 11),
            "InvalidPropertyValue",
            "mountConfiguration",
        ),
        (pool(mountConfiguration=[{"azureFileShareConfiguration": SHARE}] * 2), "InvalidPropertyValue", "relativeMountPath"),
        (pool(**scaling(minutes=4.9)), "InvalidPropertyValue", "autoScaleEvaluationInterval"),
        (pool(**scaling(minutes=168 * 60 + 1)), "InvalidPropertyValue", "autoScaleEvaluationInterval"),
        (pool(**scaling(), targetDedicatedNodes=1), "InvalidPropertyValue", "targetDedicatedNodes"),
        (pool(enableAutoScale=True), "MissingRequiredProperty", "autoScaleFormula"),
        (pool(autoScaleFormula="$TargetDedicatedNodes=1;"), "InvalidPropertyValue", "autoScaleFormula"),
    ],
)
async def test_a_pool_that_azure_does_not_make_is_refused(
    double: Double, spec: dict[str, Any], expected: str, name: str
) -> None:
    error = await refusal(double.client.create_pool(spec))  # type: ignore[arg-type]  # a wire form

    assert (error.status_code, code(error), details(error)["PropertyName"]) == (400, expected, name)


@pytest.mark.parametrize(
    ("formula", "expected"),
    [("$TargetDedicatedNodes = ;", "AutoScalingFormulaSyntaxError"), ("a = 1;" * 1400, "AutoScaleFormulaTooLong")],
)
async def test_a_formula_that_cannot_be_read_makes_no_pool(double: Double, formula: str, expected: str) -> None:
    error = await refusal(double.client.create_pool(pool(**scaling(formula))))  # type: ignore[arg-type]  # a wire form

    assert (error.status_code, code(error)) == (400, expected)
    assert [pool.id async for pool in double.client.list_pools()] == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (task("a.b"), (400, "InvalidPropertyValue")),
        (task("x" * 65), (400, "InvalidPropertyValue")),
        (task(displayName="x" * 1025), (400, "InvalidPropertyValue")),
        (task(requiredSlots=0), (400, "InvalidPropertyValue")),
        (task(constraints={"maxTaskRetryCount": -2}), (400, "InvalidPropertyValue")),
        (task(constraints={"maxWallClockTime": "1h"}), (400, "InvalidPropertyValue")),
        (task(environmentSettings=[{"value": "v"}]), (400, "MissingRequiredProperty")),
        ({"id": "task", "commandLine": " "}, (400, "InvalidPropertyValue")),
        (task(dependsOn={"taskIds": ["other"]}), (501, "NotImplemented")),
    ],
)
async def test_a_task_that_azure_does_not_take_is_refused(
    double: Double, spec: dict[str, Any], expected: tuple[int, str]
) -> None:
    await double.job()

    error = await refusal(double.add(spec))

    assert (error.status_code, code(error)) == expected


@pytest.mark.parametrize("fields", [{"priority": 1001}, {"poolInfo": {}}, {"constraints": {"maxTaskRetryCount": -2}}])
async def test_a_job_that_azure_does_not_take_is_refused(double: Double, fields: dict[str, Any]) -> None:
    assert (await refusal(double.job(**fields))).status_code == 400


async def test_ids_differ_by_more_than_case(double: Double) -> None:
    await double.pool("Pool", targetDedicatedNodes=0)
    await double.job("Job", "POOL")
    await double.add(task("Task"), job_id="job")

    requests = (double.pool("pool"), double.job("JOB"), double.add(task("tASK"), job_id="jOB"))
    errors = [await refusal(request) for request in requests]
    assert [code(error) for error in errors] == ["PoolExists", "JobExists", "TaskExists"]
    assert all(isinstance(error, ResourceExistsError) for error in errors)


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (lambda client: client.get_pool("no"), "PoolNotFound"),
        (lambda client: client.begin_delete_pool("no"), "PoolNotFound"),
        (lambda client: client.get_job("no"), "JobNotFound"),
        (lambda client: client.create_task("no", task()), "JobNotFound"),
        (lambda client: client.get_task("job", "no"), "TaskNotFound"),
        (lambda client: client.terminate_task("job", "no"), "TaskNotFound"),
        (lambda client: client.get_node("pool", "no"), "NodeNotFound"),
    ],
)
async def test_what_is_not_there_is_not_found(double: Double, ask: Any, expected: str) -> None:
    await double.pool(targetDedicatedNodes=0)
    await double.job()

    error = await refusal(ask(double.client))

    assert isinstance(error, ResourceNotFoundError)
    assert code(error) == expected


async def test_a_collection_has_at_most_100_tasks_of_which_each_is_taken_for_itself(double: Double) -> None:
    await double.job()
    await double.add(task("t1"))

    def group(*tasks: dict[str, Any]) -> models.BatchTaskGroup:
        return models.BatchTaskGroup({"value": list(tasks)})

    many = [task(f"t{number}") for number in range(101)]
    error = await refusal(double.client.create_task_collection("job", group(*many)))
    answer = await double.client.create_task_collection("job", group(*many[:99], task("a b")))

    assert details(error)["PropertyName"] == "value"
    outcomes = {each.task_id: (each.status, each.error and each.error.code) for each in answer.result_values or ()}
    assert outcomes.pop("t1") == ("clienterror", "TaskExists")
    assert outcomes.pop("a b") == ("clienterror", "InvalidPropertyValue")
    assert set(outcomes.values()) == {("success", None)}
    assert len(await double.states()) == 99


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_a_collection_has_at_most_a_mebibyte(double: Double) -> None:
    await double.job()
    big = task(environmentSettings=[{"name": "X", "value": "x" * 1024**2}])

    error = await refusal(double.client.create_task_collection("job", models.BatchTaskGroup({"value": [big]})))

    assert (error.status_code, code(error)) == (413, "RequestBodyTooLarge")


async def test_registries_are_opened_by_identities_that_the_pool_has(double: Double) -> None:
    registry = {"registryServer": "x.azurecr.io", "identityReference": {"resourceId": "/subscriptions/s/identity"}}
    machine = VM | {"containerConfiguration": {"type": "dockerCompatible", "containerRegistries": [registry]}}

    error = await refusal(double.pool(virtualMachineConfiguration=machine))

    assert details(error)["PropertyName"] == "identityReference"


async def test_an_account_has_so_many_pools_and_active_jobs(tmp_path: Path) -> None:
    async with Double.running(tmp_path, quotas=Quotas(pools=1, active_jobs=1)) as double:
        await double.pool(targetDedicatedNodes=0)
        await double.job()

        errors = [await refusal(double.pool("other")), await refusal(double.job("other"))]
        assert [code(error) for error in errors] == ["PoolQuotaReached", "ActiveJobAndScheduleQuotaReached"]

        await double.client.begin_terminate_job("job", {"terminateReason": "done"})  # type: ignore[arg-type]  # a wire form
        await double.job("other")  # completed jobs do not count


async def test_only_those_who_have_the_key_are_let_in(double: Double) -> None:
    stranger = AzureNamedKeyCredential(ACCOUNT, "b3RoZXI=")
    async with BatchClient(double.batch.url, stranger, retry_total=0) as client:
        error = await refusal(client.get_pool("pool"))

    assert isinstance(error, ClientAuthenticationError)
    assert code(error) == "AuthenticationFailed"


@pytest.mark.parametrize(
    ("query", "signed", "expected"),
    [
        ("api-version=2025-06-01", "api-version=2025-06-01", 200),
        ("api-version=2025-06-01&maxresults=1", "api-version=2025-06-01", 401),
        ("api-version=2024-07-01.20.0", "api-version=2024-07-01.20.0", 400),
        ("maxresults=1", "maxresults=1", 400),
    ],
)
async def test_a_signature_is_for_one_query_and_only_this_version_is_spoken(
    double: Double, query: str, signed: str, expected: int
) -> None:
    headers = {"ocp-date": "Sat, 28 Nov 2026 09:00:00 GMT"}
    headers["Authorization"] = authorization("GET", f"/pools?{signed}", headers, account=ACCOUNT, key=KEY)

    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{double.batch.url}/pools?{query}", headers=headers) as answer,
    ):
        assert answer.status == expected
