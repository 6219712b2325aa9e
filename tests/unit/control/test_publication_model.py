"""Functions, versions and aliases in any order, against a naive model of dictionaries."""

import asyncio
import hashlib
import itertools
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fakes.control import ControlPlane, control_plane, creation, function_key
from fakes.packages import zip_of
from hearth.control.requests import (
    CreateAlias,
    PublishVersion,
    UpdateAlias,
    UpdateCode,
    UpdateConfiguration,
)
from hearth.engine.memory import MemoryEngine
from hearth.model.errors import ServiceError
from hearth.model.functions import Alias, FunctionVersion

CODES = [zip_of({"app.py": f"x = {n}"}) for n in range(2)]
SHAS = [hashlib.sha256(code).hexdigest() for code in CODES]
Content = tuple[int, str, str]
"""Timeout, code, description."""

NAMES = st.sampled_from("fg")
NUMBERS = st.sampled_from(["$LATEST", *map(str, range(1, 6))])
WEIGHTS = st.dictionaries(
    st.sampled_from(["1", "2", "3"]), st.sampled_from([0.0, 0.1, 1.0]), max_size=2
)
ALIASES = st.sampled_from(["live", "blue"])


@dataclass
class ModelFunction:
    latest: Content
    last: int = 0
    last_content: Content | None = None
    versions: dict[str, Content] = field(default_factory=dict)
    aliases: dict[str, tuple[str, dict[str, float]]] = field(default_factory=dict)

    def publish(self, description: str | None) -> str:
        number = str(self.last)
        if number in self.versions and self.last_content == self.latest:
            return number
        self.last += 1
        self.last_content = self.latest
        timeout_s, sha256, own = self.latest
        shown = own if description is None else description
        self.versions[str(self.last)] = (timeout_s, sha256, shown)
        return str(self.last)

    def accepts(self, version: str, weights: dict[str, float]) -> bool:
        if len(weights) > 1 or (weights and version == "$LATEST") or version in weights:
            return False
        return all(n == "$LATEST" or n in self.versions for n in (version, *weights))

    def users_of(self, number: str) -> list[str]:
        return [name for name, (v, w) in self.aliases.items() if number == v or number in w]


class PublicationMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.plane: ControlPlane = self.runner.run(self._open())
        self.model: dict[str, ModelFunction] = {}
        self.numbers = itertools.count(4)

    async def _open(self) -> ControlPlane:
        kv = await MemoryEngine().bucket("meta")
        return await self.stack.enter_async_context(control_plane(kv, Path(self.directory.name)))

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()
        self.directory.cleanup()

    def ask(self, work: object) -> object:
        """The answer, or the class of the error; afterwards everything is settled."""

        async def scene() -> object:
            try:
                answer: object = await work  # type: ignore[misc]
            except ServiceError as error:
                answer = type(error).__name__
            await self.plane.settled()
            return answer

        return self.runner.run(scene())

    @rule(name=NAMES, publish=st.booleans())
    def create(self, name: str, publish: bool) -> None:
        request = replace(creation(name, CODES[0]), publish=publish)
        answer = self.ask(self.plane.functions.create(request))
        if name in self.model:
            assert answer == "ResourceConflict"
            return
        made = self.model[name] = ModelFunction((3, SHAS[0], ""))
        expected = made.publish(None) if publish else "$LATEST"
        assert isinstance(answer, FunctionVersion)
        assert answer.version == expected

    @rule(name=NAMES, timeout_s=st.integers(3, 4), description=st.sampled_from([None, "", "d"]))
    def configure(self, name: str, timeout_s: int, description: str | None) -> None:
        request = UpdateConfiguration(
            key=function_key(name), timeout_s=timeout_s, description=description
        )
        answer = self.ask(self.plane.functions.update_configuration(request))
        if name not in self.model:
            assert answer == "ResourceNotFound"
            return
        _, sha256, own = self.model[name].latest
        self.model[name].latest = (timeout_s, sha256, own if description is None else description)

    @rule(name=NAMES, code=st.integers(0, 1), publish=st.booleans())
    def change_code(self, name: str, code: int, publish: bool) -> None:
        request = UpdateCode(key=function_key(name), package=CODES[code], publish=publish)
        answer = self.ask(self.plane.functions.update_code(request))
        if name not in self.model:
            assert answer == "ResourceNotFound"
            return
        function = self.model[name]
        timeout_s, _, own = function.latest
        function.latest = (timeout_s, SHAS[code], own)
        expected = function.publish(None) if publish else "$LATEST"
        assert isinstance(answer, FunctionVersion)
        assert answer.version == expected

    @rule(name=NAMES, description=st.sampled_from([None, "v"]))
    def publish(self, name: str, description: str | None) -> None:
        request = PublishVersion(key=function_key(name), description=description)
        answer = self.ask(self.plane.functions.versions.publish(request))
        if name not in self.model:
            assert answer == "ResourceNotFound"
            return
        assert isinstance(answer, FunctionVersion)
        assert answer.version == self.model[name].publish(description)

    @rule(name=NAMES, alias=ALIASES, version=NUMBERS, weights=WEIGHTS)
    def create_alias(self, name: str, alias: str, version: str, weights: dict[str, float]) -> None:
        request = CreateAlias(key=function_key(name), name=alias, version=version, weights=weights)
        answer = self.ask(self.plane.functions.aliases.create(request))
        function = self.model.get(name)
        if function and alias not in function.aliases and function.accepts(version, weights):
            assert isinstance(answer, Alias)
            function.aliases[alias] = (version, weights)
        else:
            assert isinstance(answer, str)

    @rule(
        name=NAMES,
        alias=ALIASES,
        version=st.none() | NUMBERS,
        weights=st.none() | WEIGHTS,
    )
    def update_alias(
        self, name: str, alias: str, version: str | None, weights: dict[str, float] | None
    ) -> None:
        request = UpdateAlias(key=function_key(name), name=alias, version=version, weights=weights)
        answer = self.ask(self.plane.functions.aliases.update(request))
        function = self.model.get(name)
        if function is not None and alias in function.aliases:
            old_version, old_weights = function.aliases[alias]
            after = (
                old_version if version is None else version,
                old_weights if weights is None else weights,
            )
            if function.accepts(*after):
                assert isinstance(answer, Alias)
                function.aliases[alias] = after
                return
        assert isinstance(answer, str)

    @rule(name=NAMES, alias=ALIASES)
    def delete_alias(self, name: str, alias: str) -> None:
        answer = self.ask(self.plane.functions.aliases.delete(function_key(name), alias))
        if name not in self.model:
            assert answer == "ResourceNotFound"
            return
        assert answer is None
        self.model[name].aliases.pop(alias, None)

    @rule(name=NAMES, number=st.sampled_from(["1", "2", "3"]))
    def delete_version(self, name: str, number: str) -> None:
        answer = self.ask(self.plane.functions.delete(function_key(name), number))
        function = self.model.get(name)
        if function is None:
            assert answer == "ResourceNotFound"
        elif function.users_of(number):
            assert answer == "ResourceConflict"
        else:
            assert answer is None
            function.versions.pop(number, None)

    @precondition(lambda self: self.model)
    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        answer = self.ask(self.plane.functions.delete(function_key(name)))
        existed = self.model.pop(name, None) is not None
        assert answer == (None if existed else "ResourceNotFound")

    @invariant()
    def everything_is_as_in_the_model(self) -> None:
        replica = self.plane.replica
        assert {f.key.name for f in replica.everything()} == self.model.keys()
        for name, function in self.model.items():
            key = function_key(name)
            latest = replica.get(key)
            assert latest is not None
            assert content(latest) == function.latest
            assert {v.version: content(v) for v in replica.versions(key)} == function.versions
            aliases = {a.name: (a.version, dict(a.weights)) for a in replica.aliases(key)}
            assert aliases == function.aliases


def content(version: FunctionVersion) -> Content:
    return version.timeout_s, version.code.sha256, version.description


PublicationMachine.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestPublications = PublicationMachine.TestCase
