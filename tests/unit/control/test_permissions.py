"""Policies as they are kept: apart for each qualifier, changed by whoever knows their revision."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from fakes.control import function_key
from fakes.function_api import ARN
from fakes.settings_api import OTHER_ACCOUNT, SettingsApi, play
from hearth.control.policy import AccountPrincipal, ServicePrincipal, Verdict, source_context
from hearth.model.errors import AccessDenied, PreconditionFailed, ResourceNotFound
from hearth.model.functions import FunctionVersion

INVOKE = "lambda:InvokeFunction"
S3 = ServicePrincipal("s3.amazonaws.com")
BUCKET = "arn:aws:s3:::bucket"


async def add(api: SettingsApi, statement_id: str, **changes: Any) -> None:
    members = {
        "FunctionName": "f",
        "StatementId": statement_id,
        "Action": INVOKE,
        "Principal": OTHER_ACCOUNT,
    }
    await api.call("AddPermission", **members | changes)


def latest(api: SettingsApi) -> FunctionVersion:
    function = api.plane.replica.get(function_key())
    assert function is not None
    return function


def test_permissions_that_are_added_at_once_are_all_there(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        await api.create()
        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(add(api, f"s{number}"))
        found = api.permissions.get(latest(api), None)
        assert found is not None
        assert all(f'"Sid":"s{number}"' in found[0] for number in range(8))

    play(tmp_path, scenario)


def test_a_service_is_let_in_for_its_resource_only(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        await api.create()
        function = latest(api)

        def verdict(context: dict[str, str], qualifier: str | None = None) -> Verdict:
            return api.permissions.verdict(function, qualifier, S3, INVOKE, context)

        assert verdict(source_context(arn=BUCKET)) is Verdict.SILENT
        await add(api, "s", Principal=S3.name, SourceArn=BUCKET)
        assert verdict(source_context(arn=BUCKET)) is Verdict.ALLOWED
        assert verdict(source_context(arn=f"{BUCKET}2")) is Verdict.SILENT
        assert verdict(source_context(arn=BUCKET), "$LATEST") is Verdict.SILENT
        await api.call("RemovePermission", FunctionName="f", StatementId="s")
        assert verdict(source_context(arn=BUCKET)) is Verdict.SILENT

    play(tmp_path, scenario)


def test_an_organization_lets_nobody_in_since_none_is_known(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        await api.create()
        await add(api, "s", Principal="*", PrincipalOrgID="o-1234567890")
        other = AccountPrincipal(OTHER_ACCOUNT, f"arn:aws:iam::{OTHER_ACCOUNT}:root")
        answer = api.permissions.verdict(latest(api), None, other, INVOKE)
        assert answer is Verdict.SILENT

    play(tmp_path, scenario)


def test_the_policy_of_an_alias_does_not_outlive_it(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        await api.create()
        alias = {"FunctionName": "f", "Name": "live", "FunctionVersion": "$LATEST"}
        await api.call("CreateAlias", **alias)
        await add(api, "s", Qualifier="live")
        assert api.permissions.get(latest(api), "live") is not None
        await api.call("DeleteAlias", FunctionName="f", Name="live")
        await api.call("CreateAlias", **alias)
        assert api.permissions.get(latest(api), "live") is None

    play(tmp_path, scenario)


def test_a_permission_lets_another_account_into_the_control_plane(tmp_path: Path) -> None:
    async def scenario(api: SettingsApi) -> None:
        await api.create()

        async def theirs(operation: str) -> Any:
            return (await api.respond(operation, {"FunctionName": ARN}, OTHER_ACCOUNT)).members

        with pytest.raises(AccessDenied, match="no resource-based policy allows"):
            await theirs("GetFunctionConfiguration")
        await add(api, "s", Action="lambda:GetFunctionConfiguration")
        assert (await theirs("GetFunctionConfiguration"))["FunctionArn"] == ARN
        with pytest.raises(AccessDenied):
            await theirs("DeleteFunction")

    play(tmp_path, scenario)


def test_a_policy_is_replaced_and_deleted_by_who_knows_its_revision(tmp_path: Path) -> None:
    policy = (
        '{"Statement":{"Effect":"Allow","Principal":{"AWS":"999999999999"},'
        f'"Action":"lambda:*","Resource":"{ARN}"}}}}'
    )

    async def scenario(api: SettingsApi) -> None:
        await api.create()
        put = await api.call("PutResourcePolicy", ResourceArn=ARN, Policy=policy)
        assert await api.call("GetPolicy", FunctionName="f") == put
        with pytest.raises(PreconditionFailed):
            await api.call("PutResourcePolicy", ResourceArn=ARN, Policy=policy, RevisionId="other")
        await add(api, "s", RevisionId=put["RevisionId"])
        with pytest.raises(PreconditionFailed):
            await api.call("DeleteResourcePolicy", ResourceArn=ARN, RevisionId=put["RevisionId"])
        await api.call("DeleteResourcePolicy", ResourceArn=ARN)
        with pytest.raises(ResourceNotFound):
            await api.call("GetResourcePolicy", ResourceArn=ARN)

    play(tmp_path, scenario)
