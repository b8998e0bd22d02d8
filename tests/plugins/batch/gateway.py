"""The gateway side's parts, on the double of Azure Batch."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from tesgw_batch.archive import Label
from tesgw_batch.entry import Entry
from tesgw_batch.mapping import Need, Plan

from tesgw import Job, Resources
from tests.runner.conftest import make_job, sh

DEDICATED = Need("standard_d2ads_v5")
SPOT = Need("standard_d2ads_v5", is_spot=True)

PLAN = Plan(
    image="endless",
    node_image="microsoft-dsvm:ubuntu-hpc:2404:latest:batch.node.ubuntu 24.04",
    sizes=(),
    most_dedicated=20,
    most_spot=10,
    least=0,
    spot_by_default=False,
    spot_attempts=2,
    pool_id="",
    region="westeurope",
    identity="",
    subnet="",
    lease_seconds=60,
    keeps_pools=False,
    owner="https://files.blob.core.windows.net/batchtmp",
)


def plan(**changes: Any) -> Plan:
    return dataclasses.replace(PLAN, **changes)


def job(job_id: str = "task-1", **fields: Any) -> Job:
    resources = Resources(**fields.pop("resources", {}))
    return dataclasses.replace(make_job(sh("true")), id=job_id, resources=resources, **fields)


def entry(job_id: str = "task-1", need: Need = DEDICATED) -> Entry:
    return Entry(job_id, Label(need, "shown", time.time()))
