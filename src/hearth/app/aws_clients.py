"""How does Hearth reach other AWS services? botocore's clients, at the addresses of the table.

They are made when first needed: importing botocore and reading a service's model take a quarter of
a second. They never retry by themselves, whoever uses them does, and never follow what the
environment says about addresses.

Credentials are Hearth's own, for all callers: AWS_ACCESS_KEY_ID or AWS_PROFILE; for AWS itself
whatever else botocore finds; for other servers else test/test. Nothing but an explicit `aws` ever
makes it look for the credentials of a machine, or talk to AWS.
"""

from typing import Any, Final

from hearth.model.endpoints import Endpoint
from hearth.settings import ClientSettings

CONNECT_S: Final = 5
READ_S: Final = 10
"""How long the server may be silent."""
ANY_KEY: Final = "test"

_ONLY_OURS: Final[dict[str, Any]] = {"ignore_configured_endpoint_urls": True}
"""Addresses come from the table alone. Not among the arguments that botocore's types know."""

_NAMES: Final = {"eventbridge": "events"}
"""Of services that botocore calls otherwise than the table."""


def make_client(
    endpoint: Endpoint,
    told: ClientSettings,
    region: str,
    connections_max: int,
    *,
    read_s: int = READ_S,
    **config: Any,
) -> Any:
    """A client of the endpoint's service. Takes a while; sessions of botocore are for one thread,
    so only one may be made at a time."""
    from botocore.config import Config

    return _session(endpoint, told).create_client(
        _NAMES.get(endpoint.service, endpoint.service),
        region_name=region,
        endpoint_url=endpoint.url,
        config=Config(
            connect_timeout=CONNECT_S,
            read_timeout=read_s,
            retries={"mode": "standard", "total_max_attempts": 1},
            max_pool_connections=connections_max,
            **config,
            **_ONLY_OURS,
        ),
    )


def _session(endpoint: Endpoint, told: ClientSettings) -> Any:
    import botocore.session

    session = botocore.session.Session(profile=None if told.access_key else told.profile)
    if told.access_key:
        session.set_credentials(told.access_key, told.secret_key or "", told.session_token or None)
    elif not told.profile and endpoint.url is not None:
        session.set_credentials(ANY_KEY, ANY_KEY)
    return session
