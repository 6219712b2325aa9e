"""Expected texts are recorded answers of AWS, to the character."""

from typing import Any

import pytest

from hearth.api.patterns import matches
from hearth.api.shapes import load_service, parse_model
from hearth.api.special_constraints import RUNTIMES
from hearth.api.validation import check
from hearth.model.errors import InvalidParameterValue, ServiceError, ValidationFailed

ROLE = "arn:aws:iam::123456789012:role/r"
NAME_PATTERN = (
    r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?"
    r"(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?"
)
LAMBDA = load_service("lambda")


def refusal(operation: str, members: dict[str, Any]) -> ServiceError:
    shape = LAMBDA.operation(operation).input
    assert shape is not None
    with pytest.raises(ServiceError) as caught:
        check(shape, members)
    return caught.value


def creation(**members: Any) -> dict[str, Any]:
    return {"FunctionName": "f", "Role": ROLE, "Code": {}, **members}


RECORDED = [
    (
        "PutProvisionedConcurrencyConfig",
        {"FunctionName": "f", "Qualifier": "1", "ProvisionedConcurrentExecutions": 0},
        (
            "1 validation error detected: Value '0' at 'provisionedConcurrentExecutions' failed to "
            "satisfy constraint: Member must have value greater than or equal to 1"
        ),
    ),
    (
        "CreateFunctionUrlConfig",
        {"FunctionName": "f", "Qualifier": "$LATEST", "AuthType": "NONE"},
        (
            "1 validation error detected: Value '$LATEST' at 'qualifier' failed to satisfy "
            r"constraint: Member must satisfy regular expression pattern: "
            r"((?!^\d+$)^[0-9a-zA-Z-_]+$)"
        ),
    ),
    (
        "PutFunctionRecursionConfig",
        {"FunctionName": "f", "RecursiveLoop": "InvalidValue"},
        (
            "1 validation error detected: Value 'InvalidValue' at 'recursiveLoop' "
            "failed to satisfy "
            "constraint: Member must satisfy enum value set: [Terminate, Allow]"
        ),
    ),
    (
        "CreateFunction",
        creation(VpcConfig={"SecurityGroupIds": ["nope"]}),
        (
            "1 validation error detected: Value '[nope]' at 'vpcConfig.securityGroupIds' failed to "
            "satisfy constraint: Member must satisfy constraint: [Member must have "
            "length less than "
            "or equal to 1024, Member must have length greater than or equal to 0, Member must "
            "satisfy regular expression pattern: sg-[0-9a-zA-Z]*]"
        ),
    ),
    (
        "CreateFunction",
        creation(Architectures=["X86_64"]),
        (
            "1 validation error detected: Value '[X86_64]' at 'architectures' failed to satisfy "
            "constraint: Member must satisfy constraint: [Member must satisfy enum value set: "
            "[x86_64, arm64], Member must not be null]"
        ),
    ),
    (
        "CreateFunction",
        creation(Architectures=["x86_64", "arm64"]),
        (
            "1 validation error detected: Value '[x86_64, arm64]' at 'architectures' failed to "
            "satisfy constraint: Member must have length less than or equal to 1"
        ),
    ),
    (
        "Invoke",
        {"FunctionName": "arn:aws:lambda:us-east-1:123400000000@function:myfn"},
        (
            "1 validation error detected: Value "
            "'arn:aws:lambda:us-east-1:123400000000@function:myfn' "
            "at 'functionName' failed to satisfy constraint: Member must satisfy "
            "regular expression "
            f"pattern: {NAME_PATTERN}"
        ),
    ),
    (
        "AddPermission",
        {"FunctionName": "f", "StatementId": "example.com", "Action": "*", "Principal": "x"},
        (
            "1 validation error detected: Value 'example.com' at 'statementId' failed to satisfy "
            "constraint: Member must satisfy regular expression pattern: ([a-zA-Z0-9-_]+)"
        ),
    ),
    (
        "CreateEventSourceMapping",
        {"FunctionName": "f", "StartingPosition": "invalid"},
        (
            "1 validation error detected: Value 'invalid' at 'startingPosition' failed to satisfy "
            "constraint: Member must satisfy enum value set: [LATEST, AT_TIMESTAMP, TRIM_HORIZON]"
        ),
    ),
    (
        "CreateFunction",
        creation(Role="r1"),
        (
            "1 validation error detected: Value 'r1' at 'role' failed to satisfy "
            "constraint: Member "
            r"must satisfy regular expression pattern: arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?"
            r"[a-zA-Z_0-9+=,.@\-_/]+"
        ),
    ),
    (
        "UpdateAlias",
        {
            "FunctionName": "f",
            "Name": "a",
            "RoutingConfig": {"AdditionalVersionWeights": {"$LATEST": 0.5}},
        },
        (
            "1 validation error detected: Value '{$LATEST=0.5}' at "
            "'routingConfig.additionalVersionWeights' failed to satisfy constraint: Map keys must "
            "satisfy constraint: [Member must have length less than or equal to 1024, Member must "
            "have length greater than or equal to 1, Member must satisfy regular "
            "expression pattern: "
            "[0-9]+]"
        ),
    ),
    (
        "UpdateAlias",
        {
            "FunctionName": "f",
            "Name": "a",
            "RoutingConfig": {"AdditionalVersionWeights": {"2": 2.0}},
        },
        (
            "1 validation error detected: Value '{2=2.0}' at "
            "'routingConfig.additionalVersionWeights' "
            "failed to satisfy constraint: Map value must satisfy constraint: "
            "[Member must have value "
            "less than or equal to 1.0, Member must have value greater than or "
            "equal to 0.0, Member "
            "must not be null]"
        ),
    ),
    (
        "PublishLayerVersion",
        {
            "LayerName": "l",
            "Content": {},
            "CompatibleRuntimes": ["invalidruntime", "invalidruntime2", "nodejs20.x"],
            "CompatibleArchitectures": ["invalidarch", "x86_64"],
        },
        (
            "2 validation errors detected: Value '[invalidruntime, "
            "invalidruntime2, nodejs20.x]' at "
            "'compatibleRuntimes' failed to satisfy constraint: Member must "
            "satisfy enum value set: "
            f"[{RUNTIMES}]; Value '[invalidarch, x86_64]' at 'compatibleArchitectures' failed to "
            "satisfy constraint: Member must satisfy constraint: [Member must "
            "satisfy enum value set: "
            "[x86_64, arm64], Member must not be null]"
        ),
    ),
    (
        "CreateFunction",
        creation(Environment={"Variables": {"a": "secret"}}),
        (
            "1 validation error detected: Value at 'environment.variables' failed to satisfy "
            "constraint: Map keys must satisfy constraint: [Member must satisfy regular expression "
            "pattern: [a-zA-Z]([a-zA-Z0-9_])+]"
        ),
    ),
]


@pytest.mark.parametrize(("operation", "members", "text"), RECORDED)
def test_a_recorded_refusal_is_given_to_the_character(
    operation: str, members: dict[str, Any], text: str
) -> None:
    error = refusal(operation, members)
    assert isinstance(error, ValidationFailed)
    assert error.message == text


def test_an_unknown_runtime_is_another_error_with_the_value_unquoted() -> None:
    error = refusal("CreateFunction", creation(Runtime="PYTHON3.9"))
    assert isinstance(error, InvalidParameterValue)
    assert error.message == (
        "Value PYTHON3.9 at 'runtime' failed to satisfy constraint: Member must satisfy enum "
        f"value set: [{RUNTIMES}] or be a valid ARN"
    )


def test_the_common_errors_come_before_the_special_one() -> None:
    error = refusal("CreateFunction", creation(Runtime="PYTHON3.9", Role="r1"))
    assert isinstance(error, ValidationFailed)
    assert error.message.startswith("1 validation error detected: Value 'r1' at 'role'")


def test_missing_members_are_null_and_in_the_order_of_javas_hashes() -> None:
    assert refusal("CreateFunction", {}).message == (
        "3 validation errors detected: "
        "Value null at 'role' failed to satisfy constraint: Member must not be null; "
        "Value null at 'code' failed to satisfy constraint: Member must not be null; "
        "Value null at 'functionName' failed to satisfy constraint: Member must not be null"
    )


def test_one_member_can_break_its_pattern_and_its_length() -> None:
    text = refusal("GetAlias", {"FunctionName": "f", "Name": ""}).message
    assert text.startswith("2 validation errors detected: Value '' at 'name'")
    assert text.index("regular expression pattern") < text.index("length greater than or equal")


@pytest.mark.parametrize(
    "name",
    [
        "my-function",
        "my-function:v1",
        "my-function:$LATEST",
        "123456789012:function:my-function",
        "123456789012:function:my-function:42",
        "function:my-function",
        "us-west-2:123456789012:function:my-function",
        "arn:aws:lambda:us-west-2:123456789012:function:my-function",
        "arn:aws:lambda:us-west-2:123456789012:function:my-function:PROD",
        "arn:aws-us-gov:lambda:us-gov-west-1:123456789012:function:my_function:$LATEST",
    ],
)
@pytest.mark.parametrize("operation", ["Invoke", "GetFunction", "DeleteFunction"])
def test_every_way_to_name_a_function_is_accepted(operation: str, name: str) -> None:
    shape = LAMBDA.operation(operation).input
    assert shape is not None
    check(shape, {"FunctionName": name})


def test_the_text_of_a_secret_is_nowhere_in_an_error() -> None:
    members = creation(Environment={"Variables": {"A-KEY": "hunter2"}}, Role="r1")
    assert "hunter2" not in refusal("CreateFunction", members).message


NESTED = parse_model(
    "made",
    b"""{"metadata": {"apiVersion": "1", "protocol": "json", "endpointPrefix": "made"},
    "operations": {}, "shapes": {
    "In": {"type": "structure", "members": {"Tags": {"shape": "Tags"}, "Rows": {"shape": "Rows"},
        "ByName": {"shape": "ByName"}, "Few": {"shape": "Few"}}},
    "Tags": {"type": "list", "member": {"shape": "Tag"}},
    "Few": {"type": "list", "member": {"shape": "Tag"}, "max": 1},
    "Tag": {"type": "structure", "required": ["Key"], "members": {
        "Key": {"shape": "Short"}, "Value": {"shape": "Hidden"}}},
    "Rows": {"type": "list", "member": {"shape": "Row"}},
    "Row": {"type": "list", "member": {"shape": "Short"}, "max": 2},
    "ByName": {"type": "map", "key": {"shape": "Short"}, "value": {"shape": "Tag"}},
    "Short": {"type": "string", "max": 3},
    "Hidden": {"type": "string", "sensitive": true}}}""",
).shape("In")

TOO_LONG = "Member must have length less than or equal to 3"


@pytest.mark.parametrize(
    ("members", "text"),
    [
        (
            {"Tags": [{"Key": "a"}, {"Key": "long"}]},
            f"'long' at 'tags.2.member.key' FAILED: {TOO_LONG}",
        ),
        ({"Tags": [{}]}, "null at 'tags.1.member.key' FAILED: Member must not be null"),
        (
            {"Tags": [None]},
            "'[null]' at 'tags' FAILED: Member must satisfy constraint: [Member must not be null]",
        ),
        ({"ByName": {"x": {"Key": "long"}}}, f"'long' at 'byName.x.member.key' FAILED: {TOO_LONG}"),
        (
            {"ByName": {"long": {"Key": "a", "Value": "hidden"}}},
            (
                "'{long=Tag(key=a, value=*** Sensitive Data Redacted ***)}' at 'byName' FAILED: "
                f"Map keys must satisfy constraint: [{TOO_LONG}]"
            ),
        ),
        (
            {"Rows": [["a", "long"]]},
            (
                "'[a, long]' at 'rows.1.member' FAILED: "
                f"Member must satisfy constraint: [{TOO_LONG}, Member must not be null]"
            ),
        ),
        (
            {"Rows": [["a", "b", "c"]]},
            (
                "'[[a, b, c]]' at 'rows' FAILED: Member must satisfy constraint: "
                "[Member must have length less than or equal to 2, Member must not be null]"
            ),
        ),
        (
            {"Few": [{"Key": "a"}, {"Key": "b", "Value": None}]},
            (
                "'[Tag(key=a, value=null), Tag(key=b, value=null)]' at 'few' FAILED: "
                "Member must have length less than or equal to 1"
            ),
        ),
    ],
)
def test_what_is_broken_inside_containers_is_found_and_named(
    members: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValidationFailed) as caught:
        check(NESTED, members)
    wanted = "1 validation error detected: Value " + text.replace(
        "FAILED", "failed to satisfy constraint"
    )
    assert caught.value.message == wanted


def test_the_number_of_errors_is_bounded() -> None:
    with pytest.raises(ValidationFailed, match=r"^100 validation errors detected: "):
        check(NESTED, {"Tags": [{}] * 5_000})


@pytest.mark.parametrize(
    ("pattern", "text", "matched"),
    [
        (r"\d{12}", "123456789012", True),
        (r"\d{12}", "１２３４５６７８９０１２", False),
        (r"[\w-]+", "é", False),
        (r".*", "aé\t", True),
        (r".*", "a\rb", False),
        (r".*", "a\u2028b", False),
        (r"[.]+|\.+", "...", True),
        (r"[\s\S]*", "a\r\nb", True),
        (r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)", "Größe 世界", True),
        (r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)", "a!", False),
    ],
)
def test_a_pattern_means_what_it_means_to_java(pattern: str, text: str, matched: bool) -> None:
    assert matches(pattern, text) is matched
