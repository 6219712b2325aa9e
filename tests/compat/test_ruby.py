"""Our client for Ruby functions, in a sandbox and under the Ruby of this machine.

AWS offers Ruby 3.2 to 3.4; whatever Ruby is here runs the client as a package's bootstrap.
"""

import base64
import json
import shutil
from typing import TYPE_CHECKING, Any, Final

import pytest

from compat.platform import Platform, create, package
from hearth.runtimes.rubies import BOOTSTRAP

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

APP: Final = """
$count = 0
def handler(event:, context:)
  $count += 1
  puts "looking"
  { event: event, count: $count, name: context.function_name, id: context.aws_request_id,
    left: context.get_remaining_time_in_millis > 0, env: ENV["GREETING"], who: who }
end
require "who"
def leaves(event:, context:) = exit(3)
def whose(event:, context:) = context.tenant_id
module Deep
  class Inner
    def self.call(event:, context:) = "nested"
  end
end
"""
WHO: Final = 'def who = "from the package"\n'
FILES: Final = {
    "bootstrap": "#!/bin/sh\nexec ruby /var/task/client.rb\n",
    "client.rb": BOOTSTRAP.read_text(),
    "app.rb": APP,
    "who.rb": WHO,
    "broken.rb": "def (",
}


@pytest.fixture(scope="module")
def client(platform: Platform) -> "LambdaClient":
    if shutil.which("ruby", path="/usr/local/bin:/usr/bin") is None:
        pytest.skip("ruby is not installed below /usr, which sandboxes see")
    return platform.client()


def call(client: "LambdaClient", handler: str, *events: Any) -> list[tuple[Any, str | None, str]]:
    """Payload, FunctionError and log of each event; of a function of its own."""
    name = "ruby-" + handler.replace(".", "-").replace("::", "-")
    create(
        client,
        name,
        "",
        Runtime="provided.al2023",
        Handler=handler,
        Code={"ZipFile": package(FILES, ("bootstrap",))},
        Environment={"Variables": {"GREETING": "hello"}},
        MemorySize=256,
        Timeout=60,
    )
    told: list[tuple[Any, str | None, str]] = []
    for event in events:
        answer = client.invoke(FunctionName=name, Payload=json.dumps(event), LogType="Tail")
        log = base64.b64decode(answer["LogResult"]).decode()
        payload = json.loads(answer["Payload"].read())
        told.append((payload, answer.get("FunctionError"), log))
    return told


def test_a_handler_finds_what_aws_gives_it(client: "LambdaClient") -> None:
    event: dict[str, Any] = {"text": "\u00e4", "list": [1, None, {}]}
    ((payload, error, log),) = call(client, "app.handler", event)
    assert error is None, (payload, log)
    assert payload.pop("id")
    assert payload == {
        "event": event,
        "count": 1,
        "name": "ruby-app-handler",
        "left": True,
        "env": "hello",
        "who": "from the package",
    }
    assert "looking" in log


def test_a_handler_knows_for_whom_it_runs(client: "LambdaClient") -> None:
    create(
        client,
        "ruby-tenants",
        "",
        Runtime="provided.al2023",
        Handler="app.whose",
        Code={"ZipFile": package(FILES, ("bootstrap",))},
        TenancyConfig={"TenantIsolationMode": "PER_TENANT"},
        Timeout=60,
    )
    answer = client.invoke(FunctionName="ruby-tenants", TenantId="blue", Payload="{}")
    assert json.loads(answer["Payload"].read()) == "blue"


def test_a_method_of_a_class_is_a_handler(client: "LambdaClient") -> None:
    assert call(client, "app.Deep::Inner.call", {})[0][:2] == ("nested", None)


def test_exit_is_an_error_too(client: "LambdaClient") -> None:
    ((payload, error, _),) = call(client, "app.leaves", {})
    assert error == "Unhandled"
    assert payload["errorType"] == "Function<SystemExit>"


@pytest.mark.parametrize(
    ("handler", "kind", "said"),
    [
        ("missing.handler", "Init<LoadError>", "missing"),
        ("broken.handler", "Init<SyntaxError>", "broken.rb"),
        ("app.nothing", "Init<NoMethodError>", "app.rb has no method nothing"),
        ("handler", "Init<ArgumentError>", "FILE.METHOD"),
    ],
)
def test_a_failed_start_says_why(
    client: "LambdaClient", handler: str, kind: str, said: str
) -> None:
    ((payload, error, _),) = call(client, handler, {})
    assert error == "Unhandled"
    assert payload["errorType"] == kind
    assert said in payload["errorMessage"]
