"""The documents in blob storage through which the gateway and the runner on a node speak of one attempt at a task.

`orders/ID` says what to run; the gateway writes it, and again before its signatures expire. `status/ID` says how the
attempt is; whoever makes it has claimed the attempt. `secrets/ID` is what cannot be signed; the runner deletes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from tesgw import Job, Observation, State
from tesgw.states import TERMINAL

T = TypeVar("T")

ORDERS = "orders/"
STATUS = "status/"
SECRETS = "secrets/"

ENDS = TERMINAL | {State.PREEMPTED}
"""The states of an attempt of which nothing runs any more, and nothing will."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the runner needs to run an attempt. All URLs are signed."""

    job: Job
    order_url: str
    """Of this document, to read: by it the runner finds fresher signatures."""
    status_url: str
    """To create, read, write, lease and delete."""
    secrets_url: str = ""
    """To read and delete. Empty: there are none."""
    signed: Mapping[str, str] = field(default_factory=dict)
    """By URL of the task: the URL to use instead. A directory's is signed for all that is below it."""
    network: str
    """Docker's network mode of executors."""
    lease_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the runner knows of its attempt."""

    node: str = ""
    """The id of the node that the attempt is on, or was."""
    observation: Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What the runner needs and nobody else may see."""

    registry_url: str = ""
    registry_username: str = ""
    registry_password: str = ""


def encode(document: Order | Report | Secrets) -> bytes:
    return msgspec.json.encode(document)


def decode(data: bytes, type: type[T]) -> T:
    """Raises `msgspec.DecodeError` for what is no such document."""
    return msgspec.json.decode(data, type=type)
