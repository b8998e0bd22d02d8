"""What Azure documents about values and the SDK's models do not say."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from typing import Any

from tesgw_batch.fake_batch.account import SIZES
from tesgw_batch.fake_batch.autoscale import MOST_CHARACTERS, FormulaError, parse
from tesgw_batch.fake_batch.problems import Problem, invalid, missing, unknown_here
from tesgw_batch.fake_batch.wire import Wire, duration

COLLECTION = 100
MOUNTS = 10
SLOTS = 256
SLOTS_OF_CORE = 4
DISPLAY_NAME = 1024
SHORTEST_INTERVAL = timedelta(minutes=5)
LONGEST_INTERVAL = timedelta(hours=168)

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ELSEWHERE = ("azureBlobFileSystemConfiguration", "nfsMountConfiguration", "cifsMountConfiguration")


def check_names(spec: Wire) -> None:
    """The id and display name of a pool, job or task. Raises `Problem`, as all of these do."""
    if not _ID.fullmatch(spec["id"]):
        raise invalid("id", spec["id"], "It can have 1 to 64 letters, digits, hyphens and underscores.")
    if len(spec.get("displayName") or "") > DISPLAY_NAME:
        raise invalid("displayName", spec["displayName"][:50], f"It has more than {DISPLAY_NAME} characters.")


def check_pool(spec: Wire, identities: Collection[str] = ()) -> None:
    """`identities` are the managed ones that it has, by their resource ids."""
    check_names(spec)
    check_absent(spec, "applicationPackageReferences", "upgradePolicy")
    if spec.get("virtualMachineConfiguration") is None:
        raise missing("virtualMachineConfiguration")
    size = SIZES.get(spec["vmSize"].lower())
    if size is None:
        raise invalid("vmSize", spec["vmSize"], "The specified VM size is not supported.")
    most = min(SLOTS, SLOTS_OF_CORE * size.vcpus)
    _within(spec, "taskSlotsPerNode", 1, most)
    _check_mounts(spec.get("mountConfiguration") or ())
    _check_identities(spec["virtualMachineConfiguration"].get("containerConfiguration") or {}, identities)
    _check_scaling(spec)


def check_job(spec: Wire) -> None:
    check_names(spec)
    check_absent(spec, "jobManagerTask", "jobPreparationTask", "jobReleaseTask", "usesTaskDependencies")
    check_job_values(spec)


def check_job_values(spec: Wire) -> None:
    """What can be changed later, too."""
    if spec.get("priority") is not None and not -1000 <= spec["priority"] <= 1000:
        raise Problem(400, "OutOfRangePriority", "The priority has to be from -1000 to 1000.")
    if (pool := spec.get("poolInfo")) is not None:
        check_absent(pool, "autoPoolSpecification")
        if not pool.get("poolId"):
            raise missing("poolInfo.poolId")
    _within(spec.get("constraints") or {}, "maxTaskRetryCount", -1, None)


def check_task(spec: Wire) -> None:
    check_names(spec)
    check_absent(spec, "multiInstanceSettings", "dependsOn", "applicationPackageReferences", "exitConditions")
    if not spec["commandLine"].strip() and not spec.get("containerSettings"):
        raise invalid("commandLine", spec["commandLine"], "It is empty.")
    _within(spec, "requiredSlots", 1, SLOTS)
    _within(spec.get("constraints") or {}, "maxTaskRetryCount", -1, None)


def check_interval(spec: Wire) -> None:
    text = spec.get("autoScaleEvaluationInterval")
    if text is not None and not SHORTEST_INTERVAL <= duration(text) <= LONGEST_INTERVAL:
        raise invalid("autoScaleEvaluationInterval", text, "It has to be from 5 minutes to 168 hours.")


def check_formula(formula: str) -> None:
    if len(formula) > MOST_CHARACTERS:
        text = f"An automatic scaling formula is too long. The maximum length is {MOST_CHARACTERS} characters."
        raise Problem(400, "AutoScaleFormulaTooLong", text)
    try:
        parse(formula)
    except FormulaError as error:
        text = "The specified autoscaling formula is not valid."
        raise Problem(400, "AutoScalingFormulaSyntaxError", text, Reason=str(error)) from error


def check_absent(spec: Mapping[str, Any], *names: str) -> None:
    """The double has none of these; where one is asked for, it says so rather than do something else."""
    for name in names:
        if spec.get(name):
            raise unknown_here(name)


def _check_mounts(mounts: Iterable[Wire]) -> None:
    mounts = list(mounts)
    if len(mounts) > MOUNTS:
        raise invalid("mountConfiguration", len(mounts), f"There can be {MOUNTS} mounts.")
    for mount in mounts:
        check_absent(mount, *_ELSEWHERE)
        if mount.get("azureFileShareConfiguration") is None:
            raise missing("mountConfiguration.azureFileShareConfiguration")
    paths = [mount["azureFileShareConfiguration"]["relativeMountPath"] for mount in mounts]
    for path in paths:
        if path.startswith("/") or ".." in path.split("/") or paths.count(path) > 1:
            raise invalid("relativeMountPath", path, "It is not below the directory of mounts, or not the only one.")


def _check_identities(containers: Wire, identities: Collection[str]) -> None:
    for registry in containers.get("containerRegistries") or ():
        used = (registry.get("identityReference") or {}).get("resourceId")
        if used and used.lower() not in (each.lower() for each in identities):
            raise invalid("identityReference", used, "The pool does not have this identity.")


def _check_scaling(spec: Wire) -> None:
    if not spec.get("enableAutoScale"):
        _forbid(spec, ("autoScaleFormula", "autoScaleEvaluationInterval"), "It needs enableAutoScale.")
        _within(spec, "targetDedicatedNodes", 0, None)
        _within(spec, "targetLowPriorityNodes", 0, None)
        return
    _forbid(spec, ("targetDedicatedNodes", "targetLowPriorityNodes", "resizeTimeout"), "The pool scales by a formula.")
    if spec.get("autoScaleFormula") is None:
        raise missing("autoScaleFormula")
    check_formula(spec["autoScaleFormula"])
    check_interval(spec)


def _forbid(spec: Wire, names: Iterable[str], reason: str) -> None:
    for name in names:
        if spec.get(name) is not None:
            raise invalid(name, spec[name], reason)


def _within(spec: Mapping[str, Any], name: str, least: int, most: int | None) -> None:
    value = spec.get(name)
    if value is not None and (value < least or (most is not None and value > most)):
        raise invalid(name, value, f"It has to be from {least} to {most}." if most else f"It has to be at least {least}.")
