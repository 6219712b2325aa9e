"""How are the seccomp filters made that Hearth ships? `python tools/build_seccomp.py`

Compiles hearth.worker.sandboxes.seccomp.profile into one .bpf file for each architecture, beside
the profile: classic BPF, as seccomp(2) and `bwrap --seccomp FD` take it. No libseccomp: its output
differs from version to version and lacks the calls that are younger than itself, and ours must be
the same bytes wherever they are built.

The program: wrong architecture -> kill. Then a binary search over the call's number; at its leaves
stands an answer, or the look at an argument that gives the answer.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hearth.worker.sandboxes.seccomp import profile
from hearth.worker.sandboxes.seccomp.numbers import NUMBERS

DIRECTORY = Path(profile.__file__).parent

# include/uapi/linux/bpf_common.h and seccomp.h
LOAD: Final = 0x20  # a 32-bit word of struct seccomp_data, at an absolute offset
AND: Final = 0x54
JUMP: Final = 0x05
JUMP_EQ: Final = 0x15
JUMP_GE: Final = 0x35
RETURN: Final = 0x06
KILL_PROCESS: Final = 0x8000_0000
ALLOW: Final = 0x7FFF_0000
ERRNO: Final = 0x0005_0000

NR: Final = 0
ARCH: Final = 4
ARGUMENTS: Final = 16  # 64 bits each; the low half comes first on both architectures
CONDITIONAL_JUMP_MAX: Final = 255


@dataclass(frozen=True, slots=True)
class Instruction:
    code: int
    value: int
    if_true: int = 0
    if_false: int = 0

    def encode(self) -> bytes:
        return struct.pack("<HBBI", self.code, self.if_true, self.if_false, self.value)


Block = tuple[Instruction, ...]
"""Instructions that end in an answer, whichever way they go."""


def answer(value: int) -> Block:
    return (Instruction(RETURN, value),)


ALLOWED = answer(ALLOW)
REFUSED = answer(ERRNO | profile.EPERM)
MISSING = answer(ERRNO | profile.ENOSYS)
KILLED = answer(KILL_PROCESS)


def load_argument(number: int) -> Instruction:
    """The low half: all that the kernel itself looks at, where the parameter is an int."""
    return Instruction(LOAD, ARGUMENTS + 8 * number)


def if_equal(value: int, then: Block, otherwise: Block) -> Block:
    return (Instruction(JUMP_EQ, value, 0, len(then)), *then, *otherwise)


def clone() -> Block:
    masked = (load_argument(0), Instruction(AND, profile.CLONE_NAMESPACES))
    return (*masked, *if_equal(0, ALLOWED, REFUSED))


def socket() -> Block:
    route_only = (load_argument(2), *if_equal(profile.NETLINK_ROUTE, ALLOWED, REFUSED))
    block = if_equal(profile.AF_NETLINK, route_only, REFUSED)
    for family in profile.SOCKET_FAMILIES:
        block = if_equal(family, ALLOWED, block)
    return (load_argument(0), *block)


def all_but(refused: tuple[int, ...]) -> Block:
    """Of a call whose second argument says what to do."""
    block = ALLOWED
    for request in refused:
        block = if_equal(request, REFUSED, block)
    return (load_argument(1), *block)


def answers(architecture: str) -> list[tuple[int, Block]]:
    """(first number, its block), sorted: each block holds up to the next one's first number."""
    numbers = NUMBERS[architecture]
    blocks = dict.fromkeys(profile.ALLOWED, ALLOWED) | dict.fromkeys(
        profile.REFUSED_AS_MISSING, MISSING
    )
    blocks |= {
        "clone": clone(),
        "socket": socket(),
        "ioctl": all_but(profile.REFUSED_IOCTLS),
        "fcntl": all_but(profile.REFUSED_FCNTLS),
    }
    by_number = {numbers[name]: block for name, block in blocks.items() if name in numbers}
    highest = max(numbers.values())
    ranges: list[tuple[int, Block]] = []
    for number in range(highest + 1):
        block = by_number.get(number, REFUSED)
        if not ranges or ranges[-1][1] != block:
            ranges.append((number, block))
    ranges.append((highest + 1, MISSING))
    if architecture == "x86_64":
        ranges.append((profile.X32_BIT, KILLED))
    return ranges


def search(ranges: list[tuple[int, Block]]) -> Block:
    """Halve until one is left. A jump too far for a conditional one is taken by an `always`."""
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    below, above = search(ranges[:middle]), search(ranges[middle:])
    if len(below) <= CONDITIONAL_JUMP_MAX:
        return (Instruction(JUMP_GE, ranges[middle][0], len(below), 0), *below, *above)
    far = Instruction(JUMP, len(below))
    return (Instruction(JUMP_GE, ranges[middle][0], 0, 1), far, *below, *above)


def build(architecture: str) -> bytes:
    """The filter for `uname -m`'s architecture."""
    known = (Instruction(LOAD, NR), *search(answers(architecture)))
    start = (
        Instruction(LOAD, ARCH),
        Instruction(JUMP_EQ, profile.ARCHITECTURES[architecture], 1, 0),
        *KILLED,
    )
    return b"".join(instruction.encode() for instruction in (*start, *known))


def main() -> None:
    for architecture in profile.ARCHITECTURES:
        program = build(architecture)
        (DIRECTORY / f"{architecture}.bpf").write_bytes(program)
        print(f"{architecture}: {len(program) // 8} instructions")


if __name__ == "__main__":
    main()
