"""What do `hearth` and `python -m hearth` do first? They see to it that Ctrl-C is quiet at once.

Importing the commands takes a moment, in which Python would answer Ctrl-C with a traceback.
"""

import gc
import os
import signal
from types import FrameType
from typing import Final

EXIT_INTERRUPTED: Final = 128 + signal.SIGINT


def main() -> None:
    """The console script."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # else somebody has had us ignore it
        signal.signal(signal.SIGINT, _end)
    gc.disable()  # nothing of an import is garbage
    from hearth.cli.main import main as command

    gc.freeze()  # nor ever
    gc.enable()
    signal.signal(signal.SIGINT, before)
    command()


def _end(_number: int, _frame: FrameType | None) -> None:
    """Not by an exception: amid an import it may come out as another one, or not at all."""
    os._exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
