"""Where may the outcome of an asynchronous invoke go? What an ARN names, if it can receive one.

Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
"""

import re
from dataclasses import dataclass
from typing import Final, Self

from hearth.model.ids import FunctionReference

LAMBDA: Final = "lambda"

_ARN = re.compile(
    r"arn:(?P<partition>aws[a-zA-Z-]*):(?P<service>[a-z0-9-]+):"
    r"(?P<region>[a-z0-9-]*):(?P<account>\d{12})?:(?P<resource>.+)",
    re.ASCII,
)
_SERVICES: Final = {
    LAMBDA: LAMBDA,
    "sqs": "sqs",
    "sns": "sns",
    "events": "eventbridge",
    "s3": "s3",
}
"""From the name in an ARN to that in the table of endpoints."""

_BUS: Final = "event-bus/"
_FUNCTION: Final = "function:"


@dataclass(frozen=True, slots=True)
class Target:
    """A function, a standard queue or topic, an event bus, or a bucket."""

    arn: str
    service: str
    """As the table of endpoints calls it; `lambda` is Hearth itself."""
    region: str
    """Empty for a bucket: it is wherever the function is."""
    account: str
    name: str
    """Of the queue, topic, bus or bucket; of a function with its qualifier, if it has one."""

    @classmethod
    def parse(cls, arn: str) -> Self:
        """Raises ValueError if nothing that may receive is named."""
        match = _ARN.fullmatch(arn)
        service = _SERVICES.get(match["service"]) if match is not None else None
        if match is None or service is None:
            raise ValueError(f"not the ARN of a target: {arn!r}")
        name = _name(service, match["resource"])
        if name is None or (service != "s3" and not (match["region"] and match["account"])):
            raise ValueError(f"not the ARN of a target: {arn!r}")
        return cls(arn, service, match["region"], match["account"] or "", name)


def _name(service: str, resource: str) -> str | None:
    if service == LAMBDA:
        name = resource.removeprefix(_FUNCTION)
        return name if resource.startswith(_FUNCTION) and _is_function(name) else None
    if service == "eventbridge":
        return resource.removeprefix(_BUS) if resource.startswith(_BUS) else None
    if service in {"sqs", "sns"} and resource.endswith(".fifo"):
        return None  # standard queues and topics only
    return resource


def _is_function(name: str) -> bool:
    try:
        FunctionReference.parse(name)
    except ValueError:
        return False
    return True
