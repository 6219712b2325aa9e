"""The rows of `make bench-cold` that are starts: one sample each, in turns with all the others.

Each is the first invoke of a function that nobody has invoked before. Raises NotHere where this
machine lacks what the row is about.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

from cold_bench import TRIES, Bench, NotHere, invoke, tag, wait_for
from cold_snapstart import HeavyFunction, NoPackage
from hearth.worker.sandboxes.oci import find_runtime
from platforms import HANDLER, MEMORY_MB, Hearth
from run import bare_start

NODE_HANDLER = "exports.handler = async (event) => ({ ok: true });\n"
GVISOR = ("--stems-min", "1")
"""A platform of its own: each kind of stem is in the way of another's."""


def floor(bench: Bench) -> float:
    return bare_start(next(bench.platform().kits()))


def stem_ready(bench: Bench) -> float:
    platform = bench.platform()
    return taking_stem(
        bench,
        platform,
        lambda name: platform.create(name, HANDLER),
        lambda: wait_for(lambda: bench.has_stem(platform), "a stem"),
    )


def taking_stem(
    bench: Bench, platform: Hearth, create: Callable[[str], None], wait: Callable[[], None]
) -> float:
    """The start of a function that has found its stem."""
    for _ in range(TRIES):
        name = bench.name()
        create(name)
        wait()
        before = bench.stems(platform).taken
        took = invoke(platform, name)
        is_taken = bench.stems(platform).taken == before + 1
        platform.delete(name)
        if is_taken:
            return took
    raise NotHere(f"{TRIES} starts in turn did not find a stem that was ready")


def node_ready(bench: Bench) -> float:
    platform, runtime = bench.platform(), node_runtime()

    def create(name: str) -> None:
        create_node(platform, name, runtime)
        if not any(kind.runtime == "node" for kind in bench.stems(platform).kinds):
            create_node(platform, f"{name}-first", runtime)  # none has been wanted yet
            invoke(platform, f"{name}-first")
            platform.delete(f"{name}-first")

    def wait() -> None:
        wait_for(lambda: bench.has_stem(platform, "node"), "a Node.js that waits")

    return taking_stem(bench, platform, create, wait)


def node_runtime() -> str:
    from hearth.runtimes import nodes

    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    for name in ("nodejs22.x", "nodejs20.x", "nodejs18.x", "nodejs24.x"):
        if nodes.find(name, folders, Path.home()) is not None:
            return name
    raise NotHere("no Node.js on this machine")


def create_node(platform: Hearth, name: str, runtime: str) -> None:
    from compat.platform import ROLE, package

    platform._client.create_function(
        FunctionName=name,
        Runtime=runtime,
        Role=ROLE,
        Handler="index.handler",
        MemorySize=MEMORY_MB,
        Code={"ZipFile": package({"index.js": NODE_HANDLER})},
    )
    while platform._client.get_function(FunctionName=name)["Configuration"]["State"] == "Pending":
        time.sleep(0.01)


def gvisor_ready(bench: Bench) -> float:
    if find_runtime("runsc") is None:
        raise NotHere("runsc is not installed")
    platform = bench.platform(*GVISOR)

    def create(name: str) -> None:
        platform.create(name, HANDLER)
        tag(platform, name, "hearth:sandbox", "runsc")

    def own() -> list[int]:
        kinds = bench.stems(platform).kinds
        return [kind.ready for kind in kinds if "runsc" in kind.runtime]

    if not own():  # none has been wanted yet
        create(name := bench.name())
        invoke(platform, name)
        platform.delete(name)
    if not own():
        raise NotHere("none: this Hearth keeps no stems of gVisor")
    return taking_stem(bench, platform, create, lambda: wait_for(lambda: any(own()), "a gVisor"))


def pool_miss(bench: Bench) -> float:
    platform, name = bench.platform("--stems-mb", "0"), bench.name()
    platform.create(name, HANDLER)
    took = invoke(platform, name)
    platform.delete(name)
    return took


def strict_exec(bench: Bench) -> float:
    platform, name = bench.platform("--stems-mb", "0"), bench.name()
    platform.create(name, HANDLER)
    tag(platform, name, "hearth:isolation", "strict")
    took = invoke(platform, name)
    platform.delete(name)
    return took


def heavy(module: str, kind: str) -> Callable[[Bench], float]:
    """A start of a function that imports it; of one function a platform, made by the first."""
    made: dict[int, HeavyFunction] = {}

    def sample(bench: Bench) -> float:
        platform = bench.platform()
        if id(platform) not in made:
            try:
                made[id(platform)] = HeavyFunction(
                    platform._client, bench.name(), lambda name: invoke(platform, name), module
                )
            except NoPackage as error:
                raise NotHere(str(error)) from error
        started: float = getattr(made[id(platform)], kind)()
        return started

    return sample


def container(tier: str) -> Callable[[Bench], float]:
    """A start in a tier that a tag names; the first, which also opens the tier, is dropped."""
    opened: set[int] = set()

    def sample(bench: Bench) -> float:
        if find_runtime(tier) is None:
            raise NotHere(f"{tier} is not installed")
        platform = bench.platform("--stems-mb", "0")
        if id(platform) not in opened:
            opened.add(id(platform))
            sample(bench)
        name = bench.name()
        platform.create(name, HANDLER)
        tag(platform, name, "hearth:sandbox", tier)
        took = invoke(platform, name)
        platform.delete(name)
        return took

    return sample


def second_invoke(bench: Bench) -> float:
    platform = bench.platform()
    invoke(platform, "first")  # it may have been frozen
    return invoke(platform, "first")
