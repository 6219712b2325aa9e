"""How does a Python wait for its function where it cannot be forked? It executes this, inside.

    waiter.py SCRIPT COUNT --wait=FD     SCRIPT: of its kind (see contract.ZygoteKind), or `-` for
                                         none; COUNT: of the arguments of its kind's command

It loads what every function needs, says on FD that it is ready, and reads one packet there: what it
is for (a BindOrder's content). The code is in its place by then. It becomes that program in the
same interpreter, as a fork of a zygote does, or executes it where that would not be the same.

Runs where only the standard library is, and leaves nothing of its own to be found by the function.
"""

import gc
import importlib.util
import json
import os
import sys
import time
from types import ModuleType
from typing import Any, Callable, NoReturn  # noqa: UP035 - Python 3.8 also runs this

ORDER_BYTES_MAX = 256 << 10
START_NAMES = ("LANG", "LANGUAGE", "NLSPATH", "LOCPATH", "GCONV_PATH", "SSLKEYLOGFILE")
START_PREFIXES = ("PYTHON", "LD_", "LC_", "GLIBC_", "MALLOC_", "OPENSSL_", "SSL_CERT_")
CODE = ("/var/task", "/opt/python")
COERCED = "LC_CTYPE"
"""What the interpreter itself sets, if nothing says which characters there are."""

Run = Callable[[], Any]


def main(script: "str | None", count: int, descriptor: int) -> None:
    module = None if script is None else load(script)
    for step in ("preload", "warm"):
        getattr(module, step, _nothing)()
    environment = {name: os.environ[name] for name in os.environ if is_read_at_start(name)}
    loaded = frozenset(name.partition(".")[0] for name in sys.modules)
    gc.collect()
    os.write(descriptor, b"ready")
    packet = os.read(descriptor, ORDER_BYTES_MAX)
    os.close(descriptor)
    if not packet:
        os._exit(1)
    order = json.loads(packet)
    argv, rest = order["argv"], order["argv"][count:]
    prepare(order)
    if is_other(order, environment, loaded if module else frozenset()):
        execute(argv, order["environment"])
    run = become(argv, rest, order["environment"], module)
    try:
        run()
    except Exception as error:  # noqa: BLE001 - told as the interpreter tells it
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        sys.exit(1)


def _nothing() -> None:
    return None


def load(script: str) -> ModuleType:
    """Run the script's definitions."""
    own = os.path.dirname(__file__)  # noqa: PTH120 - imports less
    directory = os.path.dirname(script)  # noqa: PTH120
    sys.path[:] = [directory, *(path for path in sys.path if path not in {own, directory})]
    spec = importlib.util.spec_from_file_location("bootstrap", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_read_at_start(name: str) -> bool:
    return name in START_NAMES or name.startswith(START_PREFIXES)


def is_other(order: "dict[str, Any]", own: "dict[str, str]", loaded: "frozenset[str]") -> bool:
    """What an interpreter reads when it starts, this one cannot be told any more; and it must not
    have loaded a module that the function brings along."""
    start = {n: v for n, v in order["environment"].items() if is_read_at_start(n)}
    if start != {n: v for n, v in own.items() if n != COERCED or n in start}:
        return True
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for directory in (*CODE, f"/opt/python/lib/{version}/site-packages") if loaded else ():
        try:
            names = os.listdir(directory)  # noqa: PTH208
        except OSError:
            continue
        if any(name.partition(".")[0] in loaded for name in names):
            return True
    return False


def prepare(order: "dict[str, Any]") -> None:
    """What holds for whatever it becomes."""
    if order["rlimits"]:
        import resource

        for kind, value in order["rlimits"]:
            resource.setrlimit(kind, (value, value))
    os.chdir(order["working_directory"])
    order["environment"]["PWD"] = order["working_directory"]


def become(
    argv: "list[str]", rest: "list[str]", environment: "dict[str, str]", module: "ModuleType | None"
) -> Run:
    """Make this interpreter look as if it had just been started with these."""
    if COERCED in os.environ:
        environment.setdefault(COERCED, os.environ[COERCED])
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[:] = argv
    if rest[0] == "-c":
        sys.argv[:] = ["-c", *rest[2:]]
        return as_main(rest[1])
    assert module is not None
    sys.argv[:] = rest
    module.__name__ = "__main__"
    sys.modules["__main__"] = module
    run: Run = module.main
    return run


def as_main(code: str) -> Run:
    main_module = ModuleType("__main__")
    main_module.__dict__["__builtins__"] = sys.modules["builtins"]
    sys.modules["__main__"] = main_module
    return lambda: exec(compile(code, "<string>", "exec"), main_module.__dict__)  # noqa: S102


def execute(argv: "list[str]", environment: "dict[str, str]") -> NoReturn:
    try:
        os.execve(argv[0], argv, environment)  # noqa: S606
    except OSError as error:
        os.write(2, os.fsencode(f"{argv[0]}: {error.strerror}\n"))
    os._exit(1)


if __name__ == "__main__":
    _script, _count, _wait = sys.argv[1:4]
    main(None if _script == "-" else _script, int(_count), int(_wait.rpartition("=")[2]))
