"""Which tests run over sandboxes of gVisor that waited for their function?

Those that a bind matters to: each start takes a second of a shared machine, and the rest is the
same code as for `runsc`.
"""

import pytest

_KIND = "runsc-stem"
_OF_A_BIND = {
    "test_a_kill_while_the_program_starts_ends_it_and_answers_both",
    "test_a_mount_cannot_be_written_to",
    "test_a_mount_is_seen_where_the_sandbox_says",
    "test_a_mount_that_is_not_there_fails_the_start_and_the_sandbox_stays_good",
    "test_a_program_cannot_reach_another_ones_api_socket",
    "test_a_program_reaches_its_api_socket_and_the_worker_accepts",
    "test_a_program_runs_and_its_outputs_and_exit_code_arrive",
    "test_a_program_sees_exactly_the_environment_that_it_was_given",
    "test_a_program_starts_in_its_working_directory",
    "test_a_second_start_while_a_program_runs_is_refused",
    "test_a_start_that_was_given_up_leaves_nothing_after_destroy",
    "test_destroy_ends_everything_and_may_be_called_twice",
    "test_files_in_tmp_do_not_count_as_memory_but_are_bounded",
    "test_kill_ends_the_program_and_all_that_it_started",
    "test_merged_directories_show_at_each_name_what_the_uppermost_has",
    "test_the_worker_can_connect_to_a_port_of_the_program",
    "test_tmp_outlives_a_kill_and_a_new_start",
    "test_too_much_memory_is_told_as_such_and_a_new_start_works",
    "test_usage_has_a_peak_that_can_be_reset",
    "test_what_is_frozen_stands_still_and_goes_on_where_it_was",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        call = getattr(item, "callspec", None)
        is_of_kind = call is not None and call.params.get("play") == _KIND
        name = getattr(item, "originalname", item.name)
        (left_out if is_of_kind and name not in _OF_A_BIND else kept).append(item)
    items[:] = kept
    if left_out:
        config.hook.pytest_deselected(items=left_out)
