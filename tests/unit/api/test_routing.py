import pytest

from hearth.api.routing import Route, Routes, WrongMethod
from hearth.api.shapes import load_service, parse_model

LAMBDA = Routes(load_service("lambda"))
MADE = Routes(
    parse_model(
        "made",
        b"""{"metadata": {"apiVersion": "1", "protocol": "rest-json", "endpointPrefix": "made"},
    "shapes": {}, "operations": {
    "Object": {"http": {"method": "GET", "requestUri": "/{Bucket}/{Key+}"}},
    "Acl": {"http": {"method": "GET", "requestUri": "/{Bucket}/{Key+}/acl"}},
    "List": {"http": {"method": "GET", "requestUri": "/{Bucket}"}},
    "Health": {"http": {"method": "GET", "requestUri": "/health"}},
    "Tagged": {"http": {"method": "GET", "requestUri": "/{Bucket}?tagging"}}}}""",
    )
)


def test_every_operation_is_found_at_its_own_path() -> None:
    model = load_service("lambda")
    for name in model.operation_names:
        method, uri = model.route(name)
        path, _, query = uri.partition("?")
        given = dict.fromkeys(q.partition("=")[0] for q in query.split("&") if q)
        texts = {k: [query.partition("=")[2]] for k in given}
        found = LAMBDA.find(method, path.replace("{", "").replace("}", ""), texts)
        assert found is not None
        assert found.operation == name
        assert all(label == text for label, text in found.labels.items())


def test_labels_are_percent_decoded_after_the_path_was_cut() -> None:
    arn = "arn%3Aaws%3Alambda%3Aus-east-1%3A1%3Afunction%3Af"
    assert LAMBDA.find("GET", f"/2017-03-31/tags/{arn}", {}) == Route(
        "ListTags", {"Resource": "arn:aws:lambda:us-east-1:1:function:f"}
    )
    assert LAMBDA.find("GET", "/2015-03-31/functions/a%2Fb", {}) == Route(
        "GetFunction", {"FunctionName": "a/b"}
    )


def test_a_slash_at_the_end_is_ignored() -> None:
    assert LAMBDA.find("GET", "/2015-03-31/functions/", {}) == Route("ListFunctions", {})


def test_literal_query_parameters_tell_operations_apart() -> None:
    path = "/2018-10-31/layers"
    assert LAMBDA.find("GET", path, {}) == Route("ListLayers", {})
    found = LAMBDA.find("GET", path, {"find": ["LayerVersion"], "Arn": ["a"]})
    assert found == Route("GetLayerVersionByArn", {})
    assert LAMBDA.find("GET", path, {"find": ["Other"]}) == Route("ListLayers", {})


@pytest.mark.parametrize(
    ("path", "query", "operation"),
    [
        ("/health", {}, "Health"),
        ("/other", {}, "List"),
        ("/other", {"tagging": [""]}, "Tagged"),
        ("/b/x", {}, "Object"),
        ("/health/x/y", {}, "Object"),
        ("/b/x/y/acl", {}, "Acl"),
    ],
)
def test_the_most_particular_route_wins(
    path: str, query: dict[str, list[str]], operation: str
) -> None:
    found = MADE.find("GET", path, query)
    assert found is not None
    assert found.operation == operation


def test_a_greedy_label_takes_slashes() -> None:
    assert MADE.find("GET", "/b/x/y%20z/w", {}) == Route(
        "Object", {"Bucket": "b", "Key": "x/y z/w"}
    )


@pytest.mark.parametrize("path", ["/", "", "/nothing", "/2015-03-31/functions/f/x/y", "//"])
def test_an_unknown_path_is_no_route(path: str) -> None:
    assert LAMBDA.find("GET", path, {}) is None


def test_an_empty_label_is_no_name() -> None:
    assert LAMBDA.find("POST", "/2015-03-31/functions//invocations", {}) is None


def test_a_known_path_with_another_method_is_told_apart() -> None:
    with pytest.raises(WrongMethod):
        LAMBDA.find("PATCH", "/2015-03-31/functions/f", {})
