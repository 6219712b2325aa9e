"""When are writes refused, and when is the server restarted?"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from fakes.virtual_time import VirtualClock, run_in_virtual_time
from hearth.engine.contract import EngineTakesNoWrites, EngineUnavailable
from hearth.engine.health import CHECK_S, FAILING_S_MIN, EngineHealth
from hearth.engine.room import TRIAL_NAME, Room, measure
from hearth.engine.server import ServerStartFailed
from hearth.engine.write_gate import WriteGate

ROOMY = 10_000_000


class Scene:
    """An engine whose disk may be full, and a server that works again after a restart."""

    def __init__(self) -> None:
        self.gate = WriteGate()
        self.is_connected = True
        self.free_bytes = ROOMY
        self.is_broken = False
        self.stays_broken = False
        self.starts_fail = 0
        self.restarts = 0
        self.health = EngineHealth(self, self, self.measure, VirtualClock())

    async def probe(self) -> None:
        if self.is_broken:
            raise EngineUnavailable("no answer")

    async def measure(self) -> Room:
        return Room(directory=Path("/state"), free_bytes=self.free_bytes)

    async def restart(self) -> None:
        self.restarts += 1
        self.is_connected = self.starts_fail == 0
        if self.starts_fail:
            self.starts_fail -= 1
            raise ServerStartFailed("no")
        self.is_broken = self.stays_broken

    async def takes_writes(self) -> bool:
        try:
            async with self.gate.write("S"):
                return True
        except EngineTakesNoWrites:
            return False


Scenario = Callable[[Scene], Awaitable[None]]


def play(scenario: Scenario) -> None:
    async def run() -> None:
        scene = Scene()
        running = asyncio.ensure_future(scene.health.run())
        await scenario(scene)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()

    run_in_virtual_time(run())


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "hearth.engine"]


def test_a_full_disk_is_said_once_and_survived(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(scene: Scene) -> None:
        await asyncio.sleep(10)
        assert await scene.takes_writes()
        scene.is_broken, scene.free_bytes = True, 0
        await asyncio.sleep(CHECK_S)
        assert not await scene.takes_writes()
        await asyncio.sleep(3600)
        assert scene.restarts == 0, "it could not come up on a full disk"
        scene.free_bytes = ROOMY
        await asyncio.sleep(3)
        assert await scene.takes_writes()
        assert scene.restarts == 1

    with caplog.at_level(logging.INFO, logger="hearth.engine"):
        play(scenario)
    assert said(caplog) == [
        ("ERROR", "engine takes no writes"),
        ("WARNING", "engine is restarted, since it takes no writes"),
        ("INFO", "engine takes writes again"),
    ]


def test_who_is_refused_is_told_the_likely_reason() -> None:
    async def scenario(scene: Scene) -> None:
        scene.is_broken, scene.free_bytes = True, 0
        await asyncio.sleep(CHECK_S + 1)
        with pytest.raises(EngineTakesNoWrites, match=r"disk is full \(0\.0 MB are free"):
            async with scene.gate.write("S"):
                pass

    play(scenario)


def test_writes_that_work_again_by_themselves_need_no_restart() -> None:
    async def scenario(scene: Scene) -> None:
        scene.is_broken = True
        await asyncio.sleep(CHECK_S + 1)
        assert not await scene.takes_writes()
        scene.is_broken = False
        await asyncio.sleep(3600)
        assert await scene.takes_writes()
        assert scene.restarts == 0

    play(scenario)


def test_a_lost_connection_is_no_reason_to_restart_or_refuse() -> None:
    async def scenario(scene: Scene) -> None:
        scene.is_broken, scene.is_connected = True, False
        await asyncio.sleep(3600)
        assert await scene.takes_writes()
        assert scene.restarts == 0

    play(scenario)


def test_a_doubt_is_looked_into_at_once() -> None:
    async def scenario(scene: Scene) -> None:
        await asyncio.sleep(CHECK_S / 2)
        scene.is_broken = True
        scene.gate.doubt("S")
        await asyncio.sleep(0.1)
        assert not await scene.takes_writes()

    play(scenario)


def test_restarts_that_do_not_help_become_rare() -> None:
    async def scenario(scene: Scene) -> None:
        scene.is_broken = scene.stays_broken = True
        await asyncio.sleep(FAILING_S_MIN)
        assert scene.restarts == 0
        await asyncio.sleep(3600)
        assert 8 <= scene.restarts <= 14

    play(scenario)


def test_a_server_that_does_not_come_up_is_tried_again() -> None:
    async def scenario(scene: Scene) -> None:
        scene.is_broken, scene.starts_fail = True, 2
        await asyncio.sleep(600)
        assert scene.restarts == 3
        assert await scene.takes_writes()

    play(scenario)


def test_room_is_measured_by_writing(tmp_path: Path) -> None:
    room = measure(tmp_path)
    assert (room.is_enough, list(tmp_path.iterdir())) == (True, [])
    (tmp_path / TRIAL_NAME).symlink_to("/dev/full")
    full = measure(tmp_path)
    assert not full.is_enough
    assert "No space left on device" in str(full)
    gone = measure(tmp_path / "none")
    assert not gone.is_enough
