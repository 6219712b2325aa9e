"""--auth sigv4 with real clients: who has a key may, and nobody else."""

import http.client
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.exceptions
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

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


def test_a_signed_url_verifies_who_calls(guarded: tuple[Platform, dict[str, Any]]) -> None:
    platform, pair = guarded
    client = platform.client(**pair)
    create(client, "url", "def handler(e, c): return e['requestContext']['accountId']")
    url = client.create_function_url_config(FunctionName="url", AuthType="AWS_IAM")
    host = urlsplit(url["FunctionUrl"]).netloc

    def call(secret: str) -> tuple[int, bytes]:
        request = AWSRequest("POST", f"http://{host}/a%20b?c=d&c=e", data=b"body")
        credentials = Credentials(pair["aws_access_key_id"], secret)
        SigV4Auth(credentials, "lambda", "us-east-1").add_auth(request)
        connection = http.client.HTTPConnection(urlsplit(platform.endpoint).netloc, timeout=60)
        try:
            headers = dict(request.headers) | {"Host": host}
            connection.request("POST", "/a%20b?c=d&c=e", b"body", headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    assert call(pair["aws_secret_access_key"]) == (200, b'"111122223333"')
    status, said = call("wrong")
    assert (status, b"does not match the signature you provided" in said) == (403, True)
