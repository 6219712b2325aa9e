"""What is a zygote? An interpreter with everything loaded, from which sandboxes are forked.

`{interpreter} {options} zygote_process.py FD ROOM`, made by zygote_root.py: it has namespaces of
its own, no network, and no power over anything outside of them. It is single-threaded, is told no
secret, and runs no code of a function. It reads its one configuration, loads the runtime's
script, forgets where it came from, and forks for each order until the launcher goes away.

Its children are the launcher's children (CLONE_PARENT): so a zygote may be replaced, or killed, at
any time, and those that it forked live on.
"""

import gc
import importlib.util
import os
import socket
import sys
from types import ModuleType
from typing import Any, Callable  # noqa: UP035 - imports less

if __name__ == "__main__":  # executed by path: find our own package
    sys.path.append(__file__.partition("/hearth/")[0])

from hearth.worker.sandboxes import (
    confine,
    linux,
    wire,
    zygote_child,
    zygote_nest,
    zygote_pages,
)
from hearth.worker.sandboxes.zygote_child import Config

_SOURCES = "/zygote"
_REHEARSAL = "/rehearsal"
_FLAGS = (
    linux.CLONE_PARENT
    | linux.CLONE_NEWPID
    | linux.CLONE_NEWNET
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWUTS
)


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    message, fds = wire.receive(control)
    if message is None:
        os._exit(0)
    try:
        config = prepare(message, fds)
    except Exception as error:  # noqa: BLE001 - whatever a runtime's script raises
        wire.send(control, {"error": f"{type(error).__name__}: {error}"})
        os._exit(1)
    wire.send(control, {"ready": os.getpid(), "pages": len(config.pages)})
    run = serve(control, config)
    del control
    # From here on in a sandbox: what is raised is the program's, and ends this interpreter.
    try:
        run()
    except Exception as error:  # noqa: BLE001 - told as the interpreter tells it
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_SOURCES):
            trace = trace.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        sys.exit(1)


def prepare(message: dict[str, Any], fds: list[int]) -> Config:
    """Load what children need, then lock the way back. `fds`: of the reaper, if there is one."""
    if os.getpid() in zygote_child.PIDS:
        raise OSError(0, "a zygote must not have its children's pid")
    script = message["script"]
    sys.path[:] = [path for path in sys.path if not path.startswith(_SOURCES)]
    if script is not None:
        sys.path.insert(0, os.path.dirname(script))  # noqa: PTH120 - as the interpreter does
    module = None if script is None else load(script)
    rehearse = getattr(module, "rehearse", None)
    forget_ourselves()
    coerced = {name: os.environ[name] for name in os.environ if name not in message["environment"]}
    linux.detach(_SOURCES)
    os.rmdir(_SOURCES)  # noqa: PTH106 - pathlib is large, and every child would carry it
    arguments = zygote_child.argument_area()
    confine.known_capabilities()
    gc.collect()
    gc.freeze()  # or a child's first collection would copy every page
    pages = rehearsed(rehearse)
    for place in ("/dev", "/"):
        zygote_child.make_read_only(place)
    namespaces = split_mounts()
    confine.set_dumpable(dumpable=False)
    return Config(
        module=module,
        script=script,
        command=message["command"],
        environment=message["environment"],
        coerced=coerced,
        hidden=message["hidden"],
        seccomp=bytes.fromhex(message["seccomp"]),
        loaded=frozenset(name.partition(".")[0] for name in sys.modules),
        arguments=arguments,
        pages=pages,
        mount_namespaces=namespaces,
        reaper=fds[0] if fds else None,
    )


def rehearsed(rehearse: "Callable[[str], None] | None") -> "list[list[int]]":
    """None, if it fails: then pages are copied one by one."""
    if rehearse is None:
        return []
    try:
        return zygote_pages.learn(rehearse, _REHEARSAL)
    except OSError:
        return []


def split_mounts() -> tuple[int, int]:
    """A namespace with the launcher's /proc in it, and ours, without; see arrange_mounts."""
    own = "/proc/self/ns/mnt"
    with_proc = os.open(own, os.O_RDONLY)
    linux.unshare(linux.CLONE_NEWNS)
    without = os.open(own, os.O_RDONLY)
    linux.detach("/proc")
    return with_proc, without


def load(script: str) -> ModuleType:
    """Run the script's definitions, and its `preload` if it has one."""
    spec = importlib.util.spec_from_file_location("bootstrap", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    preload = getattr(module, "preload", None)
    if preload is not None:
        preload()
    return module


def forget_ourselves() -> None:
    """A function may have a package of our name; and ours is not there any more."""
    ours = [name for name in sys.modules if name.partition(".")[0] == "hearth"]
    _KEPT.extend(sys.modules.pop(name) for name in ours)
    sys.path_importer_cache.clear()


_KEPT: list[ModuleType] = []


def serve(control: socket.socket, config: Config) -> "zygote_child.Run":
    """Fork for each order. Returns in a child, which is inside its sandbox then."""
    while True:
        message, fds = wire.receive(control)
        if message is None:
            os._exit(0)
        if "nurse" in message:
            wire.send(control, {"nurse": message["nurse"], **start_nurse(control, config, fds)})
            continue
        try:
            pid, is_in_cgroup = fork(*fds[1:])
        except OSError as error:
            close(fds)
            wire.send(control, {"id": message["id"], "error": str(error)})
            continue
        if pid == 0:
            control.detach()  # its number will be closed, and then perhaps be somebody else's
            status = socket.socket(fileno=fds[0])
            return zygote_child.enter(status, config, is_in_cgroup=is_in_cgroup)
        close(fds)
        wire.send(control, {"id": message["id"], "pid": pid})


def start_nurse(control: socket.socket, config: Config, fds: "list[int]") -> "dict[str, Any]":
    """A copy of ourselves that stays as we are, to make sandboxes for the forks of one template."""
    try:
        pid = linux.clone(linux.CLONE_PARENT)
    except OSError as error:
        close(fds)
        return {"error": str(error)}
    if pid == 0:
        control.close()
        zygote_nest.nurse(socket.socket(fileno=fds[0]), fds[1], config)
    close(fds)
    return {"pid": pid}


def fork(cgroup: "int | None" = None) -> tuple[int, bool]:
    """As os.fork; and whether the child is born in the cgroup (v2). Raises OSError."""
    if cgroup is not None:
        try:
            return linux.clone(_FLAGS | linux.CLONE_INTO_CGROUP, cgroup), True
        except PermissionError:
            pass  # root's zygote is nobody: the child will write itself into it
    return linux.clone(_FLAGS), False


def close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


if __name__ == "__main__":
    main()
