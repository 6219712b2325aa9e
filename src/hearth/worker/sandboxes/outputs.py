"""How is a pipe read to its end on the event loop?"""

import asyncio
import contextlib
import os
from typing import Final

_BYTES_MAX: Final = 64 << 10


async def read_to_end(fd: int) -> bytes:
    """What comes out of the non-blocking `fd` (64 KiB of it at most), which is then closed."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    data = bytearray()

    def read() -> None:
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(fd, _BYTES_MAX):
                data.extend(chunk[: _BYTES_MAX - len(data)])
            loop.remove_reader(fd)
            if not ended.done():
                ended.set_result(None)

    loop.add_reader(fd, read)
    try:
        await ended
    finally:
        loop.remove_reader(fd)
        os.close(fd)
    return bytes(data)
