"""Tries a real Batch account: the part of the conformance suite that needs no fault switches. It costs what a few nodes do.

The gateway's settings are read from the environment, as by the gateway itself; `TESGW_SMOKE_HOST` is the address of this
machine by which nodes reach it, `TESGW_SMOKE_SHARE` the directory where this machine has the file share mounted.
"""

from __future__ import annotations

import subprocess
import sys

from tesgw_batch.azure_harness import AzureHarness

from tesgw.errors import SettingsError

# These need machines or a service that fail on demand, or images that nodes can pull.
LEFT_OUT = (
    "test_service.py",
    "machine_is_lost",
    "machine_is_taken_away",
    "preempted",
    "entrypoint_of_the_image",
    "image_needs_nothing",
    "user_of_the_image",
    "what_the_image_ships",
)


def main() -> int:
    try:
        AzureHarness().check()
    except SettingsError as problem:
        print(problem, file=sys.stderr)
        return 2
    chosen = ("-k", f"not ({' or '.join(LEFT_OUT)})")
    suite = ("--pyargs", "tesgw.conformance", "--tes-backend", "batch", "--tes-harness", "azure", "-v", "-s")
    return subprocess.call([sys.executable, "-m", "pytest", *suite, *chosen, *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
