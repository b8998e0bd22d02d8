"""The settings of the Azure Batch backend. Names that the predecessor had keep them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tesgw import Setting

SETTINGS = (
    Setting(
        name="BATCH_ACCOUNT_NAME",
        type=str,
        default="",
        why="The Batch account that runs tasks. Required.",
    ),
    Setting(
        name="BATCH_ACCOUNT_KEY",
        type=str,
        default="",
        secret=True,
        why="A key of the Batch account. Empty: the gateway's own Entra identity (managed or workload identity, or what "
        "`AZURE_CLIENT_ID` and its like in the environment say).",
    ),
    Setting(
        name="BATCH_ACCOUNT_URL",
        type=str,
        default="",
        why="The Batch account's endpoint, such as `https://NAME.REGION.batch.azure.com`. Required.",
    ),
    Setting(
        name="BATCH_REGION",
        type=str,
        default="",
        why="The Azure region of the Batch account, which is what a task may name in `zones`. Empty: as `BATCH_ACCOUNT_URL` "
        "says.",
    ),
    Setting(
        name="STORAGE_ACCOUNT_NAME",
        type=str,
        default="",
        why="The storage account through which the gateway and the nodes speak; tasks may name its blobs without a "
        "signature. Required.",
    ),
    Setting(
        name="STORAGE_ACCOUNT_KEY",
        type=str,
        default="",
        secret=True,
        why="A key of the storage account. Empty: the gateway's own Entra identity signs, and `/tes-wd/shared-global` is "
        "not there, for a file share can be mounted with a key only.",
    ),
    Setting(
        name="STORAGE_ACCOUNT_URL",
        type=str,
        default="",
        why="The storage account's blob endpoint, where it is not `https://NAME.blob.core.windows.net`: in sovereign "
        "clouds, or an emulator's.",
    ),
    Setting(
        name="BATCH_STORAGE_TMP_CONTAINER_NAME",
        type=str,
        default="batchtmp",
        why="The blob container for the documents of running tasks, made if it is missing. Each gateway needs its own.",
    ),
    Setting(
        name="BATCH_STORAGE_FILESHARE_NAME",
        type=str,
        default="batchfiles",
        why="The file share of the storage account that tasks see as `/tes-wd/shared-global`. Empty: they have none.",
    ),
    Setting(
        name="FILETRANSFER_CONTAINER_IMAGE",
        type=str,
        default="",
        why="The image of this gateway, by the name by which nodes can pull it: it runs tasks there. An image built with "
        "the argument of that name knows it; a plain install has to be told.",
    ),
    Setting(
        name="BATCH_POOL_DEDICATED_NODE_COUNT",
        type=int,
        default=20,
        least=0,
        why="The most dedicated nodes that a pool grows to; 0: no dedicated nodes. The predecessor had pools of this very "
        "size, one for each task; now tasks share pools that grow and shrink.",
    ),
    Setting(
        name="BATCH_POOL_LOW_PRIORITY_NODE_COUNT",
        type=int,
        default=20,
        least=0,
        why="The most Spot nodes (once called low-priority) that a pool grows to; 0: no Spot nodes.",
    ),
    Setting(
        name="BATCH_POOL_MIN_NODES",
        type=int,
        default=0,
        least=0,
        why="How many nodes each pool keeps while no task needs them: they cost money and save minutes.",
    ),
    Setting(
        name="BATCH_PREEMPTIBLE_DEFAULT",
        type=bool,
        default=False,
        why="Whether tasks that say nothing about `preemptible` go to Spot nodes.",
    ),
    Setting(
        name="BATCH_SPOT_ATTEMPTS",
        type=int,
        default=2,
        least=0,
        why="After this many preempted attempts a task goes to dedicated nodes, where there are any; 0: never.",
    ),
    Setting(
        name="BATCH_VM_SIZES",
        type=tuple,
        default=(),
        why="The VM sizes or families that may be chosen, such as `standard_d4ads_v5` or `standardDADSv5Family`. Empty: all "
        "that tesgw knows.",
    ),
    Setting(
        name="BATCH_NODE_IMAGE",
        type=str,
        default="microsoft-dsvm:ubuntu-hpc:2404:latest:batch.node.ubuntu 24.04",
        why="The nodes' VM image: publisher, offer, SKU, version and node agent, with colons between. It has to "
        "bring Docker.",
    ),
    Setting(
        name="BATCH_SUBNET_ID",
        type=str,
        default="",
        why="The resource id of the subnet that nodes join, for private networks.",
    ),
    Setting(
        name="BATCH_NODE_IDENTITY",
        type=str,
        default="",
        why="The resource id of a user-assigned managed identity for nodes, to pull images with. Such pools are made "
        "through Azure Resource Manager, so the id of the Batch account in `BATCH_ACCOUNT_RESOURCE_ID` is required too.",
    ),
    Setting(
        name="BATCH_ACCOUNT_RESOURCE_ID",
        type=str,
        default="",
        why="The Batch account's resource id, `/subscriptions/…/batchAccounts/NAME`, for pools with `BATCH_NODE_IDENTITY`.",
    ),
    Setting(
        name="BATCH_NODE_ADMIN_USERNAME",
        type=str,
        default="",
        why="An administrator's account on every node, for people who look into one. Empty: none.",
    ),
    Setting(
        name="BATCH_NODE_ADMIN_PASSWORD",
        type=str,
        default="",
        secret=True,
        why="That account's password.",
    ),
    Setting(
        name="BATCH_AUTOPOOL_KEEPALIVE",
        type=bool,
        default=False,
        why="Whether pools that no task has needed for half an hour are kept, without nodes, instead of deleted. The "
        "predecessor kept each task's pool.",
    ),
    Setting(
        name="BATCH_OVERRIDE_POOL_ID",
        type=str,
        default="",
        why="A pool of yours that all tasks go to, except those whose tag `ms-backend-batch-pool-id` names another. It "
        "needs the same start task; the gateway leaves its size alone.",
    ),
    Setting(
        name="BATCH_NETWORK",
        type=str,
        default="bridge",
        choices=("bridge", "none"),
        why="The Docker network of executors: `none` cuts them off.",
    ),
    Setting(
        name="BATCH_LEASE_SECONDS",
        type=int,
        default=60,
        least=30,
        why="How long, from 30 to 60, a node may be out of reach of the storage account before its tasks are stopped, to be "
        "tried again elsewhere.",
    ),
)

PARAMETERS = {
    "vm_size": "The size of the virtual machine, such as standard_d4ads_v5, whatever else the task asks for.",
}


def required(settings: Mapping[str, Any]) -> list[str]:
    """The names of the settings that are missing."""
    names = (
        "BATCH_ACCOUNT_NAME",
        "BATCH_ACCOUNT_URL",
        "STORAGE_ACCOUNT_NAME",
        "FILETRANSFER_CONTAINER_IMAGE",
        *(("BATCH_ACCOUNT_RESOURCE_ID",) if settings["BATCH_NODE_IDENTITY"] else ()),
    )
    return [name for name in names if not settings[name]]


def storage_url(settings: Mapping[str, Any]) -> str:
    """The blob endpoint, without a slash at the end."""
    configured = settings["STORAGE_ACCOUNT_URL"] or f"https://{settings['STORAGE_ACCOUNT_NAME']}.blob.core.windows.net"
    return str(configured).rstrip("/")
