"""The one image: a gateway, and what nodes run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.e2e.client import Gateway, stdout
from tests.image.base import ensure

pytestmark = pytest.mark.engine

SOCKET = "/var/run/docker.sock"
# Docker counts in millions. The dependencies are 120, two thirds of them sqlalchemy, azure, cryptography and uvloop.
MOST_MB_OVER_BASE = 200


def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=60)


def output(*arguments: str) -> str:
    done = docker(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def served(node_image: str, tmp_path: Path) -> Iterator[Gateway]:
    """The image's gateway with the local backend, published on a port of loopback."""
    gateway = Gateway(tmp_path)
    mounts = (f"--volume={SOCKET}:{SOCKET}", f"--volume={gateway.work_dir}:/srv/tesgw")
    container = output(
        "run", "--detach", "--publish=127.0.0.1::8000", *mounts, node_image, "serve", "--host", "0.0.0.0"
    ).strip()
    try:
        gateway.url = f"http://{output('port', container, '8000/tcp').strip()}"
        gateway.until(lambda: answers(gateway.url) or not is_running(container))
        assert is_running(container), docker("logs", container).stderr
        yield gateway
        output("stop", container)
    finally:
        output("rm", "--force", "--volumes", container)
    gateway.remove_containers()


def answers(url: str) -> bool:
    """Before the gateway listens, Docker's proxy takes connections and drops them."""
    try:
        return requests.get(f"{url}/healthz", timeout=10).status_code == 200
    except requests.ConnectionError:
        return False


def is_running(container: str) -> bool:
    return output("inspect", "--format={{.State.Running}}", container).strip() == "true"


def test_it_serves_and_runs_tasks(served: Gateway) -> None:
    task = served.run("cat /in/x", inputs=[{"path": "/in/x", "content": "from the image\n"}])

    assert (task["state"], stdout(task)) == ("COMPLETE", "from the image\n")
    assert (served.work_dir / "tesgw.db").exists()


def test_the_node_side_says_in_a_sentence_that_it_has_no_order(node_image: str) -> None:
    done = docker("run", "--rm", "--entrypoint=tesgw-batch", node_image, "run")

    assert done.returncode != 0
    assert "TESGW_ORDER_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_knows_the_name_that_it_was_built_with(node_image: str) -> None:
    settings = output("run", "--rm", "--env=APP_COMPUTE_BACKEND=batch", node_image, "settings")

    assert f"FILETRANSFER_CONTAINER_IMAGE = {node_image!r}" in settings


def test_it_has_no_tools_that_only_a_build_needs(node_image: str) -> None:
    output("run", "--rm", "--entrypoint=/opt/tesgw/bin/python3", node_image, "-c", "import tesgw_batch")

    asked = "import importlib.util as u; print([n for n in ('pip', 'setuptools', 'hatchling', 'pytest') if u.find_spec(n)])"
    assert output("run", "--rm", "--entrypoint=/opt/tesgw/bin/python3", node_image, "-c", asked) == "[]\n"


def test_it_is_small(node_image: str) -> None:
    image, base = (int(output("image", "inspect", "--format={{.Size}}", name)) for name in (node_image, ensure()))

    megabytes = (image - base) / 1e6
    print(f"{node_image}: {megabytes:.0f} MB over its base")
    assert megabytes < MOST_MB_OVER_BASE
