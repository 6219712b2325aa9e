"""Do the tests exist that docs/security.md names, and does it say why each call is allowed?"""

import re
from pathlib import Path

import pytest

from hearth.worker.sandboxes.seccomp.profile import REASONS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)


def test_every_trap_names_a_test() -> None:
    table = PAGE.partition("## Traps")[2].partition("## Known")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 30
    assert all("::test_" in row for row in rows)


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_the_page_names_is_there(file: str, name: str) -> None:
    assert f"def {name}(" in (ROOT / file).read_text()


@pytest.mark.parametrize("why", REASONS.values())
def test_the_reason_for_each_group_of_calls_is_on_the_page(why: str) -> None:
    assert why in PAGE
