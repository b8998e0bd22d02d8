"""Resource files and output files, from and to real blob storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob.aio import ContainerClient

from tests.plugins.batch.blobs import Blobs
from tests.plugins.batch.fake_batch.commands import code, make, out, run


def output(pattern: str, url: str, path: str = "", condition: str = "taskcompletion") -> dict[str, Any]:
    destination = {"container": {"containerUrl": url, **({"path": path} if path else {})}}
    return {"filePattern": pattern, "destination": destination, "uploadOptions": {"uploadCondition": condition}}


async def names(container: ContainerClient) -> set[str]:
    return {blob.name async for blob in container.list_blobs()}


async def test_resource_files_are_there_before_the_command(
    azurite: Blobs, container: ContainerClient, tmp_path: Path
) -> None:
    for name in ("a b", "set/one", "set/two/three", "other"):
        await container.upload_blob(name, name.encode())
    files = [
        {"httpUrl": azurite.signed(container.container_name, blob="a%20b"), "filePath": "sub/first", "fileMode": "0755"},
        {"storageContainerUrl": azurite.signed(container.container_name), "blobPrefix": "set/", "filePath": "all"},
    ]
    command = make(
        tmp_path, "sh -c 'find . -type f | sort; cat sub/first; stat -c %a sub/first all/set/one'", resource_files=files
    )

    assert (await run(command)).exit_code == 0
    assert out(command).splitlines() == ["./all/set/one", "./all/set/two/three", "./sub/first", "a b755", "770"]


@pytest.mark.parametrize(
    ("blob", "permissions", "expected"), [("gone", "r", "BlobNotFound"), ("a", "c", "BlobAccessDenied")]
)
async def test_a_command_without_its_files_does_not_run(
    azurite: Blobs, container: ContainerClient, tmp_path: Path, blob: str, permissions: str, expected: str
) -> None:
    await container.upload_blob("a", b"")
    url = azurite.signed(container.container_name, permissions, blob)
    command = make(tmp_path, "touch ran", resource_files=[{"httpUrl": url, "filePath": "a"}])

    ended = await run(command)

    assert (ended.exit_code, code(ended)) == (None, expected)
    assert "sig=" not in str(ended.failure)
    assert not (command.directory / "wd" / "ran").exists()


async def test_the_same_is_so_for_a_container_of_files(azurite: Blobs, container: ContainerClient, tmp_path: Path) -> None:
    gone = make(tmp_path, "true", resource_files=[{"storageContainerUrl": azurite.signed("gone")}])
    denied = make(tmp_path, "true", resource_files=[{"storageContainerUrl": azurite.signed(container.container_name, "w")}])
    away = make(tmp_path, "true", resource_files=[{"httpUrl": "http://127.0.0.1:1/c/b?sig=secret", "filePath": "a"}])

    assert [code(await run(each)) for each in (gone, denied, away)] == [
        "BlobNotFound",
        "BlobAccessDenied",
        "BlobDownloadMiscError",
    ]


async def test_output_files_are_named_as_batch_names_them(
    azurite: Blobs, container: ContainerClient, tmp_path: Path
) -> None:
    url = azurite.signed(container.container_name, "cw")
    files = [
        output("../std*.txt", url, "logs"),
        output("result", url, "one/blob"),
        output("result", url),
        output("data/**/*.txt", url, "all"),
        output("missing", url),
    ]
    command = make(tmp_path, "sh -c 'mkdir -p data/in; echo r | tee result data/.a.txt data/in/b.txt'", output_files=files)

    assert (await run(command)).failure is None
    assert await names(container) == {
        "logs/stdout.txt",
        "logs/stderr.txt",
        "one/blob",
        "result",
        "all/.a.txt",
        "all/in/b.txt",
    }
    assert await (await container.download_blob("one/blob")).readall() == b"r\n"


@pytest.mark.parametrize(("exit_code", "expected"), [(0, {"completion", "success"}), (1, {"completion", "failure"})])
async def test_output_files_go_by_the_end_of_the_task(
    azurite: Blobs, container: ContainerClient, tmp_path: Path, exit_code: int, expected: set[str]
) -> None:
    url = azurite.signed(container.container_name, "cw")
    files = [output("../stdout.txt", url, end, f"task{end}") for end in ("completion", "success", "failure")]
    await run(make(tmp_path, f"sh -c 'exit {exit_code}'", output_files=files))

    assert await names(container) == expected


async def test_an_upload_that_fails_is_told_beside_the_exit_code(
    azurite: Blobs, container: ContainerClient, tmp_path: Path
) -> None:
    urls = [azurite.signed("gone"), azurite.signed(container.container_name, "r")]
    ended = [await run(make(tmp_path, "true", output_files=[output("../stdout.txt", url)])) for url in urls]

    assert [each.exit_code for each in ended] == [0, 0]
    assert [code(each) for each in ended] == ["FileUploadContainerNotFound", "FileUploadAccessDenied"]
    assert "sig=" not in str(ended)
