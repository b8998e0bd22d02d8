"""From tasks to what Batch is asked for, and from what Batch says to sentences."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest
from azure.batch import models
from tesgw_batch import mapping, sizes
from tesgw_batch.mapping import Need, Plan, need_of
from tesgw_batch.settings import SETTINGS

from tesgw import BackendRefused
from tesgw.errors import SettingsError
from tests.plugins.batch.gateway import DEDICATED, PLAN, SPOT, job, plan

NOW = 1_790_000_000.0
BATCH_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
SECRETS: dict[str, Any] = {
    "share": "batchfiles",
    "storage_account": "files",
    "storage_key": "storage-key",
    "admin": "operator",
    "admin_password": "admin-password",
    "registry": ("example.azurecr.io", "puller", "registry-password"),
}

# preemptible, attempt, the plan's changes, Spot
NEEDS = [
    (None, 1, {}, False),
    (None, 1, {"spot_by_default": True}, True),
    (None, 2, {"spot_by_default": True}, True),
    (None, 3, {"spot_by_default": True}, False),
    (True, 1, {}, True),
    (True, 2, {}, True),
    (True, 3, {}, False),
    (True, 3, {"spot_attempts": 3}, True),
    (True, 9, {"spot_attempts": 0}, True),
    (True, 9, {"most_dedicated": 0}, True),
    (True, 1, {"most_spot": 0}, False),
    (None, 1, {"most_dedicated": 0}, True),
    (None, 1, {"most_spot": 0, "spot_by_default": True}, False),
    (False, 1, {"spot_by_default": True}, False),
    (False, 1, {"most_spot": 0}, False),
]


@pytest.mark.parametrize(("preemptible", "attempt", "changes", "is_spot"), NEEDS)
def test_who_may_be_preempted_goes_to_spot_nodes_until_it_was_often_enough(
    preemptible: bool | None, attempt: int, changes: dict[str, Any], is_spot: bool
) -> None:
    need = need_of(job(f"task-{attempt}", resources={"preemptible": preemptible}), plan(**changes))
    assert need == Need(need.vm_size, is_spot)


def test_a_task_that_must_not_be_preempted_is_refused_where_all_nodes_are_spot() -> None:
    with pytest.raises(BackendRefused, match="Spot nodes only"):
        need_of(job(resources={"preemptible": False}), plan(most_dedicated=0))


@pytest.mark.parametrize("preemptible", [None, True])
def test_a_gateway_without_nodes_refuses_and_says_what_to_set(preemptible: bool | None) -> None:
    with pytest.raises(BackendRefused, match=r"no nodes.*BATCH_POOL_DEDICATED_NODE_COUNT"):
        need_of(job(resources={"preemptible": preemptible}), plan(most_dedicated=0, most_spot=0))


@pytest.mark.parametrize(
    ("zones", "region", "is_refused"),
    [
        ((), "westeurope", False),
        (("WestEurope",), "westeurope", False),
        (("eastus", "westeurope"), "westeurope", False),
        (("eastus",), "westeurope", True),
        (("eastus",), "", False),
        (("westeurope-1",), "westeurope", True),
    ],
)
def test_zones_have_to_name_the_accounts_region(zones: tuple[str, ...], region: str, is_refused: bool) -> None:
    if is_refused:
        with pytest.raises(BackendRefused, match=f"{zones[0]}.*{region}"):
            need_of(job(resources={"zones": zones}), plan(region=region))
    else:
        need_of(job(resources={"zones": zones}), plan(region=region))


@pytest.mark.parametrize(
    ("tag", "setting", "pool_id"),
    [("theirs", "ours", "theirs"), ("theirs", "", "theirs"), ("", "ours", "ours"), ("", "", "")],
)
def test_a_tasks_tag_goes_before_the_gateways_pool(tag: str, setting: str, pool_id: str) -> None:
    need = need_of(job(tags={mapping.POOL_TAG: tag}), plan(pool_id=setting))
    assert need.pool_id == pool_id
    assert bool(need.vm_size) != bool(pool_id)


@pytest.mark.parametrize("tag", ["a/b", "x" * 65, "späti", "a b", "../jobs"])
def test_a_tag_that_can_be_no_pools_name_is_refused(tag: str) -> None:
    with pytest.raises(BackendRefused, match=mapping.POOL_TAG):
        need_of(job(tags={mapping.POOL_TAG: tag}), PLAN)


def test_a_task_that_goes_to_a_pool_of_its_own_may_ask_for_what_no_size_has() -> None:
    assert need_of(job(tags={mapping.POOL_TAG: "big"}, resources={"cpu_cores": 5000}), PLAN) == Need(pool_id="big")


# Pools


def test_every_size_has_pool_ids_of_its_own_that_batch_takes() -> None:
    ids = [mapping.pool_id(Need(size.name, is_spot), PLAN, NOW) for size in sizes.catalogue() for is_spot in (False, True)]
    assert len({each.lower() for each in ids}) == len(ids)
    assert [each for each in ids if not BATCH_ID.fullmatch(each) or len(f"{each}-{int(NOW):x}") > 64] == []


def test_two_gateways_on_one_account_do_not_know_each_others_pools() -> None:
    other = plan(owner="https://files.blob.core.windows.net/other")
    assert not mapping.pool_id(DEDICATED, other, NOW).startswith(PLAN.prefix)


@pytest.mark.parametrize("need", [DEDICATED, SPOT, Need(pool_id="theirs")])
def test_what_a_pool_was_made_for_is_read_from_it(need: Need) -> None:
    options = mapping.pool_options("pool", need, PLAN, "formula")
    assert mapping.need_in(models.BatchPool({"metadata": options.as_dict()["metadata"]})) == need


@pytest.mark.parametrize(
    "metadata",
    [None, {"other": "x"}, {"tesgw.need": "{"}, {"tesgw.need": "[]"}, {"tesgw.need": '{"size": 1}'}],
)
def test_a_pool_that_does_not_say_it_was_made_for_nothing(metadata: dict[str, str] | None) -> None:
    items = None if metadata is None else [{"name": key, "value": value} for key, value in metadata.items()]
    assert mapping.need_in(models.BatchPool({"metadata": items})) is None


CHANGES: list[dict[str, Any]] = [
    {"image": "other"},
    {"node_image": "a:b:c:d:e"},
    {"identity": "/subscriptions/x"},
    {"subnet": "/subscriptions/y"},
    {"lease_seconds": 30},
    {"owner": "https://files.blob.core.windows.net/other"},
    *({key: value} for key, value in SECRETS.items()),
]


@pytest.mark.parametrize("change", CHANGES, ids=[next(iter(each)) for each in CHANGES])
def test_new_pools_are_made_when_what_pools_are_made_of_changes(change: dict[str, Any]) -> None:
    assert plan(**change).fingerprint != PLAN.fingerprint
    assert plan(**change).fingerprint == plan(**change).fingerprint


def test_a_new_start_task_means_new_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    before = PLAN.fingerprint
    monkeypatch.setattr(mapping, "start_task_command", lambda lease_seconds: "another")
    assert PLAN.fingerprint != before


def test_secrets_of_a_plan_are_only_where_batch_needs_them() -> None:
    secret = plan(**SECRETS)
    options = mapping.pool_options(mapping.pool_id(DEDICATED, secret, NOW), DEDICATED, secret, "formula").as_dict()

    machine = options["virtualMachineConfiguration"]["containerConfiguration"]["containerRegistries"]
    assert machine == [{"registryServer": "example.azurecr.io", "username": "puller", "password": "registry-password"}]
    assert [each["password"] for each in options.pop("userAccounts")] == ["admin-password"]
    (mount,) = options.pop("mountConfiguration")
    assert mount["azureFileShareConfiguration"]["accountKey"] == "storage-key"
    del options["virtualMachineConfiguration"]["containerConfiguration"]["containerRegistries"]
    for password in ("storage-key", "admin-password", "registry-password"):
        assert password not in json.dumps(options)
        assert password not in repr(secret)


def test_nodes_with_an_identity_get_images_with_it() -> None:
    machine = mapping.pool_options("p", DEDICATED, plan(identity="/id", image="example.azurecr.io/tesgw:1"), "").as_dict()
    registries = machine["virtualMachineConfiguration"]["containerConfiguration"]["containerRegistries"]
    assert registries == [{"registryServer": "example.azurecr.io", "identityReference": {"resourceId": "/id"}}]


@pytest.mark.parametrize(
    ("owner", "url"),
    [
        ("https://acc.blob.core.windows.net/tmp", "https://acc.file.core.windows.net"),
        ("https://acc.blob.core.chinacloudapi.cn/tmp", "https://acc.file.core.chinacloudapi.cn"),
        ("http://127.0.0.1:10000/acc/tmp", "https://acc.file.core.windows.net"),
    ],
)
def test_a_file_share_is_beside_the_blobs(owner: str, url: str) -> None:
    assert mapping.files_url(owner, "acc") == url


@pytest.mark.parametrize("text", ["", "a:b:c:d", "a:b:c:d:", "a:b:c:d:e:f"])
def test_a_node_image_has_five_parts(text: str) -> None:
    with pytest.raises(SettingsError, match="PUBLISHER:OFFER:SKU:VERSION:NODE_AGENT"):
        mapping.image_parts(text)


# Settings


def settings(**changes: Any) -> dict[str, Any]:
    registry = {f"PRIVATE_DOCKER_REGISTRY_{part}": "" for part in ("URL", "USERNAME", "PASSWORD")}
    return {**{each.name: each.default for each in SETTINGS}, **registry, "STORAGE_ACCOUNT_NAME": "acc", **changes}


@pytest.mark.parametrize(
    ("account_url", "named", "region"),
    [
        ("https://acc.westeurope.batch.azure.com", "", "westeurope"),
        ("https://acc.westeurope.batch.azure.com/", "", "westeurope"),
        ("https://acc.chinanorth2.batch.chinacloudapi.cn", "", "chinanorth2"),
        ("https://acc.westeurope.batch.azure.com", "eastus", "eastus"),
        ("http://127.0.0.1:1234", "", ""),
    ],
)
def test_the_region_is_in_the_accounts_url(account_url: str, named: str, region: str) -> None:
    assert Plan.of(settings(BATCH_ACCOUNT_URL=account_url, BATCH_REGION=named)).region == region


def test_a_file_share_needs_the_accounts_key() -> None:
    assert Plan.of(settings()).share == ""
    assert Plan.of(settings(STORAGE_ACCOUNT_KEY="key")).share == "batchfiles"


# Tasks


@pytest.mark.parametrize(
    ("name", "tags", "shown"),
    [
        ("", {}, ""),
        ("align", {}, "align"),
        ("align", {"workflow_id": "w1"}, "align · w1"),
        ("", {"WORKFLOW_ID": "w1"}, "w1"),
        ("align", {"workflow_id": "", "workflow": "w2"}, "align · w2"),
        ("a\nb\x00c", {}, "abc"),
        ("x" * 2000, {}, "x" * 256),
    ],
)
def test_people_see_the_task_and_its_workflow(name: str, tags: dict[str, str], shown: str) -> None:
    assert mapping.display_name(name, tags) == shown


def test_the_batch_task_holds_the_orders_url_and_nothing_else_of_the_task() -> None:
    wire = mapping.task_options("task-1", "", "https://order?sig=1", "image").as_dict()
    assert wire["environmentSettings"] == [{"name": "TESGW_ORDER_URL", "value": "https://order?sig=1"}]
    assert "displayName" not in wire
    assert json.dumps(wire).count("sig=1") == 1


@pytest.mark.parametrize(("need", "priority"), [(DEDICATED, "dedicated"), (SPOT, "spot")])
def test_clients_are_told_what_runs_their_task(need: Need, priority: str) -> None:
    told = mapping.metadata(need)
    assert (told["vm_size"], told["vm_family"], told["vm_priority"]) == (need.vm_size, "standardDADSv5Family", priority)
    assert float(told["vm_price_per_hour_usd"]) > 0


def test_a_size_that_is_no_longer_known_has_no_price() -> None:
    assert mapping.metadata(Need("standard_gone_v1")) == {"vm_size": "standard_gone_v1", "vm_priority": "dedicated"}


def test_the_facts_of_somebody_elses_pool_are_its_own() -> None:
    assert mapping.metadata(Need(pool_id="theirs")) == {"pool_id": "theirs"}


# Sentences


def pool(**fields: Any) -> models.BatchPool:
    return models.BatchPool({"id": "pool", **fields})


def counts(**states: int) -> models.BatchPoolNodeCounts:
    names = ("creating", "idle", "running", "startTaskFailed", "unusable", "total")
    nodes = {**dict.fromkeys(names, 0), **states}
    return models.BatchPoolNodeCounts({"poolId": "pool", "dedicated": nodes, "lowPriority": dict.fromkeys(names, 0)})


def errors(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"code": code, "message": message} for code, message in pairs]


QUOTA = "The specified account has reached core quota limit."
WAITING: list[tuple[models.BatchPool | None, models.BatchPoolNodeCounts | None, str]] = [
    (None, None, "Waiting for Azure Batch to make a pool (standard_d2ads_v5, dedicated)."),
    (pool(), None, "Waiting for a node of the pool pool (standard_d2ads_v5, dedicated)."),
    (pool(), counts(idle=0, creating=3), "Waiting for a node of the pool pool (standard_d2ads_v5, dedicated)."),
    (pool(), counts(running=1, startTaskFailed=2), "Waiting for a node of the pool pool (standard_d2ads_v5, dedicated)."),
    (
        pool(),
        counts(startTaskFailed=2, unusable=1),
        "Waiting for nodes of the pool pool (standard_d2ads_v5, dedicated): 3 could not be set up.",
    ),
    *(
        (
            pool(resizeErrors=errors((code, f"{QUOTA}\nRequestId:1"))),
            counts(),
            "Waiting for nodes of the pool pool (standard_d2ads_v5, dedicated): Azure cannot give them now: "
            f"{code}: {QUOTA}",
        )
        for code in ("AccountCoreQuotaReached", "AccountSpotCoreQuotaReached", "AllocationTimedOut", "AllocationFailed")
    ),
    (
        pool(resizeErrors=errors(("AllocationFailed", "No room."), ("ResizeStopped", "Stopped."))),
        None,
        "Waiting for nodes of the pool pool (standard_d2ads_v5, dedicated): Azure cannot give them now: "
        "AllocationFailed: No room.; ResizeStopped: Stopped.",
    ),
]


@pytest.mark.parametrize(("found", "nodes", "sentence"), WAITING)
def test_who_waits_is_told_why(
    found: models.BatchPool | None, nodes: models.BatchPoolNodeCounts | None, sentence: str
) -> None:
    assert mapping.waiting(DEDICATED, found, nodes) == sentence


@pytest.mark.parametrize(
    ("nodes", "sentence"),
    [
        (counts(total=1), "Waiting for a node of the pool theirs."),
        (counts(total=0), "Waiting for a node of the pool theirs: it has none now, or does not exist."),
        (None, "Waiting for a node of the pool theirs: it has none now, or does not exist."),
    ],
)
def test_who_waits_for_somebody_elses_pool_is_told_if_it_has_no_nodes(
    nodes: models.BatchPoolNodeCounts | None, sentence: str
) -> None:
    assert mapping.waiting(Need(pool_id="theirs"), None, nodes) == sentence


def ended(**info: Any) -> models.BatchTask:
    return models.BatchTask({"id": "task-1", "nodeInfo": {"nodeId": "tvm1"}, "executionInfo": info})


FAILURES = [
    (
        ended(exitCode=3, failureInfo={"category": "usererror", "code": "FailureExitCode", "message": "It failed."}),
        "no order",
        "The runner ended on the node tvm1 with exit code 3 before it could say how the task is. "
        "FailureExitCode: It failed. (no order)",
    ),
    (
        ended(
            failureInfo={
                "category": "usererror",
                "code": "ContainerInvalidImage",
                "message": "No such image.",
                "details": [{"name": "Image", "value": "tesgw:1"}],
            }
        ),
        "",
        "The runner ended on the node tvm1 before it could say how the task is. ContainerInvalidImage: No such image. "
        "(Image: tesgw:1)",
    ),
    (ended(exitCode=0), "", "The runner ended on the node tvm1 with exit code 0 before it could say how the task is."),
    (models.BatchTask({"id": "task-1"}), "", "The runner ended before it could say how the task is."),
]


@pytest.mark.parametrize(("task", "stderr", "sentence"), FAILURES)
def test_batchs_reason_for_the_end_of_a_runner_is_told(task: models.BatchTask, stderr: str, sentence: str) -> None:
    assert mapping.failure(task, stderr) == sentence


def test_a_runner_that_said_much_is_quoted_at_its_end() -> None:
    said = mapping.failure(ended(exitCode=1), "x" * 5000 + "the cause")
    assert said.endswith("the cause)")
    assert len(said) < 1200


def test_a_plan_is_a_value() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PLAN.image = "other"  # type: ignore[misc]  # it is frozen
