"""From what a task needs to what Azure Batch is asked for, and from what Batch says to what a user reads. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any

from azure.batch import models

from tesgw import BackendRefused, Job
from tesgw.errors import SettingsError
from tesgw_batch import sizes
from tesgw_batch.client import INTERVAL
from tesgw_batch.node.start_task import start_task_command
from tesgw_batch.settings import storage_url

POOL_TAG = "ms-backend-batch-pool-id"
MOUNT = "azfiles"
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DISPLAY_NAME = 256  # of 1024 that Batch takes
_ADMIN = models.UserIdentity(auto_user=models.AutoUserSpecification(scope="pool", elevation_level="admin"))
_RUN_OPTIONS = (
    "--rm --no-healthcheck --entrypoint tesgw-batch --network host --user 0 -v /var/run/docker.sock:/var/run/docker.sock"
)


@dataclass(frozen=True, slots=True)
class Need:
    """What makes tasks share a pool: the VM size, and whether Spot nodes will do; or a pool that somebody named."""

    vm_size: str = ""
    is_spot: bool = False
    pool_id: str = ""

    def __str__(self) -> str:
        return f"the pool {self.pool_id}" if self.pool_id else f"{self.vm_size}, {'Spot' if self.is_spot else 'dedicated'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The settings, as far as they say how tasks run; what is the same for all pools."""

    image: str
    node_image: str
    sizes: tuple[str, ...]
    most_dedicated: int
    most_spot: int
    least: int
    spot_by_default: bool
    spot_attempts: int
    pool_id: str
    region: str
    identity: str
    subnet: str
    lease_seconds: int
    keeps_pools: bool
    owner: str
    """The URL of the gateway's container: whoever has another one is another gateway."""
    share: str = ""
    storage_account: str = ""
    storage_key: str = field(default="", repr=False)
    admin: str = ""
    admin_password: str = field(default="", repr=False)
    registry: tuple[str, str, str] = field(default=("", "", ""), repr=False)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Plan:
        key = settings["STORAGE_ACCOUNT_KEY"]
        return cls(
            image=settings["FILETRANSFER_CONTAINER_IMAGE"],
            node_image=settings["BATCH_NODE_IMAGE"],
            sizes=settings["BATCH_VM_SIZES"],
            most_dedicated=settings["BATCH_POOL_DEDICATED_NODE_COUNT"],
            most_spot=settings["BATCH_POOL_LOW_PRIORITY_NODE_COUNT"],
            least=settings["BATCH_POOL_MIN_NODES"],
            spot_by_default=settings["BATCH_PREEMPTIBLE_DEFAULT"],
            spot_attempts=settings["BATCH_SPOT_ATTEMPTS"],
            pool_id=settings["BATCH_OVERRIDE_POOL_ID"],
            region=settings["BATCH_REGION"] or _region(settings["BATCH_ACCOUNT_URL"]),
            identity=settings["BATCH_NODE_IDENTITY"],
            subnet=settings["BATCH_SUBNET_ID"],
            lease_seconds=settings["BATCH_LEASE_SECONDS"],
            keeps_pools=settings["BATCH_AUTOPOOL_KEEPALIVE"],
            owner=f"{storage_url(settings)}/{settings['BATCH_STORAGE_TMP_CONTAINER_NAME']}",
            share=settings["BATCH_STORAGE_FILESHARE_NAME"] if key else "",
            storage_account=settings["STORAGE_ACCOUNT_NAME"],
            storage_key=key,
            admin=settings["BATCH_NODE_ADMIN_USERNAME"],
            admin_password=settings["BATCH_NODE_ADMIN_PASSWORD"],
            registry=tuple(settings[f"PRIVATE_DOCKER_REGISTRY_{part}"] for part in ("URL", "USERNAME", "PASSWORD")),
        )

    @property
    def prefix(self) -> str:
        """What the ids of this gateway's pools and jobs begin with."""
        return f"tesgw-{_digest(self.owner)[:8]}-"

    @property
    def fingerprint(self) -> str:
        """Changes when pools made before do not fit any more."""
        described = [asdict(self), start_task_command(self.lease_seconds)]
        return _digest(json.dumps(described, sort_keys=True))[:8]

    def most(self, need: Need) -> int:
        return self.most_spot if need.is_spot else self.most_dedicated


def need_of(job: Job, plan: Plan) -> Need:
    """Where the job is to run. BackendRefused if that is nowhere."""
    _check_zones(job.resources.zones, plan.region)
    if pool_id := job.tags.get(POOL_TAG) or plan.pool_id:
        if not _ID.fullmatch(pool_id):
            raise BackendRefused(f"No pool can be called {pool_id!r}: see the tag {POOL_TAG} and BATCH_OVERRIDE_POOL_ID.")
        return Need(pool_id=pool_id)
    is_spot = _is_spot(job.resources.preemptible, int(job.id.rpartition("-")[2]), plan)
    size = sizes.choose(job.resources, spot=is_spot, allowed=plan.sizes)
    return Need(size.name, is_spot)


def _is_spot(wish: bool | None, attempt: int, plan: Plan) -> bool:
    if not plan.most_dedicated and wish is False:
        raise BackendRefused(
            "The task must not be preempted (preemptible=false), but this gateway has Spot nodes only: "
            "allow it, or have its operator set BATCH_POOL_DEDICATED_NODE_COUNT."
        )
    if not plan.most_dedicated or not plan.most_spot:
        if not plan.most_dedicated and not plan.most_spot:
            raise BackendRefused(
                "This gateway has no nodes: its operator has to set BATCH_POOL_DEDICATED_NODE_COUNT or "
                "BATCH_POOL_LOW_PRIORITY_NODE_COUNT."
            )
        return bool(plan.most_spot)
    is_tired = bool(plan.spot_attempts) and attempt > plan.spot_attempts
    return not is_tired and (plan.spot_by_default if wish is None else wish)


def _check_zones(zones: Collection[str], region: str) -> None:
    if zones and region and region.lower() not in (zone.lower() for zone in zones):
        raise BackendRefused(
            f"The task asks for one of the zones {', '.join(zones)}, but this gateway's Batch account is in {region}: "
            "leave zones out, or name that one."
        )


def metadata(need: Need) -> dict[str, str]:
    """What Cromwell reads to reckon costs; prices are list prices."""
    if need.pool_id:
        return {"pool_id": need.pool_id}
    facts = {"vm_size": need.vm_size, "vm_priority": "spot" if need.is_spot else "dedicated"}
    if size := _size(need.vm_size):
        facts["vm_family"] = size.family
        if price := size.price_usd(spot=need.is_spot):
            facts["vm_price_per_hour_usd"] = f"{price:g}"
    return facts


@cache
def _size(name: str) -> sizes.VmSize | None:
    """None for one that an earlier version chose."""
    return next((size for size in sizes.catalogue() if size.name == name), None)


def pool_id(need: Need, plan: Plan, now: float) -> str:
    """A new pool's: readable, and as long as Batch allows."""
    size = need.vm_size.removeprefix("standard_").replace("_", "")[:16]
    return f"{plan.prefix}{size}-{'spot' if need.is_spot else 'dedi'}-{plan.fingerprint}-{int(now):x}"


def job_prefix(need: Need, plan: Plan) -> str:
    """What the ids of jobs in a pool that somebody named begin with."""
    return need.pool_id and f"{plan.prefix}{need.pool_id[:30]}-{_digest(need.pool_id)[:8]}"


def pool_options(name: str, need: Need, plan: Plan, formula: str) -> models.BatchPoolCreateOptions:
    """One task to a node: the size was chosen for it."""
    networks = models.NetworkConfiguration(subnet_id=plan.subnet) if plan.subnet else None
    start = models.BatchStartTask(
        command_line=start_task_command(plan.lease_seconds),
        user_identity=_ADMIN,
        wait_for_success=True,
        max_task_retry_count=2,
    )
    return models.BatchPoolCreateOptions(
        id=name,
        display_name=f"tesgw: {need}",
        vm_size=need.vm_size,
        virtual_machine_configuration=_machine(plan),
        enable_auto_scale=True,
        auto_scale_formula=formula,
        auto_scale_evaluation_interval=INTERVAL,
        task_slots_per_node=1,
        start_task=start,
        network_configuration=networks,
        mount_configuration=_mounts(plan) or None,
        user_accounts=_accounts(plan) or None,
        metadata=[
            models.BatchMetadataItem(name=key, value=value)
            for key, value in {"tesgw.owner": plan.owner, "tesgw.need": json.dumps(asdict(need))}.items()
        ],
    )


def need_in(pool: models.BatchPool) -> Need | None:
    """The need that a pool was made for; None if that is not said."""
    found = {item.name: item.value for item in pool.metadata or ()}
    try:
        return Need(**json.loads(found["tesgw.need"]))
    except (KeyError, ValueError, TypeError):
        return None


def _machine(plan: Plan) -> models.VirtualMachineConfiguration:
    publisher, offer, sku, version, agent = image_parts(plan.node_image)
    return models.VirtualMachineConfiguration(
        image_reference=models.BatchVmImageReference(publisher=publisher, offer=offer, sku=sku, version=version),
        node_agent_sku_id=agent,
        container_configuration=models.BatchContainerConfiguration(
            type=models.ContainerType.DOCKER_COMPATIBLE,
            container_image_names=[plan.image],
            container_registries=_registries(plan) or None,
        ),
    )


def _registries(plan: Plan) -> list[models.ContainerRegistryReference]:
    """Where nodes get the runner's image with a login."""
    url, username, password = plan.registry
    if url:
        return [models.ContainerRegistryReference(registry_server=url, username=username, password=password)]
    if plan.identity:
        reference = models.BatchNodeIdentityReference(resource_id=plan.identity)
        server = plan.image.partition("/")[0]
        return [models.ContainerRegistryReference(registry_server=server, identity_reference=reference)]
    return []


def image_parts(text: str) -> Sequence[str]:
    """Publisher, offer, SKU, version and node agent. SettingsError if these are not all."""
    parts = text.split(":")
    if len(parts) != 5 or not all(parts):
        raise SettingsError(f"BATCH_NODE_IMAGE={text} is not PUBLISHER:OFFER:SKU:VERSION:NODE_AGENT.")
    return parts


def _mounts(plan: Plan) -> list[models.MountConfiguration]:
    if not plan.share:
        return []
    files = models.AzureFileShareConfiguration(
        account_name=plan.storage_account,
        account_key=plan.storage_key,
        azure_file_url=f"{files_url(plan.owner, plan.storage_account)}/{plan.share}",
        relative_mount_path=MOUNT,
        mount_options="-o vers=3.1.1,dir_mode=0777,file_mode=0777,serverino,mfsymlinks",
    )
    return [models.MountConfiguration(azure_file_share_configuration=files)]


def files_url(owner: str, account: str) -> str:
    """The file endpoint beside a blob endpoint."""
    scheme, _, rest = owner.partition("://")
    host = rest.partition("/")[0]
    return (
        f"{scheme}://{host.replace('.blob.', '.file.', 1)}"
        if ".blob." in host
        else f"https://{account}.file.core.windows.net"
    )


def _accounts(plan: Plan) -> list[models.UserAccount]:
    if not plan.admin:
        return []
    return [models.UserAccount(name=plan.admin, password=plan.admin_password, elevation_level="admin")]


def display_name(name: str, tags: Mapping[str, str]) -> str:
    """The task's name and the workflow it is of, for people who look into the Batch account."""
    workflow = next((tags[key] for key in ("workflow_id", "WORKFLOW_ID", "workflow") if tags.get(key)), "")
    shown = " · ".join(part for part in (name, workflow) if part)
    return "".join(letter for letter in shown if letter.isprintable())[:_DISPLAY_NAME]


def task_options(task_id: str, shown: str, order_url: str, image: str) -> models.BatchTaskCreateOptions:
    """The Batch task of an attempt: the runner, in this gateway's own image, beside the node's Docker."""
    return models.BatchTaskCreateOptions(
        id=task_id,
        display_name=shown or None,
        command_line="run",
        container_settings=models.BatchTaskContainerSettings(image_name=image, container_run_options=_RUN_OPTIONS),
        environment_settings=[models.EnvironmentSetting(name="TESGW_ORDER_URL", value=order_url)],
        user_identity=_ADMIN,
        constraints=models.BatchTaskConstraints(max_task_retry_count=0, retention_time=timedelta(days=1)),
    )


def failure(task: models.BatchTask, stderr: str) -> str:
    """Why a Batch task ended without the runner's word, for the user of the TES task."""
    info = task.execution_info
    cause = info.failure_info if info else None
    details = "; ".join(f"{each.name}: {each.value}" for each in (cause.details if cause else None) or ())
    said = f" {cause.code}: {cause.message}" if cause else ""
    code = f" with exit code {info.exit_code}" if info and info.exit_code is not None else ""
    node = f" on the node {task.node_info.node_id}" if task.node_info and task.node_info.node_id else ""
    rest = "".join(f" ({part})" for part in (details, stderr[-1000:]) if part)
    return f"The runner ended{node}{code} before it could say how the task is.{said}{rest}"


def waiting(need: Need, pool: models.BatchPool | None, counts: models.BatchPoolNodeCounts | None) -> str:
    """Why a task waits for a node. The same while nothing changes, so that waiting costs no writes."""
    if need.pool_id:
        has_nodes = counts and any(kind and kind.total for kind in (counts.dedicated, counts.low_priority))
        return f"Waiting for a node of {need}" + ("." if has_nodes else ": it has none now, or does not exist.")
    if pool is None:
        return f"Waiting for Azure Batch to make a pool ({need})."
    if errors := pool.resize_errors:
        said = "; ".join(f"{error.code}: {error.message}".split("\n")[0] for error in errors)
        return f"Waiting for nodes of the pool {pool.id} ({need}): Azure cannot give them now: {said}"
    found = counts and (counts.low_priority if need.is_spot else counts.dedicated)
    failed = found.start_task_failed + found.unusable if found else 0
    if found and failed and not found.idle + found.running:
        return f"Waiting for nodes of the pool {pool.id} ({need}): {failed} could not be set up."
    return f"Waiting for a node of the pool {pool.id} ({need})."


def _region(account_url: str) -> str:
    """`https://NAME.REGION.batch.azure.com`."""
    host = account_url.partition("://")[2].partition("/")[0].split(".")
    return host[1] if len(host) > 3 and host[2] == "batch" else ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
