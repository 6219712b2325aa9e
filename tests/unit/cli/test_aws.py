"""What `deploy` and `invoke` say when the environment leads them nowhere."""

from pathlib import Path

import pytest

from hearth.cli.aws import lambda_client
from hearth.cli.output import Failure
from hearth.settings import StatePaths


def test_an_endpoint_that_is_no_url_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_LAMBDA", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "banana")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with pytest.raises(Failure, match=r"must be a URL like http://127\.0\.0\.1:4566, not 'banana'"):
        lambda_client(StatePaths(tmp_path))
