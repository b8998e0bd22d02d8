"""Build the launcher for each architecture: `python scripts/build_launcher.py [DIRECTORY]`. Needs PyPI's `ziglang`.

The same source gives the same bytes on every machine: the compiler and its C library are those of the pinned package.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ARCHITECTURES = ("x86_64", "aarch64")
SOURCE = Path(__file__).parent.parent / "tesgw/runner/launcher.c"
BINARIES = SOURCE.with_suffix("")

_WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
_FLAGS = ("-std=c11", "-static", "-Os", "-s", "-Wl,--build-id=none", *_WARNINGS)


def build(architecture: str, directory: Path) -> Path:
    """Compile for `architecture` into `directory`, and return the file."""
    target = directory.resolve() / architecture
    command = (
        sys.executable,
        "-m",
        "ziglang",
        "cc",
        "-target",
        f"{architecture}-linux-musl",
        *_FLAGS,
        "-o",
        str(target),
        SOURCE.name,
    )
    # From its directory and by its name alone, so that no path of this machine gets in.
    subprocess.run(command, cwd=SOURCE.parent, check=True)
    return target


def main() -> None:
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else BINARIES
    for architecture in ARCHITECTURES:
        binary = build(architecture, directory)
        print(binary, binary.stat().st_size)


if __name__ == "__main__":
    main()
