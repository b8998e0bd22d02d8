"""Prints the README's figures: `make bench`, or with options `make bench ARGS='--quick containers'`."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator, Sequence

from benchmarks import api, containers

SECTIONS = ("containers", "api")


def main() -> int:
    options = _options()
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    if "containers" in options.sections:
        _print(("No-op container", "tesgw", "docker run", "ratio"), _container_rows(options.quick))
    if "api" in options.sections:
        head = ("API, one process", "stored", "tesgw /s", "do-nothing /s", "ratio", "memory")
        _print(head, _api_rows(options.stored, 1 if options.quick else options.seconds))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; default all")
    parser.add_argument("--quick", action="store_true", help="few rounds, short: to see that it works")
    parser.add_argument(
        "--stored", type=int, nargs="*", default=[1_000, 100_000], help="tasks in the database (%(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=4, help="of load a round (%(default)s)")
    options = parser.parse_args()
    options.sections = options.sections or list(SECTIONS)
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"unknown section {unknown.pop()}")
    return options


def _container_rows(is_quick: bool) -> Iterator[Sequence[str]]:
    for each in containers.measure(5, 16) if is_quick else containers.measure(25, 64):
        ratio = f"{each.gateway / each.docker:.2f} ×"
        yield each.what, f"{each.gateway:.1f} {each.unit}", f"{each.docker:.1f} {each.unit}", ratio


def _api_rows(sizes: Sequence[int], seconds: float) -> Iterator[Sequence[str]]:
    for stored in sizes:
        for each in api.measure(stored, seconds):
            ratio = f"{each.gateway / each.nothing:.2f} ×"
            figures = f"{each.gateway:,.0f}", f"{each.nothing:,.0f}", ratio, f"{each.memory_mb:.0f} MB"
            yield each.what, f"{each.stored:,}", *figures


def _print(head: Sequence[str], rows: Iterator[Sequence[str]]) -> None:
    for line in (head, ["---"] * len(head)):
        print("| " + " | ".join(line) + " |")
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)
    print()


if __name__ == "__main__":
    sys.exit(main())
