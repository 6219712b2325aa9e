"""What do the shipped seccomp filters answer? Run here, instruction by instruction.

The interpreter below knows the few instructions of classic BPF that the filters use, so both
architectures are tested on either.
"""

import importlib.util
import struct
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth.worker.sandboxes import zygote_template
from hearth.worker.sandboxes.seccomp import profile
from hearth.worker.sandboxes.seccomp.numbers import NUMBERS

ALLOW = 0x7FFF_0000
KILL_PROCESS = 0x8000_0000
EPERM = 0x0005_0001
ENOSYS = 0x0005_0026
INSTRUCTIONS_MAX = 4096  # the kernel's
STEPS_MAX = 40

architectures = pytest.mark.parametrize("architecture", sorted(profile.ARCHITECTURES))


def shipped(architecture: str) -> bytes:
    return (Path(profile.__file__).parent / f"{architecture}.bpf").read_bytes()


def answer(
    architecture: str,
    number: int,
    *arguments: int,
    arch: int | None = None,
    instructions: bytes | None = None,
) -> int:
    """What the filter says to a system call. Raises AssertionError if it runs astray."""
    arch = profile.ARCHITECTURES[architecture] if arch is None else arch
    six = [*arguments, *[0] * (6 - len(arguments))]
    call = struct.pack("<IIQ6Q", number & 0xFFFF_FFFF, arch, 0, *six)
    program = list(struct.iter_unpack("<HBBI", instructions or shipped(architecture)))
    accumulator, at = 0, 0
    for _ in range(STEPS_MAX):
        code, if_true, if_false, value = program[at]
        at += 1
        match code:
            case 0x20:
                assert value % 4 == 0
                (accumulator,) = struct.unpack_from("<I", call, value)
            case 0x54:
                accumulator &= value
            case 0x05:
                at += value
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x35:
                at += if_true if accumulator >= value else if_false
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")
    raise AssertionError("more steps than a binary search takes")


def compiler() -> ModuleType:
    path = Path(__file__).parents[3] / "tools/build_seccomp.py"
    spec = importlib.util.spec_from_file_location("build_seccomp", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["build_seccomp"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@architectures
def test_the_shipped_bytes_are_what_the_tool_builds(architecture: str) -> None:
    assert shipped(architecture) == compiler().build(architecture)


@architectures
def test_a_filter_is_small_enough_for_the_kernel(architecture: str) -> None:
    assert len(shipped(architecture)) % 8 == 0
    assert len(shipped(architecture)) // 8 < INSTRUCTIONS_MAX


@architectures
def test_every_known_call_gets_the_answer_that_the_profile_gives(architecture: str) -> None:
    looked_into = {"clone", "socket", "ioctl"}
    wrong = {}
    for name, number in NUMBERS[architecture].items():
        if name in looked_into:
            continue
        expected = ALLOW if name in profile.ALLOWED else EPERM
        if name in profile.REFUSED_AS_MISSING:
            expected = ENOSYS
        if answer(architecture, number) != expected:
            wrong[name] = hex(answer(architecture, number))
    assert wrong == {}


@architectures
@given(number=st.integers(0, 2**32 - 1))
def test_a_number_that_no_known_call_has_is_never_allowed(architecture: str, number: int) -> None:
    if number not in NUMBERS[architecture].values():
        assert answer(architecture, number) != ALLOW


@architectures
def test_calls_newer_than_the_tables_look_missing_so_that_libc_falls_back(
    architecture: str,
) -> None:
    newest = max(NUMBERS[architecture].values())
    for number in (newest + 1, newest + 50, 0x3FFF_FFFF):
        assert answer(architecture, number) == ENOSYS


@architectures
def test_another_architectures_calls_kill(architecture: str) -> None:
    i386, arm, x32 = 0x4000_0003, 0x4000_0028, 0x4000_003E
    for arch in (0, i386, arm, x32):
        assert answer(architecture, 0, arch=arch) == KILL_PROCESS


def test_the_x32_calls_of_x86_64_kill() -> None:
    for number in (0, 39, 59, 520, 547):
        assert answer("x86_64", profile.X32_BIT + number) == KILL_PROCESS
    assert answer("x86_64", -1) == KILL_PROCESS


@architectures
def test_clone_makes_threads_and_processes_but_no_namespaces(architecture: str) -> None:
    clone = NUMBERS[architecture]["clone"]
    thread, process = 0x003D_0F00, 0x0120_0011
    for flags in (thread, process, 0x4111):
        assert answer(architecture, clone, flags) == ALLOW
    for new in (0x20000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000):
        assert answer(architecture, clone, new | 17) == EPERM
    assert answer(architecture, clone, 0x4000_0000 | 17) == EPERM


@architectures
@given(above=st.integers(0, 2**32 - 1))
def test_a_sockets_family_is_read_as_the_kernel_reads_it(architecture: str, above: int) -> None:
    socket = NUMBERS[architecture]["socket"]
    high = above << 32
    for family in (1, 2, 10):
        assert answer(architecture, socket, high | family, 1, 0) == ALLOW
    for family in (0, 3, 9, 15, 17, 29, 31, 38, 40, 44, 0xFFFF_FFFF):
        assert answer(architecture, socket, high | family, 1, 0) == EPERM
    assert answer(architecture, socket, high | 16, 3, high) == ALLOW
    for protocol in (4, 5, 9, 12, 15, 16):
        assert answer(architecture, socket, high | 16, 3, high | protocol) == EPERM


@architectures
@given(above=st.integers(0, 2**32 - 1))
def test_an_ioctl_that_types_into_a_terminal_is_refused(architecture: str, above: int) -> None:
    ioctl = NUMBERS[architecture]["ioctl"]
    for request in (0x5412, 0x541C):
        assert answer(architecture, ioctl, 0, above << 32 | request) == EPERM
    for request in (0x5401, 0x5411, 0x5413, 0x541B, 0x5421):
        assert answer(architecture, ioctl, 0, above << 32 | request) == ALLOW


@architectures
@given(above=st.integers(0, 2**32 - 1))
def test_a_lease_that_makes_others_wait_is_refused(architecture: str, above: int) -> None:
    fcntl = NUMBERS[architecture]["fcntl"]
    assert answer(architecture, fcntl, 0, above << 32 | 1024) == EPERM
    for command in (0, 1, 2, 3, 4, 6, 1025, 1030, 1031, 1033):
        assert answer(architecture, fcntl, 0, above << 32 | command) == ALLOW


def test_every_group_has_a_reason_and_no_call_is_in_two() -> None:
    assert all(len(why) > 60 for why in profile.REASONS.values())
    assert len(set(profile.ALLOWED)) == len(profile.ALLOWED)


@pytest.mark.parametrize(
    "name",
    [
        *("keyctl", "add_key", "request_key", "io_uring_setup", "io_uring_enter"),
        *("io_uring_register", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd"),
        *("unshare", "setns", "mount", "bpf", "perf_event_open", "userfaultfd", "personality"),
    ],
)
def test_what_is_left_out_on_purpose_stays_out(name: str) -> None:
    assert name not in profile.ALLOWED
    for architecture in profile.ARCHITECTURES:
        assert answer(architecture, NUMBERS[architecture][name]) == EPERM


def test_every_allowed_name_is_a_system_call_somewhere() -> None:
    known = set().union(*NUMBERS.values())
    assert set(profile.ALLOWED) <= known
    assert len(profile.ALLOWED) == len(set(profile.ALLOWED))


@architectures
def test_the_numbers_are_those_of_libseccomp(architecture: str) -> None:
    try:
        import pyseccomp
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"libseccomp is not there: {error}")
    arch = {"x86_64": pyseccomp.Arch.X86_64, "aarch64": pyseccomp.Arch.AARCH64}[architecture]
    compared = 0
    for name, number in NUMBERS[architecture].items():
        theirs = pyseccomp.resolve_syscall(arch, name)
        if theirs == -1:
            continue  # younger than this libseccomp
        assert theirs == number, name
        compared += 1
    assert compared > 250


@architectures
def test_a_template_may_enter_all_that_a_process_is_in_and_nothing_else(architecture: str) -> None:
    if architecture not in zygote_template.MACHINES:
        pytest.fail("a template would have no way into a nest there")
    lets_join = zygote_template.that_lets_join(shipped(architecture), architecture)
    setns = NUMBERS[architecture]["setns"]

    def said(number: int, *arguments: int, arch: int | None = None) -> int:
        return answer(architecture, number, *arguments, arch=arch, instructions=lets_join)

    assert said(setns, 7, zygote_template.ENTERED) == ALLOW
    assert answer(architecture, setns, 7, zygote_template.ENTERED) == EPERM
    for kinds in (0, 0x10000000, zygote_template.ENTERED ^ 0x20000, zygote_template.ENTERED | 1):
        assert said(setns, 7, kinds) == EPERM
    assert said(setns, 7, zygote_template.ENTERED | 1 << 32) == EPERM
    assert said(setns, 7, zygote_template.ENTERED, arch=0x4000_0003) == KILL_PROCESS
    for name, number in NUMBERS[architecture].items():
        if name != "setns":
            ours = answer(architecture, number, 7, zygote_template.ENTERED)
            assert said(number, 7, zygote_template.ENTERED) == ours, name
