"""The image of this tree, built from the Dockerfile as users build it."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess

from tests.image.base import DOCKERFILE, ensure

ROOT = DOCKERFILE.parent
# One name for each checkout: another one's build does not take it away.
NAME = f"tesgw-node-test:{hashlib.sha256(bytes(ROOT)).hexdigest()[:12]}"


def build() -> str:
    """The image's name, which is baked into it; the engine's own cache makes all but the first time quick."""
    with DOCKERFILE.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ensure()
        argument = f"FILETRANSFER_CONTAINER_IMAGE={NAME}"
        command = ("docker", "build", "--tag", NAME, "--build-arg", argument, str(ROOT))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return NAME
