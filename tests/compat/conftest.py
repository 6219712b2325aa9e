"""One Hearth for the tests that do not kill it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from compat.platform import Platform, running


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    state: Path = tmp_path_factory.mktemp("hearth") / "state"
    with running(state, "--endpoint", "sqs=http://127.0.0.1:9") as started:  # nobody is there
        yield started
