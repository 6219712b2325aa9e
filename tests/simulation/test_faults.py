"""A fleet under random, seeded faults: what must hold whatever happens."""

import asyncio
from dataclasses import replace

import pytest

from fakes.invokes import function_version
from fakes.worker import Habits
from hearth.model.functions import configuration_id
from simulation.world import World, play


@pytest.mark.parametrize("seed", range(3))
def test_hundreds_of_workers_and_seeded_faults_break_no_invariant(seed: int) -> None:
    habits = Habits(
        start_s=(0.05, 1.0),
        run_s=(0.001, 0.5),
        finish_s=(0.0, 0.08),
        start_fails=0.05,
        run_raises=0.02,
        dies_finishing=0.02,
        memory_mb=1024,
    )

    async def scenario(w: World) -> None:
        names = [f"f{number}" for number in range(20)]
        for name in names:
            w.deploy(function_version(name, memory_mb=w.rng.choice([128, 512, 2048])))
        faults = asyncio.create_task(trouble(w, names))
        await asyncio.gather(*(client(w, names) for _ in range(300)))
        faults.cancel()
        assert w.audit.outcomes.total() > 2_500
        assert w.audit.outcomes["ok"] > 0.5 * w.audit.outcomes.total()
        assert w.audit.outcomes["TooManyRequestsException"] > 100, "the limit was never tested"

    play(scenario, seed=seed, workers=200, limit=220, keepalive_s=10.0, habits=habits)


async def client(w: World, names: list[str]) -> None:
    """Ten invokes, one after the other; now and then it loses patience."""
    for _ in range(10):
        name = w.rng.choice(names[: w.rng.randrange(1, len(names) + 1)])
        patience_s = 0.2 if w.rng.random() < 0.1 else None
        try:
            async with asyncio.timeout(patience_s):
                await w.attempt(name)
        except TimeoutError:
            w.audit.outcomes["gave up"] += 1
        await asyncio.sleep(w.rng.uniform(0.0, 0.2))


async def trouble(w: World, names: list[str]) -> None:
    """Idle sandboxes crash, functions are updated, workers are drained or vanish."""
    for turn in range(10_000):
        await asyncio.sleep(0.05)
        worker = w.rng.choice(list(w.workers.values()))
        idle = [s for s, found in worker.sandboxes.items() if not (found.is_busy or found.is_dead)]
        if idle:
            worker.crash(w.rng.choice(idle))
        if turn % 10 == 0:
            name = w.rng.choice(names)
            old = next(f for f in w.functions.values() if f.key.name == name)
            new = replace(old, revision_id=f"{name}-{turn}")
            w.deploy(new)
            w.manager.retire(new.key, keep={configuration_id(new)})
        if turn % 20 == 0:
            w.placement.drain(worker.id)
        if turn % 20 == 10:
            worker.vanish()
            w.lose(worker)
