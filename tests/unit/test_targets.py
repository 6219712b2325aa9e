"""Which ARNs name something that can receive the outcome of an event, and what it is."""

import pytest

from hearth.model.targets import Target

ACCOUNT = "123456789012"


@pytest.mark.parametrize(
    ("arn", "service", "name"),
    [
        (f"arn:aws:sqs:us-east-1:{ACCOUNT}:q", "sqs", "q"),
        (f"arn:aws:sns:us-east-1:{ACCOUNT}:t", "sns", "t"),
        (f"arn:aws:events:us-east-1:{ACCOUNT}:event-bus/default", "eventbridge", "default"),
        (f"arn:aws:events:us-east-1:{ACCOUNT}:event-bus/a/b", "eventbridge", "a/b"),
        (f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:f", "lambda", "f"),
        (f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:f:live", "lambda", "f:live"),
        (f"arn:aws-cn:sqs:cn-north-1:{ACCOUNT}:q", "sqs", "q"),
        ("arn:aws:s3:::bucket", "s3", "bucket"),
    ],
)
def test_a_target_is_what_its_arn_says(arn: str, service: str, name: str) -> None:
    target = Target.parse(arn)
    assert (target.arn, target.service, target.name) == (arn, service, name)
    assert target.account == ("" if service == "s3" else ACCOUNT)


@pytest.mark.parametrize(
    "arn",
    [
        "",
        "q",
        f"arn:aws:sqs:us-east-1:{ACCOUNT}:q.fifo",
        f"arn:aws:sns:us-east-1:{ACCOUNT}:t.fifo",
        f"arn:aws:sqs:us-east-1:{ACCOUNT}:",
        f"arn:aws:sqs::{ACCOUNT}:q",
        "arn:aws:sqs:us-east-1::q",
        f"arn:aws:lambda:us-east-1:{ACCOUNT}:layer:l:1",
        f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:f:live:more",
        f"arn:aws:events:us-east-1:{ACCOUNT}:rule/r",
        f"arn:aws:iam:us-east-1:{ACCOUNT}:function:f",
        f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/s",
        "kafka://topic",
    ],
)
def test_anything_else_is_none(arn: str) -> None:
    with pytest.raises(ValueError, match="not the ARN of a target"):
        Target.parse(arn)
