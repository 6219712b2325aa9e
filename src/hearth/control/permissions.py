"""Who may use a function, beside its own account? The policies of functions, versions, aliases.

Each has a policy of its own: what the function's allows, its versions and aliases do not, as the
statements name their resource with its qualifier. A caller of the function's own account needs no
permission (there are no identities within an account to keep apart), but an explicit Deny binds
him too. Organizations are not known here, so a statement for one never matches.

Source: https://docs.aws.amazon.com/lambda/latest/dg/access-control-resource-based.html. Texts:
recorded; the refused revision is AWS's as recorded for layers.

A policy has no revision of its own: it shows that of its function, version or alias, which every
change of it changes.
"""

from collections.abc import Callable
from typing import Final

from hearth.control.documents import Document, Documents, Kind
from hearth.control.policy import AccountPrincipal, Principal, Question, Statement, Verdict, decide
from hearth.control.policy_documents import Document as Policy
from hearth.control.policy_documents import (
    Permission,
    compile_policy,
    read_policy,
    rendered,
    statement_of,
    with_statement,
)
from hearth.control.revisions import Revisions
from hearth.model.errors import ResourceConflict, ResourceNotFound
from hearth.model.functions import FunctionVersion
from hearth.model.ids import LATEST, Caller

POLICIES: Final = Kind("policy", dict)
INVOKE: Final = "lambda:InvokeFunction"
COMPILED_MAX: Final = 4_096
NO_POLICY: Final = "No policy is associated with the given resource."


class Permissions:
    def __init__(self, documents: Documents, revisions: Revisions | None = None) -> None:
        """Without `revisions` nothing can be changed or shown, only decided."""
        self._documents = documents
        self._kept_revisions = revisions
        self._compiled: dict[str, tuple[Statement, ...]] = {}
        """By the revision of their policy."""

    @property
    def _revisions(self) -> Revisions:
        assert self._kept_revisions is not None, "these permissions only decide"
        return self._kept_revisions

    # --- decisions: no I/O

    def verdict(
        self,
        function: FunctionVersion,
        qualifier: str | None,
        principal: Principal,
        action: str,
        context: dict[str, str] | None = None,
    ) -> Verdict:
        """What the policy of that function, version or alias says. `context`: condition keys."""
        document = self._documents.find(POLICIES, function, _own(qualifier))
        if document is None:
            return Verdict.SILENT
        question = Question(principal, action, function.key.arn(qualifier), context or {})
        return decide(self._statements(document), question)

    def permits(
        self, caller: Caller, function: FunctionVersion, qualifier: str | None, action: str
    ) -> bool:
        """May this caller do `action` (`lambda:…`)?"""
        if self._documents.find(POLICIES, function, _own(qualifier)) is None:
            return caller.account == function.key.account
        principal = AccountPrincipal(caller.account, caller.user_arn)
        context = {"aws:principalaccount": caller.account, "aws:principalarn": caller.user_arn}
        verdict = self.verdict(function, qualifier, principal, action, context)
        if caller.account == function.key.account:
            return verdict is not Verdict.DENIED
        return verdict is Verdict.ALLOWED

    def permits_invoke(
        self, caller: Caller, latest: FunctionVersion, qualifier: str | None
    ) -> bool:
        """May this caller invoke the function, or that version or alias of it?"""
        return self.permits(caller, latest, qualifier, INVOKE)

    def _statements(self, document: Document[Policy]) -> tuple[Statement, ...]:
        statements = self._compiled.get(document.revision_id)
        if statements is None:
            statements = compile_policy(document.value)
            if len(self._compiled) >= COMPILED_MAX:
                del self._compiled[next(iter(self._compiled))]
            self._compiled[document.revision_id] = statements
        return statements

    # --- statements

    async def add(
        self,
        function: FunctionVersion,
        qualifier: str | None,
        permission: Permission,
        revision_id: str | None,
    ) -> str:
        """Returns the new statement's JSON.

        Raises InvalidParameterValue, ResourceConflict, PreconditionFailed, PolicyLengthExceeded.
        """
        statement = statement_of(permission, function.key.arn(qualifier))
        self._revisions.check(function.key, qualifier, revision_id)

        def decide(before: Document[Policy] | None) -> Policy:
            policy = None if before is None else before.value
            if policy is not None and _index(policy, permission.statement_id) is not None:
                raise ResourceConflict(
                    f"The statement id ({permission.statement_id}) provided already exists. "
                    "Please provide a new statement id, or remove the existing statement."
                )
            return with_statement(policy, statement)

        await self._change(function, qualifier, decide, revision_id)
        return rendered(statement)

    async def remove(
        self,
        function: FunctionVersion,
        qualifier: str | None,
        statement_id: str,
        revision_id: str | None,
    ) -> None:
        """Raises ResourceNotFound, PreconditionFailed. The policy goes with its last statement."""

        def decide(before: Document[Policy] | None) -> Policy | None:
            if before is None:
                raise ResourceNotFound(NO_POLICY)
            index = _index(before.value, statement_id)
            if index is None:
                raise ResourceNotFound(f"Statement {statement_id} is not found in resource policy.")
            rest = [s for i, s in enumerate(before.value["Statement"]) if i != index]
            return before.value | {"Statement": rest} if rest else None

        await self._change(function, qualifier, decide, revision_id)

    # --- whole policies

    def get(self, function: FunctionVersion, qualifier: str | None) -> tuple[str, str] | None:
        """The policy's JSON and the revision of what it belongs to, or None."""
        document = self._documents.find(POLICIES, function, _own(qualifier))
        if document is None:
            return None
        revision_id = self._revisions.of(function.key, qualifier)
        return None if revision_id is None else (rendered(document.value), revision_id)

    async def put(
        self,
        function: FunctionVersion,
        qualifier: str | None,
        text: str,
        revision_id: str | None,
    ) -> tuple[str, str]:
        """Replace whatever policy is there. Raises InvalidParameterValue, PreconditionFailed."""
        policy = read_policy(text, function.key.arn(qualifier))
        new = await self._change(function, qualifier, lambda _before: policy, revision_id)
        return rendered(policy), new

    async def delete(
        self, function: FunctionVersion, qualifier: str | None, revision_id: str | None
    ) -> None:
        """Raises ResourceNotFound, PreconditionFailed."""

        def decide(before: Document[Policy] | None) -> None:
            if before is None:
                raise ResourceNotFound(NO_POLICY)

        await self._change(function, qualifier, decide, revision_id)

    async def _change(
        self,
        function: FunctionVersion,
        qualifier: str | None,
        decide: Callable[[Document[Policy] | None], Policy | None],
        revision_id: str | None,
    ) -> str:
        """Returns the new revision of what the policy belongs to, which was at `revision_id`.

        Whatever `decide` refuses is refused before anything is written. The revision is written
        first: of two callers who know the same one, only the first gets to the policy.
        """
        own = _own(qualifier)
        decide(self._documents.find(POLICIES, function, own))
        new = await self._revisions.touch(function.key, own, revision_id)
        await self._documents.change(POLICIES, function, decide, own)
        return new


def _own(qualifier: str | None) -> str | None:
    """$LATEST has no policy of its own."""
    return None if qualifier == LATEST else qualifier


def _index(policy: Policy, statement_id: str) -> int | None:
    for index, statement in enumerate(policy["Statement"]):
        if statement.get("Sid") == statement_id:
            return index
    return None
