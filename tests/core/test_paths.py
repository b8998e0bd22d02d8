from __future__ import annotations

import pytest

from tesgw import paths


@pytest.mark.parametrize(
    ("given", "short"),
    [("/a//b/./c/", "/a/b/c"), ("/", "/"), ("//", "/"), ("/a b/ü", "/a b/ü"), ("/procs", "/procs"), ("/a/...", "/a/...")],
)
def test_a_path_has_one_short_form(given: str, short: str) -> None:
    assert paths.clean(given) == short


@pytest.mark.parametrize(
    "given",
    ["", "a", "./a", "/a/../b", "/..", "/a\0b", "/proc/1/mem", "/sys", "/dev/sda", "/" + "x" * 256, "/x" * 2050],
)
def test_a_path_that_no_task_may_name_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match=r"path|/"):
        paths.clean(given)


@pytest.mark.parametrize("given", ["/", "/usr", "/etc/", "/proc", "/tes-wd/shared-global", "/tes-wd/shared-global/x"])
def test_a_volume_hides_neither_the_image_nor_what_all_tasks_share(given: str) -> None:
    with pytest.raises(ValueError, match="/"):
        paths.check_volume(given)


def test_a_sibling_is_not_within() -> None:
    assert paths.is_within("/data/x", "/data")
    assert paths.is_within("/data", "/data")
    assert paths.is_within("/data", "/")
    assert not paths.is_within("/data-secret/x", "/data")


@pytest.mark.parametrize(("pattern", "parent"), [("/a/b/*.txt", "/a/b"), ("/a/*/c", "/a"), ("/*", "/"), ("/a/[x]/y?", "/a")])
def test_a_pattern_has_a_deepest_certain_directory(pattern: str, parent: str) -> None:
    assert paths.literal_parent(pattern) == parent
