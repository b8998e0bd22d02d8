"""The conformance suite catches backends that break the contract, each by the rules that it breaks."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.clean import Clean, Conformance
from tests.test_conformance import install

FAULTY = Path(__file__).with_name("faulty.py")
AT_ONCE = 3
CAUGHT_BY: dict[str, set[str]] = {
    "CancelsByTokenOnly": {"cancel.test_cancel_ends_a_running_executor_and_no_other_one_follows"},
    "CutsStdin": {"executors.test_streams_are_files_of_the_task_byte_for_byte"},
    "DropsExitCodes": {"executors.test_exit_codes_are_those_of_a_shell"},
    "FailsOnUnknownJobs": {"poll.test_each_handle_of_a_long_poll_gets_one_answer"},
    "FetchesInputsForEveryExecutor": {"layout.test_inputs_are_fetched_once_and_stay_as_executors_leave_them"},
    "ForgetsContent": {"files.test_content_makes_a_file_and_wins_over_a_url"},
    "ForgetsEnv": {"executors.test_the_environment_is_as_given"},
    "ForgetsOutputs": {"files.test_outputs_of_a_failed_task_are_delivered"},
    "ForgetsStderr": {"logs.test_tails_are_the_last_64_kib_of_each_stream"},
    "ForgetsTheEnvironmentOfAzureBatch": {"layout.test_the_directory_that_cromwell_makes_its_own_in_is_there"},
    "ForgetsWildcards": {"files.test_wildcards_select_as_a_shell_does"},
    "ForgetsWorkdir": {"executors.test_the_working_directory_is_as_given_and_made_if_need_be"},
    "GivesAnotherHandleEachTime": {"submit.test_a_job_submitted_again_while_it_runs_goes_on_as_it_is"},
    "GuessesSizes": {"files.test_the_log_has_each_delivered_file_with_its_url_and_size"},
    "HidesReasons": {"files.test_a_missing_input_is_a_system_error_that_names_it_and_nothing_runs"},
    "IgnoresCancel": {"cancel.test_cancel_ends_a_running_executor_and_no_other_one_follows"},
    "IgnoresResources": {"resources.test_memory_beyond_what_the_task_asked_for_fails_it_and_the_task_says_so"},
    "IgnoresZones": {"machines.test_a_task_that_asks_for_no_zone_there_is_fails_with_a_sentence"},
    "JoinsArgv": {"executors.test_the_command_reaches_the_program_word_for_word"},
    "KeepsTheHeadOfLogs": {"logs.test_tails_are_the_last_64_kib_of_each_stream"},
    "KeepsWhatEnded": {"poll.test_what_was_released_is_unknown"},
    "LeaksTaskDirectories": {"layout.test_tasks_do_not_see_each_other_s_directories"},
    "LosesTheFirstSubmit": {"submit.test_a_job_submitted_again_after_its_end_stays_ended"},
    "LosesJobsUnderLoad": {"concurrency.test_many_tasks_at_once_all_end_and_none_gets_anything_of_another"},
    "MixesStreams": {"executors.test_streams_are_files_of_the_task_byte_for_byte"},
    "OpensAllFiles": {"hostile.test_urls_name_only_what_the_operator_allows"},
    "PassesOverMissingOutputs": {"files.test_a_missing_output_is_a_system_error_that_names_it"},
    "PollsOneJobOnly": {"poll.test_each_handle_of_a_long_poll_gets_one_answer"},
    "ProvisionsNothing": {"provision.test_a_request_is_carried_out_and_may_be_repeated"},
    "RefusesToSubmitAgain": {"submit.test_a_job_submitted_again_while_it_runs_goes_on_as_it_is"},
    "RunsAgainAfterCancel": {"cancel.test_cancel_ends_a_running_executor_and_no_other_one_follows"},
    "RunsExecutorsAtOnce": {"executors.test_executors_run_in_order_and_one_at_a_time"},
    "SaysCompleteTooEarly": {"poll.test_states_go_through_running_to_the_end"},
    "ShowsLogsAtTheEndOnly": {"logs.test_the_tails_of_a_running_executor_are_visible"},
    "StartsTwiceAfterARestart": {"restart.test_a_running_executor_goes_on_over_a_restart_and_what_ran_before_is_kept"},
    "StopsAtIgnoredErrors": {"executors.test_an_ignored_error_is_kept_and_passed_over"},
    "TellsAnotherEndEachTime": {"poll.test_the_first_terminal_observation_is_the_last_word"},
    "WaitsForTheEndInSubmit": {"submit.test_submit_answers_before_the_job_has_run_and_with_a_handle_that_can_be_kept"},
    "WaitsForTheImpossible": {"resources.test_what_no_task_can_ever_get_is_refused_with_a_reason_and_nothing_runs"},
}


@pytest.fixture(scope="session")
def found(
    clean: Clean, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Conformance]]]:
    """What the suite finds of each backend that this run asks for: a few at a time, for they wait more than they work."""
    directory = tmp_path_factory.mktemp("faulty")
    shutil.copy(FAULTY, directory)
    backends = "".join(f"{name} = faulty:{name}\n" for name in CAUGHT_BY)
    harnesses = "".join(f"{name} = faulty:ImpatientHarness\n" for name in CAUGHT_BY)
    env = install(directory, "faulty", f"[tesgw.backends]\n{backends}[tesgw.harnesses]\n{harnesses}")
    mine = [item.name for item in request.session.items if item.path == Path(__file__)]
    asked = [name for name in CAUGHT_BY if any(f"[{name}]" in item for item in mine)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(clean.conform, name, "-k", _rules(name), env=env) for name in asked}


def _rules(name: str) -> str:
    rules = [rule.partition(".")[2] for rule in CAUGHT_BY[name]]
    return f"hooks and ({' or '.join(rules)})"


@pytest.mark.parametrize("name", CAUGHT_BY)
def test_a_faulty_backend_is_caught(found: dict[str, Future[Conformance]], name: str) -> None:
    conformance = found[name].result()

    assert conformance.done.returncode == pytest.ExitCode.TESTS_FAILED, conformance.done.stdout
    assert CAUGHT_BY[name] == conformance.tests("failed"), conformance.done.stdout


def test_every_fault_has_a_rule_that_catches_it() -> None:
    classes = re.findall(r"^class ([A-Z]\w+)\(", FAULTY.read_text(), re.MULTILINE)

    assert sorted(CAUGHT_BY) == sorted(set(classes) - {"Faulty", "ImpatientHarness"})
