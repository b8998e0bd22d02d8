"""What the pool's start task makes of a node."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tesgw_batch.command import main
from tesgw_batch.node.start_task import start_task_command

from tests.runner.conftest import until

LONGEST_COMMAND_LINE = 8192

Environment = dict[str, str]

# A router with the rules of a node between a container and what is out there: 169.254.169.254, 168.63.129.16, the world.
NETWORK = """
set -e
unshare --net sleep 60 & container=$!
unshare --net sleep 60 & world=$!
trap 'kill $container $world' EXIT
until [ "$(readlink /proc/$container/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
until [ "$(readlink /proc/$world/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
ip link add c type veth peer name eth netns $container
ip link add w type veth peer name eth netns $world
ip addr add 10.9.0.1/24 dev c; ip link set c up
ip addr add 10.8.0.1/24 dev w; ip link set w up
nsenter --target $container --net sh -ec '
  ip addr add 10.9.0.2/24 dev eth; ip link set eth up; ip route add default via 10.9.0.1'
nsenter --target $world --net sh -ec '
  ip link set lo up; ip addr add 10.8.0.2/24 dev eth; ip link set eth up; ip route add default via 10.8.0.1
  ip addr add 169.254.169.254/32 dev lo; ip addr add 168.63.129.16/32 dev lo'
ip route add 169.254.169.254 via 10.8.0.2
ip route add 168.63.129.16 via 10.8.0.2
echo 1 > /proc/sys/net/ipv4/ip_forward
eval "$START"; eval "$START"
iptables -A FORWARD -j DOCKER-USER
nsenter --target $world --net "$PYTHON" -c "$LISTEN" & listener=$!
trap 'kill $container $world $listener' EXIT
nsenter --target $container --net "$PYTHON" -c "$ASK"
iptables -S DOCKER-USER >&2
"""
LISTEN = """
import select, socket
tcp = [socket.create_server(("", port)) for port in (80, 53, 32526)]
udp = socket.socket(type=socket.SOCK_DGRAM)
udp.bind(("168.63.129.16", 53))
while True:
    for ready in select.select([*tcp, udp], [], [])[0]:
        if ready is udp:
            data, sender = udp.recvfrom(9)
            udp.sendto(data, sender)
        else:
            ready.accept()
"""
ASK = """
import json, socket, time
def connects(address):
    try:
        socket.create_connection(address, 1).close()
    except OSError:
        return False
    return True
while not connects(("10.8.0.2", 80)):
    time.sleep(0.05)
udp = socket.socket(type=socket.SOCK_DGRAM)
udp.settimeout(5)
udp.sendto(b"dns", ("168.63.129.16", 53))
print(json.dumps({
    "metadata": connects(("169.254.169.254", 80)),
    "agent": connects(("168.63.129.16", 80)) or connects(("168.63.129.16", 32526)),
    "dns": connects(("168.63.129.16", 53)) and udp.recv(9) == b"dns",
}))
"""


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    """Of a start task on a new node."""
    shared = tmp_path / "shared"
    shared.mkdir()
    yield {
        "PATH": os.pathsep.join((os.defpath, "/usr/sbin", "/sbin")),
        "AZ_BATCH_NODE_SHARED_DIR": str(shared),
        "AZ_BATCH_POOL_ID": "pool",
        "AZ_BATCH_NODE_ID": "node",
    }
    shutil.rmtree(shared)  # which ends the guard


def start(environment: Environment) -> int:
    return subprocess.run(shlex.split(start_task_command(15)), env=environment, check=False).returncode


def guards(environment: Environment) -> int:
    """How many look after this node."""
    script = f"{environment['AZ_BATCH_NODE_SHARED_DIR']}/tesgw/guard.sh".encode()
    lines = [path.read_bytes().split(b"\0") for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    return sum(line[:2] == [b"/bin/bash", script] for line in lines)


def test_the_command_line_is_one_that_azure_batch_takes() -> None:
    assert len(start_task_command(60)) < LONGEST_COMMAND_LINE
    assert shlex.split(start_task_command(60))[:2] == ["/bin/bash", "-c"]


def test_people_can_have_it_for_a_pool_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["start-task", "--lease-seconds", "30"]) == 0
    assert capsys.readouterr().out == start_task_command(30) + "\n"


@pytest.mark.engine
async def test_a_node_has_one_guard_however_often_its_start_task_runs(environment: Environment) -> None:
    environment["TESGW_SHIELD"] = "off"
    assert [start(environment), start(environment)] == [0, 0]
    home = Path(environment["AZ_BATCH_NODE_SHARED_DIR"], "tesgw")
    await until(lambda: guards(environment))

    assert guards(environment) == 1
    assert (home / "ready").exists()
    assert (home / "heartbeats").stat().st_mode & 0o777 == 0o700
    shutil.rmtree(home)
    await until(lambda: not guards(environment))


@pytest.mark.engine
def test_a_node_that_cannot_be_shielded_is_not_ready(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "iptables").write_text("#!/bin/sh\necho 'no such table' >&2; exit 3\n")
    (tmp_path / "iptables").chmod(0o755)
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"

    assert start(environment) != 0
    assert not Path(environment["AZ_BATCH_NODE_SHARED_DIR"], "tesgw", "ready").exists()


@pytest.mark.engine
@pytest.mark.skipif(os.geteuid() != 0, reason="makes networks, as root may")
def test_containers_reach_nothing_of_the_nodes_machine_but_its_dns(environment: Environment) -> None:
    values = {"START": start_task_command(15), "PYTHON": sys.executable, "LISTEN": LISTEN, "ASK": ASK, **environment}
    ran = subprocess.run(
        ["unshare", "--net", "bash", "-c", NETWORK], env=values, check=False, capture_output=True, text=True
    )

    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {"metadata": False, "agent": False, "dns": True}
    assert ran.stderr.count("DROP") == 2, "rules are not repeated"
