from __future__ import annotations

from typing import Any

import pytest

from tesgw.model import Executor, FileType, Input, Layout, Output, Task
from tesgw.staging import plan

SHARED = "/tes-wd/shared-global"


def task(**fields: Any) -> Task:
    executor = Executor(image="busybox", command=("true",))
    return Task(**{"id": "t" * 26, "executors": (executor,), **fields})


def test_the_job_is_named_by_task_and_attempt() -> None:
    assert plan(task(attempt=3), Layout()).id == "t" * 26 + "-3"


def test_every_directory_that_a_task_names_is_in_the_job() -> None:
    executor = Executor(
        image="i", command=("c",), workdir="/w//d/", stdin="/in/a", stdout="/out/b", stderr="/err/c", env={"A": "1"}
    )
    job = plan(
        task(
            executors=(executor,),
            inputs=(
                Input(path="/i/f*le", url="http://h/x"),
                Input(path="/i/dir/", url="file:///d", type=FileType.DIRECTORY),
            ),
            outputs=(
                Output(path="/o/f", url="file:///x"),
                Output(path="/o/dir", url="file:///y", type=FileType.DIRECTORY),
                Output(path="/g/*/x.txt", path_prefix="/g", url="file:///z"),
                Output(path="/rooted", url="file:///r"),
            ),
            volumes=("/vol/A/",),
        ),
        Layout(),
    )

    assert job.directories == ("/err", "/g", "/i", "/i/dir", "/in", "/o", "/o/dir", "/out", "/vol/A", "/w/d")
    assert job.volumes == ("/vol/A",)
    assert job.executors[0].workdir == "/w/d"


def test_executors_see_the_layout_s_environment_and_may_override_it() -> None:
    executors = (
        Executor(image="i", command=("c",), env={"A": "1"}),
        Executor(image="i", command=("c",), env={"AZ_BATCH_TASK_DIR": "/mine"}),
    )

    job = plan(task(executors=executors), Layout())

    assert job.executors[0].env == {"AZ_BATCH_TASK_DIR": "/tes-wd", "A": "1"}
    assert job.executors[1].env == {"AZ_BATCH_TASK_DIR": "/mine"}


@pytest.mark.parametrize(
    ("url", "path", "in_place"),
    [
        (f"{SHARED}/x", f"{SHARED}/x", True),
        (f"file://{SHARED}/x", f"{SHARED}//x", True),
        (f"file://{SHARED}/a%20b", f"{SHARED}/a b", True),
        (f"file://{SHARED}/a%20b", f"{SHARED}/a%20b", True),
        (f"file://localhost{SHARED}/x", f"{SHARED}/x", True),
        (f"{SHARED}/x", "/data/x", False),
        (f"{SHARED}/x/../y", f"{SHARED}/y", False),
        ("/data/x", "/data/x", False),
        ("http://h/x", f"{SHARED}/x", False),
    ],
)
def test_a_file_of_a_shared_volume_is_used_in_place_where_path_and_url_agree(url: str, path: str, in_place: bool) -> None:
    job = plan(task(inputs=(Input(path=path, url=url),), outputs=(Output(path=path, url=url),)), Layout())

    assert job.inputs[0].in_place is in_place
    assert job.outputs[0].in_place is in_place


def test_content_is_never_in_place() -> None:
    job = plan(task(inputs=(Input(path=f"{SHARED}/x", url=f"{SHARED}/x", content="hello"),)), Layout())

    assert not job.inputs[0].in_place


def test_an_extra_mount_holds_files_in_place_too() -> None:
    layout = Layout(outliving=(SHARED, "/jobstore"))

    job = plan(task(inputs=(Input(path="/jobstore", url="file:///jobstore", type=FileType.DIRECTORY),)), layout)

    assert job.inputs[0].in_place


def test_a_path_that_reaches_out_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\.\."):
        plan(task(inputs=(Input(path="/data/../../etc/passwd", content="x"),)), Layout())


def test_the_same_task_gives_the_same_job() -> None:
    given = task(inputs=(Input(path="/b", content="x"), Input(path="/a/b", content="y")), volumes=("/z", "/y"))

    assert plan(given, Layout()) == plan(given, Layout())
