"""Which state of an extension may follow which? The only place that says so.

    STARTED --register--> REGISTERED --next--> READY --event--> RUNNING --next--> READY
       |                      |                  |                 |
       |--launch error--> LAUNCH_ERROR           |                 |
       |                      |--init error--> INIT_ERROR          |
       |                      '---- exit error --+-----------------+--> EXIT_ERROR
       '---- exit, from anywhere --------------------------------------> EXITED

An external extension is a process that is started; an internal one, a part of the runtime, is
made by its registration. The error states are final until the process is gone.
Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html and AWS's
published runtime interface emulator.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class ExtensionState(StrEnum):
    """Named as AWS's answers and log lines name them."""

    STARTED = "Started"
    REGISTERED = "Registered"
    READY = "Ready"
    RUNNING = "Running"
    INIT_ERROR = "InitError"
    EXIT_ERROR = "ExitError"
    LAUNCH_ERROR = "LaunchError"
    EXITED = "Exited"


class Step(StrEnum):
    """What happens to an extension; the value names the state that AWS says was wanted."""

    REGISTER = "Registered"
    NEXT = "Ready"
    EVENT = "Running"
    INIT_ERROR = "InitError"
    EXIT_ERROR = "ExitError"
    LAUNCH_ERROR = "LaunchError"
    EXIT = "Exited"


_S = ExtensionState
STEPS: Final[Mapping[tuple[ExtensionState, Step], ExtensionState]] = {
    (_S.STARTED, Step.REGISTER): _S.REGISTERED,
    (_S.STARTED, Step.LAUNCH_ERROR): _S.LAUNCH_ERROR,
    (_S.STARTED, Step.EXIT): _S.EXITED,
    (_S.REGISTERED, Step.NEXT): _S.READY,
    (_S.REGISTERED, Step.INIT_ERROR): _S.INIT_ERROR,
    (_S.REGISTERED, Step.EXIT_ERROR): _S.EXIT_ERROR,
    (_S.REGISTERED, Step.EXIT): _S.EXITED,
    (_S.READY, Step.NEXT): _S.READY,  # its connection was lost: the newest one gets the event
    (_S.READY, Step.EVENT): _S.RUNNING,
    (_S.READY, Step.EXIT_ERROR): _S.EXIT_ERROR,
    (_S.READY, Step.EXIT): _S.EXITED,
    (_S.RUNNING, Step.NEXT): _S.READY,
    (_S.RUNNING, Step.EXIT_ERROR): _S.EXIT_ERROR,
    (_S.RUNNING, Step.EXIT): _S.EXITED,
    (_S.INIT_ERROR, Step.INIT_ERROR): _S.INIT_ERROR,  # only the first error counts
    (_S.INIT_ERROR, Step.EXIT): _S.INIT_ERROR,
    (_S.EXIT_ERROR, Step.EXIT_ERROR): _S.EXIT_ERROR,
    (_S.EXIT_ERROR, Step.EXIT): _S.EXIT_ERROR,
}
