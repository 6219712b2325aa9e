"""Which environment variables does a function see? Lambda's, and nothing of the host's.

Precedence, low to high: the customer's, the credentials, the runtime's, the platform's reserved
ones. Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html and
variables recorded in AWS's own environments.
"""

import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hearth.model.functions import FunctionVersion
from hearth.model.log_settings import LogFormat

METADATA_KEY: Final = "AWS_LAMBDA_METADATA_TOKEN"
_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where things are, as the function sees them."""

    api_address: str
    task: str
    runtime: str
    lang: str
    opt: str
    tmp: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """Temporary ones, made for one environment; nothing else knows them."""

    access_key: str
    secret_key: str
    session_token: str

    @classmethod
    def fresh(cls) -> "Credentials":
        name = "".join(_ALPHABET[byte & 31] for byte in secrets.token_bytes(16))
        return cls(f"ASIA{name}", secrets.token_urlsafe(30), secrets.token_urlsafe(96))


def variables(
    function: FunctionVersion,
    place: Place,
    credentials: Credentials,
    log_stream: str,
    runtime_variables: Mapping[str, str],
) -> dict[str, str]:
    """All variables of one environment of `function`."""
    key = function.key
    reserved = {
        "AWS_ACCESS_KEY_ID": credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
        "AWS_SESSION_TOKEN": credentials.session_token,
        "AWS_REGION": key.region,
        "AWS_DEFAULT_REGION": key.region,
        "AWS_LAMBDA_FUNCTION_NAME": key.name,
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_INITIALIZATION_TYPE": str(function.initialization),
        "AWS_LAMBDA_LOG_GROUP_NAME": function.logging.group_of(key.name),
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
        "AWS_LAMBDA_METADATA_API": place.api_address,
        METADATA_KEY: str(uuid.UUID(bytes=secrets.token_bytes(16), version=4)),
        "AWS_LAMBDA_RUNTIME_API": place.api_address,
        "LAMBDA_TASK_ROOT": place.task,
        "LAMBDA_RUNTIME_DIR": place.runtime,
        "_HANDLER": function.handler,
    }
    if function.logging.format is LogFormat.JSON:
        reserved["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
        reserved["AWS_LAMBDA_LOG_LEVEL"] = function.logging.application_level
    usual = common(place, runtime_variables)
    if function.durable is not None and "AWS_ENDPOINT_URL" not in function.environment:
        # Where its SDK finds checkpoints, whatever its network: see durable_door.py.
        usual["AWS_ENDPOINT_URL_LAMBDA"] = f"http://{place.api_address}"
    return {**usual, **function.environment, **reserved}


def extension_variables(function: FunctionVersion, runtime: Mapping[str, str]) -> dict[str, str]:
    """What an external extension sees, where the runtime sees `runtime`: what the customer and
    the platform set, not what is the runtime's own."""
    return {
        name: value
        for name, value in runtime.items()
        if name in function.environment
        or not (name.startswith("_") or name in _RUNTIMES_OWN or name in _NOT_FOR_EXTENSIONS)
    }


_RUNTIMES_OWN: Final = frozenset({"AWS_EXECUTION_ENV", "PYTHONPATH", "NODE_PATH", "LC_CTYPE"})
_NOT_FOR_EXTENSIONS: Final = frozenset(
    {
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_XRAY_CONTEXT_MISSING",
        "AWS_XRAY_DAEMON_ADDRESS",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    }
)


def common(place: Place, runtime_variables: Mapping[str, str]) -> dict[str, str]:
    """Those that all functions of a runtime have in common, if they do not say otherwise."""
    defaults = {
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PATH": f"{place.lang}/bin:/usr/local/bin:/usr/bin/:/bin:{place.opt}/bin",
        "LD_LIBRARY_PATH": (
            f"{place.lang}/lib:/lib64:/usr/lib64:{place.runtime}:{place.runtime}/lib:"
            f"{place.task}:{place.task}/lib:{place.opt}/lib"
        ),
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1:2000",
        "_AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1",
        "_AWS_XRAY_DAEMON_PORT": "2000",
    }
    if place.tmp != "/tmp":  # only without a sandbox: there /tmp is the host's
        defaults["TMPDIR"] = place.tmp
    return defaults | dict(runtime_variables)
