"""Function URLs as browsers and curl use them: over raw HTTP, to functions in sandboxes."""

import base64
import http.client
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from compat.platform import PYTHON, Platform, create, wait_until

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

ECHO = """
import base64

def handler(event, context):
    said = event.get("queryStringParameters", {})
    if "raise" in said:
        raise ValueError("no")
    if "nonsense" in said:
        return {"statusCode": "none"}
    if "image" in said:
        return {
            "statusCode": 200,
            "headers": {"Content-Type": "image/png"},
            "body": base64.b64encode(bytes(range(256))).decode(),
            "isBase64Encoded": True,
        }
    if "plain" in said:
        return {"event": event}
    return {
        "statusCode": 201,
        "headers": {"X-Path": event["rawPath"]},
        "cookies": ["a=1; Path=/", "b=2"],
        "body": event.get("body", ""),
    }
"""
RUNTIME = (Path(__file__).parent / "streaming_runtime.py").read_text()
PRELUDE = "application/vnd.awslambda.http-integration-response"


@pytest.fixture(scope="module")
def client(platform: Platform) -> "LambdaClient":
    return platform.client()


def make_public(client: "LambdaClient", name: str, **members: Any) -> str:
    """Give the function a URL for everybody, as the console does; returns its host."""
    url = client.create_function_url_config(**{"FunctionName": name, "AuthType": "NONE"} | members)
    for statement, action, condition in (
        ("url", "lambda:InvokeFunctionUrl", {"FunctionUrlAuthType": "NONE"}),
        ("run", "lambda:InvokeFunction", {"InvokedViaFunctionUrl": True}),
    ):
        more: Any = condition
        client.add_permission(
            FunctionName=name, StatementId=statement, Action=action, Principal="*", **more
        )
    return urlsplit(url["FunctionUrl"]).netloc


@pytest.fixture(scope="module")
def echo(client: "LambdaClient") -> Iterator[str]:
    """The host of a public URL."""
    create(client, "echo", ECHO)
    yield make_public(client, "echo")
    client.delete_function(FunctionName="echo")


class Answer:
    def __init__(self, status: int, headers: http.client.HTTPMessage, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def call(
    platform: Platform,
    host: str,
    method: str = "GET",
    target: str = "/",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """Names of *.localhost are not looked up everywhere: the Host header says which URL."""
    connection = http.client.HTTPConnection(urlsplit(platform.endpoint).netloc, timeout=60)
    try:
        connection.request(method, target, body, {"Host": host} | (headers or {}))
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def test_a_request_becomes_an_event_and_the_answer_a_response(
    platform: Platform, echo: str
) -> None:
    answer = call(
        platform, echo, "POST", "/a%20b?x=1&x=2", b"hello", {"Content-Type": "text/plain"}
    )
    assert (answer.status, answer.body) == (201, b"hello")
    assert answer.headers["X-Path"] == "/a%20b"
    assert answer.headers.get_all("Set-Cookie") == ["a=1; Path=/", "b=2"]
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["x-amzn-RequestId"]
    event = call(platform, echo, target="/?plain&y=%C3%A9", headers={"Cookie": "c=3"}).json["event"]
    assert event["version"] == "2.0"
    assert event["queryStringParameters"] == {"plain": "", "y": "é"}
    assert event["cookies"] == ["c=3"]
    assert event["requestContext"]["http"]["sourceIp"] == "127.0.0.1"
    assert event["requestContext"]["domainName"] == echo.partition(":")[0]
    posted = call(
        platform,
        echo,
        "POST",
        "/?plain",
        b"a=1",
        {"Content-Type": "application/x-www-form-urlencoded"},
    ).json["event"]
    assert (base64.b64decode(posted["body"]), posted["isBase64Encoded"]) == (b"a=1", True)


def test_other_forms_of_answers(platform: Platform, echo: str) -> None:
    image = call(platform, echo, target="/?image")
    assert (image.body, image.headers["Content-Type"]) == (bytes(range(256)), "image/png")
    head = call(platform, echo, "HEAD", "/?image")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", "256")
    for bad in ("/?raise", "/?nonsense"):
        answer = call(platform, echo, target=bad)
        assert (answer.status, answer.body) == (502, b"Internal Server Error")


def test_the_path_form_is_the_same_url(platform: Platform, echo: str) -> None:
    url_id = echo.partition(".")[0]
    host = urlsplit(platform.endpoint).netloc
    answer = call(platform, host, "PUT", f"/lambda-url/{url_id}/deep/path?x=1", b"hi")
    assert (answer.status, answer.headers["X-Path"]) == (201, "/deep/path")
    assert call(platform, host, target=f"/lambda-url/{'0' * 32}/").status == 404


def test_curl_finds_the_url_by_its_name(platform: Platform, echo: str) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    name, _, port = echo.partition(":")
    done = subprocess.run(
        [
            curl,
            "-sS",
            *("--max-time", "60", "--resolve", f"{name}:{port}:127.0.0.1"),
            *(f"http://{echo}/by/curl", "-d", "x", "-H", "Content-Type: text/plain"),
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("x", 0), done.stderr


def test_a_url_throttles_with_its_function(
    platform: Platform, client: "LambdaClient", echo: str
) -> None:
    client.put_function_concurrency(FunctionName="echo", ReservedConcurrentExecutions=0)
    wait_until(lambda: call(platform, echo).status == 429, "the function is throttled")
    client.delete_function_concurrency(FunctionName="echo")
    wait_until(lambda: call(platform, echo).status == 201, "it is not any more")


def test_cors_of_the_url_is_answered_without_the_function(
    platform: Platform, client: "LambdaClient", echo: str
) -> None:
    client.update_function_url_config(
        FunctionName="echo", Cors={"AllowOrigins": ["https://a.com"], "AllowMethods": ["PUT"]}
    )
    asks = {"Origin": "https://a.com", "Access-Control-Request-Method": "PUT"}
    answer = call(platform, echo, "OPTIONS", headers=asks)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Access-Control-Allow-Methods"] == "PUT"
    answer = call(platform, echo, headers={"Origin": "https://a.com"})
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (201, "https://a.com")
    client.update_function_url_config(FunctionName="echo", Cors={})
    assert call(platform, echo, "OPTIONS", headers=asks).status == 201


def test_a_signed_url_and_its_presigned_links(platform: Platform, client: "LambdaClient") -> None:
    create(client, "signed", "def handler(e, c): return e['requestContext']['authorizer']['iam']")
    url = client.create_function_url_config(FunctionName="signed", AuthType="AWS_IAM")
    host = urlsplit(url["FunctionUrl"]).netloc
    refused = call(platform, host)
    assert refused.status == 403
    assert refused.json["Message"].startswith("Forbidden.")
    for signer, target in ((SigV4Auth, "/x?y=1"), (SigV4QueryAuth, "/x")):
        request = AWSRequest("GET", f"http://{host}{target}")
        signer(Credentials("test", "test"), "lambda", "us-east-1").add_auth(request)
        signed = urlsplit(str(request.url))
        answer = call(
            platform, host, target=f"{signed.path}?{signed.query}", headers=dict(request.headers)
        )
        assert (answer.status, answer.json["accountId"]) == (200, "000000000000")
    client.delete_function(FunctionName="signed")
    assert call(platform, host).status == 404


def test_a_streaming_url_streams(platform: Platform, client: "LambdaClient") -> None:
    create(client, "streaming-url", RUNTIME, Timeout=30)
    host = make_public(client, "streaming-url", InvokeMode="RESPONSE_STREAM")

    def ask(body: dict[str, Any]) -> Answer:
        headers = {"Content-Type": "application/json"}
        return call(platform, host, "POST", "/", json.dumps(body).encode(), headers)

    head = {"statusCode": 418, "headers": {"X": "1"}, "cookies": ["c=d"]}
    answer = ask({"do": [["prelude", head], ["tick", 5, 0.02]], "type": PRELUDE})
    assert (answer.status, answer.body) == (418, b"0 1 2 3 4 ")
    assert (answer.headers["X"], answer.headers["Set-Cookie"]) == ("1", "c=d")
    assert answer.headers["Transfer-Encoding"] == "chunked"
    answer = ask({"do": [["write", "bare"]], "type": "text/plain"})
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (
        200,
        b"bare",
        "text/plain",
    )
    assert ask({"answer": {"statusCode": 202, "body": "whole"}}).body == b"whole"
    assert ask({"do": [["fail", "before the prelude"]], "type": PRELUDE}).status == 502
    with pytest.raises(http.client.IncompleteRead):
        ask({"do": [["write", "some"], ["fail", "in the middle"]]})
    client.update_function_url_config(FunctionName="streaming-url", InvokeMode="BUFFERED")
    collected = ask({"do": [["prelude", head], ["write", "all"]], "type": PRELUDE})
    assert (collected.status, collected.body) == (418, b"all")
    assert "Transfer-Encoding" not in collected.headers
    client.delete_function(FunctionName="streaming-url")


def test_deploy_makes_a_public_url_and_again_leaves_it(platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "app.py").write_text("def handler(e, c): return {'hello': 'world'}")
    arguments = ("deploy", str(tmp_path / "page"), "--handler", "app.handler", "--runtime", PYTHON)
    first = platform.command(*arguments, "--url")
    assert first.returncode == 0, first.stderr
    arn, url = first.stdout.split()
    assert arn.endswith(":function:page")
    assert call(platform, urlsplit(url).netloc).json == {"hello": "world"}
    again = platform.command(*arguments, "--stream-url", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["FunctionUrl"] == url
    config = platform.client().get_function_url_config(FunctionName="page")
    assert (config["InvokeMode"], config["AuthType"]) == ("RESPONSE_STREAM", "NONE")
