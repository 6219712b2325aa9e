"""How is a function of this runtime started here? From its runtime's name to a RuntimePlan.

`python3.x` runs under an interpreter of exactly that version, with AWS's own runtime client;
`provided.*` runs the `bootstrap` of its package. A runtime that this machine lacks is refused when
the function is invoked, with what to do about it; nothing is substituted silently.
"""

import asyncio
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.model.errors import InvalidRuntime
from hearth.model.functions import Architecture, FunctionVersion
from hearth.model.launch import EntryPointInvalid, RuntimePlan
from hearth.runtimes import interpreters, kit
from hearth.runtimes.interpreters import Interpreter

log = Log("runtimes")

PYTHON: Final = ("python3.10", "python3.11", "python3.12", "python3.13", "python3.14")
PROVIDED: Final = ("provided.al2", "provided.al2023")
MACHINES: Final = {
    "x86_64": Architecture.X86_64,
    "amd64": Architecture.X86_64,
    "aarch64": Architecture.ARM64,
    "arm64": Architecture.ARM64,
}
_WRAPPER_VARIABLE: Final = "AWS_LAMBDA_EXEC_WRAPPER"
_WRAPPER_SHELL: Final = ("/bin/sh", "-c", 'exec "$0" "$@"')


@dataclass(frozen=True, slots=True)
class RuntimeStatus:
    """One runtime on this machine, for `hearth doctor`."""

    name: str
    available: bool
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class _Python:
    interpreter: Interpreter
    kit: Path
    lang: Path


class Runtimes:
    """Finds interpreters and builds kits, each once, beside the event loop."""

    def __init__(
        self, cache: Path, search_path: Sequence[str], home: Path, machine: str, jobs: Jobs
    ) -> None:
        self._cache = cache
        self._search_path = search_path
        self._home = home
        self._machine = machine
        self._jobs = jobs
        self._pythons: dict[str, asyncio.Future[_Python]] = {}

    async def plan(
        self, function: FunctionVersion, code: Path, layers: Sequence[Path] = ()
    ) -> RuntimePlan:
        """How to start `function`, whose package is unpacked at `code`, and its layers at `layers`,
        the lowest first.

        Raises InvalidRuntime if this machine cannot run it, EntryPointInvalid if nobody could.
        """
        here = MACHINES.get(self._machine)
        if function.architecture is not here:
            raise InvalidRuntime(
                f"{function.key.name} was made for {function.architecture}; this machine is"
                f" {self._machine}. Create it with Architectures=[{here or self._machine}]."
            )
        if function.runtime in PYTHON:
            return _with_wrapper(function, await self._plan_python(function))
        if function.runtime in PROVIDED:
            return await asyncio.to_thread(_plan_provided, function.runtime, code, layers)
        raise InvalidRuntime(
            f"The runtime {function.runtime} cannot run on this version of Hearth. It runs"
            f" {PYTHON[0]} to {PYTHON[-1]} and {' and '.join(PROVIDED)}."
        )

    def warm_up(self, names: Iterable[str]) -> None:
        """Make these runtimes ready in the background; what fails is told when it is needed."""
        for name in set(names) & set(PYTHON):
            self._jobs.spawn(self._warm_up(name), name=f"runtime-{name}")

    async def _warm_up(self, name: str) -> None:
        try:
            await self._python(name)
        except InvalidRuntime as error:
            log.warning("runtime is not available", runtime=name, why=error.message)

    async def _plan_python(self, function: FunctionVersion) -> RuntimePlan:
        python = await self._python(function.runtime)
        number = function.runtime.removeprefix("python")
        version = ".".join(map(str, python.interpreter.version))
        arn = f"arn:aws:lambda:{function.key.region}::runtime:{python.kit.name}"
        return RuntimePlan(
            argv=(f"{{lang}}/bin/{function.runtime}", "-S", "{runtime}/bootstrap.py"),
            variables={
                "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.runtime}",
                "PYTHONPATH": "{runtime}",
                "LC_CTYPE": "C.UTF-8",
            },
            runtime_directory=python.kit,
            lang_directory=python.lang,
            may_be_forked=True,
            is_told_opt=True,
            init_line=f"INIT_START Runtime Version: python:{number}.v{version}\t"
            f"Runtime Version ARN: {arn}",
        )

    async def _python(self, name: str) -> _Python:
        """Found and built at most once at a time; a failure may be tried again."""
        known = self._pythons.get(name)
        if known is None:
            known = self._pythons[name] = asyncio.get_running_loop().create_future()
            self._jobs.spawn(self._prepare(name, known), name=f"prepare-{name}")
        return await asyncio.shield(known)

    async def _prepare(self, name: str, known: "asyncio.Future[_Python]") -> None:
        try:
            python = await asyncio.to_thread(self._build, name)
        except InvalidRuntime as error:
            self._pythons.pop(name, None)
            known.set_exception(error)
            known.exception()  # whoever waits sees it; if nobody does, that is fine
        except BaseException:
            self._pythons.pop(name, None)
            known.cancel()
            raise
        else:
            known.set_result(python)

    def _build(self, name: str) -> _Python:
        interpreter = interpreters.find(name, self._search_path, self._home)
        if interpreter is None:
            raise InvalidRuntime(f"{name} is not installed on this machine. {advice(name)}")
        try:
            directory = kit.build(self._cache, interpreter)
        except kit.KitFailed as error:
            raise InvalidRuntime(str(error)) from error
        return _Python(interpreter, directory, self._lang(interpreter))

    def _lang(self, interpreter: Interpreter) -> Path:
        """What becomes /var/lang: the interpreter's own prefix, or links to the system's."""
        if not interpreter.is_system:
            return interpreter.prefix
        lang = self._cache / f"lang-{interpreter.name}"
        folder = lang / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        for link in (interpreter.name, "python3", "python"):
            path = folder / link
            if not path.is_symlink():
                path.symlink_to(interpreter.executable)
        return lang

    def survey(self) -> list[RuntimeStatus]:
        """Every runtime that this Hearth can run, and whether it can here. Blocks: it runs them."""
        found = []
        for name in PYTHON:
            interpreter = interpreters.find(name, self._search_path, self._home)
            if interpreter is None:
                found.append(RuntimeStatus(name, False, "not installed", advice(name)))
                continue
            version = ".".join(map(str, interpreter.version))
            ready = kit.kit_directory(self._cache, interpreter).is_dir()
            detail = f"{interpreter.executable} ({version})" + ("" if ready else ", not yet set up")
            found.append(RuntimeStatus(name, True, detail))
        found += [RuntimeStatus(name, True, "runs the package's bootstrap") for name in PROVIDED]
        return found


def advice(name: str) -> str:
    """The command that adds an interpreter to this machine."""
    number = name.removeprefix("python")
    if shutil.which("uv"):
        return f"Add it with: uv python install {number}"
    if shutil.which("pyenv"):
        return f"Add it with: pyenv install {number}"
    if shutil.which("apt-get"):
        return (
            f"Add it with: apt-get install {name} (or: pip install uv; uv python install {number})"
        )
    return f"Add it with: pip install uv; uv python install {number}"


def _with_wrapper(function: FunctionVersion, plan: RuntimePlan) -> RuntimePlan:
    """AWS_LAMBDA_EXEC_WRAPPER: a script that is run with the runtime's command as arguments.

    https://docs.aws.amazon.com/lambda/latest/dg/runtimes-modify.html#runtime-wrapper
    """
    wrapper = function.environment.get(_WRAPPER_VARIABLE)
    if not wrapper:
        return plan
    argv = (*_WRAPPER_SHELL, wrapper, *plan.argv)
    return replace(plan, argv=argv, may_be_forked=False)


def _plan_provided(runtime: str, code: Path, layers: Sequence[Path]) -> RuntimePlan:
    """Its `bootstrap`, or that of the topmost layer that has one."""
    places = [(code, "/var/task", "{task}"), *((tree, "/opt", "{opt}") for tree in layers[::-1])]
    for tree, shown, place in places:
        if (tree / "bootstrap").is_file():
            _check_executable(tree / "bootstrap", f"{shown}/bootstrap")
            return RuntimePlan(
                argv=(f"{place}/bootstrap",),
                variables=_PROVIDED_VARIABLES,
                init_line=f"INIT_START Runtime Version: {runtime.replace('.', ':')}.v1\t",
            )
    raise EntryPointInvalid(
        "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"
    )


def _check_executable(bootstrap: Path, shown: str) -> None:
    """Raises EntryPointInvalid."""
    if not bootstrap.stat().st_mode & 0o111:
        raise EntryPointInvalid(f"fork/exec {shown}: permission denied")
    with bootstrap.open("rb") as file:
        magic = file.read(4)
    if magic != b"\x7fELF" and not magic.startswith(b"#!"):
        raise EntryPointInvalid(f"fork/exec {shown}: exec format error")


_PROVIDED_VARIABLES: Final[Mapping[str, str]] = {
    "PATH": "/usr/local/bin:/usr/bin/:/bin:{opt}/bin",
    "LD_LIBRARY_PATH": ("/lib64:/usr/lib64:{runtime}:{runtime}/lib:{task}:{task}/lib:{opt}/lib"),
}
