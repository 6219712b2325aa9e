"""make bench-cold: what a start costs, row by row of the promise, with its target beside it.

All on one core, the client too. A sample is a function that nobody has invoked before; the kinds of
starts and the floor (AWS's client started bare) take turns, so judge by the last column, the ratio
to the floor of the same run. What a row measures stands in cold_starts.py
and cold_wholes.py; what this machine lacks is named in its row.

    python bench/cold.py [--samples 20] [--core N] [--rows stem,miss,...] [--burst 500]
"""

import argparse
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from cold_bench import Bench, NotHere, invoke
from cold_rows import ROWS, Row
from platforms import machine

__all__ = ["invoke", "show"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--burst", type=int, default=500)
    parser.add_argument("--rows", default="", help="only these: " + ", ".join(r.key for r in ROWS))
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    wanted = set(options.rows.split(",")) if options.rows else {row.key for row in ROWS}
    if unknown := wanted - {row.key for row in ROWS}:
        sys.exit(f"no such rows: {', '.join(sorted(unknown))}")
    rows = [row for row in ROWS if row.key in wanted]
    print(f"{machine()}; all on core {options.core}, {options.samples} samples, milliseconds\n")
    print(f"{'':38} {'target':>14} {'p50':>8} {'p99':>8} {'/ floor':>8}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hearth-cold-")))
        bench = Bench(folder, stack, options.burst)
        floor = in_turns(bench, [row for row in rows if row.sample is not None], options.samples)
        for row in rows:
            if row.whole is not None:
                print(line(row, measured(bench, row, floor)), flush=True)


def in_turns(bench: Bench, rows: list[Row], samples: int) -> float | None:
    """The floor's median, if it was measured."""
    times: dict[str, list[float]] = {row.key: [] for row in rows}
    missing: dict[str, str] = {}
    for _ in range(samples):
        for row in rows:
            if row.key in missing or row.sample is None:
                continue
            try:
                times[row.key].append(row.sample(bench))
            except NotHere as error:
                missing[row.key] = str(error)
    floor = statistics.median(times["floor"]) if times.get("floor") else None
    for row in rows:
        if row.key in missing:
            print(line(row, f"   {missing[row.key]}"))
            continue
        ratio = of_floor(statistics.median(times[row.key]), floor)
        print(line(row, f"{show(times[row.key], 8)} {ratio}"), flush=True)
    return floor


def of_floor(each_ms: float, floor: float | None) -> str:
    return "" if floor is None else f"{each_ms / floor:8.2f}"


def measured(bench: Bench, row: Row, floor: float | None) -> str:
    assert row.whole is not None
    try:
        figures = row.whole(bench)
    except NotHere as error:
        return f"   {error}"
    if figures.samples:
        ratio = of_floor(statistics.median(figures.samples), floor)
        return f"{show(figures.samples, 8)} {ratio}"
    ratio = (
        "" if figures.each_ms is None else f", {of_floor(figures.each_ms, floor).strip()} of floor"
    )
    return f"   {figures.text}{ratio}"


def line(row: Row, text: str) -> str:
    return f"{row.what:38} {row.target:>14} {text}"


def show(times: list[float], width: int = 7) -> str:
    ordered = sorted(times)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"{statistics.median(ordered):{width}.2f} {p99:{width}.2f}"


if __name__ == "__main__":
    main()
