"""Node.js functions: AWS's own client under the Node of this machine, in every kind of handler."""

import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compat.platform import Platform, create, package, running, wait_until
from hearth.runtimes import node_kit, nodes
from hearth.runtimes.kit import KitFailed
from hearth.runtimes.survey import NODE
from hearth.settings import read_surroundings

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

MAIN = """
const who = require("who");
let count = 0;
exports.look = async (event, context) => {
    console.log("looking\\nfurther");
    count += 1;
    return {
        event, count,
        who,
        id: context.awsRequestId,
        left: context.getRemainingTimeInMillis() > 0,
        name: context.functionName,
        env: process.env,
        version: process.version,
        streams: typeof awslambda.streamifyResponse,
    };
};
exports.fails = async () => { throw new RangeError("out of it"); };
exports.rejects = async () => {
    Promise.reject(new Error("lost"));
    await new Promise((resolve) => setTimeout(resolve, 20000));
};
exports.calls = (event, context, callback) => setTimeout(() => callback(null, { called: 1 }), 1);
"""
MODULE = "export const handler = async (event) => ({ module: true, event });\n"
NESTED = "exports.deep = { handler: async () => 'nested' };\n"
FILES = {
    "main.js": MAIN,
    "module.mjs": MODULE,
    "src/app/nested.js": NESTED,
    "broken.js": "function ( {",
    "imports.mjs": """
import { S3Client } from "@aws-sdk/client-s3";
import { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import who from "who";
export const handler = async () => [typeof S3Client, typeof DynamoDBDocumentClient.from, who];
""",
    "requires.js": """
const { SQSClient } = require("@aws-sdk/client-sqs");
exports.handler = async () => [typeof SQSClient, require.resolve("@aws-sdk/client-sqs")];
""",
    "lacks.mjs": 'import nothing from "no-such-package"; export const handler = nothing;',
}


def runtimes() -> list[str]:
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return [name for name in NODE if nodes.find(name, folders, Path.home()) is not None]


@pytest.fixture(scope="module", params=NODE)
def runtime(request: pytest.FixtureRequest) -> str:
    """A runtime that this machine has, with AWS's client, which may have to be fetched."""
    name: str = request.param
    surroundings = read_surroundings()
    node = nodes.find(name, surroundings.search_path, surroundings.home)
    if node is None:
        pytest.skip(f"{name} is not installed on this machine")
    try:
        node_kit.build(surroundings.cache / "runtimes", node, surroundings.search_path)
    except KitFailed as error:
        pytest.skip(str(error))
    return name


@pytest.fixture(scope="module")
def client(platform: Platform) -> "LambdaClient":
    return platform.client()


@pytest.fixture(scope="module")
def layer(client: "LambdaClient") -> str:
    content = package({"nodejs/node_modules/who/index.js": "module.exports = 'from a layer';\n"})
    return client.publish_layer_version(LayerName="who", Content={"ZipFile": content})[
        "LayerVersionArn"
    ]


class Functions:
    """Makes a function of each handler that is asked for, and invokes it."""

    def __init__(self, client: "LambdaClient", runtime: str, layer: str) -> None:
        self._client = client
        self._runtime = runtime
        self._layer = layer
        self._made: set[str] = set()

    def name(self, handler: str) -> str:
        return f"{self._runtime}-{handler}".replace(".", "-").replace("/", "-")

    def make(self, handler: str) -> None:
        name = self.name(handler)
        if name not in self._made:
            create(
                self._client,
                name,
                "",
                Runtime=self._runtime,
                Handler=handler,
                Code={"ZipFile": package(FILES)},
                Layers=[self._layer],
                Timeout=30,
                MemorySize=256,
            )
            self._made.add(name)

    def call(self, handler: str, event: Any = None) -> tuple[Any, str | None, str]:
        """Payload, FunctionError and log."""
        self.make(handler)
        name = self.name(handler)
        answer = self._client.invoke(FunctionName=name, Payload=json.dumps(event), LogType="Tail")
        log = base64.b64decode(answer["LogResult"]).decode()
        return json.loads(answer["Payload"].read()), answer.get("FunctionError"), log


@pytest.fixture(scope="module")
def functions(client: "LambdaClient", runtime: str, layer: str) -> Functions:
    return Functions(client, runtime, layer)


def test_a_handler_finds_lambda(functions: Functions, runtime: str) -> None:
    seen, error, log = functions.call("main.look", {"a": "ü"})
    assert error is None
    assert seen["event"] == {"a": "ü"}
    assert seen["who"] == "from a layer"
    assert seen["left"] is True
    assert seen["streams"] == "function"
    assert seen["version"].startswith(f"v{nodes.major_of(runtime)}.")
    env = seen["env"]
    assert env["AWS_EXECUTION_ENV"] == f"AWS_Lambda_{runtime}"
    assert env["NODE_PATH"] == (
        f"/opt/nodejs/node{nodes.major_of(runtime)}/node_modules:/opt/nodejs/node_modules:"
        "/var/runtime/node_modules:/var/runtime:/var/task"
    )
    assert not {"NODE_EXTRA_CA_CERTS", "NODE_OPTIONS", "HOME"} & env.keys()
    assert f"\t{seen['id']}\tINFO\tlooking\nfurther" in log
    again, _, _ = functions.call("main.look", None)
    assert (again["count"], again["event"]) == (2, None)
    assert again["id"] != seen["id"]


def test_modules_and_nested_directories_are_handlers_too(functions: Functions) -> None:
    assert functions.call("module.handler", 1)[:2] == ({"module": True, "event": 1}, None)
    assert functions.call("src/app/nested.deep.handler")[:2] == ("nested", None)


def test_the_sdk_is_there_for_modules_and_scripts(functions: Functions) -> None:
    assert functions.call("imports.handler")[:2] == (["function"] * 2 + ["from a layer"], None)
    kind, where = functions.call("requires.handler")[0]
    assert kind == "function"
    assert where.startswith("/var/runtime/node_modules/@aws-sdk/client-sqs/")


def test_a_package_that_is_nowhere_is_told_as_node_does(functions: Functions) -> None:
    payload, error, _ = functions.call("lacks.handler")
    assert error == "Unhandled"
    assert payload["errorType"] == "Error"
    assert payload["errorMessage"] == (
        "Cannot find package 'no-such-package' imported from /var/task/lacks.mjs"
    )


def test_errors_have_awss_form(functions: Functions) -> None:
    payload, error, log = functions.call("main.fails")
    assert error == "Unhandled"
    assert (payload["errorType"], payload["errorMessage"]) == ("RangeError", "out of it")
    assert payload["trace"][0] == "RangeError: out of it"
    assert "\tERROR\tInvoke Error \t" in log
    assert functions.call("main.absent")[0]["errorType"] == "Runtime.HandlerNotFound"
    assert functions.call("nowhere.handler")[0]["errorType"] == "Runtime.ImportModuleError"
    assert functions.call("broken.handler")[0]["errorType"] == "Runtime.UserCodeSyntaxError"


def test_what_node_24_changed_is_as_on_aws(functions: Functions, runtime: str) -> None:
    called, _, _ = functions.call("main.calls")
    rejected, error, _ = functions.call("main.rejects")
    assert error == "Unhandled"
    if nodes.major_of(runtime) <= 22:
        assert called == {"called": 1}
        assert rejected["errorType"] == "Runtime.UnhandledPromiseRejection"
    else:
        assert called["errorType"] == "Runtime.CallbackHandlerDeprecated"
        assert rejected["errorType"] == "Runtime.ExitError"


def test_a_wrapper_starts_node(client: "LambdaClient", runtime: str) -> None:
    files = {
        "index.js": "exports.handler = async () => [process.env.WRAPPED, process.execArgv[0]];",
        "wrap": '#!/bin/sh\nexport WRAPPED=yes\nexec "$@"\n',
    }
    name = f"wrapped-{nodes.major_of(runtime)}"
    create(
        client,
        name,
        "",
        Runtime=runtime,
        Handler="index.handler",
        Code={"ZipFile": package(files, executable=("wrap",))},
        Environment={"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrap"}},
    )
    answer = client.invoke(FunctionName=name)
    assert json.loads(answer["Payload"].read()) == ["yes", "--expose-gc"]


def test_a_runtime_that_is_not_there_is_refused_with_how_to_add_it(
    client: "LambdaClient",
) -> None:
    missing = sorted(set(NODE) - set(runtimes()))
    if not missing:
        pytest.skip("this machine has every Node.js")
    code = {"ZipFile": package({"index.js": "exports.handler = async () => 1;"})}
    create(client, "missing", "", Runtime=missing[0], Handler="index.handler", Code=code)
    with pytest.raises(client.exceptions.InvalidRuntimeException) as refused:
        client.invoke(FunctionName="missing")
    assert f"{missing[0]} is not installed on this machine. Add it with: " in str(refused.value)


def test_node_waits_for_its_function_before_there_is_one(runtime: str, tmp_path: Path) -> None:
    look = """
        const fs = require("fs");
        exports.handler = async (event) => {
            if (event.rejects) {
                Promise.reject(new Error("lost"));
                await new Promise((resolve) => setTimeout(resolve, 20000));
            }
            return {
                environment: process.env,
                argv: process.argv,
                directory: process.cwd(),
                globals: Object.keys(globalThis),
                listeners: process.eventNames().map(String).sort(),
                descriptors: fs.readdirSync("/proc/self/fd").filter((fd) => {
                    try { return fs.readlinkSync(`/proc/self/fd/${fd}`).startsWith("socket:"); }
                    catch { return false; }
                }).length,
            };
        };
    """
    code = {"ZipFile": package({"index.js": look})}
    settings = {"Runtime": runtime, "Handler": "index.handler", "Code": code}
    with running(tmp_path / "state", "--sandbox", "zygote") as own:
        client = own.client()

        def stems() -> Any:
            return json.loads(own.command("status", "--json").stdout)["stems"]

        def is_ready() -> bool:
            return any(kind["runtime"] == "node" and kind["ready"] for kind in stems()["kinds"])

        create(client, "first", "", **settings)
        executed = json.loads(client.invoke(FunctionName="first", Payload="{}")["Payload"].read())
        wait_until(is_ready, "a Node.js that waits", within_s=60.0)
        variables = {"Variables": {"MINE": "1", "NODE_ENV": "test"}}
        create(client, "second", "", Environment=variables, **settings)
        before = stems()["taken"]
        bound = json.loads(client.invoke(FunctionName="second", Payload="{}")["Payload"].read())
        assert stems()["taken"] == before + 1
        errors = [
            json.loads(client.invoke(FunctionName=name, Payload='{"rejects": 1}')["Payload"].read())
            for name in ("first", "second")
        ]
        assert errors[0]["errorType"] == errors[1]["errorType"]
        assert "lost" in errors[1]["errorMessage"] or nodes.major_of(runtime) > 22
        assert own.stop() == 0
    assert bound["environment"]["MINE"] == "1"
    names = set(bound["environment"]) - {"MINE", "NODE_ENV"}
    assert names == set(executed["environment"])
    assert bound["environment"]["AWS_LAMBDA_FUNCTION_NAME"] == "second"
    for same in ("argv", "directory", "globals", "listeners", "descriptors"):
        assert bound[same] == executed[same], same
