"""DurableConfig of CreateFunction and UpdateFunctionConfiguration: members to values, and back.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_DurableConfig.html
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hearth.api.operations.unsupported import unsupported
from hearth.model.durable import DurableConfig

Members = Mapping[str, Any]


def new_durable(members: Members) -> DurableConfig | None:
    """None where no DurableConfig was given: the function is not durable."""
    change = changed_durable(members)
    return None if change is None else change(DurableConfig())


def changed_durable(members: Members) -> Callable[[DurableConfig], DurableConfig] | None:
    """Raises InvalidParameterValue for what this Hearth cannot do."""
    given = members.get("DurableConfig")
    if given is None:
        return None
    if given.get("KMSKeyArn"):
        raise unsupported("KMSKeyArn of DurableConfig")
    changes = {
        name: given[member] for member, name in _NAMES.items() if given.get(member) is not None
    }
    return lambda config: replace(config, **changes)


_NAMES = {"ExecutionTimeout": "timeout_s", "RetentionPeriodInDays": "retention_days"}


def shown_durable(config: DurableConfig) -> dict[str, Any]:
    return {
        "RetentionPeriodInDays": config.retention_days,
        "ExecutionTimeout": config.timeout_s,
    }
