"""The metadata endpoint inside an environment: where it is, told to whoever has its token."""

import pytest

from fakes.inside import Answer, ask
from hearth.base.http1 import HttpRequest, Responder
from hearth.worker import metadata_api

PATH = "/2026-01-15/metadata/execution-environment"


def answer(method: str, path: str, authorization: str, token: str = "secret") -> Answer:
    def handle(request: HttpRequest, responder: Responder) -> None:
        metadata_api.handle(request, responder, token, "eu-central-1")

    return ask(handle, method, path, headers={"Authorization": authorization})


def test_the_zone_is_told_for_as_long_as_the_environment_lives() -> None:
    told = answer("GET", PATH, "Bearer secret")
    assert (told.status, told.json) == (200, {"AvailabilityZoneID": "euc1-az1"})
    assert told.headers["Content-Type"] == "application/json"
    assert told.headers["Cache-Control"] == "private, max-age=43200, immutable"


@pytest.mark.parametrize(
    ("method", "path", "authorization", "status"),
    [
        ("GET", PATH, "", 401),
        ("GET", PATH, "Bearer wrong", 401),
        ("GET", PATH, "Basic secret", 401),
        ("GET", PATH, "Bearer sécret", 401),
        ("PUT", PATH, "Bearer secret", 405),
        ("GET", PATH + "/more", "Bearer secret", 404),
    ],
)
def test_nobody_else_is_told(method: str, path: str, authorization: str, status: int) -> None:
    assert answer(method, path, authorization).status == status


def test_without_a_token_nobody_is_told() -> None:
    assert answer("GET", PATH, "Bearer ", token="").status == 401


@pytest.mark.parametrize(
    ("region", "short"),
    [
        ("us-east-1", "use1"),
        ("eu-central-1", "euc1"),
        ("ap-southeast-2", "apse2"),
        ("ap-northeast-1", "apne1"),
        ("us-gov-west-1", "usgw1"),
        ("cn-north-1", "cnn1"),
    ],
)
def test_zones_are_named_after_their_region(region: str, short: str) -> None:
    assert metadata_api.abbreviation(region) == short
