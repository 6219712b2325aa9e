"""make bench-events: how fast are events accepted and begun? Beside the engine's own rates.

    python bench/events.py [--seconds 3] [--turns 3]

The floor is the same nats-server with the same streams and fsync of every message: publishes of
1 KB, pipelined from one client of Hearth's own connection, and fetches with acknowledgements. The
floor and Hearth take turns; medians are printed. These machines are noisy: trust the ratios.
"""

import argparse
import asyncio
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))

from hearth.engine.nats import NatsEngine
from hearth.engine.server import EmbeddedServer
from hearth.events.places import PARTITIONS, QUEUE_NAMES, partition_of
from hearth.model.ids import DEFAULT_ACCOUNT, DEFAULT_REGION, FunctionKey, FunctionName
from storm import Accepted, Client, Hearth, ended, percentile, runs

BODY = bytes(300)  # what an event with a small payload is in its queue
WINDOW = 64
PROBES = 100
WARM_UP_S = 2.0
DISPATCHED = 2_000


async def engine_rates(folder: Path, seconds: float) -> tuple[float, float, float]:
    """Publishes a second, one at a time and pipelined; takes with acknowledgements a second."""
    server = EmbeddedServer(folder)
    await server.start()
    engine = await NatsEngine.connect(server.url, server.user, server.password)
    try:
        queues = [await engine.queue(name) for name in QUEUE_NAMES]

        async def publish(number: int, end_s: float) -> int:
            done = 0
            while time.monotonic() < end_s:
                queue = queues[number % len(queues)]
                await queue.publish(f"new.{number % 16}", BODY, secrets.token_hex(8))
                done += 1
            return done

        began_s = time.monotonic()
        single = await publish(0, began_s + seconds) / (time.monotonic() - began_s)
        began_s = time.monotonic()
        done = await asyncio.gather(*(publish(n, began_s + seconds) for n in range(WINDOW)))
        pipelined = sum(done) / (time.monotonic() - began_s)

        async with queues[0].consume("bench", "new") as consumer:
            number = sum((await queues[0].counts()).values())
            left, began_s = number, time.monotonic()
            while left:
                for taken in await consumer.take(64):
                    await taken.ack()
                    left -= 1
            while await queues[0].counts():
                await asyncio.sleep(0.005)
            acks = number / (time.monotonic() - began_s)
    finally:
        await engine.close()
        await server.stop()
    return single, pipelined, acks


def one_of_each_partition() -> list[str]:
    """Names of functions whose events go to all streams, as the floor's do."""
    found: dict[int, str] = {}
    for number in range(10_000):
        name = f"bench-{number}"
        key = FunctionKey(DEFAULT_ACCOUNT, DEFAULT_REGION, FunctionName(name))
        found.setdefault(partition_of(key), name)
    assert len(found) == PARTITIONS
    return list(found.values())


async def busy_functions(hearth: Hearth, names: list[str], trace: Path) -> None:
    """Functions that are busy for long, and whose events wait in lanes: nothing else is to do but
    to accept more of them."""
    await asyncio.gather(*(asyncio.to_thread(hearth.create, name, trace, 25.0) for name in names))
    client = hearth.client()
    for name in names:
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    await accept_rate(hearth, names, WINDOW, WARM_UP_S)
    await asyncio.sleep(WARM_UP_S)


async def accept_rate(hearth: Hearth, names: list[str], clients: int, seconds: float) -> float:
    accepted = Accepted()
    connections = [
        Client(hearth, names[number % len(names)], accepted) for number in range(clients)
    ]
    end_s = time.monotonic() + seconds

    async def work(client: Client) -> None:
        while time.monotonic() < end_s:
            await client.send()
        client.close()

    began_s = time.monotonic()
    await asyncio.gather(*(work(client) for client in connections))
    return len(accepted.at_s) / (time.monotonic() - began_s)


async def until_ran(trace: Path, number: int) -> None:
    while len(runs(trace)) < number:
        await asyncio.sleep(0.05)


async def starts_s(hearth: Hearth, trace: Path) -> list[float]:
    """From the 202 to the handler, of one event at a time."""
    accepted = Accepted()
    client = Client(hearth, "bench-quick", accepted)
    for _ in range(PROBES + 5):
        while not await client.send():
            pass
        await asyncio.sleep(0.02)
    while accepted.at_s.keys() - runs(trace).keys():
        await asyncio.sleep(0.05)
    ran = runs(trace)
    delays = [min(ran[request]) - moment for request, moment in accepted.at_s.items()]
    return [max(0.0, delay) for delay in delays[5:]]


async def dispatch_rate(hearth: Hearth, folder: Path) -> float:
    """Runs a second of a function that does nothing, from a queue that was full."""
    trace = folder / "noop"
    await asyncio.to_thread(hearth.create, "bench-noop", trace)
    hearth.client().put_function_concurrency(
        FunctionName="bench-noop", ReservedConcurrentExecutions=4
    )
    accepted = Accepted()
    clients = [Client(hearth, "bench-noop", accepted) for _ in range(WINDOW)]
    left = iter(range(DISPATCHED))

    async def work(client: Client) -> None:
        for _ in left:
            await client.send()

    await asyncio.gather(*(work(client) for client in clients))
    sent_s, ran_before = time.time(), len(runs(trace))
    await until_ran(trace, len(accepted.at_s))
    last_s = max(max(times) for times in runs(trace).values())
    return (len(accepted.at_s) - ran_before) / max(last_s - sent_s, 0.001)


async def bench(folder: Path, seconds: float, turns: int) -> None:
    rows: dict[str, list[float]] = {}

    def note(name: str, figure: float) -> None:
        rows.setdefault(name, []).append(figure)

    for turn in range(turns):
        single, pipelined, acks = await engine_rates(folder / f"engine-{turn}", seconds)
        note("engine: publishes/s, one at a time", single)
        note("engine: publishes/s, pipelined", pipelined)
        note("engine: takes and acknowledgements/s", acks)
        (home := folder / f"hearth-{turn}").mkdir()
        hearth, trace = Hearth(home / "state", home / "hearth.log"), home / "quick"
        with ended(hearth):
            await hearth.start()
            await asyncio.to_thread(hearth.create, "bench-quick", trace)
            delays = await starts_s(hearth, trace)
            note("202 to start, idle, p50 ms", percentile(delays, 0.5) * 1000)
            note("202 to start, idle, p99 ms", percentile(delays, 0.99) * 1000)
            note("runs/s of a function that does nothing", await dispatch_rate(hearth, home))
            names = one_of_each_partition()
            await busy_functions(hearth, names, home / "none")
            note("accepted/s, 1 client", await accept_rate(hearth, names, 1, seconds))
            note("accepted/s, 64 clients", await accept_rate(hearth, names, WINDOW, seconds))
            await hearth.kill()
        print(f"turn {turn + 1}: " + ", ".join(f"{n} {r[-1]:.1f}" for n, r in rows.items()))
    print()
    medians = {name: statistics.median(figures) for name, figures in rows.items()}
    for name, median in medians.items():
        print(f"{name:42} {median:10.1f}   ({min(rows[name]):.1f} to {max(rows[name]):.1f})")
    ratio = medians["accepted/s, 64 clients"] / medians["engine: publishes/s, pipelined"]
    print(f"{'accepted / published, pipelined':42} {ratio:10.2f}   (wanted: at least 0.60)")
    ratio = medians["accepted/s, 1 client"] / medians["engine: publishes/s, one at a time"]
    print(f"{'accepted / published, one at a time':42} {ratio:10.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hearth-bench-") as folder:
        asyncio.run(bench(Path(folder), options.seconds, options.turns))


if __name__ == "__main__":
    main()
