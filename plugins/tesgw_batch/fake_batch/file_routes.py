"""The requests about files: those of tasks, and those of nodes, where the start task's are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path

from aiohttp import web
from azure.batch import models

from tesgw_batch.fake_batch import filters
from tesgw_batch.fake_batch.answers import ACCOUNT, many
from tesgw_batch.fake_batch.problems import Problem, absent
from tesgw_batch.fake_batch.wire import Wire, stamp

routes = web.RouteTableDef()

TASK_FILES = "/jobs/{jobId}/tasks/{taskId}/files"
NODE_FILES = "/pools/{poolId}/nodes/{nodeId}/files"


@routes.get(TASK_FILES)
@routes.get(NODE_FILES)
async def list_files(request: web.Request) -> web.Response:
    root = _root(request)
    found = root.rglob("*") if request.query.get("recursive") == "true" else root.glob("*")
    url = str(request.url.with_query(None))
    return many(request, _wires(root, found, url), models.BatchNodeFile, filters.FILES, key="name")


@routes.get(f"{TASK_FILES}/{{filePath:.+}}")
@routes.get(f"{NODE_FILES}/{{filePath:.+}}")
async def get_file(request: web.Request) -> web.Response:
    """Or its properties: aiohttp leaves out the body for HEAD."""
    root = _root(request)
    path = (root / request.match_info["filePath"]).resolve()
    if not path.is_relative_to(root.resolve()) or not path.exists():
        raise absent("File")
    info = path.stat()
    told = {
        "ocp-batch-file-url": str(request.url.with_query(None)),
        "ocp-batch-file-isdirectory": str(path.is_dir()),
        "ocp-batch-file-mode": f"{info.st_mode:o}",
        "ocp-creation-time": formatdate(info.st_ctime, usegmt=True),
        "Last-Modified": formatdate(info.st_mtime, usegmt=True),
    }
    if path.is_dir():
        return web.Response(headers=told)
    data = path.read_bytes()
    first, last = _range(request, len(data))
    # 200 for a part, too: the SDK (15.1) takes 206 for an error.
    return web.Response(body=data[first:last], headers=told, content_type="application/octet-stream")


def _root(request: web.Request) -> Path:
    """The directory that paths are relative to. Raises `Problem` if it is gone, or there never was one."""
    account = request.app[ACCOUNT]
    if "poolId" in request.match_info:
        return account.pool(request.match_info["poolId"]).node(request.match_info["nodeId"]).root
    task = account.job(request.match_info["jobId"]).task(request.match_info["taskId"])
    info = task.wire.get("nodeInfo")
    if info is None:
        raise absent("File")
    node = account.find_node(info["nodeId"])[1]
    return node.root / str(info["taskRootDirectory"])


def _wires(root: Path, found: Iterator[Path], url: str) -> Iterator[Wire]:
    for path in found:
        name = path.relative_to(root).as_posix()
        info = path.lstat()
        wire: Wire = {"name": name, "url": f"{url}/{name}", "isDirectory": path.is_dir()}
        if not path.is_dir():
            wire["properties"] = {
                "lastModified": stamp(datetime.fromtimestamp(info.st_mtime, UTC)),
                "contentLength": str(info.st_size),
                "contentType": "application/octet-stream",
                "fileMode": f"{info.st_mode:o}",
            }
        yield wire


def _range(request: web.Request, size: int) -> tuple[int, int]:
    """What is asked for: from the first byte to before the last. Raises `Problem` where it is no range."""
    text = request.headers.get("ocp-range")
    if text is None:
        return 0, size
    first, _, last = text.removeprefix("bytes=").partition("-")
    if not text.startswith("bytes=") or not first.isdecimal() or (last and not last.isdecimal()):
        raise Problem(400, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format.")
    if int(first) >= size and size:
        raise Problem(416, "InvalidRange", "The range specified is invalid for the current size of the resource.")
    return int(first), min(int(last) + 1, size) if last else size
