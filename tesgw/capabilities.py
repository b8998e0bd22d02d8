"""What a backend may have beyond the contract: the conformance suite tests what it claims, and skips the rest. [pure]"""

from __future__ import annotations

from enum import Enum


class Capability(Enum):
    """One thing that backends differ in; its value is the sentence that says it."""

    ZONES = "Places a task in one of the zones that it asks for."
    PREEMPTIBLE = "Runs tasks that allow it on machines that may be taken away; a task so lost is observed as PREEMPTED."
    IMAGES = "Executors run in container images: with the user, the directories and the files that the image brings."
    SERVICE = "Jobs are run by a service that can be slow, throttle, refuse or be away while the gateway goes on."
    NODES = "Jobs run on machines of their own, which can be lost."
