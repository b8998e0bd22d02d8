"""An executor looks for what is not its own: Docker's socket, keys, signatures, other tasks' files."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from azure.storage.blob.aio import ContainerClient

from tests.plugins.batch.blobs import KEY
from tests.plugins.batch.faults.beside import side_by_side
from tests.plugins.batch.faults.world import World

pytestmark = pytest.mark.engine

# Looks for the words that it is given in all that it can read, and says what there is to see.
SEARCH = r"""
cd /; rm -f /tmp/words; mkdir -p /tmp; umask 077
for word in "$@"; do echo "$word" >> /tmp/words; done
echo "sockets: $(find / -name '*.sock' 2>/dev/null | tr '\n' ' ')"
echo "processes: $(cat /proc/[0-9]*/comm 2>/dev/null | sort -u | tr '\n' ' ')"
for file in $(find / \( -path /proc -o -path /sys -o -path /dev -o -path /tmp \) -prune -o -type f -print 2>/dev/null); do
    grep -q -F -f /tmp/words "$file" 2>/dev/null && echo "found: $file"
done
for file in /proc/[0-9]*/environ /proc/mounts /proc/self/mountinfo; do
    grep -q -F -f /tmp/words $file 2>/dev/null && echo "found: $file"
done
echo end
"""
INPUT = "what the task was given"
WAIT = "until [ -e /tes-wd/shared-global/go"


@side_by_side()
async def test_an_executor_finds_nothing_that_is_not_its_own(world: World) -> None:
    secret = f"secret-{uuid4().hex}"
    await world.start()
    data = await stored(world, "in.txt", INPUT)
    neighbour = await world.submit(
        f"{WAIT} ]; do sleep 0.1; done; echo > /tes-wd/out",
        name="neighbour",
        inputs=[{"content": secret, "path": "/tes-wd/secret"}],
        outputs=[output(data, "other.txt")],
    )
    await world.until(lambda: world.ran("neighbour") == 1)
    hostile = await world.submit(
        name="hostile",
        inputs=[{"url": f"az://{data.container_name}/in.txt", "path": "/tes-wd/in.txt"}],
        outputs=[output(data, "out.txt")],
        executors=[
            {"image": "busybox", "command": ["sh", "-c", f"cp /tes-wd/in.txt /tes-wd/out; {WAIT}0 ]; do sleep 0.1; done"]},
            {"image": "busybox", "command": ["sh", "-c", SEARCH, "search", *words(secret), INPUT]},
        ],
    )
    await world.until(lambda: has_container(world, hostile))
    described = await describe(world, hostile)
    (world.shared / "go0").touch()

    task = await world.ended(hostile)
    (world.shared / "go").touch()
    await world.ended(neighbour)
    assert task["state"] == "COMPLETE", task
    said = task["logs"][0]["logs"][1]["stdout"].splitlines()
    assert said[-1] == "end"
    found = sorted(line for line in said if line.startswith("found:"))
    assert found == ["found: /tes-wd/in.txt", "found: /tes-wd/out"], "It finds its own input, and no more."
    assert "sockets: " in said
    [processes] = [line for line in said if line.startswith("processes:")]
    assert not {"python", "python3", "tesgw-batch", "dockerd"} & set(processes.split())
    for word in ("docker.sock", *words(secret)):
        assert word not in described, word
    await world.leaves_nothing(hostile)


async def stored(world: World, name: str, content: str) -> ContainerClient:
    """A new container of the storage account with this blob."""
    data = world.grounds.blobs.container(f"data{uuid4().hex}")
    async with data:
        await data.create_container()
        await data.get_blob_client(name).upload_blob(content.encode())
    return data


def words(secret: str) -> tuple[str, ...]:
    return (KEY, "sig=", "TESGW_ORDER_URL", "AZ_BATCH_NODE", secret)


def output(data: Any, name: str) -> dict[str, str]:
    return {"url": f"az://{data.container_name}/{name}", "path": "/tes-wd/out"}


async def has_container(world: World, task_id: str) -> bool:
    return bool(await world.containers(task_id))


async def describe(world: World, task_id: str) -> str:
    """All that the engine says of a task's container."""
    chosen = json.dumps({"name": [f"^/tesgw-{task_id}-"]})
    found: list[Any] = await world.grounds.docker.containers.list(filters=chosen)
    return json.dumps([await each.show() for each in found])
