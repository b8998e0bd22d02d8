"""What the author of a backend imports."""

from tesgw.capabilities import Capability
from tesgw.errors import BackendError, BackendRefused, BackendUnavailable
from tesgw.hookspecs import BackendContext, BackendSpec, hookimpl
from tesgw.model import (
    Executor,
    ExecutorLog,
    FileType,
    Handle,
    Input,
    Job,
    Layout,
    Observation,
    Output,
    OutputFile,
    Resources,
    Setting,
    Task,
)
from tesgw.states import State

__all__ = [
    "BackendContext",
    "BackendError",
    "BackendRefused",
    "BackendSpec",
    "BackendUnavailable",
    "Capability",
    "Executor",
    "ExecutorLog",
    "FileType",
    "Handle",
    "Input",
    "Job",
    "Layout",
    "Observation",
    "Output",
    "OutputFile",
    "Resources",
    "Setting",
    "State",
    "Task",
    "hookimpl",
]
