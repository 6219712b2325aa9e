"""Java functions: AWS's own client under the Java of this machine, in every form of handler."""

import base64
import json
import shutil
from typing import TYPE_CHECKING, Any, Final

import pytest

from compat.java_code import compile_java, reason_against
from compat.languages import zipped
from compat.platform import Platform, create
from hearth.runtimes.survey import JAVA

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

MAIN: Final = """
package app;
import com.amazonaws.services.lambda.runtime.*;
import java.io.*;
import java.util.*;
public class Main implements RequestHandler<Map<String, Object>, Object> {
    public static class Order { public String name; public int count;
        public void setName(String n) { name = n; } public String getName() { return name; }
        public void setCount(int c) { count = c; } public int getCount() { return count; } }
    static int count = 0;
    public Object handleRequest(Map<String, Object> event, Context context) {
        context.getLogger().log("looking\\nfor it\\n");
        System.out.println("printed");
        Map<String, Object> answer = new HashMap<>();
        answer.put("event", event);
        answer.put("count", ++count);
        answer.put("name", context.getFunctionName());
        answer.put("left", context.getRemainingTimeInMillis() > 0);
        answer.put("env", System.getenv("GREETING"));
        answer.put("version", System.getProperty("java.specification.version"));
        answer.put("random", new java.security.SecureRandom().nextInt(1));
        answer.put("layer", layer.Who.who());
        return answer;
    }
    public Order order(Order order, Context context) { order.count += 1; return order; }
}
"""
STREAM: Final = """
package app;
import com.amazonaws.services.lambda.runtime.*;
import java.io.*;
public class Stream implements RequestStreamHandler {
    public void handleRequest(InputStream in, OutputStream out, Context context)
        throws IOException { in.transferTo(out); }
}
"""
BROKEN: Final = """
package app;
public class Broken {
    public Broken() { throw new IllegalArgumentException("no start"); }
    public Object handle(Object event) { return event; }
}
"""
LAYER: Final = """
package layer;
public class Who { public static String who() { return "from a layer"; } }
"""


# What else runs under the same Java is in the matrix.
@pytest.fixture(scope="module", params=[name for name in JAVA if "." not in name])
def runtime(request: pytest.FixtureRequest) -> str:
    """A runtime that this machine has, with AWS's client, which may have to be fetched."""
    name: str = request.param
    if (reason := reason_against(name)) is not None:
        pytest.skip(reason)
    return name


class Functions:
    """Makes a function of each handler that is asked for, and invokes it."""

    def __init__(self, client: "LambdaClient", runtime: str, code: bytes, layer: str) -> None:
        self._client = client
        self._runtime = runtime
        self._code = code
        self._layer = layer
        self._made: set[str] = set()

    def name(self, handler: str) -> str:
        return f"{self._runtime}-{handler}".replace(".", "-").replace("::", "-")

    def call(self, handler: str, event: Any = None) -> tuple[Any, str | None, str]:
        """Payload, FunctionError and log."""
        name = self.name(handler)
        if name not in self._made:
            create(
                self._client,
                name,
                "",
                Runtime=self._runtime,
                Handler=handler,
                Code={"ZipFile": self._code},
                Layers=[self._layer],
                Environment={"Variables": {"GREETING": "hello"}},
                Timeout=60,
                MemorySize=512,
            )
            self._made.add(name)
        answer = self._client.invoke(FunctionName=name, Payload=json.dumps(event), LogType="Tail")
        log = base64.b64decode(answer["LogResult"]).decode()
        return json.loads(answer["Payload"].read()), answer.get("FunctionError"), log


@pytest.fixture(scope="module")
def functions(
    platform: Platform, runtime: str, tmp_path_factory: pytest.TempPathFactory
) -> Functions:
    client = platform.client()
    folder, beside = tmp_path_factory.mktemp(runtime), tmp_path_factory.mktemp("layer")
    who = compile_java(runtime, beside, {"Who.java": LAYER})
    sources = {"Main.java": MAIN, "Stream.java": STREAM, "Broken.java": BROKEN}
    main = compile_java(runtime, folder, sources, beside / "classes")
    layer = client.publish_layer_version(
        LayerName=f"{runtime}-who", Content={"ZipFile": zipped({"java/lib/who.jar": who})}
    )["LayerVersionArn"]
    shutil.rmtree(folder)
    return Functions(client, runtime, zipped({"lib/main.jar": main}), layer)


def test_a_request_handler_finds_what_aws_gives_it(
    platform: Platform, functions: Functions, runtime: str
) -> None:
    answers = []
    for _ in range(2):
        answer, error, log = functions.call("app.Main", {"a": [1, {"b": 2}], "text": "\u00e4"})
        assert error is None, (answer, log)
        answers.append(answer)
    assert answers[0] == {
        "event": {"a": [1, {"b": 2}], "text": "\u00e4"},
        "count": 1,
        "name": functions.name("app.Main"),
        "left": True,
        "env": "hello",
        "version": runtime.removeprefix("java"),
        "random": 0,
        "layer": "from a layer",
    }
    assert "printed" in log
    group = f"/aws/lambda/{functions.name('app.Main')}"
    logged = platform.service("logs").filter_log_events(logGroupName=group)["events"]
    assert [event["message"] for event in logged].count("looking\nfor it\n") == 2, "one for a call"


def test_a_method_takes_and_gives_a_pojo(functions: Functions) -> None:
    answer, error, log = functions.call("app.Main::order", {"name": "bread", "count": 2})
    assert error is None, (answer, log)
    assert answer == {"name": "bread", "count": 3}


def test_a_stream_handler_copies_bytes(functions: Functions) -> None:
    event = {"text": "x" * (1 << 20)}
    answer, error, _ = functions.call("app.Stream::handleRequest", event)
    assert error is None
    assert answer == event


@pytest.mark.parametrize(
    ("handler", "said"),
    [("app.Missing", "Class not found: app.Missing"), ("app.Broken::handle", "no start")],
)
def test_a_failed_start_says_why(functions: Functions, handler: str, said: str) -> None:
    answer, error, log = functions.call(handler, {})
    assert error == "Unhandled"
    assert said in json.dumps(answer) + log
