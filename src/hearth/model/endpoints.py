"""Where does Hearth reach the AWS services that its users name? One table for all of them.

Code from S3, and whatever else Hearth does for its users in another service, goes to the address
that this table has for the service, and nowhere else: without an entry it is refused, in a
sentence that says how to make one. Hearth never guesses, and never calls AWS unasked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from hearth.model.errors import InvalidParameterValue

SERVICES: Final = ("dynamodbstreams", "eventbridge", "kinesis", "s3", "sns", "sqs", "xray")
"""What this Hearth can use. A name that is not here is refused: it would have no effect."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one service is."""

    service: str
    url: str | None
    """None: AWS itself, in the region of whoever asks."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The table. By default it is empty."""

    by_service: Mapping[str, Endpoint] = field(default_factory=dict)

    def find(self, service: str) -> Endpoint | None:
        return self.by_service.get(service)


def no_endpoint(member: str, service: str) -> InvalidParameterValue:
    """What a caller is told whose `member` needs a service that the table does not have."""
    return InvalidParameterValue(
        f"{member} needs the service {service}, and this Hearth was not told where that is. "
        f"Start it with --endpoint {service}=URL (or HEARTH_ENDPOINT_{variable_part(service)}), "
        f"or with --endpoint {service}=aws for AWS itself."
    )


def variable_part(service: str) -> str:
    """How names of environment variables spell a service: `HEARTH_ENDPOINT_S3`."""
    return service.upper().replace("-", "_")
