"""How many writes of one queue are under way at a time?"""

import asyncio

from hearth.engine.nats_connection import Connection
from hearth.engine.nats_queue import WRITES_MAX, NatsQueue


def test_a_queue_is_busy_while_the_next_write_would_wait() -> None:
    async def main() -> None:
        under_way = 0
        may_end = asyncio.Event()

        async def publish(stream: str, subject: str, body: bytes, headers: dict[str, str]) -> int:
            nonlocal under_way
            under_way += 1
            await may_end.wait()
            under_way -= 1
            return 1

        queue = NatsQueue(Connection(1.0, lambda: None), publish, "TEST")
        seen: list[bool] = []
        async with asyncio.TaskGroup() as writers:
            for number in range(WRITES_MAX):
                seen.append(queue.is_busy)
                writers.create_task(queue.publish("new.1", b"{}", str(number)))
                await asyncio.sleep(0)
            seen.append(queue.is_busy)
            waiting = writers.create_task(queue.publish("new.1", b"{}", "one more"))
            await asyncio.sleep(0)
            assert under_way == WRITES_MAX
            assert not waiting.done()
            may_end.set()
        seen.append(queue.is_busy)
        assert seen == [*[False] * WRITES_MAX, True, False]

    asyncio.run(main())
