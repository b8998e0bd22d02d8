from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from tesgw.errors import StageError
from tesgw.model import FileType, OutputFile
from tesgw.runner.files import Namespace
from tesgw.runner.transfer import Transfers, copying

FILE, DIRECTORY = FileType.FILE, FileType.DIRECTORY


def no_http() -> aiohttp.ClientSession:
    raise AssertionError("nothing here speaks HTTP")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The one directory of the machine that URLs may name."""
    directory = tmp_path / "data"
    directory.mkdir()
    return directory


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    directory = tmp_path / "tree"
    directory.mkdir()
    return directory


@pytest.fixture
def task(tree: Path) -> Namespace:
    return Namespace({"/": tree})


@pytest.fixture
def transfers(data: Path) -> Transfers:
    return Transfers(http=no_http, files=Namespace({str(data): data}))


def listed(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("x", "{data}/x"),
        ("x", "file://{data}/x"),
        ("x", "file://localhost{data}/x"),
        ("x", "FILE:{data}/x"),
        ("a b#?", "file://{data}/a%20b%23%3F"),
        ("a b#?", "file://{data}/a b#?"),
        ("50%", "file://{data}/50%"),
        ("a%20b", "file://{data}/a%20b"),
        ("a%20b", "{data}/a%20b"),
        ("ü", "file://{data}/%C3%BC"),
    ],
)
async def test_a_file_may_be_named_in_any_common_way(
    transfers: Transfers, task: Namespace, data: Path, tree: Path, name: str, url: str
) -> None:
    (data / name).write_text(name)

    await transfers.fetch(url.format(data=data), FILE, task, "/in/put")

    assert (tree / "in/put").read_text() == name


async def test_an_input_is_a_copy_that_any_user_may_write(
    transfers: Transfers, task: Namespace, data: Path, tree: Path
) -> None:
    (data / "tool").write_text("#!")
    (data / "tool").chmod(0o4550)

    await transfers.fetch(str(data / "tool"), FILE, task, "/in/tool")

    assert mode(tree / "in/tool") == 0o776
    assert mode(tree / "in") == 0o1777
    assert (tree / "in/tool").stat().st_ino != (data / "tool").stat().st_ino


async def test_a_directory_input_comes_whole_with_links_resolved(
    transfers: Transfers, task: Namespace, data: Path, tree: Path
) -> None:
    (data / "d/sub/empty").mkdir(parents=True)
    (data / "d/sub/file").write_text("file")
    (data / "d/link").symlink_to("sub/file")
    (data / "d/outside").symlink_to("/etc/hostname")
    os.mkfifo(data / "d/fifo")

    await transfers.fetch(f"file://{data}/d/", DIRECTORY, task, "/in/d")

    assert listed(tree) == [
        "in", "in/d", "in/d/link", "in/d/sub", "in/d/sub/empty", "in/d/sub/file",
    ]  # fmt: skip
    assert not (tree / "in/d/link").is_symlink()
    assert mode(tree / "in/d/sub") == mode(tree / "in/d") == 0o777


@pytest.mark.parametrize(
    "url", ["/etc/passwd", "file:///etc/passwd", "{data}-secret/x", "{data}/../other", "{data}/link", "/"]
)
async def test_nothing_outside_the_allowed_directories_is_read_or_written(
    transfers: Transfers, task: Namespace, data: Path, tree: Path, url: str
) -> None:
    (data.parent / "data-secret").mkdir()
    (data.parent / "data-secret/x").write_text("secret")
    (data / "link").symlink_to("../data-secret/x")
    (tree / "out").write_text("out")

    with pytest.raises(StageError, match="LOCAL_FILE_ROOTS"):
        await transfers.fetch(url.format(data=data), FILE, task, "/in")
    if not url.endswith("link"):  # writing replaces a link
        with pytest.raises(StageError, match="LOCAL_FILE_ROOTS"):
            await transfers.deliver(task, "/out", url.format(data=data), FILE)

    assert os.listdir(tree) == ["out"]
    assert (data.parent / "data-secret/x").read_text() == "secret"


@pytest.mark.parametrize(
    ("url", "type", "sentence"),
    [
        ("{data}/missing", FILE, "missing does not exist"),
        ("{data}/d", FILE, "d was declared as a FILE, but it is a directory"),
        ("{data}/x", DIRECTORY, "x was declared as a DIRECTORY, but it is a file"),
        ("{data}/fifo", FILE, "fifo: Not a regular file"),
        ("file://server/x", FILE, "does not name a file of this machine"),
        ("file://{data}/%00", FILE, "does not exist"),
        ("S3://bucket/x", FILE, "s3:// is not supported by this gateway; it reads and writes file, http, https"),
        ("relative/path", FILE, "neither a URL nor an absolute path"),
    ],
)
async def test_an_input_that_cannot_be_had_says_why(
    transfers: Transfers, task: Namespace, data: Path, url: str, type: FileType, sentence: str
) -> None:
    (data / "d").mkdir()
    (data / "x").touch()
    os.mkfifo(data / "fifo")

    with pytest.raises(StageError, match=sentence):
        await transfers.fetch(url.format(data=data), type, task, "/in")

    assert task.glob("/*") == []


async def test_content_is_written_as_it_is(transfers: Transfers, task: Namespace, tree: Path) -> None:
    await transfers.write("grüße\n\n", task, "/deep/down/file")

    assert (tree / "deep/down/file").read_bytes() == "grüße\n\n".encode()
    assert mode(tree / "deep/down/file") == 0o666


async def test_an_output_replaces_what_was_there_and_makes_its_directories(
    transfers: Transfers, task: Namespace, data: Path, tree: Path
) -> None:
    (tree / "out").write_text("new")
    (tree / "out").chmod(0o6751)
    url = f"file://{data}/made/of%20it/out"

    for _ in range(2):
        assert await transfers.deliver(task, "/out", url, FILE) == [OutputFile(path="/out", url=url, size_bytes=3)]

    assert (data / "made/of it/out").read_text() == "new"
    assert mode(data / "made/of it/out") == 0o751
    assert os.listdir(data / "made/of it") == ["out"]


async def test_an_output_over_its_own_input_is_not_writable_for_all_as_the_input_was(
    transfers: Transfers, task: Namespace, data: Path, tree: Path
) -> None:
    (data / "d").mkdir()
    for name, before in (("tool", 0o755), ("text", 0o644)):
        (data / "d" / name).write_text("x")
        (data / "d" / name).chmod(before)
    await transfers.fetch(f"file://{data}/d", DIRECTORY, task, "/in/d")
    (tree / "in/d/made").write_text("x")
    (tree / "in/d/made").chmod(0o664)

    await transfers.deliver(task, "/in/d", f"file://{data}/d", DIRECTORY)
    await transfers.deliver(task, "/in", f"file://{data}/new", DIRECTORY)

    for directory in (data / "d", data / "new/d"):
        assert mode(directory) == mode(directory / "tool") == 0o755
        assert mode(directory / "text") == 0o644
        assert mode(directory / "made") == 0o664


async def test_an_output_to_a_raw_percent_sign_lands_where_its_directory_is(
    transfers: Transfers, task: Namespace, data: Path, tree: Path
) -> None:
    (tree / "out").write_text("x")
    (data / "a%20b").mkdir()

    await transfers.deliver(task, "/out", f"file://{data}/a%20b/out", FILE)

    assert os.listdir(data) == ["a%20b"]
    assert os.listdir(data / "a%20b") == ["out"]


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("type", FileType)
async def test_a_directory_output_is_merged_whatever_its_type_says(
    transfers: Transfers, task: Namespace, data: Path, tree: Path, slash: str, type: FileType
) -> None:
    (tree / "out/sub/empty").mkdir(parents=True)
    (tree / "out/sub/a b").write_text("new")
    (tree / "out/link").symlink_to("/out/sub/a b")
    os.mkfifo(tree / "out/fifo")
    (data / "d/sub").mkdir(parents=True)
    (data / "d/sub/a b").write_text("overwritten")
    (data / "d/old").write_text("old")

    delivered = await transfers.deliver(task, "/out", f"file://{data}/d{slash}", type)

    assert sorted(delivered, key=lambda file: file.path) == [
        OutputFile(path="/out/link", url=f"file://{data}/d/link", size_bytes=3),
        OutputFile(path="/out/sub/a b", url=f"file://{data}/d/sub/a%20b", size_bytes=3),
    ]
    assert (data / "d/sub/a b").read_text() == "new"
    assert (data / "d/old").read_text() == "old"
    assert (data / "d/sub/empty").is_dir()
    assert (data / "d/link").is_file()
    assert not (data / "d/link").is_symlink()


async def test_a_file_output_to_a_directory_url_lands_in_it(
    transfers: Transfers, task: Namespace, data: Path, tree: Path
) -> None:
    (tree / "out").write_text("x")

    delivered = await transfers.deliver(task, "/out", f"{data}/d/", FILE)

    assert delivered == [OutputFile(path="/out", url=f"{data}/d/out", size_bytes=1)]
    assert (data / "d/out").read_text() == "x"


async def test_an_output_that_is_its_own_source_is_left_alone(data: Path) -> None:
    shared = Namespace({str(data): data})
    (data / "d").mkdir()
    (data / "d/x").write_text("x")
    os.link(data / "d/x", data / "again")
    before = (data / "d/x").stat()

    await Transfers(http=no_http, files=shared).deliver(shared, str(data / "d"), f"file://{data}/d", DIRECTORY)
    await Transfers(http=no_http, files=shared).fetch(f"{data}/again", FILE, shared, str(data / "d/x"))

    assert (data / "d/x").stat() == before


async def test_a_directory_may_be_delivered_into_itself(data: Path) -> None:
    shared = Namespace({str(data): data})
    (data / "x").write_text("x")

    await Transfers(http=no_http, files=shared).deliver(shared, str(data), f"{data}/copy", DIRECTORY)

    assert listed(data) == ["copy", "copy/x", "x"]


async def test_names_that_are_not_utf8_are_delivered_and_reported_as_text(
    transfers: Transfers, task: Namespace, data: Path, tree: Path
) -> None:
    (tree / "out").mkdir()
    (tree / "out" / os.fsdecode(b"\xff")).write_text("x")

    (bare,) = await transfers.deliver(task, "/out", str(data / "d"), DIRECTORY)
    (encoded,) = await transfers.deliver(task, "/out", f"file://{data}/d", DIRECTORY)

    assert os.listdir(os.fsencode(data / "d")) == [b"\xff"]
    assert (bare.path, bare.url) == ("/out/\N{REPLACEMENT CHARACTER}", f"{data}/d/\N{REPLACEMENT CHARACTER}")
    assert encoded.url == f"file://{data}/d/%FF"


async def test_an_output_that_cannot_be_delivered_says_why(
    transfers: Transfers, task: Namespace, data: Path, tree: Path
) -> None:
    (tree / "out").write_text("x")
    (tree / "d").mkdir()
    (data / "d").mkdir()
    (data / "file").touch()

    with pytest.raises(StageError, match="/missing does not exist"):
        await transfers.deliver(task, "/missing", str(data / "x"), FILE)
    with pytest.raises(StageError, match="declared as a DIRECTORY"):
        await transfers.deliver(task, "/out", str(data / "x"), DIRECTORY)
    with pytest.raises(StageError, match="d: Is a directory"):
        await transfers.deliver(task, "/out", str(data / "d"), FILE)
    with pytest.raises(StageError, match="file: Not a directory"):
        await transfers.deliver(task, "/d", str(data / "file"), DIRECTORY)


def copy(source: Path, target: Path) -> None:
    with source.open("rb") as old, target.open("xb") as new:
        copying.copy_data(old.fileno(), new.fileno(), source.stat().st_size, threading.Event())


def test_holes_stay_holes(tmp_path: Path) -> None:
    with (tmp_path / "source").open("wb") as file:
        file.seek(1 << 30)
        file.write(b"in the middle")
        file.truncate(1 << 40)

    copy(tmp_path / "source", tmp_path / "target")

    status = (tmp_path / "target").stat()
    assert status.st_size == 1 << 40
    assert status.st_blocks * 512 < 1 << 20
    with (tmp_path / "target").open("rb") as file:
        file.seek(1 << 30)
        assert file.read(13) == b"in the middle"


def test_the_slower_way_to_copy_makes_the_same_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    content = os.urandom(100_000)
    (tmp_path / "source").write_bytes(content)
    monkeypatch.setattr(copying, "_copy_in_kernel", refuse)

    copy(tmp_path / "source", tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == content


async def test_a_cancelled_copy_has_ended_when_the_cancel_returns(
    task: Namespace, data: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, slow = asyncio.Event(), threading.Event()
    copy: Callable[..., int] = copying._copy_in_kernel
    loop = asyncio.get_running_loop()

    def step(*arguments: int) -> int:
        loop.call_soon_threadsafe(begun.set)
        slow.wait(0.02)
        return copy(*arguments)

    monkeypatch.setattr(copying, "_copy_in_kernel", step)
    monkeypatch.setattr(copying, "_STEP", 1000)
    (data / "big").write_bytes(bytes(1_000_000))
    transfers = Transfers(http=no_http, files=Namespace({str(data): data}))

    fetching = asyncio.create_task(transfers.fetch(str(data / "big"), FILE, task, "/in/big"))
    await begun.wait()
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching

    assert os.listdir(tree / "in") == []
