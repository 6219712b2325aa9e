"""examples/runtimes: each is built by its one command, deployed, and does what its README says.

A language whose compiler or interpreter this machine lacks is skipped by name.
"""

import io
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from compat.platform import Platform, create, wait_until

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

EXAMPLES: Final = Path(__file__).parents[2] / "examples" / "runtimes"
BUILD_S: Final = 400
NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "shell": ("curl",),
    "php": ("php",),
    "erlang": ("erl", "erlc"),
    "cobol": ("cobc",),
    "cpp": ("g++",),
    "rust": ("cargo",),
    "go": ("go",),
}
"""Programs, by language."""
RUN_BY: Final[Mapping[str, str]] = {"shell": "curl", "php": "php", "erlang": "erl"}
"""What runs it in the sandbox, which sees /usr and no other place."""
LARGE: Final = 5 << 20


@dataclass(frozen=True, slots=True)
class Example:
    """One that is deployed."""

    name: str
    package: bytes
    client: "LambdaClient"

    def invoke(self, event: Any) -> Any:
        payload, error = self.call(event)
        assert error is None, payload
        return payload

    def failure(self, event: Any) -> Any:
        payload, error = self.call(event)
        assert error == "Unhandled", payload
        return payload

    def call(self, event: Any) -> tuple[Any, str | None]:
        """By its only process, once that has asked for the next event."""
        answers: list[Any] = []

        def is_answered() -> bool:
            with suppress(self.client.exceptions.TooManyRequestsException):
                answers.append(
                    self.client.invoke(FunctionName=self.name, Payload=json.dumps(event))
                )
            return bool(answers)

        wait_until(is_answered, f"{self.name} is free")
        return json.loads(answers[0]["Payload"].read()), answers[0].get("FunctionError")


@pytest.fixture(scope="module", params=NEEDS)
def example(
    request: pytest.FixtureRequest, platform: Platform, tmp_path_factory: pytest.TempPathFactory
) -> Example:
    language: str = request.param
    _skip_without(language)
    client = platform.client()
    package = _build(language, tmp_path_factory.mktemp(language))
    name = f"in-{language}"
    _create(client, name, package, {"GREETING": "hello from outside"})
    return Example(name, package, client)


def _skip_without(language: str) -> None:
    for program in ("make", *NEEDS[language]):
        if shutil.which(program) is None:
            pytest.skip(f"{language}: {program} is not installed on this machine")
    if (
        language in RUN_BY
        and shutil.which(RUN_BY[language], path="/usr/local/bin:/usr/bin") is None
    ):
        pytest.skip(f"{language}: {RUN_BY[language]} is not below /usr, which sandboxes see")


def _build(language: str, folder: Path) -> bytes:
    """By the example's own command, outside the repository: the package."""
    build = folder / "build"
    done = subprocess.run(
        ["make", "-C", EXAMPLES / language, f"BUILD={build}", f"TARGET={folder / 'target'}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_S,
    )
    if language == "go" and done.returncode and _is_offline(done.stderr):
        pytest.skip(f"go: AWS's client could not be fetched: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stdout + done.stderr
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(build.iterdir()):
            archive.write(path, path.name)
    assert os.access(build / "bootstrap", os.X_OK)
    return content.getvalue()


def _is_offline(said: str) -> bool:
    return "dial tcp" in said or "proxyconnect" in said or "i/o timeout" in said


def _create(
    client: "LambdaClient", name: str, package: bytes, environment: Mapping[str, str]
) -> None:
    create(
        client,
        name,
        "",
        Runtime="provided.al2023",
        Handler="function.handler",
        Code={"ZipFile": package},
        Environment={"Variables": environment},
        MemorySize=512,
        Timeout=60,
    )
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)


def test_answers_from_one_process_that_stays(example: Example) -> None:
    event: dict[str, Any] = {
        "text": 'umlauts \u00e4\u00f6 "quoted" \\ and a\nnew line',
        "list": [1, 2.5, None, {}],
    }
    answers = [example.invoke(event) for _ in range(3)]
    first = answers[0]["count"]
    assert answers == [
        {"count": first + n, "greeting": "hello from outside", "event": event} for n in range(3)
    ]


def test_takes_and_gives_a_large_payload(example: Example) -> None:
    event = {"text": "x" * LARGE}
    assert example.invoke(event)["event"] == event


def test_an_error_has_its_type_and_message_and_costs_no_process(example: Example) -> None:
    before = example.invoke({})["count"]
    failure = example.failure({"fail": True})
    assert (failure["errorType"], failure["errorMessage"]) == ("InvalidEvent", "asked to fail")
    assert example.invoke({})["count"] == before + 2


def test_a_failed_start_says_why(example: Example) -> None:
    failing = replace(example, name=f"{example.name}-not")
    _create(failing.client, failing.name, example.package, {"FAIL_INIT": "1"})
    failure = failing.failure({})
    assert failure["errorType"] == "ConfigurationError"
    assert failure["errorMessage"] == "asked to fail at the start"
