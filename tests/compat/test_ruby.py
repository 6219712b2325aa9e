"""Our client for Ruby functions, in a sandbox and under the Ruby of this machine.

AWS offers Ruby 3.2 to 3.4; whatever Ruby is here runs the client as a package's bootstrap.
"""

import base64
import json
import re
import shutil
from typing import TYPE_CHECKING, Any, Final

import pytest

from compat.platform import Platform, create, package, wait_until
from hearth.runtimes.rubies import BOOTSTRAP

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

APP: Final = r"""
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
def misnamed(event:, context:)
  $count += 1
  event["good"] ? $count : no_such_name
end
def failing(event:, context:)
  raise RuntimeError, "two\nlines"
end
def says(event:, context:)
  puts "first\nsecond", [["third"], 4]
  Logger.new($stdout).warn("careful")
  Logger.new($stdout, formatter: proc { |*, message| "own #{message}\n" }).info("form")
  $stdout.puts "plain"
  StringIO.new("as it is")
end
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
    told = call_raw(client, handler, *events)
    return [(json.loads(payload), error, log) for payload, error, log in told]


def call_raw(
    client: "LambdaClient", handler: str, *events: Any
) -> list[tuple[bytes, str | None, str]]:
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
    told: list[tuple[bytes, str | None, str]] = []
    for event in events:
        answer = client.invoke(FunctionName=name, Payload=json.dumps(event), LogType="Tail")
        log = base64.b64decode(answer["LogResult"]).decode()
        told.append((answer["Payload"].read(), answer.get("FunctionError"), log))
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
    ((payload, error, log),) = call(client, "app.leaves", {})
    assert error == "Unhandled"
    assert payload["errorType"] == "Function<SystemExit>"
    assert "Critical exception from handler" in log


def test_an_error_has_the_form_and_the_log_of_aws_s_client(client: "LambdaClient") -> None:
    ((payload, error, log),) = call(client, "app.failing", {})
    assert error == "Unhandled"
    assert payload["errorMessage"] == "two\nlines"
    assert payload["errorType"] == "Function<RuntimeError>"
    assert payload["stackTrace"][0].startswith("/var/task/app.rb:")
    said = log.partition("Error raised from handler method\n")[2].partition("END RequestId")[0]
    assert json.loads(said) == payload


def test_a_name_that_is_not_there_ends_the_process(client: "LambdaClient") -> None:
    """As AWS's client has it: no other event would find it."""
    good, bad, after = call(client, "app.misnamed", {"good": 1}, {}, {"good": 1})
    assert (good[0], after[0]) == (1, 1)
    assert bad[0]["errorType"] == "Function<NameError>"
    assert re.match("undefined local variable or method .no_such_name' for", bad[0]["errorMessage"])
    ((payload, _, _),) = call(client, "app.nothing", {})
    assert payload["errorType"] == "Function<NoMethodError>"
    assert re.match("undefined method .nothing' for .*LambdaHandler", payload["errorMessage"])


def test_what_is_put_or_logged_is_one_event_of_the_log(
    platform: Platform, client: "LambdaClient"
) -> None:
    ((answer, error, _),) = call_raw(client, "app.says", {})
    assert (answer, error) == (b"as it is", None)

    def said() -> list[str]:
        pages = platform.service("logs").get_paginator("filter_log_events")
        found = pages.paginate(logGroupName="/aws/lambda/ruby-app-says")
        return [event["message"].rstrip("\n") for page in found for event in page["events"]]

    wait_until(lambda: any(line.startswith("REPORT ") for line in said()), "it is logged")
    assert "first\nsecond\nthird\n4" in said()
    assert {"own form", "plain"} <= set(said())
    (careful,) = [line for line in said() if line.endswith(": careful")]
    form = r"W, \[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+ #\d+\]  WARN [0-9a-f-]{36} -- : careful"
    assert re.fullmatch(form, careful)


@pytest.mark.parametrize(
    ("handler", "kind", "said"),
    [
        ("missing.handler", "Init<LoadError>", "missing"),
        ("broken.handler", "Init<SyntaxError>", "broken.rb"),
        (
            "handler",
            "Init<ArgumentError>",
            'Invalid handler ["handler"], must be of form FILENAME.',
        ),
    ],
)
def test_a_failed_start_says_why(
    client: "LambdaClient", handler: str, kind: str, said: str
) -> None:
    ((payload, error, _),) = call(client, handler, {})
    assert error == "Unhandled"
    assert payload["errorType"] == kind
    assert said in payload["errorMessage"]
