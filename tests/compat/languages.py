"""One function in every language: what it answers to which event, and what AWS says of it.

    {}                    {"count": of events in this process, "greeting": $GREETING, "event": it}
    {"fail": true}        the language's exception InvalidEvent, "asked to fail"
    {"sleep": true}       a minute later
    {"exit": true}        no answer: the process ends with status 3
    {"environment": true} its variables
    {"layer": true}       what the layer's library or program answers: "from a layer"
    with $FAIL_INIT       the start fails with ConfigurationError, "asked to fail at the start"

Where a language's client streams, another handler answers "first," and "second", or fails between
them.

A language is skipped by name where this machine lacks its compiler or interpreter.
"""

import base64
import io
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from compat import layers
from compat.java_code import compile_java, compiled_with
from compat.platform import PYTHON, package
from hearth.runtimes import node_kit, nodes, rubies
from hearth.runtimes.kit import KitFailed
from hearth.runtimes.rubies import BOOTSTRAP
from hearth.runtimes.survey import JAVA
from hearth.settings import read_surroundings
from third_party import build as third_party

EXAMPLES: Final = Path(__file__).parents[2] / "examples" / "runtimes"
BUILD_S: Final = 400
PROVIDED: Final = "provided.al2023"
ERROR_TRAILER: Final = "Lambda-Runtime-Function-Error"
BELOW_USR: Final = "/usr/local/bin:/usr/bin"


@dataclass(frozen=True, slots=True)
class Built:
    package: bytes
    runtime: str
    layer: Mapping[str, bytes] = field(default_factory=dict)
    """Files below /opt: a library that answers "from a layer"."""


def break_in_trailers(body: bytes, end: Mapping[str, str]) -> None:
    """As AWS documents it."""
    assert (body, end["ErrorCode"]) == (b"first,", "Unhandled")
    assert "asked to fail" in end["ErrorDetails"]


def break_by_exit(body: bytes, end: Mapping[str, str]) -> None:
    """A client without trailers: curl."""
    assert b"first,".startswith(body)
    assert re.search("Runtime.(ExitError|TruncatedResponse)", end["ErrorDetails"])


def break_in_body(body: bytes, end: Mapping[str, str]) -> None:
    """AWS's crate writes the trailers as a part of the body."""
    assert end.get("ErrorCode") is None
    words = base64.b64encode(b"asked to fail").decode()
    trailers = f"{ERROR_TRAILER}-Type: Runtime.StreamError\r\n{ERROR_TRAILER}-Body: {words}\r\n"
    assert body.decode() == "first," + trailers


@dataclass(frozen=True, slots=True)
class Language:
    build: Callable[[Path], Built]
    """May skip. The folder is empty, and its own."""
    handler: str = "function.handler"
    error: tuple[str, frozenset[str]] = (
        "InvalidEvent",
        frozenset({"errorType", "errorMessage", "stackTrace"}),
    )
    """errorType of what the handler throws, and the members of the payload."""
    frame: str | None = None
    """What a line of its trace says, where it has one."""
    init_error: str = "ConfigurationError"
    streams: str | None = None
    """Another handler, that answers bit by bit."""
    break_off: Callable[[bytes, Mapping[str, str]], None] = break_in_trailers
    """Checks how a stream ends that fails in the middle: what came, and InvokeComplete."""
    adds_variables: bool = False
    """Whether the language's own start sets some beside Lambda's; which, differs by version."""
    hears_of_traces: bool = True
    """Whether its client puts an event's trace into the environment."""


PYTHON_CODE: Final = """
import os, sys, time
class InvalidEvent(Exception): pass
class ConfigurationError(Exception): pass
if os.environ.get("FAIL_INIT"):
    raise ConfigurationError("asked to fail at the start")
count = 0
def handler(event, context):
    global count
    count += 1
    if "fail" in event:
        raise InvalidEvent("asked to fail")
    if "sleep" in event:
        time.sleep(60)
    if "exit" in event:
        os._exit(3)
    if "environment" in event:
        return dict(os.environ)
    if "layer" in event:
        import who
        return who.who()
    return {"count": count, "greeting": os.environ.get("GREETING", ""), "event": event}
"""

NODE_CODE: Final = """
class InvalidEvent extends Error {
    constructor(text) { super(text); this.name = "InvalidEvent"; }
}
class ConfigurationError extends Error {
    constructor(text) { super(text); this.name = "ConfigurationError"; }
}
if (process.env.FAIL_INIT) { throw new ConfigurationError("asked to fail at the start"); }
let count = 0;
exports.handler = async (event) => {
    count += 1;
    if ("fail" in event) { throw new InvalidEvent("asked to fail"); }
    if ("sleep" in event) { await new Promise((resolve) => setTimeout(resolve, 60000)); }
    if ("exit" in event) { process.exit(3); }
    if ("environment" in event) { return process.env; }
    if ("layer" in event) { return require("who"); }
    return { count, greeting: process.env.GREETING ?? "", event };
};
exports.streams = awslambda.streamifyResponse(async (event, stream) => {
    stream.write("first,");
    if ("fail" in event) { throw new InvalidEvent("asked to fail"); }
    stream.write("second");
    stream.end();
});
"""

RUBY_CODE: Final = """
class InvalidEvent < StandardError; end
class ConfigurationError < StandardError; end
raise ConfigurationError, "asked to fail at the start" if ENV["FAIL_INIT"]
$count = 0
def handler(event:, context:)
  $count += 1
  raise InvalidEvent, "asked to fail" if event["fail"]
  sleep(60) if event["sleep"]
  exit!(3) if event["exit"]
  return ENV.to_h if event["environment"]
  if event["layer"]
    require "who"
    return who
  end
  { count: $count, greeting: ENV["GREETING"] || "", event: event }
end
"""

JAVA_CODE: Final = """
package app;
import com.amazonaws.services.lambda.runtime.*;
import java.util.*;
public class Main implements RequestHandler<Map<String, Object>, Object> {
    public static class InvalidEvent extends RuntimeException {
        public InvalidEvent(String text) { super(text); } }
    public static class ConfigurationError extends RuntimeException {
        public ConfigurationError(String text) { super(text); } }
    int count = 0;
    public Main() {
        if (System.getenv("FAIL_INIT") != null)
            throw new ConfigurationError("asked to fail at the start");
    }
    public Object handleRequest(Map<String, Object> event, Context context) {
        count += 1;
        if (event.containsKey("fail")) throw new InvalidEvent("asked to fail");
        if (event.containsKey("exit")) System.exit(3);
        if (event.containsKey("environment")) return System.getenv();
        try {
            if (event.containsKey("sleep")) Thread.sleep(60000);
            if (event.containsKey("layer"))
                return Class.forName("layer.Who").getMethod("who").invoke(null);
        } catch (Exception error) { throw new RuntimeException(error); }
        Map<String, Object> answer = new HashMap<>();
        answer.put("count", count);
        answer.put("greeting", System.getenv("GREETING"));
        answer.put("event", event);
        return answer;
    }
}
"""
JAVA_LAYER: Final = """
package layer;
public class Who { public static String who() { return "from a layer"; } }
"""


def python(_folder: Path) -> Built:
    layer = {"python/who.py": b'def who(): return "from a layer"\n'}
    return Built(package({"function.py": PYTHON_CODE}), PYTHON, layer)


def node(runtime: str) -> Callable[[Path], Built]:
    def build(_folder: Path) -> Built:
        surroundings = read_surroundings()
        found = nodes.find(runtime, surroundings.search_path, surroundings.home)
        if found is None:
            pytest.skip(f"{runtime} is not installed on this machine")
        try:
            node_kit.build(surroundings.cache / "runtimes", found, surroundings.search_path)
        except KitFailed as error:
            pytest.skip(str(error))
        layer = {"nodejs/node_modules/who/index.js": b"module.exports = 'from a layer';\n"}
        return Built(package({"function.js": NODE_CODE}), runtime, layer)

    return build


def java(folder: Path) -> Built:
    runtime, reasons = compiled_with(sorted(JAVA, key=lambda name: "." not in name))
    if runtime is None:
        pytest.skip("; ".join(reasons))
    main = compile_java(runtime, folder, {"Main.java": JAVA_CODE})
    beside = folder / "layer"
    beside.mkdir()
    who = compile_java(runtime, beside, {"Who.java": JAVA_LAYER})
    return Built(zipped({"lib/main.jar": main}), runtime, {"java/lib/who.jar": who})


def ruby(_folder: Path) -> Built:
    """Under whatever Ruby is here, with the variables that tell Ruby of layers: AWS offers 3.2 to
    3.4, this client runs with older ones too."""
    _skip_without_below_usr("ruby", "ruby")
    found = rubies.ask(Path(shutil.which("ruby", path=BELOW_USR) or ""))
    assert found is not None
    places = {"task": "/var/task", "runtime": "/var/runtime", "opt": "/opt", "lang": "/var/lang"}
    exports = "".join(
        f"export {name}={value.format_map(places)}\n"
        for name, value in rubies.variables(found).items()
    )
    files = {
        "bootstrap": f"#!/bin/sh\n{exports}exec ruby /var/task/client.rb\n",
        "client.rb": BOOTSTRAP.read_text(),
        "function.rb": RUBY_CODE,
    }
    return Built(package(files, ("bootstrap",)), PROVIDED, layers.ruby(found))


def built_beside(
    program: str, layer: Callable[[Path], Mapping[str, bytes]]
) -> Callable[[Path], Built]:
    def build(folder: Path) -> Built:
        found = third_party.find(program)
        if found is None:
            pytest.skip(f"{program} is not built on this machine (make third-party)")
        return Built(
            zipped({"bootstrap": found.read_bytes()}, lambda _: True), PROVIDED, layer(folder)
        )

    return build


def example(
    language: str,
    *programs: str,
    layer: Callable[[Path], Mapping[str, bytes]],
    run_by: str | None = None,
) -> Callable[[Path], Built]:
    def build(folder: Path) -> Built:
        for program in ("make", *programs):
            if shutil.which(program) is None:
                pytest.skip(f"{language}: {program} is not installed on this machine")
        if run_by is not None:
            _skip_without_below_usr(language, run_by)
        return Built(_example(language, folder), PROVIDED, layer(folder))

    return build


def _skip_without_below_usr(language: str, program: str) -> None:
    if shutil.which(program, path=BELOW_USR) is None:
        pytest.skip(f"{language}: {program} is not below /usr, which sandboxes see")


def _example(language: str, folder: Path) -> bytes:
    """By the example's own command, outside the repository."""
    build = folder / "build"
    done = subprocess.run(
        ["make", "-C", EXAMPLES / language, f"BUILD={build}", f"TARGET={folder / 'target'}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_S,
    )
    if language == "go" and done.returncode and _is_offline(done.stderr):
        pytest.skip(f"go: AWS's client could not be fetched: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stdout + done.stderr
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(build.iterdir()):
            archive.write(path, path.name)
    assert os.access(build / "bootstrap", os.X_OK)
    return content.getvalue()


def _is_offline(said: str) -> bool:
    return "dial tcp" in said or "proxyconnect" in said or "i/o timeout" in said


def zipped(files: Mapping[str, bytes], executable: Callable[[str], bool] = str.isspace) -> bytes:
    """A zip of any bytes; `executable` says which names are."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            info.external_attr = (0o755 if executable(name) else 0o644) << 16
            archive.writestr(info, data)
    return content.getvalue()


def _node(runtime: str) -> Language:
    return Language(
        node(runtime),
        error=("InvalidEvent", frozenset({"errorType", "errorMessage", "trace"})),
        frame="/var/task/function.js:",
        streams="function.streams",
    )


def _example_row(build: Callable[[Path], Built], **more: Any) -> Language:
    return Language(build, streams="function.streams", **more)


LANGUAGES: Final[Mapping[str, Language]] = {
    "python": Language(
        python,
        error=(
            "InvalidEvent",
            frozenset({"errorType", "errorMessage", "requestId", "stackTrace"}),
        ),
        frame="raise InvalidEvent",
    ),
    "nodejs20": _node("nodejs20.x"),
    "nodejs24": _node("nodejs24.x"),
    "nodejs26": _node("nodejs26.x"),
    "java": Language(
        java,
        handler="app.Main",
        error=(
            "app.Main$InvalidEvent",
            frozenset({"errorType", "errorMessage", "stackTrace"}),
        ),
        frame="app.Main.handleRequest",
        init_error="app.Main$ConfigurationError",
        hears_of_traces=False,  # as AWS has it since Java 17: it is a system property
    ),
    "ruby": Language(
        ruby,
        error=(
            "Function<InvalidEvent>",
            frozenset({"errorType", "errorMessage", "stackTrace"}),
        ),
        frame="/var/task/function.rb:",
        init_error="Init<ConfigurationError>",
        adds_variables=True,
    ),
    "shell": _example_row(
        example("shell", layer=layers.program, run_by="curl"), break_off=break_by_exit
    ),
    "php": _example_row(example("php", layer=layers.php, run_by="php")),
    "erlang": _example_row(
        example("erlang", "erl", "erlc", layer=layers.erlang, run_by="erl"),
        adds_variables=True,
    ),
    "cobol": _example_row(
        example("cobol", "cobc", layer=layers.cobol),
        adds_variables=True,
    ),
    "cpp": _example_row(example("cpp", "g++", "cc", layer=layers.native)),
    "rust": _example_row(example("rust", "cargo", layer=layers.program)),
    "rust-aws": _example_row(built_beside("aws-function", layers.program), break_off=break_in_body),
    # It neither streams nor puts traces into the environment.
    "cpp-aws": Language(
        built_beside(third_party.CPP, layers.native),
        error=("InvalidEvent", frozenset({"errorType", "errorMessage", "stackTrace"})),
        hears_of_traces=False,
    ),
    "go": _example_row(example("go", "go", layer=layers.program)),
}
