"""The error tree. It knows nothing of HTTP; `tesgw.api.problems` maps it to statuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class TesgwError(Exception):
    """Everything that tesgw raises on purpose. The text is a sentence for whoever has to act on it."""


class InvalidTask(TesgwError):
    """A task document cannot be accepted; `fields` says why, per field."""

    def __init__(self, message: str, fields: Mapping[str, Sequence[str]] | None = None) -> None:
        super().__init__(message)
        self.fields = dict(fields or {})


class InvalidQuery(TesgwError):
    """A query makes no sense: a page token that belongs to other filters, for example; `fields` says why, per parameter."""

    def __init__(self, message: str, fields: Mapping[str, Sequence[str]] | None = None) -> None:
        super().__init__(message)
        self.fields = dict(fields or {})


class TaskNotFound(TesgwError):
    """No such task, or none that the asker may see."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"There is no task {task_id!r}.")


class StoreUnavailable(TesgwError):
    """The database cannot be written now: its disk is full, or another program holds it. Nothing was changed."""


class SettingsError(TesgwError):
    """A setting is unknown, missing or of the wrong type; the text names it and its source."""


class BackendError(TesgwError):
    """A backend cannot be loaded, or broke its contract."""


class BackendUnavailable(BackendError):
    """The backend cannot answer now. The gateway asks again later, with growing pauses."""


class BackendRefused(BackendError):
    """The backend will never take this job. The task ends as SYSTEM_ERROR with this text in its system logs."""


class StageError(TesgwError):
    """An input could not be fetched or an output could not be delivered; ends the task as SYSTEM_ERROR."""


class BackendFault(BackendUnavailable):
    """The backend raised what its contract does not allow. Retried as if unavailable, but not for ever."""
