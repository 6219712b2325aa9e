"""botocore is the oracle: what its serializer writes we read, what we write its parser reads.

For every operation of the services that Hearth serves, and of others that speak the protocols
which follow (Step Functions, Logs, ELB, CloudFormation).
"""

import io
from functools import cache
from typing import Any, cast

import pytest
from botocore.awsrequest import HeadersDict, create_request_object, prepare_request_dict
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape, StructureShape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from fakes.shape_values import ShapeValues
from hearth.api.edge import protocol_of
from hearth.api.protocols.contract import Answer, WireProtocol
from hearth.api.shapes import load_service
from hearth.base.http1 import HttpRequest
from hearth.model.errors import ServiceError

SERVICES = ("lambda", "sts", "stepfunctions", "logs", "elbv2", "cloudformation")
SEEDS = (1, 2)


@cache
def oracle(service: str) -> ServiceModel:
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


@cache
def ours(service: str) -> WireProtocol:
    return protocol_of(load_service(service))


def operations() -> list[tuple[str, str]]:
    return [(service, name) for service in SERVICES for name in oracle(service).operation_names]


def answering_operations() -> list[tuple[str, str]]:
    """Those with a single answer: an event stream is many."""
    return [
        (service, name)
        for service, name in operations()
        if not oracle(service).operation_model(name).has_event_stream_output
    ]


def sent(operation: OperationModel, members: dict[str, Any]) -> HttpRequest:
    """The request that botocore would put on the wire, unsigned."""
    serializer = create_serializer(operation.service_model.protocol, include_validation=False)
    request = serializer.serialize_to_request(members, operation)
    prepare_request_dict(request, "http://localhost:4566")
    prepared = create_request_object(request).prepare()
    body = prepared.body or b""
    return HttpRequest(
        method=prepared.method,
        target=prepared.url.removeprefix("http://localhost:4566"),
        headers={
            name.lower(): value.decode("latin-1") if isinstance(value, bytes) else value
            for name, value in prepared.headers.items()
        },
        body=body.encode() if isinstance(body, str) else bytes(body),
        trailers={},
        peer="",
    )


def parsed(answer: Answer, operation: OperationModel) -> Any:
    """What botocore's client would return; a payload that it streams is read."""
    streams = operation.has_streaming_output
    response = {
        "status_code": answer.status,
        "headers": HeadersDict(dict(answer.headers)),
        "body": io.BytesIO(answer.body) if streams else answer.body,
    }
    shape = cast("Shape", operation.output_shape)  # None is fine too, as its own client does
    result = create_parser(operation.service_model.protocol).parse(response, shape)
    return {k: v.read() if isinstance(v, io.BytesIO) else v for k, v in result.items()}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("service", "name"), operations())
def test_what_botocore_sends_is_read_back(service: str, name: str, seed: int) -> None:
    operation = oracle(service).operation_model(name)
    members = ShapeValues(seed).structure(operation.input_shape) if operation.input_shape else {}
    request = sent(operation, members)
    match = ours(service).match(request)
    assert match.operation.name == name
    assert ours(service).decode(match, request) == members


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("service", "name"), answering_operations())
def test_what_we_answer_botocore_reads_back(service: str, name: str, seed: int) -> None:
    operation = oracle(service).operation_model(name)
    shape = operation.output_shape
    members = ShapeValues(seed).structure(shape) if shape else {}
    answer = ours(service).encode(load_service(service).operation(name), members, "the-request")
    result = parsed(answer, operation)
    metadata = result.pop("ResponseMetadata")
    assert metadata["RequestId"] == "the-request"
    assert result == members


@pytest.mark.parametrize("service", SERVICES)
def test_every_error_of_a_model_is_read_with_its_code_and_message(service: str) -> None:
    operation = oracle(service).operation_model(oracle(service).operation_names[0])
    for shape in oracle(service).error_shapes:
        error_class = type("Made", (ServiceError,), {"code": shape.name, "status": 418})
        error = error_class("what <went> wrong & why")
        answer = ours(service).encode_error(error, "the-request")
        result = parsed(answer, operation)
        assert result["Error"]["Code"] == shape.metadata.get("error", {}).get("code", shape.name)
        assert result["Error"]["Message"] == "what <went> wrong & why"
        assert result["ResponseMetadata"]["HTTPStatusCode"] == 418
        assert result["ResponseMetadata"]["RequestId"] == "the-request"


@pytest.mark.parametrize("service", SERVICES)
def test_the_models_are_read_as_botocore_reads_them(service: str) -> None:
    theirs, mine = oracle(service), load_service(service)
    assert list(mine.operation_names) == theirs.operation_names
    assert mine.signing_name == theirs.signing_name
    for name in theirs.shape_names:
        shape, reference = mine.shape(name), theirs.shape_for(name)
        assert shape.kind.value == reference.type_name
        if isinstance(reference, StructureShape):
            assert list(shape.members) == list(reference.members)
            assert shape.required == set(reference.required_members)
            for member, member_reference in reference.members.items():
                ref = shape.members[member]
                assert (ref.wire_name or member) == member_reference.serialization.get(
                    "name", member
                )
                assert ref.location == member_reference.serialization.get("location")


def test_lambda_has_the_operations_that_its_clients_know() -> None:
    assert len(load_service("lambda").operation_names) == 91
