"""--auth sigv4 with real clients: who has a key may, and nobody else."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import pytest

from compat.platform import HEARTH, Platform, create, running

pytestmark = pytest.mark.compat


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Platform, dict[str, Any]]]:
    state: Path = tmp_path_factory.mktemp("guarded") / "state"
    made = subprocess.run(
        [HEARTH, "keys", "add", "ada", "--account", "111122223333", "--state", state, "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    key = json.loads(made.stdout)
    pair = {
        "aws_access_key_id": key["access_key"],
        "aws_secret_access_key": key["secret_key"],
    }
    with running(state, "--auth", "sigv4") as platform:
        yield platform, pair


def test_a_signed_caller_is_who_its_key_says(guarded: tuple[Platform, dict[str, Any]]) -> None:
    platform, pair = guarded
    client = platform.client(**pair)
    arn = create(client, "mine", "def handler(e, c): return c.invoked_function_arn")
    assert arn == "arn:aws:lambda:us-east-1:111122223333:function:mine"
    assert json.loads(client.invoke(FunctionName="mine")["Payload"].read()) == arn
    sts = boto3.client("sts", endpoint_url=platform.endpoint, region_name="us-east-1", **pair)
    who = sts.get_caller_identity()
    assert (who["Account"], who["Arn"]) == ("111122223333", "arn:aws:iam::111122223333:user/ada")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"aws_access_key_id": "AKIANOBODYKNOWSTHIS1"}, "UnrecognizedClientException"),
        ({"aws_secret_access_key": "wrong"}, "InvalidSignatureException"),
    ],
)
def test_a_wrong_key_or_secret_is_refused_as_aws_refuses_it(
    guarded: tuple[Platform, dict[str, Any]], change: dict[str, Any], code: str
) -> None:
    platform, pair = guarded
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        platform.client(**(pair | change)).list_functions()
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_no_signature_at_all_is_refused(guarded: tuple[Platform, dict[str, Any]]) -> None:
    platform, _ = guarded
    config = botocore.config.Config(signature_version=botocore.UNSIGNED)
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        platform.client(config=config).list_functions()
    assert caught.value.response["Error"]["Code"] == "MissingAuthenticationTokenException"


def test_an_open_door_to_other_machines_is_refused(tmp_path: Path) -> None:
    refused = subprocess.run(
        [HEARTH, "up", "--listen", "0.0.0.0:0", "--state", tmp_path / "state"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert refused.returncode == 1
    assert "--auth sigv4" in refused.stderr
