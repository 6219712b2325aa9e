"""The operations on functions and the account, called as the edge calls them."""

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from fakes.control import ACCOUNT, REGION, ROLE, ControlPlane, FakeCodeCache, control_plane
from fakes.packages import zip_of
from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.operations import account, aliases, functions, versions
from hearth.control.deliveries import S3
from hearth.engine.memory import MemoryEngine
from hearth.model.ids import AccountId, Caller, Region

ARN = "arn:aws:lambda:eu-central-1:123456789012:function:f"
PACKAGE = zip_of()
SHA256 = base64.b64encode(hashlib.sha256(PACKAGE).digest()).decode()
CREATE: dict[str, Any] = {
    "FunctionName": "f",
    "Runtime": "python3.12",
    "Handler": "app.handler",
    "Role": ROLE,
    "Code": {"ZipFile": PACKAGE},
}


@dataclass(frozen=True)
class ConcurrencyUsage:
    limit: int = 1_000
    unreserved: int = 900


class Concurrency:
    def usage(self, account: AccountId, region: Region) -> ConcurrencyUsage:
        return ConcurrencyUsage()


MODEL = ServiceModel(Loader().load_service_model("lambda", "service-2"))


class Api:
    """Calls operations as the edge does."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        link: functions.CodeLocation = lambda request, f: f"{request.endpoint}/{f.code.sha256}"  # noqa: E731
        self._operations: Mapping[str, Operation] = {
            operation.name: operation
            for operation in (
                *functions.operations(plane.functions, link),
                *versions.operations(plane.functions),
                *aliases.operations(plane.functions),
                *account.operations(plane.functions, Concurrency()),
            )
        }

    async def respond(self, name: str, members: Mapping[str, Any]) -> OperationResponse:
        caller = Caller(ACCOUNT, REGION, "AKIA", f"arn:aws:iam::{ACCOUNT}:user/u")
        response = await self._operations[name].handler(
            OperationRequest(
                caller=caller, request_id="r", members=members, endpoint="http://127.0.0.1:4566"
            )
        )
        shape = MODEL.operation_model(name).output_shape
        if shape is None:
            assert not response.members
            return response
        report = ParamValidator().validate(dict(response.members), shape)
        assert not report.has_errors(), report.generate_report()
        return response

    async def call(self, operation: str, **members: Any) -> Any:
        return (await self.respond(operation, members)).members

    async def create(self, **members: Any) -> Any:
        created = await self.call("CreateFunction", **CREATE | members)
        await self.plane.settled()
        return created


def play(directory: Path, scenario: Callable[[Api], Awaitable[None]], s3: S3 | None = None) -> None:
    async def scene() -> None:
        kv = await MemoryEngine().bucket("meta")
        async with control_plane(kv, directory, FakeCodeCache(), s3) as plane:
            await scenario(Api(plane))

    asyncio.run(scene())
