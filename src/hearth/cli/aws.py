"""How do `deploy` and `invoke` reach Lambda? As any AWS client: botocore, public API.

endpoint     AWS_ENDPOINT_URL_LAMBDA, AWS_ENDPOINT_URL, else the Hearth that runs
credentials  AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, else test/test
region       AWS_REGION, AWS_DEFAULT_REGION, else us-east-1
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast

from hearth.cli import run_directory
from hearth.cli.admin_client import Gone, NotRunning
from hearth.cli.output import Failure
from hearth.settings import ClientSettings, StatePaths, read_client_settings

if TYPE_CHECKING:
    from types_boto3_lambda.client import LambdaClient

REGION_DEFAULT: Final = "us-east-1"
OPEN_KEY: Final = "test"
"""With --auth open any key is as good as any other."""
CONNECT_S: Final = 10
ANSWER_S: Final = 930
"""Longer than the longest function (900 s)."""

_UNKNOWN_KEY: Final = frozenset({"InvalidClientTokenId", "UnrecognizedClientException"})


def lambda_client(paths: StatePaths) -> "LambdaClient":
    """Raises Failure if there is no Lambda to talk to."""
    import botocore.session  # imported late: it takes longer than most commands
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    told = read_client_settings()
    endpoint = told.endpoint or _endpoint(paths)
    session = botocore.session.Session(profile=None if told.access_key else told.profile)
    if told.access_key or not told.profile:
        session.set_credentials(
            told.access_key or OPEN_KEY, told.secret_key or OPEN_KEY, told.session_token or None
        )
    try:
        client = session.create_client(
            "lambda",
            region_name=told.region or REGION_DEFAULT,
            endpoint_url=endpoint,
            config=Config(
                connect_timeout=CONNECT_S, read_timeout=ANSWER_S, retries={"total_max_attempts": 1}
            ),
        )
    except BotoCoreError as error:  # a profile or a region that there is none of
        raise Failure(str(error)) from error
    except ValueError as error:  # botocore's answer to what is no URL
        raise Failure(
            f"AWS_ENDPOINT_URL must be a URL like http://127.0.0.1:4566, not {endpoint!r}."
        ) from error
    return cast("LambdaClient", client)


@contextmanager
def errors_explained(paths: StatePaths) -> Iterator[None]:
    """What the other side or the way to it said, as one sentence for the user."""
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectionClosedError,
        EndpointConnectionError,
    )

    try:
        yield
    except ClientError as error:
        told = error.response["Error"]
        hint = _CREDENTIALS_HINT if _is_about_keys(told["Code"], read_client_settings()) else ""
        raise Failure(f"{told['Code']}: {told['Message']}{hint}") from error
    except EndpointConnectionError as error:
        endpoint = read_client_settings().endpoint
        if endpoint is None:  # ended since its run file was read
            raise NotRunning(paths) from error
        raise Gone(
            f"Nothing answers at {endpoint}. Start Hearth there with `hearth up`, or unset "
            "AWS_ENDPOINT_URL to reach the one that runs here."
        ) from error
    except ConnectionClosedError as error:
        raise Gone(
            "The other side ended before it had answered: what was asked for may have been done, "
            "or not to its end."
        ) from error
    except BotoCoreError as error:
        raise Failure(str(error)) from error


_CREDENTIALS_HINT: Final = (
    "\nThis Hearth checks signatures (--auth sigv4), and no credentials are set. Make a key with "
    "`hearth keys add NAME` and export its AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
)


def _is_about_keys(code: str, told: ClientSettings) -> bool:
    return code in _UNKNOWN_KEY and not (told.access_key or told.profile)


def _endpoint(paths: StatePaths) -> str:
    run = run_directory.running(paths)
    if run is None:
        raise NotRunning(paths)
    return run.endpoint
