"""What functions in the host's network are told of Hearth and of the services beside it."""

from hearth.app.neighbours import neighbours
from hearth.model.endpoints import Endpoint, Endpoints


def test_functions_find_what_hearth_is_and_what_it_was_told_of() -> None:
    known = [
        Endpoint("sqs", "http://127.0.0.1:9324"),
        Endpoint("dynamodbstreams", "http://127.0.0.1:8000"),
        Endpoint("s3", None),
    ]
    table = Endpoints({endpoint.service: endpoint for endpoint in known})
    assert neighbours("http://127.0.0.1:4566", table) == {
        "AWS_ENDPOINT_URL_LAMBDA": "http://127.0.0.1:4566",
        "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": "http://127.0.0.1:4566",
        "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:4566",
        "AWS_ENDPOINT_URL_SQS": "http://127.0.0.1:9324",
        "AWS_ENDPOINT_URL_DYNAMODB_STREAMS": "http://127.0.0.1:8000",
    }, "AWS's own need no word"
