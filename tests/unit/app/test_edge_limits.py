"""How many connections may clients hold, of the files that this process may have open?"""

import resource

import pytest

from hearth.app.choices import edge_limits, open_files_max


@pytest.mark.parametrize(
    ("files_max", "connections_max"),
    [(None, 4096), (1_048_576, 4096), (8192, 4096), (4096, 2048), (1024, 512), (256, 128), (1, 1)],
)
def test_connections_leave_half_of_the_open_files_to_sandboxes(
    files_max: int | None, connections_max: int
) -> None:
    assert edge_limits(files_max).connections_max == connections_max


def test_the_limit_is_that_of_this_process_at_present() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (777, hard))
    try:
        assert open_files_max() == 777
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
