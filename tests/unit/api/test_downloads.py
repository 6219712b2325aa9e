"""The presigned link of GetFunction: for one package, for ten minutes, for whoever has it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fakes.control import ACCOUNT, REGION, HandClock, until
from fakes.http import FakeResponder, http_request
from hearth.api.downloads import PREFIX, VALID_S, PackageDownloads
from hearth.api.operation import OperationRequest
from hearth.base.jobs import Jobs
from hearth.model.functions import Code, FunctionVersion
from hearth.model.ids import Caller, FunctionKey, FunctionName

SHA256 = "ab" * 32
OTHER = "cd" * 32
CONTENT = b"PK the package"


class Clock(HandClock):
    def utc(self) -> datetime:
        return datetime(2026, 11, 23, tzinfo=UTC) + timedelta(seconds=self.now_s)


@dataclass
class Scene:
    links: PackageDownloads
    clock: Clock
    target: str
    """Of the link to SHA256."""

    async def get(self, target: str, method: str = "GET") -> FakeResponder:
        responder = FakeResponder()
        self.links.handle(http_request(method, target), responder)
        await until(lambda: responder.status is not None)
        return responder


def play(directory: Path, scenario: Callable[[Scene], Awaitable[None]]) -> None:
    async def scene() -> None:
        clock = Clock()
        async with Jobs() as jobs:
            links = PackageDownloads(b"secret", lambda sha: directory / f"{sha}.zip", clock, jobs)
            link = links.link(_request(), _function())
            assert link.startswith(f"http://127.0.0.1:4566{PREFIX}{SHA256}?")
            url = urlsplit(link)
            await scenario(Scene(links, clock, f"{url.path}?{url.query}"))

    for sha256 in (SHA256, OTHER):
        (directory / f"{sha256}.zip").write_bytes(CONTENT)
    asyncio.run(scene())


def _request() -> OperationRequest:
    caller = Caller(ACCOUNT, REGION, "AKIA", f"arn:aws:iam::{ACCOUNT}:user/u")
    return OperationRequest(
        caller=caller, request_id="r", members={}, endpoint="http://127.0.0.1:4566"
    )


def _function() -> FunctionVersion:
    return FunctionVersion(
        key=FunctionKey(ACCOUNT, REGION, FunctionName("f")),
        runtime="python3.12",
        handler="app.handler",
        role="arn:aws:iam::123456789012:role/r",
        code=Code(sha256=SHA256, size_bytes=len(CONTENT)),
        last_modified="",
        revision_id="r",
        instance_id="i",
    )


def test_the_link_gives_the_package(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        answer = await scene.get(scene.target)
        assert (answer.status, answer.body) == (200, CONTENT)
        assert answer.headers == {"Content-Type": "application/zip"}

    play(tmp_path, scenario)


def test_it_holds_for_ten_minutes_and_no_longer(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        scene.clock.now_s = VALID_S
        assert (await scene.get(scene.target)).status == 200
        scene.clock.now_s = VALID_S + 1.0
        answer = await scene.get(scene.target)
        assert answer.status == 403
        assert b"<Message>Request has expired</Message>" in answer.body

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (SHA256, OTHER),
        (SHA256, f"../{SHA256}"),
        ("Expires=1", "Expires=2"),
        ("Signature=", "Signature=0"),
        ("Signature=", "Signature=ü"),
        ("&X-Amz-Signature=", "&other="),
        ("X-Amz-Expires=", "other="),
        ("?", "?X-Amz-Expires=zzz&"),
    ],
)
def test_whatever_is_changed_in_it_breaks_it(tmp_path: Path, old: str, new: str) -> None:
    async def scenario(scene: Scene) -> None:
        assert old in scene.target
        answer = await scene.get(scene.target.replace(old, new, 1))
        assert answer.status == 403
        assert b"<Code>AccessDenied</Code>" in answer.body
        assert CONTENT not in answer.body

    play(tmp_path, scenario)


def test_it_is_for_reading(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        for method in ("PUT", "POST", "DELETE"):
            assert (await scene.get(scene.target, method)).status == 405

    play(tmp_path, scenario)


def test_a_package_that_was_swept_meanwhile_is_404(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        (tmp_path / f"{SHA256}.zip").unlink()
        assert (await scene.get(scene.target)).status == 404

    play(tmp_path, scenario)
