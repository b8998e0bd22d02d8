from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tesgw.runner.files import Namespace

NAMES = ("a", "b", "A", "ab", "a-b", "ba", ".a", "..b", "[a]", "a*", "!", "-", "a]", "x.tsv", "]")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with files of all names, and two directories with the same."""
    root = tmp_path_factory.mktemp("glob")
    for directory in (root, root / "dir", root / ".hidden"):
        directory.mkdir(exist_ok=True)
        for name in NAMES:
            (directory / name).touch()
    return root


@pytest.fixture(scope="module")
def files(tree: Path) -> Namespace:
    return Namespace({"/": tree})


components = st.text("ab.A*?[]!-", min_size=1, max_size=6) | st.sampled_from(
    [
        "*",
        "dir",
        "?",
        "[[:upper:]]",
        "[!a]*",
        "[]a]",
        "*.tsv",
        "[",
        "[a",
        "\\*",
        "a\\*",
        "[\\]]",
        "[a-b]?",
        ".*",
        "**",
        "?i?",
    ]
)
patterns = st.lists(components, min_size=1, max_size=3).map("/".join)


@settings(max_examples=150, deadline=None)
@given(patterns)
def test_wildcards_mean_what_they_mean_to_a_shell(tree: Path, files: Namespace, pattern: str) -> None:
    assume(all(component not in (".", "..") for component in pattern.split("/")))
    script = f"printf '%s\\0' ./{pattern}"

    shell = subprocess.run(("sh", "-c", script), cwd=tree, env={"LC_ALL": "C"}, capture_output=True, check=True)
    words = [word.removeprefix(".") for word in shell.stdout.decode().split("\0")[:-1]]

    # A shell gives back what matches nothing, and some shells take `.` and `..` for matches.
    expected = [word for word in words if (tree / word[1:]).exists() and not {".", ".."} & set(word.split("/"))]
    assert files.glob(f"/{pattern}") == sorted(expected)


def test_a_question_mark_is_one_character_not_one_byte(tmp_path: Path) -> None:
    (tmp_path / "Ü").touch()

    assert Namespace({"/": tmp_path}).glob("/?") == ["/Ü"]


def test_what_a_pattern_selects_may_be_reached_by_links_but_not_outside(tmp_path: Path) -> None:
    for name in ("tree/real", "secret"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "x.txt").touch()
    (tmp_path / "tree/link").symlink_to("/real")
    (tmp_path / "tree/out").symlink_to("../secret")
    (tmp_path / "tree/dangling.txt").symlink_to("nowhere")
    os.mkfifo(tmp_path / "tree/fifo.txt")

    files = Namespace({"/": tmp_path / "tree"})

    assert files.glob("/*/*.txt") == ["/link/x.txt", "/real/x.txt"]
    assert files.glob("/*.txt") == []


def test_components_without_wildcards_are_literal(tmp_path: Path) -> None:
    (tmp_path / "a\\b").mkdir()
    (tmp_path / "a\\b/x").touch()

    assert Namespace({"/": tmp_path}).glob("/a\\b/*") == ["/a\\b/x"]


def test_many_stars_do_not_take_for_ever(tmp_path: Path) -> None:
    (tmp_path / ("a" * 250)).touch()

    assert Namespace({"/": tmp_path}).glob("/" + "*a" * 100 + "b") == []


def test_a_wildcard_does_not_select_what_all_tasks_share(tmp_path: Path) -> None:
    (tmp_path / "tree/tes-wd/shared-global").mkdir(parents=True)
    (tmp_path / "tree/tes-wd/mine").touch()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/x").touch()

    files = Namespace({"/": tmp_path / "tree", "/tes-wd/shared-global": tmp_path / "shared"})

    assert files.glob("/tes-wd/*") == ["/tes-wd/mine"]
    assert files.glob("/tes-wd/shared-global/*") == ["/tes-wd/shared-global/x"]
