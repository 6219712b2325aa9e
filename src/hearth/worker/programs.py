"""What runs in a sandbox, and as what? From a runtime's plan to a program and its kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hearth.model.functions import FunctionVersion
from hearth.model.isolation import Tier, Wishes, wishes
from hearth.model.launch import RuntimePlan
from hearth.worker.sandboxes.contract import (
    Mount,
    Program,
    Sandbox,
    SandboxRefused,
    ZygoteKind,
)
from hearth.worker.variables import Credentials, Place, common, variables

TASK = "/var/task"
OPT = "/opt"
RUNTIME = "/var/runtime"
LANG = "/var/lang"


def wishes_of(tags: Mapping[str, str]) -> Wishes:
    """Raises SandboxRefused for what only an older Hearth let be set."""
    try:
        return wishes(tags)
    except ValueError as error:
        raise SandboxRefused(str(error)) from error


_KINDS_MAX: Final = 256


class Kinds:
    """Of which kind are the programs of a function? The same object for equal ones."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, tuple[str, ...]], tuple[RuntimePlan, ZygoteKind]] = {}
        """Those asked for last, with what they were made of."""

    def of(
        self, function: FunctionVersion, plan: RuntimePlan | None, asked: Wishes
    ) -> ZygoteKind | None:
        """None: its programs are executed."""
        if plan is None or asked.is_strict:
            return None
        may_fork = plan.may_be_forked and asked.tier in {None, Tier.ZYGOTE, Tier.RUNSC}
        tiers = {None, Tier.ZYGOTE, Tier.BUBBLEWRAP, Tier.RUNSC}
        may_wait = plan.may_wait and asked.tier in tiers
        if not (may_fork or may_wait):
            return None
        return self._kind(function.key.account, plan)

    def _kind(self, account: str, plan: RuntimePlan) -> ZygoteKind:
        known = self._known.get((account, plan.argv))
        if known is not None and known[0] == plan:
            return known[1]
        if len(self._known) >= _KINDS_MAX:
            self._known.clear()
        kind = _zygote_kind(account, plan)
        self._known[account, plan.argv] = (plan, kind)
        return kind


@dataclass(frozen=True, slots=True)
class Trees:
    """What is the function's own in its file system."""

    code: Path
    opt: Mount | None


def laid(layers: Sequence[Path]) -> Mount | None:
    if not layers:
        return None
    top, *below = reversed(layers)
    return Mount(top, OPT, tuple(below))


def program_of(
    sandbox: Sandbox, function: FunctionVersion, plan: RuntimePlan, trees: Trees, stream: str
) -> Program:
    task = Mount(trees.code, TASK)
    own = [task] if trees.opt is None else [task, trees.opt]
    opt = OPT if trees.opt is None else sandbox.inside(trees.opt)
    shared: list[Mount] = []
    places = {"task": sandbox.inside(task), "opt": opt, "runtime": RUNTIME, "lang": LANG}
    for name, directory, destination in (
        ("runtime", plan.runtime_directory, RUNTIME),
        ("lang", plan.lang_directory, LANG),
    ):
        if directory is not None:
            mount = Mount(directory, destination)
            shared.append(mount)
            places[name] = sandbox.inside(mount)
    place = Place(
        api_address=sandbox.api_address,
        task=places["task"],
        runtime=places["runtime"],
        lang=places["lang"],
        opt=opt,
        tmp=sandbox.tmp_directory,
    )
    extra = {name: _placed(text, places) for name, text in plan.variables.items()}
    argv = tuple(_placed(text, places) for text in plan.argv)
    return Program(
        argv=(*argv, opt) if plan.is_told_opt and opt != OPT else argv,
        environment=variables(function, place, Credentials.fresh(), stream, extra),
        working_directory=places["task"],
        mounts=(*own, *shared),
        one_output=True,
    )


def _zygote_kind(account: str, plan: RuntimePlan) -> ZygoteKind:
    """From what a function of the account may be forked; where there is a mount namespace, else
    nobody asks. The same for all functions of a runtime, and known before any sandbox is."""
    places = {"task": TASK, "opt": OPT, "runtime": RUNTIME, "lang": LANG}
    place = Place(api_address="", task=TASK, opt=OPT, runtime=RUNTIME, lang=LANG, tmp="/tmp")
    extra = {name: _placed(text, places) for name, text in plan.variables.items()}
    argv = tuple(_placed(text, places) for text in plan.argv)
    directories = ((plan.runtime_directory, RUNTIME), (plan.lang_directory, LANG))
    return ZygoteKind(
        tenant=account,
        command=argv if plan.may_wait else argv[:-1],
        script=None if plan.may_wait else argv[-1],
        environment=tuple(sorted(common(place, extra).items())),
        mounts=tuple(Mount(source, where) for source, where in directories if source is not None),
        waits=plan.may_wait,
        one_output=True,
    )


def _placed(text: str, places: Mapping[str, str]) -> str:
    """`text` with {task} and the other places filled in; nothing else in it is touched."""
    for name, path in places.items():
        text = text.replace(f"{{{name}}}", path)
    return text
