"""Who may use a layer version, and which layers may a function have? The policies of layers.

A layer version belongs to its account, which may do everything; others may read it, or give it to
their functions, only where its policy says so. Organizations are not known here, so a statement
for one never matches.

Source: https://docs.aws.amazon.com/lambda/latest/dg/permissions-layer-cross-account.html. Texts:
recorded; the denied access is AWS's as its users see it.
"""

from collections.abc import Sequence
from typing import Final

from hearth.control.documents import AccountScope, Document, Documents, Kind
from hearth.control.layers import Layers, check_distinct, use_of, version_name
from hearth.control.policy import AccountPrincipal, Question, Verdict, decide
from hearth.control.policy_documents import Document as Policy
from hearth.control.policy_documents import (
    Permission,
    compile_policy,
    rendered,
    statement_of,
    with_statement,
)
from hearth.model.errors import (
    AccessDenied,
    InvalidParameterValue,
    PreconditionFailed,
    ResourceConflict,
    ResourceNotFound,
)
from hearth.model.ids import Caller, FunctionKey
from hearth.model.layers import LAYERS_MAX, LayerKey, LayerUse

POLICIES: Final = Kind("layer-policy", dict)
GET: Final = "GetLayerVersion"
NO_POLICY: Final = "No policy is associated with the given resource."
WRONG_REVISION: Final = (
    "The Revision Id provided does not match the latest Revision Id. "
    "Call the GetLayerPolicy API to retrieve the latest Revision Id"
)


class LayerAccess:
    def __init__(self, documents: Documents, layers: Layers) -> None:
        self._documents = documents
        self._layers = layers

    # --- decisions: no I/O

    def check(self, caller: Caller, key: LayerKey, number: int | None, action: str) -> None:
        """Raises AccessDenied unless the caller may do the action (`GetLayerVersion`, …)."""
        if caller.account == key.account:
            return
        if action != GET or number is None or not self._allows(caller, key, number):
            arn = key.arn if number is None else key.version_arn(number)
            raise AccessDenied(
                f"User: {caller.user_arn} is not authorized to perform: lambda:{action} on "
                f"resource: {arn} because no resource-based policy allows the lambda:{action} "
                "action"
            )

    def _allows(self, caller: Caller, key: LayerKey, number: int) -> bool:
        policy = self._documents.get(POLICIES, _scope(key), version_name(key, number))
        if policy is None:
            return False
        question = Question(
            AccountPrincipal(caller.account, caller.user_arn),
            f"lambda:{GET}",
            key.version_arn(number),
            {"aws:principalaccount": caller.account, "aws:principalarn": caller.user_arn},
        )
        return decide(compile_policy(policy), question) is Verdict.ALLOWED

    def uses(self, caller: Caller, function: FunctionKey, arns: Sequence[str]) -> list[LayerUse]:
        """What the function gets of these layer versions, in their order.

        Raises InvalidParameterValue, AccessDenied.
        """
        if len(arns) > LAYERS_MAX:
            raise InvalidParameterValue(f"Cannot reference more than {LAYERS_MAX} layers.")
        keys = [_parsed(arn) for arn in arns]
        for key, _number in keys:
            if key.region != function.region:
                raise InvalidParameterValue(
                    "Layers are not in the same region as the function. Layers are expected to be "
                    f"in region {function.region}."
                )
        check_distinct(keys)
        uses = []
        for key, number in keys:
            self.check(caller, key, number, GET)
            version = self._layers.get(key, number)
            if version is None:
                raise InvalidParameterValue(
                    f"Layer version {key.version_arn(number)} does not exist."
                )
            uses.append(use_of(key, version))
        return uses

    # --- statements

    async def add(
        self, key: LayerKey, number: int, permission: Permission, revision_id: str | None
    ) -> tuple[str, str]:
        """The new statement's JSON and the policy's revision.

        Raises ResourceNotFound, ResourceConflict, PreconditionFailed, PolicyLengthExceeded.
        """
        statement = statement_of(permission, key.version_arn(number))
        self._check_there(key, number)

        def decide(before: Document[Policy] | None) -> Policy:
            policy = None if before is None else before.value
            if policy is not None and _index(policy, permission.statement_id) is not None:
                raise ResourceConflict(
                    f"The statement id ({permission.statement_id}) provided already exists. "
                    "Please provide a new statement id, or remove the existing statement."
                )
            _check_revision(before, revision_id)
            return with_statement(policy, statement)

        document = await self._documents.change(
            POLICIES, _scope(key), decide, version_name(key, number)
        )
        assert document is not None, "decide always answers a value"
        return rendered(statement), document.revision_id

    async def remove(
        self, key: LayerKey, number: int, statement_id: str, revision_id: str | None
    ) -> None:
        """Raises ResourceNotFound, PreconditionFailed. The policy goes with its last statement."""
        self._check_there(key, number)

        def decide(before: Document[Policy] | None) -> Policy | None:
            if before is None:
                raise ResourceNotFound(NO_POLICY)
            index = _index(before.value, statement_id)
            if index is None:
                raise ResourceNotFound(f"Statement {statement_id} is not found in resource policy.")
            _check_revision(before, revision_id)
            rest = [s for i, s in enumerate(before.value["Statement"]) if i != index]
            return before.value | {"Statement": rest} if rest else None

        await self._documents.change(POLICIES, _scope(key), decide, version_name(key, number))

    def policy(self, key: LayerKey, number: int) -> tuple[str, str]:
        """The policy's JSON and its revision. Raises ResourceNotFound."""
        self._check_there(key, number)
        document = self._documents.find(POLICIES, _scope(key), version_name(key, number))
        if document is None:
            raise ResourceNotFound(NO_POLICY)
        return rendered(document.value), document.revision_id

    async def forget(self, key: LayerKey, number: int) -> None:
        """The version is gone."""
        await self._documents.delete(POLICIES, _scope(key), version_name(key, number))

    def _check_there(self, key: LayerKey, number: int) -> None:
        if self._layers.get(key, number) is None:
            raise ResourceNotFound(f"Layer version {key.version_arn(number)} does not exist.")


def _parsed(arn: str) -> tuple[LayerKey, int]:
    try:
        key, number = LayerKey.parse(arn)
    except ValueError as error:
        raise InvalidParameterValue(f"Layer version {arn} does not exist.") from error
    assert number is not None, "the model lets through ARNs of versions only"
    return key, number


def _index(policy: Policy, statement_id: str) -> int | None:
    for index, statement in enumerate(policy["Statement"]):
        if statement.get("Sid") == statement_id:
            return index
    return None


def _check_revision(before: Document[Policy] | None, revision_id: str | None) -> None:
    if revision_id is not None and (before is None or revision_id != before.revision_id):
        raise PreconditionFailed(WRONG_REVISION)


def _scope(key: LayerKey) -> AccountScope:
    return AccountScope(key.account, key.region)
