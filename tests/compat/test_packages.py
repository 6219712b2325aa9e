"""What a deployment's package may be, what becomes of one that may not, and how it comes back."""

import platform as machine
import stat
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pytest

from compat.platform import PYTHON, ROLE, Platform, create, package, wait_active
from fakes.packages import FILE, LINK, zip_entries

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

CODE = "def handler(e, c): return 1"
BROKEN = "Could not unzip uploaded file. Please check your file, then try to upload again."


@pytest.fixture(scope="module")
def client(platform: Platform) -> "LambdaClient":
    return platform.client()


def refused(client: "LambdaClient", code: bytes) -> dict[str, Any]:
    """The error of creating a function from it, and its status."""
    runtime: Any = PYTHON
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        client.create_function(
            FunctionName="refused",
            Runtime=runtime,
            Role=ROLE,
            Handler="app.handler",
            Code={"ZipFile": code},
        )
    response = caught.value.response
    return {**response["Error"], "Status": response["ResponseMetadata"]["HTTPStatusCode"]}


def stored(platform: Platform) -> set[str]:
    return {path.name for path in (platform._state / "packages").iterdir()}


def test_the_location_of_the_code_needs_no_credentials(client: "LambdaClient") -> None:
    code = package({"app.py": CODE})
    create(client, "located", CODE)
    location = client.get_function(FunctionName="located")["Code"]["Location"]
    with urllib.request.urlopen(location, timeout=60) as answer:
        assert answer.headers["Content-Type"] == "application/zip"
        assert answer.read() == code
    head = urllib.request.Request(location, method="HEAD")
    with urllib.request.urlopen(head, timeout=60) as answer:
        assert answer.headers["Content-Length"] == str(len(code))
        assert answer.read() == b""
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(location[:-1] + ("0" if location[-1] != "0" else "1"), timeout=60)
    with caught.value as answer:
        assert answer.code == 403


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(b"no zip", id="no zip"),
        pytest.param(zip_entries(("/etc/x", FILE, "x")), id="absolute"),
        pytest.param(zip_entries(("../x", FILE, "x")), id="up"),
        pytest.param(zip_entries(("l", LINK, "../../x")), id="a link that leaves"),
        pytest.param(zip_entries(("a", FILE, "1"), ("a", FILE, "2")), id="twice"),
        pytest.param(zip_entries(("d", stat.S_IFCHR | 0o666, "")), id="a device"),
    ],
)
def test_a_hostile_zip_is_refused_and_leaves_nothing(
    client: "LambdaClient", platform: Platform, code: bytes
) -> None:
    before = stored(platform)
    assert refused(client, code) == {
        "Code": "InvalidParameterValueException",
        "Message": BROKEN,
        "Status": 400,
    }
    assert stored(platform) == before
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function(FunctionName="refused")


def test_a_package_above_fifty_megabytes_is_413(client: "LambdaClient", platform: Platform) -> None:
    before = stored(platform)
    error = refused(client, bytes(52_428_801))
    assert (error["Code"], error["Status"]) == ("RequestEntityTooLargeException", 413)
    assert error["Message"] == "Zipped size must be smaller than 52428800 bytes"
    assert stored(platform) == before


def test_a_function_for_another_machine_is_kept_and_says_so_when_invoked(
    client: "LambdaClient",
) -> None:
    other: Any = "arm64" if machine.machine() == "x86_64" else "x86_64"
    create(client, "elsewhere", CODE, Architectures=[other])
    wait_active(client, "elsewhere")
    assert client.get_function_configuration(FunctionName="elsewhere")["Architectures"] == [other]
    with pytest.raises(client.exceptions.InvalidRuntimeException) as caught:
        client.invoke(FunctionName="elsewhere")
    message = caught.value.response["Error"]["Message"]
    assert f"elsewhere was made for {other}; this machine is {machine.machine()}." in message
