"""The command `tesgw-batch`: what nodes run, and what people need to try the backend or to bring a pool of their own."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code. Each one imports only what it needs: nodes start one for every task."""
    options = _parser().parse_args(arguments)
    return int(options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tesgw-batch", description="The Azure Batch backend of tesgw, beside the gateway.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("run", help="run one attempt at a task, as a task of Azure Batch").set_defaults(run=_run)
    start_task = commands.add_parser("start-task", help="print the start task's command line, for a pool of your own")
    start_task.add_argument(
        "--lease-seconds", type=int, default=60, help="as in the gateway's setting BATCH_LEASE_SECONDS (%(default)s)"
    )
    start_task.set_defaults(run=_print_start_task)
    double = commands.add_parser("double", help="run a double of Azure Batch and its storage on this machine")
    double.add_argument("--directory", type=Path, help="where it keeps nodes and file shares (a temporary directory)")
    double.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    double.add_argument("--port", type=int, default=0, help="the port to listen on; 0 picks a free one (%(default)s)")
    double.set_defaults(run=_double)
    return parser


def _run(_: argparse.Namespace) -> int:
    from tesgw_batch.node.main import main as run

    return run()


def _print_start_task(options: argparse.Namespace) -> int:
    from tesgw_batch.node.start_task import start_task_command

    print(start_task_command(options.lease_seconds))
    return 0


def _double(options: argparse.Namespace) -> int:
    from tesgw_batch.fake_batch.standalone import serve

    return asyncio.run(serve(options))
