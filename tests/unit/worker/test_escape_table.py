"""Does the page of attempts say what the table says?"""

from pathlib import Path

import pytest

from integration.escape.attempts import (
    GROUPS,
    PLATFORM_GROUPS,
    Group,
    expected,
    expected_of,
    page,
)

PAGE = Path(__file__).parents[3] / "docs" / "escape-probe.md"


def test_the_page_is_what_the_table_says() -> None:
    assert PAGE.read_text() == page(), "stale: run tools/escape_probe.py"


@pytest.mark.parametrize("tier", ["bubblewrap", "zygote"])
def test_each_attempt_has_one_row_for_a_tier_and_a_reason(tier: str) -> None:
    table = expected(tier)
    assert len(table) > 200
    assert all(attempt.reason and attempt.allowed for attempt in table.values())


@pytest.mark.parametrize("part", PLATFORM_GROUPS, ids=lambda part: part.title)
def test_what_is_tried_on_a_platform_has_rows_too(part: Group) -> None:
    assert expected_of(part)


def test_what_works_is_said_with_a_reason_why_it_does_no_harm() -> None:
    works = [a for g in GROUPS for a in g.attempts if "OPEN" in a.allowed]
    assert 5 < len(works) < 15
    assert all(len(attempt.reason) > 10 for attempt in works)
