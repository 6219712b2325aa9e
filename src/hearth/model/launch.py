"""How is a runtime started? What the runtimes room tells the worker, before any sandbox is known.

Texts may hold `{task}`, `{opt}`, `{runtime}`, `{lang}`: the places of `/var/task`, `/opt`,
`/var/runtime` and `/var/lang` as the function will see them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimePlan:
    """What to run for one function, and what it needs mounted."""

    argv: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    runtime_directory: Path | None = None
    """What the function sees at /var/runtime."""
    lang_directory: Path | None = None
    """What the function sees at /var/lang."""
    may_be_forked: bool = False
    """argv is an interpreter, its options, and a script that a process may load once, by its
    preload(), for many functions of an account; each runs main() in a fork of that process."""
    may_wait: bool = False
    """argv is a program that may be executed before a function is known for it, with one argument
    more: it then gets ready, and waits for that."""
    is_told_opt: bool = False
    """It gets the place of its layers as a last argument where that is not `/opt`."""
    init_line: str = ""
    """INIT_START, as Lambda logs it."""


class EntryPointInvalid(Exception):
    """The package holds nothing that can be started. The text is Lambda's own, and is told to
    whoever invokes the function (errorType Runtime.InvalidEntrypoint)."""
