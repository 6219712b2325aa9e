"""What are the rows of `make bench-cold`? One entry each in ROWS: new ones go there.

A row measures by itself, on platforms that it shares with the others (cold_bench.py), or raises
NotHere with the reason, which is printed in its place. `sample` rows are asked for one sample at a
time, all of them and the floor in turns, so that what disturbs the machine disturbs all alike.
"""

from collections.abc import Callable
from dataclasses import dataclass

from cold_bench import Bench, Figures
from cold_starts import (
    container,
    floor,
    gvisor_ready,
    heavy,
    node_ready,
    pool_miss,
    second_invoke,
    stem_ready,
    strict_exec,
)
from cold_wholes import burst, freeze_and_thaw, idle_memory, sustained, warm


@dataclass(frozen=True)
class Row:
    key: str
    what: str
    target: str
    sample: Callable[[Bench], float] | None = None
    """Milliseconds; asked for in turns with the others."""
    whole: Callable[[Bench], Figures] | None = None


ROWS = (
    Row("floor", "floor: AWS's client starts, bare", "-", sample=floor),
    Row("stem", "Python hello, stem ready", "p50 5 p99 20", sample=stem_ready),
    Row("miss", "pool miss: a zygote's fork", "p50 12 p99 25", sample=pool_miss),
    Row("strict", "strict: fresh exec", "p50 45", sample=strict_exec),
    Row("second", "(the second invoke)", "-", sample=second_invoke),
    Row("snapstart", "SnapStart, numpy, one waits", "p50 12", sample=heavy("numpy", "restored")),
    Row("pandas", "SnapStart, pandas, one waits", "p50 22", sample=heavy("pandas", "restored")),
    Row("numpy", "(numpy, initialised then)", "-", sample=heavy("numpy", "initialised")),
    Row("node", "Node.js, stem ready", "p50 8", sample=node_ready),
    Row("gvisor", "gVisor, stem ready", "p50 30", sample=gvisor_ready),
    Row("runc", "(a container of runc)", "-", sample=container("runc")),
    Row("crun", "(a container of crun)", "-", sample=container("crun")),
    Row("runsc", "(gVisor, its kernel started)", "-", sample=container("runsc")),
    Row("sustained", "new Python sandboxes, one core", ">= 75 /s", whole=sustained),
    Row("memory", "idle Python sandbox, all in", "<= 5 MiB", whole=idle_memory),
    Row("freeze", "freeze + thaw", "<= 0.5", whole=freeze_and_thaw),
    Row("warm", "warm, signed / bare, AWS's client", ">= 0.6", whole=warm),
    Row("burst", "idle sandboxes, then as many invokes", "all answered", whole=burst),
)
