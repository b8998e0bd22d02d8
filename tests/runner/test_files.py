from __future__ import annotations

import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from tesgw.runner.files import Namespace, NotRegular, Outside, TooManyLinks


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The root of the `task` namespace, beside a secret."""
    root = tmp_path / "tree"
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/file").write_text("inside")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/file").write_text("secret")
    return root


@pytest.fixture
def task(tree: Path, tmp_path: Path) -> Namespace:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/common").write_text("common")
    (tree / "tes-wd/shared-global").mkdir(parents=True)
    return Namespace({"/": tree, "/tes-wd/shared-global": tmp_path / "shared"})


def read(files: Namespace, path: str) -> str:
    with os.fdopen(files.open(path)) as file:
        return file.read()


def write(files: Namespace, path: str, text: str) -> None:
    with files.create(path) as draft:
        os.write(draft.fd, text.encode())


@pytest.mark.parametrize(
    "target",
    [
        "/a/b/file",
        "b/file",
        "../a/b/file",
        "/../../a/b/file",
        "/tes-wd/shared-global/../../a/b/./file",
        "../../../a//b/file",
    ],
)
def test_links_are_followed_in_the_paths_of_the_task(task: Namespace, tree: Path, target: str) -> None:
    (tree / "a/link").symlink_to(target)

    assert read(task, "/a/link") == "inside"


def test_a_mount_hides_what_lies_below_it(task: Namespace, tree: Path) -> None:
    (tree / "tes-wd/shared-global/common").write_text("hidden")
    (tree / "a/link").symlink_to("/tes-wd/shared-global")

    assert read(task, "/tes-wd/shared-global/common") == "common"
    assert read(task, "/a/link/common") == "common"


@pytest.mark.parametrize("target", ["../../secret/file", "/proc/self/root/etc/hostname", "/etc/hostname"])
def test_links_that_mean_the_host_find_nothing(task: Namespace, tree: Path, target: str) -> None:
    (tree / "a/link").symlink_to(target)

    with pytest.raises(FileNotFoundError):
        task.open("/a/link")


def test_a_link_to_the_host_path_of_a_secret_finds_nothing(task: Namespace, tree: Path, tmp_path: Path) -> None:
    (tree / "a/link").symlink_to(tmp_path / "secret")

    with pytest.raises(FileNotFoundError):
        task.open("/a/link/file")


def test_links_without_end_are_an_error(task: Namespace, tree: Path) -> None:
    (tree / "a/one").symlink_to("two")
    (tree / "a/two").symlink_to("one")

    with pytest.raises(TooManyLinks):
        task.open("/a/one")


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/roots/data-secret/file", "/roots/data/../data-secret/file", "/", "/roots"]
)
def test_only_allowed_roots_exist(tmp_path: Path, path: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data-secret").mkdir()
    (tmp_path / "data-secret/file").touch()
    roots = Namespace({"/roots/data": tmp_path / "data"})

    with pytest.raises(Outside):
        roots.stat(path)


def test_links_lead_from_one_allowed_root_to_another_but_nowhere_else(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "one/to-two").symlink_to(tmp_path / "two/file")
    (tmp_path / "one/to-three").symlink_to("../three/file")
    roots = Namespace({str(tmp_path / name): tmp_path / name for name in ("one", "two")})

    assert read(roots, str(tmp_path / "one/to-two")) == "two"
    with pytest.raises(Outside):
        roots.open(str(tmp_path / "one/to-three"))


def test_only_regular_files_are_opened(task: Namespace, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tree / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tree)  # a socket takes short paths only
        server.bind("socket")

    for path in ("/fifo", "/socket"):
        with pytest.raises(NotRegular):
            task.open(path)
    with pytest.raises(IsADirectoryError):
        task.open("/a")


def test_missing_paths_and_nul_bytes_are_not_found(task: Namespace) -> None:
    for path in ("/nothing", "/a/nothing/file", "/a\0b"):
        with pytest.raises(FileNotFoundError) as caught:
            task.open(path)
        assert caught.value.filename == path
    with pytest.raises(NotADirectoryError):
        task.open("/a/b/file/x")


def test_lstat_shows_the_link_and_stat_what_it_means(task: Namespace, tree: Path) -> None:
    (tree / "a/link").symlink_to("/a/b/file")

    assert stat.S_ISLNK(task.lstat("/a/link").st_mode)
    assert task.stat("/a/link").st_size == len("inside")


def test_made_directories_have_just_the_mode_asked_for(task: Namespace, tree: Path) -> None:
    (tree / "old").mkdir(mode=0o755)
    umask = os.umask(0o077)
    try:
        task.make_dirs("/old/new/deep")
        task.make_dirs("/old/kept", 0o755)
        task.make_dirs("/old/kept", 0o777, keep_existing=True)
        task.make_dirs("/old/kept/below", 0o700)
    finally:
        os.umask(umask)

    def mode(path: str) -> int:
        return stat.S_IMODE((tree / path).stat().st_mode)

    assert (mode("old"), mode("old/new"), mode("old/new/deep")) == (0o755, 0o1777, 0o1777)
    assert (mode("old/kept"), mode("old/kept/below")) == (0o755, 0o700)
    task.make_dirs("/old", 0o1777)
    assert mode("old") == 0o1777


def test_directories_are_made_through_links_inside_only(task: Namespace, tree: Path, tmp_path: Path) -> None:
    (tree / "inside").symlink_to("/a/made")
    (tree / "outside").symlink_to("../secret/made")

    task.make_dirs("/inside/x")
    task.make_dirs("/outside/x")

    assert (tree / "a/made/x").is_dir()
    assert (tree / "secret/made/x").is_dir()
    assert not (tmp_path / "secret/made").exists()
    with pytest.raises(NotADirectoryError):
        task.make_dirs("/a/b/file")


def test_a_file_appears_whole_and_replaces_even_a_link(task: Namespace, tree: Path) -> None:
    (tree / "a/link").symlink_to("/a/b/file")

    draft = task.create("/a/link", 0o640)
    os.write(draft.fd, b"new")
    assert read(task, "/a/link") == "inside"
    draft.commit()

    assert not (tree / "a/link").is_symlink()
    assert ((tree / "a/link").read_text(), (tree / "a/b/file").read_text()) == ("new", "inside")
    assert stat.S_IMODE((tree / "a/link").stat().st_mode) == 0o640
    assert sorted(os.listdir(tree / "a")) == ["b", "link"]


def test_a_failed_draft_leaves_nothing(task: Namespace, tree: Path) -> None:
    def fail() -> None:
        with task.create("/a/new"):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with pytest.raises(IsADirectoryError):
        write(task, "/a/b", "a directory is there")
    with pytest.raises(IsADirectoryError):
        task.create("/a/..")

    assert os.listdir(tree / "a") == ["b"]


def test_what_a_crash_left_of_a_draft_is_replaced_by_the_next(task: Namespace, tree: Path) -> None:
    task.create("/a/new", tag="same")  # never ended
    os.symlink("/a/b/file", tree / "a" / "other")

    write(task, "/a/new", "different tag")
    with task.create("/a/new", tag="same") as draft:
        os.write(draft.fd, b"whole")

    assert (tree / "a/new").read_text() == "whole"
    assert sorted(os.listdir(tree / "a")) == ["b", "new", "other"]


def walked(files: Namespace, path: str) -> dict[str, int | None]:
    return {entry.path: None if entry.is_directory else entry.size for entry in files.walk(path)}


def test_a_walk_finds_files_directories_and_what_links_mean(task: Namespace, tree: Path) -> None:
    (tree / "a/empty").mkdir()
    (tree / "a/to-file").symlink_to("/a/b/file")
    (tree / "a/to-directory").symlink_to("b")
    (tree / "a/up").symlink_to("..")
    (tree / "a/self").symlink_to(".")
    (tree / "a/dangling").symlink_to("nowhere")
    (tree / "a/round").symlink_to("round")
    os.mkfifo(tree / "a/fifo")

    found = walked(task, "/a")

    assert {path: size for path, size in found.items() if not path.startswith("up")} == {
        "b": None, "b/file": 6, "empty": None, "to-file": 6, "to-directory": None, "to-directory/file": 6,
    }  # fmt: skip
    assert not any(path.startswith("up/a") for path in found)


def test_a_walk_stays_out_of_other_mounts_but_for_links_to_them(task: Namespace, tree: Path) -> None:
    assert walked(task, "/tes-wd") == {}
    assert walked(task, "/tes-wd/shared-global") == {"common": 6}
    (tree / "tes-wd/link").symlink_to("/tes-wd/shared-global")
    assert walked(task, "/tes-wd") == {"link": None, "link/common": 6}


def test_a_walk_over_a_file_is_an_error(task: Namespace) -> None:
    with pytest.raises(NotADirectoryError):
        list(task.walk("/a/b/file"))


def test_links_that_multiply_end_in_an_error(task: Namespace, tree: Path) -> None:
    for level in range(12):
        (tree / f"a/{level}").mkdir()
        for number in range(6):
            (tree / f"a/{level}/{number}").symlink_to(f"/a/{level + 1}")

    with pytest.raises(TooManyLinks):
        list(task.walk("/a/0"))


def test_a_tree_deeper_than_any_path_is_a_clear_error(task: Namespace, tree: Path) -> None:
    fd = os.open(tree / "a", os.O_RDONLY)
    for _ in range(40):
        os.mkdir("d" * 200, dir_fd=fd)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)

    with pytest.raises(OSError, match="nested too deeply"):
        list(task.walk("/a"))


def test_names_that_are_not_utf8_are_kept(task: Namespace, tree: Path) -> None:
    (tree / os.fsdecode(b"a/\xff")).write_text("x")

    (name,) = [entry.path for entry in task.walk("/a") if os.fsencode(entry.path) == b"\xff"]

    assert read(task, f"/a/{name}") == "x"


def test_a_link_swapped_while_we_open_never_leads_outside(task: Namespace, tree: Path, tmp_path: Path) -> None:
    """A file, a directory and links to secrets take turns at each component as fast as a thread can swap them."""
    (tree / "a/dir").mkdir()
    (tree / "a/dir/file").write_text("inside")
    (tree / "a/link").symlink_to(tmp_path / "secret")
    (tree / "a/climb").symlink_to("../../secret")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for other in ("link", "climb"):
                os.rename(tree / "a/dir", tree / "a/spare")
                os.rename(tree / f"a/{other}", tree / "a/dir")
                os.rename(tree / "a/dir", tree / f"a/{other}")
                os.rename(tree / "a/spare", tree / "a/dir")

    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    try:
        for _ in range(3000):
            try:
                seen.add(read(task, "/a/dir/file"))
            except OSError as error:
                seen.add(type(error).__name__)
    finally:
        stop.set()
        thread.join()

    assert seen <= {"inside", "FileNotFoundError"}
    assert {"inside", "FileNotFoundError"} <= seen  # otherwise nothing was swapped in time


def test_no_descriptor_is_left_open(task: Namespace, tree: Path) -> None:
    (tree / "a/link").symlink_to("/a/b/../b/file")
    before = set(os.listdir("/proc/self/fd"))

    for _ in range(3):
        read(task, "/a/link")
        list(task.walk("/"))
        write(task, "/a/x", "x")
        task.make_dirs("/a/y/z")
        task.glob("/*/*")
        for path in ("/nothing", "/a/b/file/x"):
            with pytest.raises(OSError, match=r"No such|Not a"):
                task.stat(path)

    assert set(os.listdir("/proc/self/fd")) == before
