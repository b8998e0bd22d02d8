"""What is said of an attempt that its runner did not bring to an end. Pure."""

from __future__ import annotations

import dataclasses
import datetime as dt

from tesgw import Observation, State
from tesgw.errors import TesgwError
from tesgw_batch.node.logs import redacted


def failed(last: Observation, node: str, error: BaseException) -> Observation:
    """The end of an attempt that `error` ended."""
    if isinstance(error, TesgwError):
        return _closed(last, State.SYSTEM_ERROR, str(error))
    cause = redacted(f"{type(error).__name__}: {error}".partition("\n")[0])  # the SDK adds whole answers
    return _closed(last, State.SYSTEM_ERROR, f"The runner on node {node} failed; its stderr.txt says more. {cause}")


def cut_off(last: Observation, node: str) -> Observation:
    """The end of an attempt whose node could not renew its lease."""
    return _preempted(last, f"Node {node} could not reach the storage account for too long, so it stopped the task.")


def told_to_go(last: Observation, node: str) -> Observation:
    """The end of an attempt whose runner was told to end."""
    return _preempted(
        last, f"Azure Batch ended the task's runner on node {node}: the node goes away, or somebody stopped it."
    )


def run_again(last: Observation, first: str, second: str) -> Observation:
    """The end of an attempt that Azure Batch gave to another node, or once more to the same."""
    lost = f"It lost node {first}" if first != second else "It lost the task's first runner there"
    return _preempted(last, f"Azure Batch ran this attempt again, on node {second}. {lost}, so nothing was run twice.")


def _preempted(last: Observation, sentence: str) -> Observation:
    return dataclasses.replace(_closed(last, State.PREEMPTED, sentence), reason=sentence)


def _closed(last: Observation, state: State, sentence: str) -> Observation:
    now, logs = dt.datetime.now(dt.UTC), (*last.system_logs, sentence)
    return dataclasses.replace(last, state=state, end_time=now, reason="", system_logs=logs)
