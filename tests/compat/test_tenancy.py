"""Tenant isolation: what boto3, the function and the log see of tenants."""

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from compat.durable_flows import durable_package
from compat.platform import PYTHON, Platform, create, wait_until

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

CODE = """
import logging
seen = []
def handler(event, context):
    seen.append(context.tenant_id)
    if event.get("fail"):
        raise ValueError("as asked")
    logging.getLogger().warning("serving")
    return seen
"""


DURABLE = """
from aws_durable_execution_sdk_python import durable_execution
from aws_durable_execution_sdk_python.config import Duration

@durable_execution
def handler(event, context):
    before = context.step(lambda _: context.lambda_context.tenant_id, name="before")
    context.wait(Duration.from_seconds(1), name="pause")
    return [before, context.lambda_context.tenant_id]
"""


def messages(platform: Platform, name: str) -> list[Any]:
    logs = platform.service("logs")
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{name}")
    return [json.loads(event["message"]) for page in pages for event in page["events"]]


def asked(client: "LambdaClient", name: str, **more: Any) -> Any:
    answer = client.invoke(FunctionName=name, Payload=b"{}", **more)
    payload = answer["Payload"].read()
    assert not answer.get("FunctionError"), payload
    return json.loads(payload) if payload else None


def test_an_environment_serves_one_tenant(platform: Platform) -> None:
    client, name = platform.client(), f"tenants-{uuid.uuid4().hex[:8]}"
    create(
        client,
        name,
        CODE,
        TenancyConfig={"TenantIsolationMode": "PER_TENANT"},
        LoggingConfig={"LogFormat": "JSON"},
        Timeout=60,
    )
    client.publish_version(FunctionName=name)
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    assert asked(client, name, TenantId="blue") == ["blue"]
    assert asked(client, name, TenantId="green") == ["green"]
    assert asked(client, name, TenantId="blue") == ["blue", "blue"]
    assert asked(client, name, TenantId="blue", Qualifier="live") == ["blue"], "of its version"
    streamed = client.invoke_with_response_stream(FunctionName=name, TenantId="green")
    chunks = [p["PayloadChunk"]["Payload"] for p in streamed["EventStream"] if "PayloadChunk" in p]
    assert json.loads(b"".join(chunks)) == ["green", "green"]
    by_command = platform.command("invoke", name, "--tenant-id", "blue", "--qualifier", "live")
    assert json.loads(by_command.stdout) == ["blue", "blue"], by_command.stderr
    accepted = client.invoke(
        FunctionName=name, TenantId="red", InvocationType="Event", Payload=b"{}"
    )
    assert accepted["StatusCode"] == 202

    def reported() -> set[str]:
        return {
            line["record"]["tenantId"]
            for line in messages(platform, name)
            if line.get("type") == "platform.report"
        }

    wait_until(lambda: reported() == {"blue", "green", "red"}, "every tenant is in the log")
    said = {line["tenantId"] for line in messages(platform, name) if "serving" in str(line)}
    assert said == {"blue", "green", "red"}
    rows = json.loads(platform.command("ps", "--json").stdout)
    assert {"blue", "green"} <= {row["tenant"] for row in rows if row["function"] == name}


def test_an_event_that_failed_is_still_its_tenants(platform: Platform) -> None:
    client, name = platform.client(), f"tenants-{uuid.uuid4().hex[:8]}"
    create(
        client,
        name,
        CODE,
        TenancyConfig={"TenantIsolationMode": "PER_TENANT"},
        LoggingConfig={"LogFormat": "JSON"},
        Timeout=60,
    )
    client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0)
    accepted = client.invoke(
        FunctionName=name, TenantId="blue", InvocationType="Event", Payload=b'{"fail": 1}'
    )
    request = accepted["ResponseMetadata"]["RequestId"]

    def condition() -> Any:
        shown = platform.command("events", "show", name, request, "--json")
        detail = json.loads(shown.stdout or "{}")
        return detail.get("event", {}).get("condition"), detail.get("tenant")

    wait_until(lambda: condition() == ("RetriesExhausted", "blue"), "the event is dead")
    assert platform.command("events", "redrive", name, request, "--yes").returncode == 0

    def runs() -> list[str]:
        return [
            line["record"]["tenantId"]
            for line in messages(platform, name)
            if line.get("type") == "platform.report"
        ]

    wait_until(lambda: runs() == ["blue", "blue"], "it was run again for blue")


def test_a_tenant_is_required_where_it_is_used_and_nowhere_else(platform: Platform) -> None:
    client, name = platform.client(), f"tenants-{uuid.uuid4().hex[:8]}"
    create(client, name, CODE, TenancyConfig={"TenantIsolationMode": "PER_TENANT"})
    create(client, f"{name}-not", CODE)
    calls: list[tuple[str, dict[str, Any]]] = [
        (name, {}),
        (name, {"InvocationType": "Event"}),
        (name, {"InvocationType": "DryRun"}),
        (f"{name}-not", {"TenantId": "blue"}),
    ]
    for function, more in calls:
        with pytest.raises(ClientError, match="tenancy configuration") as refused:
            client.invoke(FunctionName=function, Payload=b"{}", **more)
        assert refused.value.response["Error"]["Code"] == "InvalidParameterValueException"
    with pytest.raises(ClientError, match="at 'tenantId' failed to satisfy constraint"):
        client.invoke(FunctionName=name, TenantId="no,commas")


def test_deploy_makes_a_function_that_keeps_tenants_apart(
    platform: Platform, tmp_path: Path
) -> None:
    name = f"tenants-{uuid.uuid4().hex[:8]}"
    (tmp_path / "app.py").write_text(CODE)
    arguments = ("--name", name, "--handler", "app.handler", "--runtime", PYTHON)
    made = platform.command("deploy", str(tmp_path), *arguments, "--per-tenant")
    assert made.returncode == 0, made.stderr
    assert f"hearth invoke {name} --tenant-id T" in made.stderr
    assert asked(platform.client(), name, TenantId="blue") == ["blue"]
    again = platform.command("deploy", str(tmp_path), "--name", name, "--per-tenant")
    assert again.returncode == 0, again.stderr
    create(platform.client(), f"{name}-not", CODE)
    refused = platform.command("deploy", str(tmp_path), "--name", f"{name}-not", "--per-tenant")
    assert refused.returncode == 1
    assert "does not keep its tenants apart" in refused.stderr


def test_a_durable_execution_stays_its_tenants(platform: Platform) -> None:
    """Also where it goes on after a pause, in another invocation that nobody asked for."""
    client: Any = platform.client()
    name = f"tenants-{uuid.uuid4().hex[:8]}"
    create(
        client,
        name,
        "",
        Code={"ZipFile": durable_package(DURABLE)},
        DurableConfig={"ExecutionTimeout": 120},
        TenancyConfig={"TenantIsolationMode": "PER_TENANT"},
        Timeout=60,
    )
    for tenant in ("blue", "green"):
        assert asked(client, name, TenantId=tenant, Qualifier="$LATEST") == [tenant, tenant]
    client.delete_function(FunctionName=name)
