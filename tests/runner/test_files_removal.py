from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tesgw.runner.removal import remove_tree


def test_everything_goes_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").touch()
    tree = tmp_path / "tree"
    (tree / "a/b/c").mkdir(parents=True)
    (tree / "a/b/c/file").touch()
    (tree / "a/b/link").symlink_to(tmp_path / "kept")
    (tree / "link").symlink_to(tmp_path / "kept/file")
    os.mkfifo(tree / "a/fifo")
    for path in ("a/b/c", "a/b", "a"):
        (tree / path).chmod(0)

    remove_tree(tree)
    remove_tree(tree)

    assert os.listdir(tmp_path) == ["kept"]
    assert os.listdir(tmp_path / "kept") == ["file"]


def test_a_link_in_place_of_the_tree_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "tree").symlink_to(tmp_path / "kept")

    with pytest.raises(NotADirectoryError):
        remove_tree(tmp_path / "tree")


def test_depth_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    fd = os.open(tmp_path / "tree", os.O_RDONLY)
    for _ in range(6000):
        os.mkdir("d", dir_fd=fd)
        os.close(os.open("file", os.O_CREAT, dir_fd=fd))
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)

    remove_tree(tmp_path / "tree")

    assert os.listdir(tmp_path) == []


@pytest.fixture
def theirs() -> Iterator[Path]:
    """A directory of the user 1234, reachable for that user, as whom the test then runs."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory() as directory:
        os.chown(directory, 1234, 1234)
        os.seteuid(1234)
        yield Path(directory)
        os.seteuid(0)


def test_modes_are_no_obstacle_to_who_is_not_root(theirs: Path) -> None:
    (theirs / "tree/a/b/c").mkdir(parents=True)
    (theirs / "tree/a/b/file").touch()
    for path in ("tree/a/b/c", "tree/a/b", "tree/a", "tree"):
        (theirs / path).chmod(0)

    remove_tree(theirs / "tree")

    assert os.listdir(theirs) == []


def test_what_belongs_to_somebody_else_is_a_permission_error_until_it_does_not(theirs: Path) -> None:
    (theirs / "tree/foreign/below").mkdir(parents=True)
    os.seteuid(0)
    os.chown(theirs / "tree/foreign", 0, 0)
    os.seteuid(1234)

    with pytest.raises(PermissionError):
        remove_tree(theirs / "tree")
    os.seteuid(0)
    os.chown(theirs / "tree/foreign", 1234, 1234)
    os.seteuid(1234)
    remove_tree(theirs / "tree")

    assert os.listdir(theirs) == []
