"""Which RevisionId does a function, a version or an alias have, and how does it get another one?

Permissions and tags are kept beside the configuration, but AWS changes the RevisionId with them,
and GetPolicy shows that very id. So whoever changes them touches what they belong to: the id is
another one, the configuration stays, and its environments go on serving.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from hearth.control.replica import Replica
from hearth.control.store import FunctionStore, not_found
from hearth.model.errors import PreconditionFailed
from hearth.model.functions import Alias, Function, FunctionVersion, touched
from hearth.model.ids import LATEST, FunctionKey

WRONG_REVISION: Final = (
    "The Revision Id provided does not match the latest Revision Id. "
    "Call the GetPolicy API to retrieve the latest Revision Id"
)


@dataclass(eq=False, slots=True)
class Revisions:
    store: FunctionStore
    replica: Replica
    ids: Callable[[], str]
    """A new UUID at each call."""

    def of(self, key: FunctionKey, qualifier: str | None) -> str | None:
        """None if it is not there, as far as the local copy knows."""
        found: FunctionVersion | Alias | None
        if qualifier in {None, LATEST}:
            found = self.replica.get(key)
        else:
            assert qualifier is not None
            found = self.replica.qualified(key, qualifier)
        return None if found is None else found.revision_id

    def check(self, key: FunctionKey, qualifier: str | None, expected: str | None) -> None:
        """Raises PreconditionFailed unless the caller knows the last write, or does not care."""
        check_expected(self.of(key, qualifier), expected)

    async def touch(
        self, key: FunctionKey, qualifier: str | None, expected: str | None = None
    ) -> str:
        """Returns the new id. Raises ResourceNotFound, and PreconditionFailed where somebody else
        was at it since `expected`."""
        new = self.ids()

        def renewed(now: FunctionVersion) -> FunctionVersion:
            check_expected(now.revision_id, expected)
            return touched(now, new)

        if qualifier in {None, LATEST}:
            await self.store.change(key, renewed)
            return new
        assert qualifier is not None
        before = await self.store.read(key)
        if before is None:
            raise not_found(key, qualifier)
        record = before.whole.versions.get(qualifier)
        if record is not None:
            await self.store.change_version(key, record, renewed)
            return new

        def with_alias(now: Function) -> Function:
            alias = now.aliases.get(qualifier)
            if alias is None:
                raise not_found(key, qualifier)
            check_expected(alias.revision_id, expected)
            aliases = {**now.aliases, qualifier: replace(alias, revision_id=new)}
            return replace(now, aliases=aliases, write_id=self.ids())

        await self.store.change_whole(key, with_alias)
        return new


def check_expected(actual: str | None, expected: str | None) -> None:
    if expected is not None and expected != actual:
        raise PreconditionFailed(WRONG_REVISION)
