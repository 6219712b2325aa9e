"""How does a program come to die with the process that started it? A program that becomes it.

    python -I -S bound_exec.py PARENT_PID NAME=VALUE PROGRAM [ARGUMENT...]

asks the kernel to kill this process when its parent ends, and then becomes PROGRAM, with
NAME=VALUE as its whole environment. (The kernel watches the thread that forked: for Hearth the
one that runs the event loop.) Standard library only: it is run by path, outside the package.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h
EXIT_ORPHANED = 111


def main(parent_pid: int, variable: str, command: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent_pid:
        sys.exit(EXIT_ORPHANED)  # the parent was gone before the kernel knew what to do
    name, _, value = variable.partition("=")
    os.execve(command[0], command, {name: value})  # noqa: S606 - becoming it is the purpose


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
