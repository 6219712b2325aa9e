"""Functions and calls for tests: complete, valid, and short to write."""

import random
from dataclasses import replace
from itertools import count
from typing import Any

from hearth.model.functions import Alias, Code, FunctionVersion, Routes, State
from hearth.model.ids import (
    DEFAULT_ACCOUNT,
    DEFAULT_REGION,
    AccountId,
    Caller,
    FunctionKey,
    FunctionName,
    FunctionReference,
    Region,
    RequestId,
)
from hearth.model.invocations import InvokeCall

CALLER = Caller(
    account=DEFAULT_ACCOUNT,
    region=DEFAULT_REGION,
    access_key="test",
    user_arn=f"arn:aws:iam::{DEFAULT_ACCOUNT}:root",
)

_requests = count(1)


def function_key(name: str) -> FunctionKey:
    return FunctionKey(DEFAULT_ACCOUNT, DEFAULT_REGION, FunctionName(name))


def function_version(name: str = "f", **changes: Any) -> FunctionVersion:
    """An Active function; `changes` are fields of FunctionVersion."""
    function = FunctionVersion(
        key=function_key(name),
        runtime="python3.11",
        handler="app.handler",
        role=f"arn:aws:iam::{DEFAULT_ACCOUNT}:role/r",
        code=Code(sha256="0" * 64, size_bytes=1),
        state=State.ACTIVE,
        last_modified="2026-01-01T00:00:00.000+0000",
        revision_id=f"revision-1-of-{name}",
        instance_id=f"instance-of-{name}",
    )
    return replace(function, **changes)


class FunctionTable(dict[FunctionKey, FunctionVersion]):
    """The local copy for the front end: $LATEST by key; versions and aliases beside it."""

    def __init__(self, *functions: FunctionVersion, seed: int = 1) -> None:
        super().__init__({function.key: function for function in functions})
        self.draw = random.Random(seed).random
        self.loops: set[FunctionKey] = set()
        self._qualified: dict[tuple[FunctionKey, str], FunctionVersion | Alias] = {}

    def permits(self, caller: Caller, latest: FunctionVersion, _qualifier: str | None, /) -> bool:
        return caller.account == latest.key.account

    def may_loop(self, latest: FunctionVersion, /) -> bool:
        return latest.key in self.loops

    def publish(self, published: FunctionVersion | Alias) -> None:
        name = published.name if isinstance(published, Alias) else published.version
        self._qualified[published.key, name] = published

    def find(self, account: AccountId, region: Region, name: FunctionName, /) -> Routes | None:
        key = FunctionKey(account, region, name)
        latest = self.get(key)
        if latest is None:
            return None
        qualified = {name: one for (of, name), one in self._qualified.items() if of == key}
        return Routes(latest, key.arn(), qualified)


def invoke_call(reference: str = "f", **changes: Any) -> InvokeCall:
    call = InvokeCall(
        caller=CALLER,
        reference=FunctionReference.parse(reference),
        payload=b"{}",
        request=RequestId(f"request-{next(_requests)}"),
    )
    return replace(call, **changes)
