"""How is a function of this runtime started here? From its runtime's name to a RuntimePlan.

`python3.x`, `nodejsN.x` and `javaN` run under an interpreter of exactly that version, with AWS's
own runtime client, and `ruby3.x` with ours; `provided.*` runs the `bootstrap` of its package. A
runtime that this machine lacks is refused when the function is invoked, with what to do about it;
nothing is substituted silently.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.model.errors import InvalidRuntime
from hearth.model.functions import Architecture, FunctionVersion
from hearth.model.launch import EntryPointInvalid, RuntimePlan
from hearth.runtimes import debuggers, interpreters, java_kit, javas, kit, node_kit, nodes, rubies
from hearth.runtimes.interpreters import Interpreter
from hearth.runtimes.javas import Java
from hearth.runtimes.nodes import Node
from hearth.runtimes.rubies import Ruby
from hearth.runtimes.survey import (
    JAVA,
    NODE,
    PROVIDED,
    PYTHON,
    RUBY,
    RuntimeStatus,
    advice,
    survey,
    why_never,
)

log = Log("runtimes")

MACHINES: Final = {
    "x86_64": Architecture.X86_64,
    "amd64": Architecture.X86_64,
    "aarch64": Architecture.ARM64,
    "arm64": Architecture.ARM64,
}
RETRY_AFTER_S: Final = 5.0
_INTERPRETED: Final = frozenset({*PYTHON, *NODE, *JAVA, *RUBY})
_HEAP_PERCENT: Final = 85
_WRAPPER_VARIABLE: Final = "AWS_LAMBDA_EXEC_WRAPPER"
_WRAPPER_SHELL: Final = ("/bin/sh", "-c", 'exec "$0" "$@"')


@dataclass(frozen=True, slots=True)
class _Prepared:
    """An interpreter of this machine, and what its functions see of it."""

    version: str
    """`3.12.4`"""
    kit: Path
    lang: Path
    variables: Mapping[str, str] = field(default_factory=dict)


class Runtimes:
    """Finds interpreters and builds kits, each once, beside the event loop."""

    def __init__(
        self,
        cache: Path,
        search_path: Sequence[str],
        home: Path,
        machine: str,
        jobs: Jobs,
        *,
        with_node_sdk: bool = True,
    ) -> None:
        self._cache = cache
        self._with_node_sdk = with_node_sdk
        self._search_path = search_path
        self._home = home
        self._machine = machine
        self._jobs = jobs
        self._prepared: dict[str, asyncio.Future[_Prepared]] = {}
        self._failed: dict[str, tuple[float, str]] = {}
        """Until when nothing is tried again, and why."""

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
            plan = await self._plan_python(function)
            if function.is_debugged:
                plan = await asyncio.to_thread(debuggers.python_plan, plan)
            return _with_wrapper(function, plan)
        if function.runtime in NODE:
            plan = await self._plan_node(function)
            plan = debuggers.node_plan(plan) if function.is_debugged else plan
            return _with_wrapper(function, plan)
        if function.runtime in JAVA:
            return _with_wrapper(function, await self._plan_java(function))
        if function.runtime in RUBY:
            return _with_wrapper(function, await self._plan_ruby(function))
        if function.runtime in PROVIDED:
            return await asyncio.to_thread(_plan_provided, function, code, layers)
        raise InvalidRuntime(why_never(function.runtime))

    def warm_up(self, names: Iterable[str]) -> None:
        """Make these runtimes ready in the background; what fails is told when it is needed."""
        for name in set(names) & _INTERPRETED - self._prepared.keys():
            self._jobs.spawn(self._warm_up(name), name=f"runtime-{name}")

    async def _warm_up(self, name: str) -> None:
        try:
            await self.prepare(name)
        except InvalidRuntime as error:
            log.warning("runtime is not available", runtime=name, why=error.message)

    async def prepare(self, name: str) -> None:
        """Make the runtime ready: find its interpreter, build its kit. Raises InvalidRuntime."""
        if name in _INTERPRETED:
            await self._interpreter(name)
        elif name not in PROVIDED:
            raise InvalidRuntime(why_never(name))

    async def _plan_python(self, function: FunctionVersion) -> RuntimePlan:
        python = await self._interpreter(function.runtime)
        number = function.runtime.removeprefix("python")
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
            init_line=_init_line(function, f"python:{number}", python),
        )

    async def _plan_node(self, function: FunctionVersion) -> RuntimePlan:
        """As Lambda starts it: what the heap may grow to follows from the function's memory."""
        node = await self._interpreter(function.runtime)
        major = nodes.major_of(function.runtime)
        options = function.environment.get("NODE_OPTIONS", "")
        layers = f"{{opt}}/nodejs/node{major}/node_modules:{{opt}}/nodejs/node_modules"
        return RuntimePlan(
            argv=(
                "{lang}/bin/node",
                "--expose-gc",
                *node_kit.heap_flags(function.memory_mb, options),
                *node_kit.module_flags(node.version, options),
                "{runtime}/bootstrap.js",
            ),
            variables={
                "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.runtime}",
                "NODE_PATH": f"{layers}:{{runtime}}/node_modules:{{runtime}}:{{task}}",
            },
            runtime_directory=node.kit,
            lang_directory=node.lang,
            may_wait=not any(node_kit.is_read_at_start(name) for name in function.environment),
            init_line=_init_line(function, f"nodejs:{major}", node),
        )

    async def _plan_java(self, function: FunctionVersion) -> RuntimePlan:
        """As Lambda starts it: a small collector, one compiler, most of the memory as heap. The
        client itself adds the package's `lib` and that of layers to what it loads from."""
        java = await self._interpreter(function.runtime)
        return RuntimePlan(
            argv=(
                "{lang}/bin/java",
                f"-XX:MaxHeapSize={function.memory_mb * _HEAP_PERCENT // 100}m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-Xshare:auto",
                "--add-opens=java.base/java.io=ALL-UNNAMED",  # or its client cannot take _LOG_FD
                "-classpath",
                "{runtime}/lib/*",
                java_kit.MAIN,
                function.handler,
            ),
            variables={
                "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.runtime}",
                # Each call of its logger is one event, whatever line ends it holds.
                "_LAMBDA_TELEMETRY_LOG_FD": "2",
            },
            runtime_directory=java.kit,
            lang_directory=java.lang,
            init_line=_init_line(function, f"java:{javas.major_of(function.runtime)}", java),
        )

    async def _plan_ruby(self, function: FunctionVersion) -> RuntimePlan:
        ruby = await self._interpreter(function.runtime)
        number = function.runtime.removeprefix("ruby")
        return RuntimePlan(
            argv=("{lang}/bin/ruby", "{runtime}/bootstrap.rb"),
            variables={
                "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.runtime}",
                **ruby.variables,
            },
            runtime_directory=ruby.kit,
            lang_directory=ruby.lang,
            init_line=_init_line(function, f"ruby:{number}", ruby),
        )

    async def _interpreter(self, name: str) -> _Prepared:
        """Found and built at most once at a time; what has failed is tried again a little later,
        not at each invoke: it may be a network that does not answer."""
        known = self._prepared.get(name)
        if known is None:
            until_s, why = self._failed.get(name, (0.0, ""))
            if asyncio.get_running_loop().time() < until_s:
                raise InvalidRuntime(why)
            known = self._prepared[name] = asyncio.get_running_loop().create_future()
            self._jobs.spawn(self._prepare(name, known), name=f"prepare-{name}")
        return await asyncio.shield(known)

    async def _prepare(self, name: str, known: "asyncio.Future[_Prepared]") -> None:
        try:
            prepared = await asyncio.to_thread(self._build, name)
        except InvalidRuntime as error:
            self._prepared.pop(name, None)
            retry_s = asyncio.get_running_loop().time() + RETRY_AFTER_S
            self._failed[name] = (retry_s, error.message)
            known.set_exception(error)
            known.exception()  # whoever waits sees it; if nobody does, that is fine
        except BaseException:
            self._prepared.pop(name, None)
            known.cancel()
            raise
        else:
            known.set_result(prepared)

    def _build(self, name: str) -> _Prepared:
        if name in PYTHON:
            return self._build_python(name)
        if name in RUBY:
            return self._build_ruby(name)
        return self._build_node(name) if name in NODE else self._build_java(name)

    def _build_python(self, name: str) -> _Prepared:
        interpreter = interpreters.find(name, self._search_path, self._home)
        if interpreter is None:
            raise InvalidRuntime(f"{name} is not installed on this machine. {advice(name)}")
        try:
            directory = kit.build(self._cache, interpreter)
        except kit.KitFailed as error:
            raise InvalidRuntime(str(error)) from error
        lang = self._lang(interpreter, (interpreter.name, "python3", "python"))
        return _Prepared(_dotted(interpreter.version), directory, lang)

    def _build_node(self, name: str) -> _Prepared:
        node = nodes.find(name, self._search_path, self._home)
        if node is None:
            raise InvalidRuntime(f"{name} is not installed on this machine. {advice(name)}")
        try:
            directory = node_kit.build(
                self._cache, node, self._search_path, with_sdk=self._with_node_sdk
            )
        except kit.KitFailed as error:
            raise InvalidRuntime(str(error)) from error
        return _Prepared(_dotted(node.version), directory, self._lang(node, ("node",)))

    def _build_java(self, name: str) -> _Prepared:
        java = javas.find(name, self._search_path, self._home)
        if java is None:
            raise InvalidRuntime(f"{name} is not installed on this machine. {advice(name)}")
        try:
            directory = java_kit.build(self._cache)
        except kit.KitFailed as error:
            raise InvalidRuntime(f"{name}: {error}") from error
        return _Prepared(_dotted(java.version), directory, self._lang(java, ("java",)))

    def _build_ruby(self, name: str) -> _Prepared:
        ruby = rubies.find(name, self._search_path, self._home)
        if ruby is None:
            raise InvalidRuntime(f"{name} is not installed on this machine. {advice(name)}")
        try:
            directory = rubies.build(self._cache)
        except kit.KitFailed as error:
            raise InvalidRuntime(str(error)) from error
        lang = self._lang(ruby, ("ruby",))
        return _Prepared(_dotted(ruby.version), directory, lang, rubies.variables(ruby))

    def _lang(self, interpreter: Interpreter | Node | Java | Ruby, links: Sequence[str]) -> Path:
        """What becomes /var/lang: the interpreter's own prefix, or links to the system's."""
        if not interpreter.is_system:
            return interpreter.prefix
        lang = self._cache / f"lang-{interpreter.name}"
        folder = lang / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        for link in links:
            path = folder / link
            if not path.is_symlink():
                path.symlink_to(interpreter.executable)
        return lang

    def survey(self) -> list[RuntimeStatus]:
        """Every runtime of AWS's, and whether it can run here. Blocks: it runs interpreters."""
        return survey(self._cache, self._search_path, self._home, with_node_sdk=self._with_node_sdk)


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def _init_line(function: FunctionVersion, name: str, runtime: _Prepared) -> str:
    """As AWS's: `python:3.12.v4`, where the machine has Python 3.12.4; `nodejs:20.v18`."""
    major, *rest = runtime.version.split(".")
    build = rest[-1 if "." in name or rest[0] == "0" else 0] if rest else major
    return _init_start(function, f"{name}.v{build}")


def _init_start(function: FunctionVersion, version: str) -> str:
    return (
        f"INIT_START Runtime Version: {version}\t"
        f"Runtime Version ARN: {function.runtime_version_arn}"
    )


def _with_wrapper(function: FunctionVersion, plan: RuntimePlan) -> RuntimePlan:
    """AWS_LAMBDA_EXEC_WRAPPER: a script that is run with the runtime's command as arguments.

    https://docs.aws.amazon.com/lambda/latest/dg/runtimes-modify.html#runtime-wrapper
    """
    wrapper = function.environment.get(_WRAPPER_VARIABLE)
    if not wrapper:
        return plan
    argv = (*_WRAPPER_SHELL, wrapper, *plan.argv)
    return replace(plan, argv=argv, may_be_forked=False, may_wait=False)


def _plan_provided(function: FunctionVersion, code: Path, layers: Sequence[Path]) -> RuntimePlan:
    """Its `bootstrap`, or that of the topmost layer that has one."""
    places = [(code, "/var/task", "{task}"), *((tree, "/opt", "{opt}") for tree in layers[::-1])]
    for tree, shown, place in places:
        if (tree / "bootstrap").is_file():
            _check_executable(tree / "bootstrap", f"{shown}/bootstrap")
            return RuntimePlan(
                argv=(f"{place}/bootstrap",),
                variables=_PROVIDED_VARIABLES,
                init_line=_init_start(function, f"{function.runtime.replace('.', ':')}.v1"),
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
