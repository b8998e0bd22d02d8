"""The gateway in a container of its own, beside those of its tasks: this machine's Python, mounted into busybox."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.e2e.client import SERVE, Gateway, containers, stdout

pytestmark = pytest.mark.engine

REPOSITORY = Path(__file__).parents[2]
INSIDE = "/inside/work"


@pytest.fixture
def run_in_container(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Starts a gateway in a container whose work directory is `tmp_path/work` on the host and has another name inside."""
    name = f"tesgw-gateway-{uuid4().hex[:12]}"
    gateway = Gateway(tmp_path)

    def run(**settings: str) -> Gateway:
        gateway.work_dir.mkdir()
        python = {Path("/usr"), Path("/lib"), Path("/lib64"), REPOSITORY, Path(sys.prefix), Path(sys.base_prefix)}
        mounts = [f"{path}:{path}:ro" for path in python if path.exists()]
        mounts += ["/var/run/docker.sock:/var/run/docker.sock", f"{gateway.work_dir}:{INSIDE}"]
        environment = {"APP_LOCAL_WORK_DIR": INSIDE, "PYTHONDONTWRITEBYTECODE": "1"}
        environment |= {f"APP_{key}": value for key, value in settings.items()}
        options = [f"--volume={mount}" for mount in mounts] + [f"--env={key}={value}" for key, value in environment.items()]
        command = ["docker", "run", "--detach", "--name", name, "--network=host", "--workdir=/inside", *options, "busybox"]
        subprocess.run([*command, *SERVE], check=True, capture_output=True)
        gateway.url = _url(name)
        return gateway

    yield run
    subprocess.run(["docker", "stop", name], check=True, capture_output=True)
    subprocess.run(["docker", "rm", "--force", "--volumes", name], check=True, capture_output=True)
    if (gateway.work_dir / "instance").exists():
        gateway.remove_containers()


def _url(name: str) -> str:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        said = subprocess.run(["docker", "logs", name], capture_output=True, text=True, check=True)
        for word in said.stdout.split():
            if word.startswith("http://"):
                return word.removesuffix("/ga4gh/tes/v1")
        time.sleep(0.1)
    raise AssertionError(said.stdout + said.stderr)


def test_its_tasks_have_their_files(run_in_container: Callable[..., Gateway]) -> None:
    gateway = run_in_container()

    task = gateway.run(
        "cat /in/x; echo all > /tes-wd/shared-global/y", inputs=[{"path": "/in/x", "content": "from inside\n"}]
    )

    assert (task["state"], stdout(task)) == ("COMPLETE", "from inside\n")
    assert (gateway.shared / "y").read_text() == "all\n"
    gateway.until(lambda: not containers(task["id"]))


def test_a_directory_that_the_host_does_not_have_is_named_with_the_missing_mount(
    run_in_container: Callable[..., Gateway],
) -> None:
    gateway = run_in_container(LOCAL_SHARED_GLOBAL_DIR="/elsewhere")

    task_id = gateway.submit("true")

    gateway.until(lambda: "-v /directory/on/host:/elsewhere" in str(gateway.get(task_id)))
