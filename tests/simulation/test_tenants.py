"""No environment ever serves two tenants, whatever starts, dies, ages or is replaced meanwhile."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.invokes import function_version, invoke_call
from fakes.worker import Habits
from hearth.model.errors import ServiceError
from hearth.model.functions import configuration_id
from simulation.world import World, play

TENANTS = ("blue", "green", "Blue")
FUNCTION = function_version(per_tenant=True, memory_mb=1024)


@dataclass(frozen=True)
class Step:
    tenants: tuple[str, ...]
    """One invoke of each, all at a time."""
    pause_s: float
    update: bool


STEPS = st.lists(
    st.builds(
        Step,
        st.lists(st.sampled_from(TENANTS), min_size=1, max_size=8).map(tuple),
        st.sampled_from([0.0, 0.02, 0.2, 30.0]),
        st.booleans(),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(STEPS)
def test_no_environment_serves_two_tenants(steps: list[Step]) -> None:
    served: defaultdict[bytes, set[str]] = defaultdict(set)

    async def scenario(w: World) -> None:
        w.deploy(FUNCTION)

        async def invoke(tenant: str) -> None:
            try:
                result = await w.invoker.invoke(invoke_call("f", tenant=tenant))
            except ServiceError:
                return
            served[result.payload].add(tenant)

        async with asyncio.TaskGroup() as group:
            for number, step in enumerate(steps):
                for tenant in step.tenants:
                    group.create_task(invoke(tenant))
                await asyncio.sleep(step.pause_s)
                if step.update:
                    new = replace(FUNCTION, revision_id=f"revision-{number}")
                    w.deploy(new)
                    w.manager.retire(new.key, keep={configuration_id(new)})

    habits = Habits(
        start_s=(0.01, 0.3), run_s=(0.001, 1.0), run_raises=0.1, start_fails=0.1, memory_mb=2048
    )
    play(scenario, keepalive_s=20.0, habits=habits)  # room for 16, so that idle ones are evicted
    assert all(len(tenants) == 1 for tenants in served.values()), served


def test_a_tenant_keeps_its_environment_and_another_gets_a_new_one() -> None:
    async def scenario(w: World) -> None:
        w.deploy(FUNCTION)
        took = [
            (await w.invoker.invoke(invoke_call("f", tenant=tenant))).payload
            for tenant in ("blue", "green", "blue", "green")
        ]
        assert took[:2] == took[2:]
        assert took[0] != took[1]
        w.manager.retire(FUNCTION.key, keep={configuration_id(FUNCTION)})
        assert w.sandboxes() == 2, "what is still of the configuration stays, whoever it serves"
        assert sorted(row.tenant or "" for row in w.manager.sandboxes()) == ["blue", "green"]
        w.manager.retire(FUNCTION.key)
        await asyncio.sleep(1.0)
        assert w.sandboxes() == 0

    play(scenario)
