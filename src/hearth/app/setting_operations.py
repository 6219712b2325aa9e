"""Which operations are about the settings of functions, and who may use them? Wired from Parts."""

from hearth.api.operation import Operation, Permits
from hearth.api.operations import (
    capacity_providers,
    code_signing,
    event_invoke,
    function_urls,
    functions,
    layers,
    permissions,
    recursion,
    runtime_management,
    tags,
)
from hearth.api.operations.functions import CodeLocation
from hearth.app.choices import new_id
from hearth.app.parts import Parts
from hearth.control.code_signing import CodeSigning
from hearth.control.event_invoke import EventInvokeConfigs
from hearth.control.function_urls import FunctionUrls
from hearth.control.layer_access import LayerAccess
from hearth.control.permissions import Permissions
from hearth.control.recursion import Recursions
from hearth.model.ids import Caller, FunctionKey


def function_operations(parts: Parts, code_location: CodeLocation) -> tuple[Operation, ...]:
    """Functions themselves, with what GetFunction shows of their settings."""
    tagging = parts.tagging
    return functions.operations(
        parts.functions,
        code_location,
        parts.reserved.get,
        tags_of=lambda version: tagging.of_function(parts.replica.get(version.key) or version),
        signing=_signing(parts),
        layers=_layer_access(parts),
    )


def setting_operations(
    parts: Parts, location: layers.Location, urls: FunctionUrls
) -> tuple[Operation, ...]:
    """Layers, tags, permissions, code signing, and what asynchronous invokes and URLs are set to.
    `location` makes links to packages."""
    documents, clock, signing = parts.documents, parts.clock, _signing(parts)
    events = EventInvokeConfigs(documents, clock, parts.functions.get, parts.endpoints)
    return (
        *layers.operations(parts.layers, _layer_access(parts), location),
        *tags.operations(
            parts.functions,
            parts.tagging,
            signing.tagged,
            parts.sources.mappings.tagged,
            parts.functions.revisions.touch,
        ),
        *event_invoke.operations(parts.functions, events),
        *function_urls.operations(parts.functions, urls),
        *runtime_management.operations(parts.functions),
        *recursion.operations(parts.functions, Recursions(documents)),
        *code_signing.operations(parts.functions, signing),
        *capacity_providers.OPERATIONS,
        *permissions.operations(parts.functions, _permissions(parts)),
    )


def policies(parts: Parts) -> Permits:
    """What the control plane asks before it does anything to a function."""
    permissions = _permissions(parts)

    def permits(caller: Caller, key: FunctionKey, qualifier: str | None, action: str) -> bool:
        latest = parts.replica.get(key)
        if latest is None:
            return caller.account == key.account
        return permissions.permits(caller, latest, qualifier, action)

    return permits


def _permissions(parts: Parts) -> Permissions:
    return Permissions(parts.documents, parts.functions.revisions)


def _layer_access(parts: Parts) -> LayerAccess:
    return LayerAccess(parts.documents, parts.layers)


def _signing(parts: Parts) -> CodeSigning:
    return CodeSigning(parts.documents, parts.replica, parts.tagging, parts.clock, new_id)
