"""What the worker makes of a supervisor's words, also of words that are not its own."""

from pathlib import Path

from fakes.inside import Answer, ask
from fakes.runtime import FakeSandbox
from hearth.worker.sandboxes.contract import Exit, ExitKind, Mount, Program
from hearth.worker.supervision import (
    OPT,
    RUNTIME,
    ExtensionProgram,
    Supervision,
    find_extensions,
)

PROGRAM = Program(argv=("/run",), environment={"A": "1"}, working_directory="/w", mounts=())
EXTENSION = ExtensionProgram(name="ext", path="/opt/extensions/ext", environment={"B": "2"})


class Scene:
    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.supervision = Supervision(self)
        self.path = self.supervision.program(FakeSandbox(), PROGRAM).argv[-1]

    def supervised_failed(self, name: str, errno: int) -> None:
        self.told.append(("failed", name, errno))

    def supervised_exited(self, name: str, exit_: Exit) -> None:
        self.told.append(("exited", name, exit_))

    def supervised_wrote(self, name: str, lines: list[bytes]) -> None:
        self.told.append(("wrote", name, lines))

    def call(self, method: str, name: str, body: object = None) -> Answer:
        return ask(self.supervision.handle, method, f"{self.path}/{name}", body)


def test_orders_wait_for_the_supervisor_and_the_supervisor_for_orders() -> None:
    scene = Scene()
    scene.supervision.start_extension(EXTENSION)
    scene.supervision.start_runtime(PROGRAM)
    first, second = scene.call("GET", "orders").json
    assert (first["name"], first["argv"], first["captured"], first["environment"]) == (
        "ext",
        ["/opt/extensions/ext"],
        True,
        {"B": "2"},
    )
    assert (second["name"], second["captured"], second["directory"]) == (RUNTIME, False, "/w")
    assert second["environment"] == {"A": "1", "PWD": "/w"}
    waiting = scene.call("GET", "orders")
    assert waiting.status is None
    scene.supervision.signal("ext", 9)
    assert waiting.json == [{"do": "signal", "name": "ext", "signal": 9}]


def test_lines_and_ends_are_told_once() -> None:
    scene = Scene()
    scene.supervision.start_extension(EXTENSION)
    scene.call("POST", "output?ext", b"one\ntw")
    for _ in range(2):
        scene.call("POST", "exited", {"name": "ext", "code": -9})
    assert scene.told == [
        ("wrote", "ext", [b"one\n"]),
        ("wrote", "ext", [b"tw"]),
        ("exited", "ext", Exit(ExitKind.SIGNALED, 9)),
    ]
    assert scene.supervision.alive == set()


def test_what_was_never_executed_is_told_as_such() -> None:
    scene = Scene()
    scene.supervision.start_extension(EXTENSION)
    scene.call("POST", "failed", {"name": "ext", "errno": 13})
    scene.call("POST", "exited", {"name": "ext", "code": 1})
    assert scene.told == [("failed", "ext", 13)]


def test_lies_are_refused_or_without_effect() -> None:
    scene = Scene()
    assert scene.call("POST", "exited", b"\xff{").status == 400
    assert scene.call("POST", "exited", {"name": 5}).status == 400
    assert scene.call("POST", "exited", {"name": "nobody"}).status == 202
    assert scene.call("POST", "output?nobody", b"x\n").status == 202
    assert scene.call("POST", "nothing").status == 404
    assert not ask(scene.supervision.handle, "GET", "/hearth/guess/orders").status
    assert scene.told == []


def test_extensions_are_the_files_in_opt_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "extensions"
    (folder / "directory").mkdir(parents=True)
    for name in ("b", "a"):
        (folder / name).touch()
    mounts = (Mount(Path("/nowhere"), "/var/task"), Mount(tmp_path, OPT))
    found = find_extensions(FakeSandbox(), mounts, {"A": "1"})
    assert [(e.name, e.path) for e in found] == [
        ("a", "/opt/extensions/a"),
        ("b", "/opt/extensions/b"),
    ]
    assert find_extensions(FakeSandbox(), mounts[:1], {}) == ()


def test_the_extensions_of_all_layers_are_found_once(tmp_path: Path) -> None:
    for layer, name in (("top", "a"), ("top", "b"), ("low", "a"), ("low", "c")):
        (tmp_path / layer / "extensions").mkdir(parents=True, exist_ok=True)
        (tmp_path / layer / "extensions" / name).touch()
    (tmp_path / "low" / "extensions" / "b").mkdir()
    mount = Mount(tmp_path / "top", OPT, (tmp_path / "low",))
    found = find_extensions(FakeSandbox(), (mount,), {})
    assert [extension.name for extension in found] == ["a", "b", "c"]
