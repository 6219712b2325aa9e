"""The row of `make bench-cold` for gVisor sandboxes that wait.

One sample is the first invoke of a new function with the tag `hearth:sandbox=runsc` that finds one.
"""

from typing import TYPE_CHECKING, Any

from hearth.worker.sandboxes.oci import find_runtime
from run import HANDLER, Hearth

if TYPE_CHECKING:
    from cold_rows import Bench


def gvisor_stem_ready(bench: "Bench") -> float:
    """Milliseconds. On a platform of its own: each kind of stem is in the way of another's."""
    from cold_rows import NotHere, invoke, wait_for

    if find_runtime("runsc") is None:
        raise NotHere("runsc is not installed")
    platform = bench.platform("--stems-min", "1")
    if not _stems(bench, platform):  # none has been wanted yet
        name = bench.name()
        _create(platform, name)
        invoke(platform, name)
        platform.delete(name)
    name = bench.name()
    _create(platform, name)
    wait_for(lambda: any(kind["ready"] for kind in _stems(bench, platform)), "a stem of gVisor")
    before = bench.stems(platform)["taken"]
    took = invoke(platform, name)
    if bench.stems(platform)["taken"] != before + 1:
        raise NotHere("the start did not find its stem")
    platform.delete(name)
    return took


def _create(platform: Hearth, name: str) -> None:
    platform.create(name, HANDLER)
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    platform._client.tag_resource(Resource=arn, Tags={"hearth:sandbox": "runsc"})


def _stems(bench: "Bench", platform: Hearth) -> list[Any]:
    return [kind for kind in bench.stems(platform)["kinds"] if "runsc" in kind["runtime"]]
