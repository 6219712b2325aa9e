"""A running Hearth answers what its table says: 501 to what is not supported, and to no other."""

import http.client
from urllib.parse import urlsplit

import pytest

from compat.platform import Platform
from fakes.constraint_breakers import sound
from fakes.function_api import MODEL
from fakes.whole_edge import AUTHORIZATION
from fakes.wire_requests import rest_request
from hearth.api.compatibility import LAMBDA
from hearth.api.support import Status

pytestmark = pytest.mark.compat


@pytest.mark.parametrize("name", sorted(LAMBDA))
def test_an_operation_answers_501_exactly_if_the_table_says_so(
    platform: Platform, name: str
) -> None:
    operation = MODEL.operation_model(name)
    members = sound(operation.input_shape) if operation.input_shape is not None else {}
    request = rest_request(operation, members, authorization=AUTHORIZATION)
    connection = http.client.HTTPConnection(urlsplit(platform.endpoint).netloc, timeout=30)
    try:
        connection.request(request.method, request.target, request.body, request.headers)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    supported = LAMBDA[name].status is not Status.UNSUPPORTED
    if supported:
        assert answer.status < 500, body
    else:
        assert answer.status == 501, body
