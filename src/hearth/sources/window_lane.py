"""How does a lane keep a state over a tumbling window? From batch to batch, until the window ends.

Windows are as long as the mapping says, and begin at multiples of that since the epoch; a record
belongs to the one in which the stream got it. Each batch is of one window, and its function answers
with a new state. When the window is over (a later record came, or the shard has nothing more and
the clock says so), the function is invoked once more, without records; then the state is gone.

The state is on disk with the checkpoint. One that has grown too large ends its window early.
Source: https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-windows.html
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from hearth.sources.attempts import Batch
from hearth.sources.lane import Lane
from hearth.sources.streams import StreamRecord, Window

STATE_BYTES_MAX: Final = 500_000
"""What an entry of the engine holds, and something beside it."""
SLACK_MS: Final = 1_500
"""A record may be dated back by so much: DynamoDB counts whole seconds."""


class WindowLane(Lane):
    """Of a shard without others."""

    _is_final = False

    async def run(self) -> None:
        while not self._stopping.is_set():
            if self._is_over():
                await self._close()
                continue
            records = await self._gather()
            if self._stopping.is_set():
                return
            if records:
                await self._process(Batch(records))
            elif self._is_last and not self._waiting:
                if self.window is None:
                    return
                await self._close()

    def kept_window(self) -> Window | None:
        """Without a state that is too large: it is for the invoke that comes next, and for no
        other; a kill in between loses it."""
        window = self.window
        if window is not None and len(window.state) > STATE_BYTES_MAX:
            return replace(window, state="{}")
        return window

    def _is_over(self) -> bool:
        window = self.window
        if window is None:
            return False
        if len(window.state) > STATE_BYTES_MAX:
            return True
        if self._waiting:
            return self._waiting[0].arrived_ms >= window.end_ms
        return self.caught_up_ms >= window.end_ms + SLACK_MS

    async def _gather(self) -> tuple[StreamRecord, ...]:
        """Of one window; nothing if it may be over."""
        while not self._waiting:
            if self._is_last or self._stopping.is_set() or self._is_over():
                return ()
            await self._wait(None)
        if self._is_over():
            return ()
        end_s = self._clock.monotonic_s() + self._mapping.window_s
        self.window = self.window or self._window_of(self._waiting[0])
        while not (self._is_full() or self._is_last or self._stopping.is_set()):
            left_s = end_s - self._clock.monotonic_s()
            if left_s <= 0 or self._waiting[-1].arrived_ms >= self.window.end_ms:
                break
            await self._wait(left_s)
        return self._take()

    def _take(self) -> tuple[StreamRecord, ...]:
        window = self.window
        assert window is not None, "opened by its first record"
        taken = super()._take()
        mine = [record for record in taken if record.arrived_ms < window.end_ms]
        for record in reversed(taken[len(mine) :]):
            self._waiting.appendleft(record)
        return tuple(mine)

    def _window_of(self, record: StreamRecord) -> Window:
        length_ms = self._mapping.tumbling_s * 1000
        start_ms = record.arrived_ms // length_ms * length_ms
        return Window(start_ms, start_ms + length_ms)

    async def _close(self) -> None:
        """The last invoke of the window; it is tried as batches are."""
        self._is_final = True
        try:
            await self._process(Batch(()))
        finally:
            self._is_final = False
        if not self._stopping.is_set():
            self.window = None
            await self._done(())

    def _payload(self, batch: Batch) -> bytes:
        window = self.window
        assert window is not None
        members: dict[str, Any] = {
            "Records": [msgspec.Raw(record.record) for record in batch.records],
            "window": {"start": _shown(window.start_ms), "end": _shown(window.end_ms)},
            "state": msgspec.Raw(window.state.encode()),
            "shardId": self._shard,
            "eventSourceARN": self._mapping.source_arn,
            "isFinalInvokeForWindow": self._is_final,
            "isWindowTerminatedEarly": self._is_final and len(window.state) > STATE_BYTES_MAX,
        }
        return msgspec.json.encode(members)

    def _takes(self, _answer: bytes) -> bool:
        """It must have a state, but for the last one."""
        if self._is_final:
            return True
        try:
            raw = msgspec.json.decode(_answer, type=_Answer).state
            state = bytes(raw).decode()  # what is left raw was not looked at for UTF-8
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        if not state.lstrip().startswith("{"):
            return False
        assert self.window is not None
        self.window = replace(self.window, state=state)
        return True


class _Answer(msgspec.Struct):
    state: msgspec.Raw


def _shown(epoch_ms: int) -> str:
    return f"{datetime.fromtimestamp(epoch_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
