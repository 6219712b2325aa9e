"""What can the owner of a function do to the platform? The rest of the table of attempts.

Names and outcomes: tests/integration/escape/attempts.py, groups DEPLOY and PLATFORM.
"""

import io
import json
import os
import stat
import struct
import uuid
import zipfile
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import botocore.exceptions
import pytest

from compat.platform import PYTHON, ROLE, Platform, create, running, wait_active, wait_until
from integration.escape.attempts import DEPLOY, PLATFORM, expected_of

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

HANDLER = "def handler(event, context):\n    return open('/var/task/probe').read(16)\n"
BOMB_BYTES = 300 << 20

HOSTILE = """
import base64, errno, http.client, json, os, select, socket, subprocess, sys, time, urllib.parse

API = os.environ["AWS_LAMBDA_RUNTIME_API"]
held = []

def outcome(what, *arguments):
    try:
        return what(*arguments) or "OPEN"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))

def connect(family, address):
    with socket.socket(family) as client:
        client.settimeout(5)
        client.connect(tuple(address) if isinstance(address, list) else address)

def post(path):
    connection = http.client.HTTPConnection(API, timeout=10)
    connection.request("POST", "/2018-06-01/runtime/" + path, b'"forged"')
    status = connection.getresponse().status
    connection.close()
    return "OPEN" if status < 300 else "refused"

def reach(targets):
    return {
        "connect to the engine's port": outcome(connect, socket.AF_INET, targets["engine"]),
        "connect to Hearth's port": outcome(connect, socket.AF_INET, targets["edge"]),
        "connect to the administrator's socket": outcome(connect, socket.AF_UNIX, targets["admin"]),
        "read the access keys": outcome(open, targets["keys"]),
        "read another function's package": outcome(os.listdir, targets["packages"]),
        "find what another function left in /tmp": "empty" if not os.listdir("/tmp") else "OPEN",
        "answer an invoke that is not its own": post(f"invocation/{targets['other']}/response"),
        "fail an init that is over": post("init/error"),
    }

def answer_twice(request):
    first = post("invocation/" + request + "/response")
    with open("/tmp/second", "w") as file:
        file.write(first + " " + post("invocation/" + request + "/response"))

def hold(count):
    host, port = API.split(":")
    for _ in range(count):
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex((host, int(port)))
        held.append(connection)

def upload(count):
    # So many answers that never end.
    host, port = API.split(":")
    for _ in range(count):
        connection = socket.create_connection((host, int(port)), timeout=30)
        head = "POST /2018-06-01/runtime/invocation/none/response HTTP/1.1\\r\\n"
        head += "Host: h\\r\\nContent-Length: 6000000\\r\\n\\r\\n"
        try:
            connection.sendall(head.encode() + bytes(1 << 20))
        except OSError:
            pass  # refused while it was sent
        held.append(connection)
    end, refused = time.monotonic() + 30, set()
    while not refused and time.monotonic() < end:
        refused.update(select.select(held, [], [], 1)[0])
    held.clear()
    return "bounded" if refused else "OPEN"

def flood(count):
    host, port = os.environ["AWS_XRAY_DAEMON_ADDRESS"].split(":")
    datagram = b'{"format": "json", "version": 1}\\n' + b"x" * 60_000
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.setblocking(False)
        for _ in range(count):
            try:
                daemon.sendto(datagram, (host, int(port)))
            except BlockingIOError:
                time.sleep(0.001)

def door(method, path, body):
    connection = http.client.HTTPConnection(API, timeout=10)
    connection.request(method, "/2025-12-01/" + path, json.dumps(body))
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return "OPEN" if answer.status < 300 or answer.status >= 502 else "refused"

def execution(event):
    # As Lambda calls a durable function: the event is its execution's.
    own = event["DurableExecutionArn"]
    value = json.loads(event["InitialExecutionState"]["Operations"][0]["ExecutionDetails"][
        "InputPayload"])
    quoted, token = urllib.parse.quote(own, safe=""), event["CheckpointToken"]
    other = urllib.parse.quote(value["other"], safe="")
    forged = base64.b64encode(base64.b64decode(token)[:-4] + b"AAA=").decode()
    state = "/state?" + urllib.parse.urlencode({"CheckpointToken": token})
    root = "durable-executions/"
    found = {
        "read another function's execution": door("GET", root + other + state, None),
        "checkpoint another function's execution": door(
            "POST", root + other + "/checkpoint", {"CheckpointToken": token}),
        "checkpoint its own with a forged token": door(
            "POST", root + quoted + "/checkpoint", {"CheckpointToken": forged}),
        "ask the durable listener for another operation": door(
            "POST", root + quoted + "/stop", {}),
    }
    if door("GET", root + quoted + state, None) != "OPEN":
        found = {"its own state": "refused"}
    return {"Status": "SUCCEEDED", "Result": json.dumps(found)}

def daemon(marker):
    beat = "import time\\nwhile True:\\n  time.sleep(0.05)\\n  "
    beat += "open('/tmp/beats', 'a').write('%f\\\\n' % time.time())"
    again = "import os, sys\\nif os.fork(): os._exit(0)\\nos.setsid()\\n" + beat
    subprocess.run([sys.executable, "-I", "-S", "-c", again, marker], check=True)
    while not (os.path.exists("/tmp/beats") and os.path.getsize("/tmp/beats")):
        time.sleep(0.01)

def longest_pause():
    beats = [float(line) for line in open("/tmp/beats")]
    return max([b - a for a, b in zip(beats, beats[1:])], default=0)

def handler(event, context):
    if "DurableExecutionArn" in event:
        return execution(event)
    do, value = event["do"], event.get("value")
    if do == "reach":
        return reach(value)
    if do == "answer twice":
        return answer_twice(context.aws_request_id)
    if do == "second answer":
        return open("/tmp/second").read()
    if do == "hold":
        return hold(value)
    if do == "upload":
        return upload(value)
    if do == "flood":
        return flood(value)
    if do == "print":
        print(value, end="", flush=True)
    if do == "print much":
        for _ in range(value):
            sys.stdout.write("x" * (1 << 20))
        sys.stdout.flush()
    if do == "daemon":
        daemon(value)
    if do == "longest pause":
        time.sleep(0.5)
        return longest_pause()
    return "done"
"""


@pytest.fixture(scope="module")
def eager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A Hearth that freezes whatever is idle at its next look."""
    state = tmp_path_factory.mktemp("hostile") / "state"
    nobody = "xray=http://127.0.0.1:1"  # who would take segments; functions can send them anyway
    with running(state, "--freeze-after", "0", "--endpoint", nobody) as platform:
        yield platform


# -- packages ------------------------------------------------------------------------------------


def entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
    info.external_attr = mode << 16
    info.create_system = 3
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def zipped(*entries: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for info, content in ((entry("app.py"), HANDLER.encode()), *entries):
            archive.writestr(info, content)
    return buffer.getvalue()


def link(name: str, target: str) -> tuple[zipfile.ZipInfo, bytes]:
    return entry(name, stat.S_IFLNK | 0o777), target.encode()


def bomb() -> bytes:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w") as archive,
        archive.open(entry("zeros"), "w") as file,
    ):
        for _ in range(BOMB_BYTES >> 20):
            file.write(bytes(1 << 20))
    return buffer.getvalue()


def liar() -> bytes:
    """Its directory says ten bytes where a million are."""
    data = zipped((entry("zeros"), bytes(1 << 20)))
    honest, lie = struct.pack("<I", 1 << 20), struct.pack("<I", 10)
    assert data.count(honest) == 2
    return data.replace(honest, lie)


PACKAGES: dict[str, Callable[[], bytes]] = {
    "a file above the package's root": lambda: zipped((entry("../escaped.py"), b"x")),
    "a file with an absolute name": lambda: zipped((entry("/tmp/escaped.py"), b"x")),
    "a file below a link to elsewhere": lambda: zipped(
        link("lib", "/tmp"), (entry("lib/escaped.py"), b"x")
    ),
    "a name with a backslash and dots": lambda: zipped((entry("..\\..\\escaped.py"), b"x")),
    "a link to the host's /etc/shadow": lambda: zipped(link("probe", "/etc/shadow")),
    "a link to the worker's state": lambda: zipped(link("probe", "../../keys.json")),
    "a file that sets the user": lambda: zipped((entry("probe", 0o104755), b"root")),
    "a device file": lambda: zipped((entry("probe", stat.S_IFCHR | 0o666), b"")),
    "a package that grows a thousandfold": bomb,
    "a package that lies about its size": liar,
}


def deployed(platform: Platform, name: str, data: bytes) -> str:
    client = platform.client()
    try:
        members: dict[str, Any] = {"Runtime": PYTHON, "Role": ROLE, "Handler": "app.handler"}
        client.create_function(FunctionName=name, Code={"ZipFile": data}, **members)
        wait_active(client, name)
    except (botocore.exceptions.ClientError, botocore.exceptions.WaiterError):
        return "refused"
    return "deployed"


def modes(state: Path) -> set[int]:
    """Of what is unpacked: bits beyond read, write and execute, and kinds beyond the usual."""
    found = set()
    for path in (state / "code").rglob("*"):
        mode = path.lstat().st_mode
        found.add(mode & 0o7000)
        assert stat.S_IFMT(mode) in {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}, path
    return found


def test_the_table_names_what_is_deployed() -> None:
    assert PACKAGES.keys() == expected_of(DEPLOY).keys()


@pytest.mark.parametrize("name", PACKAGES)
def test_a_hostile_package_does_no_harm(name: str, eager: Platform) -> None:
    row = expected_of(DEPLOY)[name]
    function = f"package-{list(PACKAGES).index(name)}"
    said = deployed(eager, function, PACKAGES[name]())
    if said == "deployed":
        answer = eager.client().invoke(FunctionName=function)
        payload = answer["Payload"].read()
        is_own = payload == b'"root"'  # the content that the package itself had
        said = "harmless" if is_own or answer.get("FunctionError") else f"OPEN: {payload!r}"
    assert said in row.allowed, row.reason
    state = eager.state
    assert not list(state.parent.rglob("escaped.py"))
    assert not Path("/tmp/escaped.py").exists()
    assert modes(state) <= {0}


# -- the platform --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    """Filled by the tests below; the last looks that none is missing."""
    return {}


def check(outcomes: dict[str, str], found: dict[str, str]) -> None:
    table = expected_of(PLATFORM)
    wrong = {
        n: f"{said}: {table[n].reason}" for n, said in found.items() if said not in table[n].allowed
    }
    assert wrong == {}
    outcomes.update(found)


def do(client: "LambdaClient", function: str, do: str, value: Any = None) -> Any:
    said = client.invoke(FunctionName=function, Payload=json.dumps({"do": do, "value": value}))
    payload = said["Payload"].read()
    assert not said.get("FunctionError"), payload
    return json.loads(payload)


def hostile(client: "LambdaClient", name: str, **settings: Any) -> str:
    create(client, name, HOSTILE, **({"MemorySize": 1769, "Timeout": 60} | settings))
    return name


def engine_port(platform: Platform) -> int:
    """Where the engine listens: the child of this Hearth that is one, and its sockets."""
    for pid in Path(f"/proc/{platform.pid}/task/{platform.pid}/children").read_text().split():
        if b"nats-server" in Path(f"/proc/{pid}/cmdline").read_bytes():
            links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]  # noqa: PTH115
            for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and f"socket:[{fields[9]}]" in links:
                    return int(fields[1].partition(":")[2], 16)
    pytest.fail("the engine does not listen")


def test_the_platform_is_out_of_a_functions_reach(
    eager: Platform, outcomes: dict[str, str]
) -> None:
    client = eager.client()
    create(client, "untidy", "def handler(e, c): open('/tmp/left', 'w').write('x')")
    assert not client.invoke(FunctionName="untidy").get("FunctionError")
    edge = urlsplit(eager.endpoint)
    targets = {
        "engine": ["127.0.0.1", engine_port(eager)],
        "edge": [edge.hostname, edge.port],
        "admin": str(eager.state / "run" / "admin.sock"),
        "keys": str(eager.state / "keys.json"),
        "packages": str(eager.state / "packages"),
        "other": str(uuid.uuid4()),
    }
    check(outcomes, do(client, hostile(client, "reaches"), "reach", targets))


def test_an_invoke_is_answered_once(eager: Platform, outcomes: dict[str, str]) -> None:
    client = eager.client()
    function = hostile(client, "twice")
    assert do(client, function, "answer twice") == "forged"  # it is its own, after all
    first, second = do(client, function, "second answer").split()
    assert first == "OPEN"
    check(outcomes, {"answer the same invoke twice": second})


def test_a_function_that_holds_its_runtime_api_harms_nobody(
    eager: Platform, outcomes: dict[str, str]
) -> None:
    client = eager.client()
    function, other = hostile(client, "holds"), hostile(client, "other")
    do(client, function, "hold", 200)
    assert do(client, other, "nothing") == "done"
    assert do(client, function, "nothing") == "done"
    check(outcomes, {"hold all connections of its Runtime API": "unharmed"})


def test_what_a_function_uploads_is_bounded(eager: Platform, outcomes: dict[str, str]) -> None:
    client = eager.client()
    function = hostile(client, "uploads")
    check(outcomes, {"upload without end": do(client, function, "upload", 40)})
    assert do(client, function, "nothing") == "done"


def test_a_flood_of_segments_harms_nobody(eager: Platform, outcomes: dict[str, str]) -> None:
    client = eager.client()
    function = hostile(client, "segments", TracingConfig={"Mode": "Active"})
    other = hostile(client, "beside")
    assert do(client, function, "flood", 3_000) is None
    assert do(client, other, "nothing") == "done"
    assert do(client, function, "nothing") == "done"
    check(outcomes, {"flood the X-Ray daemon's port": "unharmed"})


def test_a_durable_function_reaches_its_own_execution_alone(
    eager: Platform, outcomes: dict[str, str]
) -> None:
    client: Any = eager.client()
    victim = hostile(client, "victim", DurableConfig={"ExecutionTimeout": 60})
    hostile(client, "durable", DurableConfig={"ExecutionTimeout": 60})

    def call(function: str, other: str) -> Any:
        payload = json.dumps({"other": other})
        return client.invoke(FunctionName=function, Qualifier="$LATEST", Payload=payload)

    other = call(victim, "none")["DurableExecutionArn"]
    check(outcomes, json.loads(call("durable", other)["Payload"].read()))


def test_lines_that_look_like_the_platforms_have_no_effect(
    eager: Platform, outcomes: dict[str, str]
) -> None:
    client = eager.client()
    function, forged = hostile(client, "prints"), str(uuid.uuid4())
    lines = f"END RequestId: {forged}\nREPORT RequestId: {forged}\tDuration: 0.01 ms\t"
    lines += f"Billed Duration: 1 ms\nSTART RequestId: {forged} Version: 9\n"
    said = client.invoke(
        FunctionName=function,
        Payload=json.dumps({"do": "print", "value": lines}),
        LogType="Tail",
    )
    assert json.loads(said["Payload"].read()) == "done"
    tail = b64decode(said["LogResult"]).decode().splitlines()
    request = said["ResponseMetadata"]["RequestId"]
    assert tail[-1].startswith(f"REPORT RequestId: {request}\t")
    assert tail[-2] == f"END RequestId: {request}"
    assert [line for line in tail if forged in line]
    check(outcomes, {"print lines like START and REPORT": "no-effect"})


def test_what_is_printed_without_end_is_bounded(eager: Platform, outcomes: dict[str, str]) -> None:
    client = eager.client()
    function = hostile(client, "floods")
    said = client.invoke(
        FunctionName=function, Payload=json.dumps({"do": "print much", "value": 32}), LogType="Tail"
    )
    assert json.loads(said["Payload"].read()) == "done"
    assert len(b64decode(said["LogResult"])) <= 4096
    assert do(client, function, "nothing") == "done"
    check(outcomes, {"print without end": "bounded"})


def processes_with(marker: str) -> int:
    found = 0
    for entry_ in Path("/proc").iterdir():
        if entry_.name.isdigit():
            try:
                found += marker.encode() in (entry_ / "cmdline").read_bytes()
            except OSError:
                continue  # it has just ended
    return found


def states(platform: Platform, function: str) -> list[str]:
    rows = json.loads(platform.command("ps", "--json").stdout)
    return [row["state"] for row in rows if row["function"] == function]


def test_what_runs_on_after_an_invoke_stands_still_and_ends_with_the_sandbox(
    eager: Platform, outcomes: dict[str, str]
) -> None:
    client = eager.client()
    function, marker = hostile(client, "daemon"), uuid.uuid4().hex
    do(client, function, "daemon", marker)
    for _ in range(3):  # frozen for as long as it takes to ask, at least
        wait_until(lambda: states(eager, function) == ["frozen"], "it is frozen", 60)
    pause_s = do(client, function, "longest pause")
    found = {"go on after the invoke": "stands-still" if pause_s > 0.4 else f"{pause_s} s"}
    assert processes_with(marker) == 1
    client.delete_function(FunctionName=function)
    wait_until(lambda: not processes_with(marker), "the daemon is gone", 60)
    check(outcomes, {**found, "leave a daemon when the function is deleted": "gone"})


def test_every_row_of_the_platforms_table_was_tried(outcomes: dict[str, str]) -> None:
    if not outcomes:
        pytest.skip("run alone")
    assert outcomes.keys() == expected_of(PLATFORM).keys()
