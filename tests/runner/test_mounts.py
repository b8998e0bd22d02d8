"""Which directories are mounted: decided from what a job names and what an image holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tesgw.errors import StageError
from tesgw.model import FileType, Input, Job
from tesgw.paths import is_within
from tesgw.runner import mounts
from tesgw.runner.engine import Look
from tests.runner.conftest import make_job, sh

VOLUMES = {"/tes-wd/shared-global": Path("/srv/shared")}
TREE = Path("/jobs/x/tree")


async def planned(job: Job, *filled: str) -> mounts.Plan:
    async def look(path: str) -> Look:
        return Look(is_filled=any(is_within(directory, path) for directory in filled))

    return await mounts.plan(job, VOLUMES, look, {}, {})


async def test_the_scratch_directories_and_volumes_are_always_mounted() -> None:
    plan = await planned(make_job(sh("")), "/tmp", "/tes-wd")

    assert [(str(source), target) for source, target in plan.sources(TREE)] == [
        (f"{TREE}/tes-wd", "/tes-wd"),
        (f"{TREE}/tmp", "/tmp"),
        ("/srv/shared", "/tes-wd/shared-global"),
    ]


@pytest.mark.parametrize(
    ("named", "filled", "mounted"),
    [
        (["/a"], [], ["/a"]),
        (["/a", "/a/b", "/ab"], [], ["/a", "/ab"]),
        (["/opt", "/opt/app", "/opt/new"], ["/opt", "/opt/app"], ["/opt/new"]),
        (["/usr/x/y", "/usr/x"], ["/usr", "/usr/x"], ["/usr/x/y"]),
        (["/tmp/x", "/tes-wd/shared/y", "/tes-wd/shared-global/z"], [], []),
    ],
)
async def test_the_topmost_directories_that_hide_nothing_are_mounted(
    named: list[str], filled: list[str], mounted: list[str]
) -> None:
    plan = await planned(make_job(sh(""), directories=tuple(named)), *filled)

    assert list(plan.directories[2:]) == mounted


async def test_inputs_among_the_images_files_are_mounted_one_by_one() -> None:
    inputs = (Input(path="/opt/app/x"), Input(path="/data/y"), Input(path="/z"))
    plan = await planned(make_job(sh(""), inputs=inputs), "/opt/app")

    assert plan.files == ("/opt/app/x", "/z")
    assert [plan.covers(path) for path in ("/opt/app/x", "/opt/app/other", "/data/any", "/z", "/tmp")] == [1, 0, 1, 1, 1]


@pytest.mark.parametrize(
    "fields", [{"volumes": ("/opt/app",)}, {"inputs": (Input(path="/opt/app", type=FileType.DIRECTORY),)}]
)
async def test_directories_that_would_hide_the_images_files_are_refused(fields: dict[str, tuple[object, ...]]) -> None:
    with pytest.raises(StageError, match="/opt/app would hide files of the image"):
        await planned(make_job(sh(""), **fields), "/opt", "/opt/app")


def test_links_below_the_tree_are_noticed_and_those_above_are_not(tmp_path: Path) -> None:
    (tmp_path / "real" / "tree" / "a").mkdir(parents=True)
    (tmp_path / "work").symlink_to(tmp_path / "real")
    tree = tmp_path / "work" / "tree"
    (tree / "a" / "link").symlink_to("/")

    assert not mounts.leads_through_link(tree, "/a")
    assert mounts.leads_through_link(tree, "/a/link")
    assert mounts.leads_through_link(tree, "/a/link/etc")
