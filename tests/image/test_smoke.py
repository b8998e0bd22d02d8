"""What nodes run is this image: rules of the conformance suite, with the runner as a container beside its executors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tesgw_batch.harness import IMAGE_VARIABLE

pytestmark = pytest.mark.engine

RULES = {
    "test_executors_run_in_order_and_one_at_a_time": {"hooks"},
    "test_the_exit_code_of_a_failed_executor_ends_the_task": {"hooks"},
    "test_a_file_is_fetched_byte_for_byte": {"hooks"},
    "test_the_log_has_each_delivered_file_with_its_url_and_size": {"hooks"},
    "test_the_shared_directory_is_that_of_all_tasks_and_is_kept": {"hooks"},
    "test_the_tails_of_a_running_executor_are_visible": {"hooks"},
    "test_cancel_ends_a_running_executor_and_no_other_one_follows": {"hooks"},
    "test_the_machine_s_own_files_and_programs_are_out_of_sight": {"hooks"},
    "test_a_task_whose_machine_is_lost_never_completes": {"hooks"},
    "test_a_preempted_task_is_run_again_from_its_beginning": {"http"},
}


def test_tasks_run_on_nodes_that_start_the_runner_from_the_image(node_image: str, tmp_path: Path) -> None:
    chosen = " or ".join(f"{name} and {way}" for name, ways in RULES.items() for way in ways)
    report = tmp_path / "report.json"
    suite = ("--pyargs", "tesgw.conformance", "-q", "-p", "no:cacheprovider", "-k", chosen)
    options = ("--tes-backend", "batch", "--tes-report", str(report))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *suite, *options],
        cwd=tmp_path,
        env=os.environ | {IMAGE_VARIABLE: node_image},
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert done.returncode == 0, done.stdout[-20_000:]
    found = {
        name: outcomes for group in json.loads(report.read_text())["groups"].values() for name, outcomes in group.items()
    }
    assert found == {name: dict.fromkeys(ways, "passed") for name, ways in RULES.items()}
