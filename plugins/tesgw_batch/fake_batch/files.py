"""A task's resource files and output files, between blob storage and its working directory."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp
from azure.core.exceptions import AzureError, HttpResponseError
from azure.storage.blob.aio import ContainerClient
from yarl import URL

FILE_MODE = "0770"  # Batch's own

_DOWNLOAD = {404: "BlobNotFound", 403: "BlobAccessDenied"}
_UPLOAD = {404: "FileUploadContainerNotFound", 403: "FileUploadAccessDenied"}


class TaskFailure(Exception):
    """Why a task has failed; `info` is the wire form of failureInfo."""

    def __init__(self, code: str, message: str, **details: str) -> None:
        super().__init__(message)
        self.info: Mapping[str, Any] = {
            "category": "usererror",
            "code": code,
            "message": message,
            "details": [{"name": name, "value": value} for name, value in details.items()],
        }


async def fetch(files: Sequence[Mapping[str, Any]], directory: Path) -> None:
    """Put resource files into the working directory. Raises `TaskFailure`."""
    for file in files:
        url = file.get("httpUrl") or file.get("storageContainerUrl") or ""
        try:
            if "httpUrl" in file:
                await _fetch_url(url, directory, file)
            elif "storageContainerUrl" in file:
                await _fetch_container(url, directory, file)
            else:
                raise TaskFailure("ResourceFileInvalid", "Resource files are by httpUrl or storageContainerUrl here")
        except (aiohttp.ClientError, AzureError, OSError) as error:
            code = _DOWNLOAD.get(_status(error), "BlobDownloadMiscError")
            source = {"BlobSource": _unsigned(url), "FilePath": file.get("filePath") or "", "Message": _reason(error)}
            raise TaskFailure(code, "One of the specified Azure Blob(s) could not be downloaded", **source) from error


async def deliver(files: Sequence[Mapping[str, Any]], directory: Path, *, is_success: bool) -> None:
    """Upload the output files that are meant for this end of the task. Raises `TaskFailure`."""
    conditions = {"taskcompletion", "tasksuccess" if is_success else "taskfailure"}
    for file in files:
        if file["uploadOptions"]["uploadCondition"].lower() not in conditions:
            continue
        destination = file["destination"]["container"]
        try:
            async with ContainerClient.from_container_url(destination["containerUrl"]) as container:
                for path, name in _matches(directory, file["filePattern"], destination.get("path") or ""):
                    with _open(path, "rb") as content:
                        await container.upload_blob(name, content, overwrite=True)
        except (AzureError, OSError) as error:
            code = _UPLOAD.get(_status(error), "FileUploadMiscError")
            target = {"FilePattern": file["filePattern"], "FileDestination": _unsigned(destination["containerUrl"])}
            raise TaskFailure(code, "A file could not be uploaded", **target, Message=_reason(error)) from error


async def _fetch_url(url: str, directory: Path, file: Mapping[str, Any]) -> None:
    # Taken as it is: a signature may not be encoded again.
    source = URL(url, encoded=True)
    async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(source) as response:
        with _open(directory / file["filePath"], "wb", file.get("fileMode")) as target:
            async for chunk in response.content.iter_any():
                target.write(chunk)


async def _fetch_container(url: str, directory: Path, file: Mapping[str, Any]) -> None:
    async with ContainerClient.from_container_url(url) as container:
        async for blob in container.list_blobs(name_starts_with=file.get("blobPrefix")):
            with _open(directory / (file.get("filePath") or "") / blob.name, "wb", file.get("fileMode")) as target:
                await (await container.download_blob(blob.name)).readinto(target)


def _open(path: Path, mode: str, permissions: str | None = None) -> BinaryIO:
    if mode == "rb":
        return path.open("rb")
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path.open("wb")
    os.fchmod(target.fileno(), int(permissions or FILE_MODE, 8))
    return target


def _matches(directory: Path, pattern: str, path: str) -> Iterator[tuple[Path, str]]:
    """Files and the names of their blobs: `path` itself, or below it what the wildcards stood for."""
    if not glob.has_magic(pattern):
        file = directory / pattern
        return iter([(file, path or file.name)] if file.is_file() else [])
    return _below(directory, pattern, path)


def _below(directory: Path, pattern: str, path: str) -> Iterator[tuple[Path, str]]:
    fixed = directory
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        fixed /= part
    for found in glob.glob(pattern, root_dir=directory, recursive=True, include_hidden=True):
        if (file := directory / found).is_file():
            yield file, os.path.join(path, file.relative_to(fixed))


def _status(error: Exception) -> int:
    if isinstance(error, aiohttp.ClientResponseError):
        return error.status
    return (error.status_code or 0) if isinstance(error, HttpResponseError) else 0


def _reason(error: Exception) -> str:
    """Without the URL, which is signed."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"{error.status} {error.message}"
    return str(error.message if isinstance(error, AzureError) else error).partition("\n")[0]


def _unsigned(url: str) -> str:
    return url.partition("?")[0]
