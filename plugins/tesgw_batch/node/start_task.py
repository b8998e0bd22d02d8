"""The start task of pools: what makes a node fit for tasks."""

from __future__ import annotations

import base64
import gzip
from importlib import resources


def start_task_command(lease_seconds: int) -> str:
    """The command line, to be run as root on the host; it may be run again. No resource files are needed.

    A runner that shows no life for a third of `lease_seconds` is dead: its containers are gone before its lease ends.
    """
    script = resources.files(__package__).joinpath("start_task.sh").read_bytes()
    packed = base64.b64encode(gzip.compress(script, mtime=0)).decode()
    unpack = f'"$(echo {packed} | base64 --decode | gunzip)"'
    return f"/bin/bash -c 'export TESGW_STALE_SECONDS={max(1, lease_seconds // 3)}; exec /bin/bash -c {unpack}'"
