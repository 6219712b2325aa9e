"""What may a function ask about the place where it runs? Lambda's metadata endpoint.

    GET /2026-01-15/metadata/execution-environment      Authorization: Bearer TOKEN
    -> {"AvailabilityZoneID": "use1-az1"}

The token is in a variable of the environment, so that a function that can be made to fetch an
address that somebody else names gives nothing away. All workers are in their region's first zone.
Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-metadata-endpoint.html
"""

import hmac
from typing import Final

import msgspec

from hearth.base.http1 import HttpRequest, Responder
from hearth.worker.inside_errors import refuse

METADATA_ROOT: Final = "/2026-01-15/metadata/"
_PATH: Final = METADATA_ROOT + "execution-environment"
_HEADERS: Final = (
    ("Content-Type", "application/json"),
    ("Cache-Control", "private, max-age=43200, immutable"),
)
_DIRECTIONS: Final = ("north", "south", "central", "east", "west")


def handle(request: HttpRequest, responder: Responder, token: str, region: str) -> None:
    """A request below METADATA_ROOT; without a token there is nothing to know."""
    if request.target != _PATH:
        refuse(responder, 404, "NotFound", "There is no such metadata")
    elif request.method != "GET":
        refuse(responder, 405, "MethodNotAllowed", "Metadata can only be read")
    elif not token or not _is_authorized(request.headers.get("authorization", ""), token):
        refuse(responder, 401, "Unauthorized", "The token is missing or not that of this place")
    else:
        body = msgspec.json.encode({"AvailabilityZoneID": f"{abbreviation(region)}-az1"})
        responder.send(200, _HEADERS, body)


def _is_authorized(header: str, token: str) -> bool:
    scheme, _, given = header.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), token.encode())


def abbreviation(region: str) -> str:
    """`us-east-1` is `use1` in the ids of its zones, `ap-southeast-2` is `apse2`."""
    area, *middle, number = region.split("-")
    short = "".join(_shortened(part) for part in middle)
    return f"{area}{short}{number}"


def _shortened(part: str) -> str:
    """`southeast` is `se`; `gov` and whatever else is no direction is its first letter."""
    letters = ""
    rest = part
    while direction := next((word for word in _DIRECTIONS if rest.startswith(word)), ""):
        letters += direction[0]
        rest = rest.removeprefix(direction)
    return letters or part[:1]
