"""The wire format of TES 1.1: what a request may hold, and the document that describes requests and answers.

A schema loads what a client may send: nulls count as not sent, unknown and read-only fields are ignored, nothing is
filled in but the `type` of files. Answers are the store's bytes and never pass through here.
"""

from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, Schema, fields, post_load
from marshmallow.validate import Length, OneOf, Range

from tesgw.api.accept import accept, clean_type
from tesgw.api.checks import check_task
from tesgw.api.fields import QueryInteger, StrictBoolean, StrictInteger, StrictNumber, StringMap, Text
from tesgw.model import FileType, View
from tesgw.states import State

INT32_MAX = 2**31 - 1
# A billion gigabytes: more than any machine has, and still a 64-bit number of bytes.
GIGABYTES_MAX = 1_000_000_000
PAGE_SIZE_MAX = 2047

# The rules themselves are in `checks`; the patterns tell readers of the document.
_PATH: dict[str, Any] = {"pattern": "^/.", "example": "/data/file"}
_OPTIONAL_PATH: dict[str, Any] = {"pattern": "^(/|$)", "example": "/data/file"}
_TIME: dict[str, Any] = {"format": "date-time", "example": "2026-01-31T12:00:00Z"}
_STATE = OneOf([state.value for state in State])

EXAMPLE_TASK = {"name": "hello", "executors": [{"image": "busybox", "command": ["echo", "hello"]}]}


def _described(text: str, **more: Any) -> dict[str, Any]:
    return {"description": text, **more}


class Document(Schema):
    """The base of all: see the module's promise."""

    class Meta:
        unknown = EXCLUDE

    def load(self, data: Any, **kwargs: Any) -> Any:
        # No pre_load hook: for many small documents hooks cost as much as their fields.
        kept = [_without_nulls(item) for item in data] if isinstance(data, list) else _without_nulls(data)
        return super().load(kept, **kwargs)


def _without_nulls(data: Any) -> Any:
    if isinstance(data, dict) and None in data.values():
        return {key: value for key, value in data.items() if value is not None}
    return data


class FileDocument(Document):
    """What inputs and outputs share."""

    name = Text()
    description = Text()
    type = Text(validate=OneOf([kind.value for kind in FileType]), load_default=FileType.FILE.value)


class InputSchema(FileDocument):
    url = Text(metadata=_described("Where it is; required unless `content` is set, ignored if that is not empty."))
    path = Text(required=True, metadata=_described("Absolute path in the container.", **_PATH))
    content = Text(metadata=_described("The file itself, at most 1 MiB in UTF-8."))
    streamable = StrictBoolean()


class OutputSchema(FileDocument):
    url = Text(required=True, validate=Length(min=1))
    path = Text(
        required=True, metadata=_described("Absolute path in the container; may hold the wildcards of POSIX.", **_PATH)
    )
    path_prefix = Text(metadata=_described("Required if `path` has wildcards: what output URLs leave out of it."))


class ExecutorSchema(Document):
    image = Text(required=True, validate=Length(min=1))
    command = fields.List(Text(), required=True, validate=Length(min=1), metadata=_described("argv, passed verbatim."))
    workdir = Text(metadata=_OPTIONAL_PATH)
    stdin = Text(metadata=_OPTIONAL_PATH)
    stdout = Text(metadata=_OPTIONAL_PATH)
    stderr = Text(metadata=_OPTIONAL_PATH)
    env = StringMap()
    ignore_error = StrictBoolean(metadata=_described("Go on with the next executor if this one fails."))


class ResourcesSchema(Document):
    cpu_cores = StrictInteger(validate=Range(min=0, max=INT32_MAX), metadata={"format": "int32"})
    preemptible = StrictBoolean()
    ram_gb = StrictNumber(validate=Range(min=0, max=GIGABYTES_MAX), metadata={"format": "double"})
    disk_gb = StrictNumber(validate=Range(min=0, max=GIGABYTES_MAX), metadata={"format": "double"})
    zones = fields.List(Text())
    backend_parameters = StringMap(drops_nulls=True, metadata=_described("Keys are case-insensitive; see service-info."))
    backend_parameters_strict = StrictBoolean(metadata=_described("Refuse the task if a key is not supported."))


class ExecutorLogSchema(Document):
    start_time = Text(metadata=_TIME)
    end_time = Text(metadata=_TIME)
    stdout = Text(metadata=_described("The last 64 KiB."))
    stderr = Text(metadata=_described("The last 64 KiB."))
    exit_code = StrictInteger(metadata=_described("Absent while the executor runs.", format="int32"))


class OutputFileLogSchema(Document):
    url = Text(required=True)
    path = Text(required=True)
    size_bytes = Text(required=True, metadata={"format": "int64", "example": "1024"})


class TaskLogSchema(Document):
    logs = fields.Nested(ExecutorLogSchema, many=True, required=True)
    metadata = StringMap()
    start_time = Text(metadata=_TIME)
    end_time = Text(metadata=_TIME)
    outputs = fields.Nested(OutputFileLogSchema, many=True, required=True)
    system_logs = fields.List(Text())


class TaskSchema(Document):
    id = Text(dump_only=True)
    state = Text(dump_only=True, validate=_STATE)
    name = Text()
    description = Text()
    inputs = fields.Nested(InputSchema, many=True)
    outputs = fields.Nested(OutputSchema, many=True)
    resources = fields.Nested(ResourcesSchema)
    executors = fields.Nested(ExecutorSchema, many=True, required=True, validate=Length(min=1))
    volumes = fields.List(Text(metadata=_PATH))
    tags = StringMap(drops_nulls=True)
    logs = fields.Nested(TaskLogSchema, many=True, dump_only=True)
    creation_time = Text(dump_only=True, metadata=_TIME)

    def load(self, data: Any, **kwargs: Any) -> Any:
        task = accept(data, _CLEAN_TASK)
        if task is None:
            return super().load(data, **kwargs)
        return self._check(task)

    @post_load
    def _check(self, task: dict[str, Any], **_: Any) -> dict[str, Any]:
        check_task(task)
        return task


_CLEAN_TASK = clean_type(TaskSchema())


class ListTasksResponseSchema(Document):
    # Partial: of MINIMAL tasks there are only `id` and `state`.
    tasks = fields.Nested(TaskSchema(partial=True), many=True, required=True)
    next_page_token = Text(metadata=_described("Absent on the last page."))


class CreateTaskResponseSchema(Document):
    id = Text(required=True)


class CancelTaskResponseSchema(Document):
    pass


class ServiceTypeSchema(Document):
    group = Text(required=True)
    artifact = Text(required=True, validate=OneOf(["tes"]))
    version = Text(required=True)


class OrganizationSchema(Document):
    name = Text(required=True)
    url = Text(required=True, metadata={"format": "uri"})


class ServiceInfoSchema(Document):
    id = Text(required=True)
    name = Text(required=True)
    type = fields.Nested(ServiceTypeSchema, required=True)
    description = Text()
    organization = fields.Nested(OrganizationSchema, required=True)
    version = Text(required=True)
    storage = fields.List(Text())
    tesResources_backend_parameters = fields.List(Text())


class OldServiceInfoSchema(Document):
    name = Text(required=True)
    doc = Text(required=True)
    storage = fields.List(Text(), required=True)


class ProblemSchema(Document):
    status_code = StrictInteger(required=True)
    msg = Text(required=True)
    errors = fields.Dict(keys=Text(), values=fields.List(Text()))


class ViewQuerySchema(Schema):
    class Meta:
        unknown = EXCLUDE

    view = Text(validate=OneOf([view.value for view in View]), load_default=View.MINIMAL.value)


class ListQuerySchema(ViewQuerySchema):
    name_prefix = Text(load_default="")
    state = Text(validate=_STATE)
    tag_key = fields.List(Text(), load_default=())
    tag_value = fields.List(Text(), load_default=(), metadata=_described("By position; empty: any value."))
    page_size = QueryInteger(validate=Range(min=1, max=PAGE_SIZE_MAX), load_default=256, metadata={"format": "int32"})
    page_token = Text(load_default="", metadata=_described("`next_page_token` of a list with the same filters."))
