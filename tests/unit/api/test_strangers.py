"""Every operation, asked by another account for what is not its own: each is refused. And every
list, from a place that never was."""

import asyncio
import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from fakes.control import ACCOUNT, REGION, function_key, until
from fakes.http import FakeResponder, http_request
from fakes.invokes import invoke_call
from fakes.packages import zip_of
from fakes.whole_edge import AUTHORIZATION, WholeEdge, whole_edge
from fakes.wire_requests import rest_request
from hearth.api.operations import capacity_providers
from hearth.durable.tokens import callback_id, checkpoint_token

OTHER = "999999999999"
LAMBDA = botocore.session.get_session().get_service_model("lambda")
ROLE = f"arn:aws:iam::{OTHER}:role/r"
F = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"
LAYER = f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer:l"
QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:q"
GROUP = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/f"
ZIP = zip_of()
PUBLISHERS = {
    "SigningProfileVersionArns": [
        f"arn:aws:signer:{REGION}:{ACCOUNT}:/signing-profiles/p/abcdefghij"
    ]
}
PERMISSION = {"StatementId": "s", "Action": "lambda:GetLayerVersion", "Principal": OTHER}

DENIED = (403, "AccessDeniedException")
DIGITS = "1" * 5_000
"""More than Python reads as a number."""
MARKERS = (
    "x",
    "é",
    "\0",
    "=" * 100,
    DIGITS,
    f"-{DIGITS}",
    "null",
    "[]",
    "{}",
    "'\"<>",
    *(
        base64.b64encode(text).decode()
        for text in (
            b"",
            b".",
            b"-1.-1",
            b"1.x",
            f"{DIGITS}.{DIGITS}".encode(),
            f"{DIGITS[:18]}.{DIGITS[:18]}".encode(),
            f"{DIGITS[:4_000]}.f".encode(),
            b"\xff\xfe",
            b"[" * 3_000,
            f'["f", {DIGITS}]'.encode(),
            f'["f", {DIGITS[:19]}]'.encode(),
            b'{"f": null}',
        )
    ),
)
NOT_FOUND = (404, "ResourceNotFoundException")
INVALID = (400, "ValidationException")
"""Some operations take no qualifier, and say so first."""

ON_FUNCTIONS: Mapping[str, Mapping[str, Any]] = {
    "AddPermission": PERMISSION | {"Action": "lambda:InvokeFunction"},
    "CreateAlias": {"Name": "mine", "FunctionVersion": "1"},
    "CreateEventSourceMapping": {
        "EventSourceArn": f"arn:aws:sqs:{REGION}:{OTHER}:q",
    },
    "CreateFunction": {"Role": ROLE, "Code": {"ZipFile": ZIP}, "Runtime": "python3.12"}
    | {"Handler": "app.handler"},
    "CreateFunctionUrlConfig": {"AuthType": "NONE"},
    "DeleteAlias": {"Name": "live"},
    "DeleteFunction": {},
    "DeleteFunctionCodeSigningConfig": {},
    "DeleteFunctionConcurrency": {},
    "DeleteFunctionEventInvokeConfig": {},
    "DeleteFunctionUrlConfig": {},
    "DeleteProvisionedConcurrencyConfig": {"Qualifier": "live"},
    "GetAlias": {"Name": "live"},
    "GetFunction": {},
    "GetFunctionCodeSigningConfig": {},
    "GetFunctionConcurrency": {},
    "GetFunctionConfiguration": {},
    "GetFunctionEventInvokeConfig": {},
    "GetFunctionRecursionConfig": {},
    "GetFunctionUrlConfig": {},
    "GetPolicy": {},
    "GetProvisionedConcurrencyConfig": {"Qualifier": "live"},
    "GetRuntimeManagementConfig": {},
    "ListAliases": {},
    "ListDurableExecutionsByFunction": {},
    "ListEventSourceMappings": {},
    "ListFunctionEventInvokeConfigs": {},
    "ListFunctionUrlConfigs": {},
    "ListProvisionedConcurrencyConfigs": {},
    "ListVersionsByFunction": {},
    "PublishVersion": {},
    "PutFunctionCodeSigningConfig": {},
    "PutFunctionConcurrency": {"ReservedConcurrentExecutions": 0},
    "PutFunctionEventInvokeConfig": {"MaximumRetryAttempts": 0},
    "PutFunctionRecursionConfig": {"RecursiveLoop": "Allow"},
    "PutProvisionedConcurrencyConfig": {"Qualifier": "live", "ProvisionedConcurrentExecutions": 1},
    "PutRuntimeManagementConfig": {"UpdateRuntimeOn": "Auto"},
    "RemovePermission": {"StatementId": "own"},
    "UpdateAlias": {"Name": "live", "Description": "mine"},
    "UpdateFunctionCode": {"ZipFile": ZIP},
    "UpdateFunctionConfiguration": {"Description": "mine"},
    "UpdateFunctionEventInvokeConfig": {"MaximumRetryAttempts": 0},
    "UpdateFunctionUrlConfig": {"AuthType": "NONE"},
}
ON_LAYERS: Mapping[str, Mapping[str, Any]] = {
    "AddLayerVersionPermission": PERMISSION | {"VersionNumber": 1},
    "DeleteLayerVersion": {"VersionNumber": 1},
    "GetLayerVersion": {"VersionNumber": 1},
    "GetLayerVersionPolicy": {"VersionNumber": 1},
    "ListLayerVersions": {},
    "PublishLayerVersion": {"Content": {"ZipFile": ZIP}},
    "RemoveLayerVersionPermission": {"VersionNumber": 1, "StatementId": "own"},
}
ON_EXECUTIONS: Mapping[str, Mapping[str, Any]] = {
    "CheckpointDurableExecution": {"Updates": []},
    "DeleteDurableExecution": {},
    "GetDurableExecution": {},
    "GetDurableExecutionHistory": {},
    "GetDurableExecutionState": {},
    "PauseDurableExecution": {},
    "ResumeDurableExecution": {},
    "StopDurableExecution": {},
}
ON_CALLBACKS: Mapping[str, Mapping[str, Any]] = {
    "SendDurableExecutionCallbackFailure": {},
    "SendDurableExecutionCallbackHeartbeat": {},
    "SendDurableExecutionCallbackSuccess": {"Result": b"1"},
}
ON_SIGNING: Mapping[str, Mapping[str, Any]] = {
    "DeleteCodeSigningConfig": {},
    "GetCodeSigningConfig": {},
    "ListFunctionsByCodeSigningConfig": {},
    "UpdateCodeSigningConfig": {"Description": "mine"},
}
ON_MAPPINGS: Mapping[str, Mapping[str, Any]] = {
    "DeleteEventSourceMapping": {},
    "GetEventSourceMapping": {},
    "UpdateEventSourceMapping": {"Enabled": False},
}
ON_TAGGED: Mapping[str, Mapping[str, Any]] = {
    "ListTags": {},
    "TagResource": {"Tags": {"mine": "1"}},
    "UntagResource": {"TagKeys": ["own"]},
}
ON_POLICIES: Mapping[str, Mapping[str, Any]] = {
    "DeleteResourcePolicy": {},
    "GetResourcePolicy": {},
    "PutResourcePolicy": {
        "Policy": json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": "*",
                        "Action": "lambda:InvokeFunction",
                        "Resource": F,
                    }
                ],
            }
        )
    },
}
LISTS: Mapping[str, str] = {
    "ListCodeSigningConfigs": "CodeSigningConfigs",
    "ListFunctions": "Functions",
    "ListLayers": "Layers",
}
"""With the member of the answer that must be empty."""
INVOKES = {"Invoke", "InvokeAsync", "InvokeWithResponseStream"}
"""What the front end refuses: tests/unit/frontend/test_resolve.py."""
NOBODYS = {"CreateCodeSigningConfig", "GetAccountSettings", "GetLayerVersionByArn"}
"""What names nothing that belongs to anybody; and one that has a line of its own below."""

ON_GROUPS: Mapping[str, Mapping[str, Any]] = {
    "CreateLogStream": {"logStreamName": "mine"},
    "DeleteLogGroup": {},
    "DeleteLogStream": {"logStreamName": "s"},
    "DeleteRetentionPolicy": {},
    "DescribeLogStreams": {},
    "FilterLogEvents": {},
    "GetLogEvents": {"logStreamName": "s"},
    "ListTagsLogGroup": {},
    "PutLogEvents": {"logStreamName": "s", "logEvents": [{"timestamp": 1, "message": "mine"}]},
    "PutRetentionPolicy": {"retentionInDays": 1},
    "TagLogGroup": {"tags": {"mine": "1"}},
    "UntagLogGroup": {"tags": ["own"]},
}
ON_GROUP_ARNS: Mapping[str, Mapping[str, Any]] = {
    "DescribeLogStreams": {"logGroupIdentifier": GROUP},
    "FilterLogEvents": {"logGroupIdentifier": GROUP},
    "GetLogEvents": {"logGroupIdentifier": GROUP, "logStreamName": "s"},
    "ListTagsForResource": {"resourceArn": GROUP},
    "StartLiveTail": {"logGroupIdentifiers": [GROUP]},
    "TagResource": {"resourceArn": GROUP, "tags": {"mine": "1"}},
    "UntagResource": {"resourceArn": GROUP, "tagKeys": ["own"]},
}
OF_LOGS_ALONE = {"CreateLogGroup", "DescribeLogGroups"}


class Scene:
    """What the owner has, and the other account's attempts."""

    def __init__(self, stage: WholeEdge) -> None:
        self.stage = stage
        self.signing = self.mapping = self.execution = self.token = self.callback = ""

    async def ask(self, account: str, name: str, members: Mapping[str, Any]) -> FakeResponder:
        authorization = AUTHORIZATION.replace(ACCOUNT, account)
        request = rest_request(
            LAMBDA.operation_model(name), dict(members), authorization=authorization
        )
        return await self.stage.answer(request)

    async def ask_logs(self, account: str, name: str, members: Mapping[str, Any]) -> FakeResponder:
        authorization = AUTHORIZATION.replace(ACCOUNT, account).replace("/lambda/", "/logs/")
        request = http_request(
            "POST",
            "/",
            body=dict(members),
            authorization=authorization,
            x_amz_target=f"Logs_20140328.{name}",
        )
        return await self.stage.answer(request)

    async def own(self, name: str, **members: Any) -> Any:
        answer = await self.ask(ACCOUNT, name, members)
        assert answer.status is not None
        assert answer.status < 300, (name, answer.body)
        await self.stage.plane.settled()
        return answer.json if answer.body else None

    async def set_up(self) -> None:
        await self.own(
            "CreateFunction",
            FunctionName="f",
            Role=ROLE.replace(OTHER, ACCOUNT),
            Code={"ZipFile": ZIP},
            Runtime="python3.13",
            Handler="app.handler",
            DurableConfig={"ExecutionTimeout": 60},
            Publish=True,
            Tags={"own": "1"},
        )
        await self.own("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
        await self.own("CreateFunctionUrlConfig", FunctionName="f", AuthType="AWS_IAM")
        await self.own("PutFunctionEventInvokeConfig", FunctionName="f", MaximumRetryAttempts=1)
        await self.own("PutFunctionConcurrency", FunctionName="f", ReservedConcurrentExecutions=5)
        await self.own(
            "PutProvisionedConcurrencyConfig",
            FunctionName="f",
            Qualifier="live",
            ProvisionedConcurrentExecutions=1,
        )
        await self.own(
            "AddPermission",
            FunctionName="f",
            StatementId="own",
            Action="lambda:InvokeFunction",
            Principal="s3.amazonaws.com",
        )
        await self.own("PublishLayerVersion", LayerName="l", Content={"ZipFile": ZIP})
        signing = await self.own("CreateCodeSigningConfig", AllowedPublishers=PUBLISHERS)
        self.signing = signing["CodeSigningConfig"]["CodeSigningConfigArn"]
        self.mapping = (
            await self.own("CreateEventSourceMapping", FunctionName="f", EventSourceArn=QUEUE)
        )["UUID"]
        created = await self.ask_logs(
            ACCOUNT, "CreateLogGroup", {"logGroupName": "/aws/lambda/f", "tags": {"own": "1"}}
        )
        assert created.status == 200
        await self._execution()

    async def _execution(self) -> None:
        function = await self.stage.plane.functions.get(function_key(), "1")
        call = invoke_call("f:1", execution_name="e")
        case = await self.stage.executions.attach(call, function, is_async=True)
        await until(case.ended.is_set)  # what runs nothing answers nothing durable
        origin = (await self.stage.executions.shown(case, lambda e: e)).origin
        self.execution = str(case.record.arn)
        self.token = checkpoint_token(origin.secret, origin.id, 1)
        self.callback = callback_id(origin.secret, origin.id, "op")

    def attempts(self) -> list[tuple[str, dict[str, Any], tuple[int, str]]]:
        """Operation, members, and what must come of it."""
        token = {"CheckpointToken": self.token}
        on_execution = {"DurableExecutionArn": self.execution}
        signing = {"CodeSigningConfigArn": self.signing}
        found: list[tuple[str, dict[str, Any], tuple[int, str]]] = []
        for name, members in ON_FUNCTIONS.items():
            more = signing if name == "PutFunctionCodeSigningConfig" else {}
            found.append((name, {"FunctionName": F, **members, **more}, DENIED))
        for name, members in ON_LAYERS.items():
            found.append((name, {"LayerName": LAYER, **members}, DENIED))
        found.append(("GetLayerVersionByArn", {"Arn": f"{LAYER}:1"}, DENIED))
        for name, members in ON_EXECUTIONS.items():
            needs = name in {"CheckpointDurableExecution", "GetDurableExecutionState"}
            found.append((name, {**on_execution, **members, **(token if needs else {})}, DENIED))
        for name, members in ON_CALLBACKS.items():
            found.append((name, {"CallbackId": self.callback, **members}, DENIED))
        for name, members in ON_SIGNING.items():
            found.append((name, {**signing, **members}, NOT_FOUND))
        for name, members in ON_MAPPINGS.items():
            found.append((name, {"UUID": self.mapping, **members}, NOT_FOUND))
        mapping = f"arn:aws:lambda:{REGION}:{ACCOUNT}:event-source-mapping:{self.mapping}"
        for name, members in ON_TAGGED.items():
            found.append((name, {"Resource": F, **members}, DENIED))
            found.append((name, {"Resource": self.signing, **members}, NOT_FOUND))
            found.append((name, {"Resource": mapping, **members}, NOT_FOUND))
        for name, members in ON_POLICIES.items():
            found.append((name, {"ResourceArn": F, **members}, DENIED))
        return found


def test_the_tables_have_every_operation(tmp_path: Path) -> None:
    async def main() -> set[tuple[str, str]]:
        async with whole_edge(tmp_path) as stage:
            return {
                (row.service, row.name)
                for row in stage.edge.operations_table()
                if row.is_implemented
            }

    tables = (ON_FUNCTIONS, ON_LAYERS, ON_EXECUTIONS, ON_CALLBACKS, ON_SIGNING, ON_MAPPINGS)
    of_lambda = {name for table in (*tables, ON_TAGGED, ON_POLICIES, LISTS) for name in table}
    of_logs = {*ON_GROUPS, *ON_GROUP_ARNS, *OF_LOGS_ALONE}
    of_none = NOBODYS | {operation.name for operation in capacity_providers.OPERATIONS}
    known = {("lambda", name) for name in of_lambda | of_none | INVOKES}
    known |= {("logs", name) for name in of_logs} | {("sts", "GetCallerIdentity")}
    assert asyncio.run(main()) == known


@pytest.mark.parametrize("qualifier", ["", ":live", ":1"])
def test_another_account_is_refused_by_every_operation(tmp_path: Path, qualifier: str) -> None:
    async def main() -> list[str]:
        faults = []
        async with whole_edge(tmp_path) as stage:
            scene = Scene(stage)
            await scene.set_up()
            before = stage.snapshot()
            for name, members, expected in scene.attempts():
                if members.get("FunctionName") == F and "Qualifier" not in members:
                    members["FunctionName"] = F + qualifier
                answer = await scene.ask(OTHER, name, members)
                kind = answer.headers.get("x-amzn-ErrorType", "")
                is_no_name = bool(qualifier) and (answer.status, kind) == INVALID
                if (answer.status, kind) != expected and not is_no_name:
                    faults.append(f"{name} {members}: {answer.status} {answer.body!r}")
                if stage.snapshot() != before:
                    faults.append(f"{name} {members} has changed something")
                    before = stage.snapshot()
        return faults

    faults = asyncio.run(main())
    assert not faults, "\n".join(faults)


def test_nothing_of_it_is_in_another_accounts_lists(tmp_path: Path) -> None:
    async def main() -> None:
        async with whole_edge(tmp_path) as stage:
            scene = Scene(stage)
            await scene.set_up()
            for name, member in LISTS.items():
                answer = await scene.ask(OTHER, name, {})
                assert (answer.status, answer.json[member]) == (200, [])
                assert await scene.own(name), name
            answer = await scene.ask(OTHER, "ListEventSourceMappings", {"EventSourceArn": QUEUE})
            assert answer.json["EventSourceMappings"] == []
            usage = (await scene.ask(OTHER, "GetAccountSettings", {})).json["AccountUsage"]
            assert usage == {"TotalCodeSize": 0, "FunctionCount": 0}

    asyncio.run(main())


def test_another_account_sees_and_changes_no_logs(tmp_path: Path) -> None:
    async def main() -> list[str]:
        faults = []
        async with whole_edge(tmp_path) as stage:
            scene = Scene(stage)
            await scene.set_up()
            by_name = {n: {"logGroupName": "/aws/lambda/f", **m} for n, m in ON_GROUPS.items()}
            for name, members in (*by_name.items(), *ON_GROUP_ARNS.items()):
                answer = await scene.ask_logs(OTHER, name, members)
                if (answer.status, answer.json.get("__type")) != (400, NOT_FOUND[1]):
                    faults.append(f"{name} {members}: {answer.status} {answer.body!r}")
            for members in (
                {},
                {"logGroupIdentifiers": [GROUP]},
                {"accountIdentifiers": [ACCOUNT]},
            ):
                answer = await scene.ask_logs(OTHER, "DescribeLogGroups", members)
                if b"/aws/lambda/f" in answer.body:
                    faults.append(f"DescribeLogGroups {members}: {answer.body!r}")
            own = await scene.ask_logs(ACCOUNT, "DescribeLogGroups", {})
            assert [group["logGroupName"] for group in own.json["logGroups"]] == ["/aws/lambda/f"]
            tags = await scene.ask_logs(ACCOUNT, "ListTagsForResource", {"resourceArn": GROUP})
            assert tags.json["tags"] == {"own": "1"}
        return faults

    faults = asyncio.run(main())
    assert not faults, "\n".join(faults)


def test_a_list_goes_on_from_no_odd_place_and_never_breaks(tmp_path: Path) -> None:
    async def main() -> tuple[int, list[str]]:
        asked, faults = 0, []
        async with whole_edge(tmp_path) as stage:
            scene = Scene(stage)
            await scene.set_up()
            attempts = [*scene.attempts(), *((name, {}, DENIED) for name in LISTS)]
            for name, members, _ in attempts:
                shape = LAMBDA.operation_model(name).input_shape
                if shape is None or "Marker" not in shape.members:
                    continue
                for marker in MARKERS:
                    asked += 1
                    answer = await scene.ask(ACCOUNT, name, {**members, "Marker": marker})
                    if answer.status is None or answer.status >= 500:
                        faults.append(f"{name} {marker[:40]}: {answer.status} {answer.body!r}")
            by_name = {n: {"logGroupName": "/aws/lambda/f", **m} for n, m in ON_GROUPS.items()}
            for name in ("DescribeLogStreams", "FilterLogEvents", "GetLogEvents"):
                for marker in MARKERS:
                    asked += 1
                    token = {"nextToken": marker, "startFromHead": True}
                    answer = await scene.ask_logs(ACCOUNT, name, {**by_name[name], **token})
                    if answer.status is None or answer.status >= 500:
                        faults.append(f"{name} {marker[:40]}: {answer.status} {answer.body!r}")
        return asked, faults

    asked, faults = asyncio.run(main())
    assert not faults, "\n".join(faults)
    assert asked > 300
