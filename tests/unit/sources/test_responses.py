"""Which items of a batch failed, by what the function says."""

import pytest

from hearth.sources.responses import failed_items


@pytest.mark.parametrize(
    ("payload", "wanted"),
    [
        (b"", frozenset()),
        (b"null", frozenset()),
        (b"{}", frozenset()),
        (b'{"batchItemFailures": null}', frozenset()),
        (b'{"batchItemFailures": []}', frozenset()),
        (b'{"batchItemFailures": [{"itemIdentifier": "a"}]}', frozenset({"a"})),
        (b'{"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "c"}]}', None),
        (b'{"batchItemFailures": [{"itemIdentifier": ""}]}', None),
        (b'{"batchItemFailures": [{"itemIdentifier": null}]}', None),
        (b'{"batchItemFailures": [{"id": "a"}]}', None),
        (b'{"batchItemFailures": "a"}', None),
        (b'"text"', None),
        (b"[]", None),
        (b"no JSON", None),
        (b"\xff", None),
    ],
)
def test_reports(payload: bytes, wanted: frozenset[str] | None) -> None:
    assert failed_items(payload, ["a", "b"]) == wanted
