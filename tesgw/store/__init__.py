"""Where tasks are kept: the only place that knows SQL."""

from tesgw.store.queries import TaskQuery
from tesgw.store.store import Due, NewTask, TaskStore

__all__ = ["Due", "NewTask", "TaskQuery", "TaskStore"]
