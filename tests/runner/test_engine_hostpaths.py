"""Paths of a gateway in a container, as the engine's host has them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tesgw.errors import SettingsError
from tesgw.runner.hostpaths import HostPaths, container_ids
from tests.runner.conftest import docker

MOUNTS = [
    {"Type": "bind", "Source": "/srv/tesgw", "Destination": "/var/lib/tesgw-nowhere"},
    {"Type": "volume", "Source": "/var/lib/docker/volumes/v/_data", "Destination": "/var/lib/tesgw-nowhere/shared"},
]


@pytest.mark.parametrize(
    ("path", "on_host"),
    [
        ("/var/lib/tesgw-nowhere", "/srv/tesgw"),
        ("/var/lib/tesgw-nowhere/jobs/x", "/srv/tesgw/jobs/x"),
        ("/var/lib/tesgw-nowhere/shared/y", "/var/lib/docker/volumes/v/_data/y"),
    ],
)
def test_the_nearest_mount_of_the_gateways_container_gives_the_path(path: str, on_host: str) -> None:
    assert HostPaths.of_container(MOUNTS)(Path(path)) == on_host


def test_a_path_that_is_not_mounted_names_the_option_that_is_missing() -> None:
    with pytest.raises(SettingsError, match="-v /directory/on/host:/var/lib/tesgw-nowhere-else"):
        HostPaths.of_container(MOUNTS)(Path("/var/lib/tesgw-nowhere-else"))


def test_outside_a_container_a_path_is_itself_without_links(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)

    assert HostPaths()(tmp_path / "link" / "x") == f"{tmp_path}/x"


@pytest.mark.parametrize(
    ("mount_point", "is_own"),
    [("/etc/hostname", True), ("/etc/resolv.conf", True), ("/var/lib/docker/overlay2/x/merged/etc/hostname", False)],
)
def test_only_the_names_of_this_process_tell_in_which_container_it_is(mount_point: str, is_own: bool) -> None:
    """The host shows such mounts of any container while somebody reads an archive out of it."""
    line = f"36 35 8:1 /var/lib/docker/containers/{'0f' * 32}/hostname {mount_point} rw,relatime - ext4 /dev/sda1 rw\n"

    assert container_ids(line, "") == (["0f" * 32] if is_own else [])


@pytest.mark.engine
def test_the_engines_own_description_of_a_container_is_understood(tmp_path: Path) -> None:
    container = docker("create", "--volume", f"{tmp_path}:/nowhere/here", "busybox", "true")
    (shown,) = json.loads(docker("inspect", container))
    docker("rm", container)

    assert HostPaths.of_container(shown["Mounts"])(Path("/nowhere/here/x")) == f"{tmp_path}/x"
