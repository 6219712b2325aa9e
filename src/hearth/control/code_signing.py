"""Which code may be deployed to which function? Code signing configurations, and what they do.

AWS Signer's signatures cannot be verified here: its signing profiles live at AWS. So every package
counts as not signed by an allowed publisher, and a configuration does what it says for such code:

- Enforce refuses it, at CreateFunction and at UpdateFunctionCode;
- Warn lets it through and says so in the log.

A new configuration takes effect with the next deployment, as at AWS.
Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-codesigning.html. Texts: AWS's
own as its users see them; that of a configuration in use is not recorded.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, Final

from hearth.base.clock import Clock
from hearth.base.log import Log
from hearth.control.documents import AccountScope, Document, Documents, Kind
from hearth.control.replica import Replica
from hearth.control.rules import shown
from hearth.control.tags import Tagged, Tagging
from hearth.control.validation import check_new_tags
from hearth.model.errors import ResourceConflict, ResourceNotFound, ServiceError
from hearth.model.functions import FunctionVersion
from hearth.model.ids import PARTITION, AccountId, FunctionKey, Region

log = Log("control")

ID_LENGTH: Final = 17


class CodeSigningConfigNotFound(ServiceError):
    code: ClassVar[str] = "CodeSigningConfigNotFoundException"
    status: ClassVar[int] = 404


class CodeVerificationFailed(ServiceError):
    code: ClassVar[str] = "CodeVerificationFailedException"
    status: ClassVar[int] = 400


class Untrusted(StrEnum):
    """What happens to code that no allowed publisher signed."""

    WARN = "Warn"
    ENFORCE = "Enforce"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningConfig:
    arn: str
    publishers: tuple[str, ...]
    untrusted: Untrusted = Untrusted.WARN
    description: str | None = None
    last_modified: str

    @property
    def id(self) -> str:
        return self.arn.rpartition(":")[2]


@dataclass(frozen=True, slots=True)
class Attached:
    """A function's configuration."""

    arn: str


CONFIGS: Final = Kind("code-signing-config", SigningConfig)
ATTACHED: Final = Kind("code-signing", Attached)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningChange:
    """None means: leave it."""

    publishers: tuple[str, ...] | None = None
    untrusted: Untrusted | None = None
    description: str | None = None


class CodeSigning:
    def __init__(
        self,
        documents: Documents,
        replica: Replica,
        tagging: Tagging,
        clock: Clock,
        ids: Callable[[], str],
    ) -> None:
        """`ids`: a new UUID at each call."""
        self._documents = documents
        self._replica = replica
        self._tagging = tagging
        self._clock = clock
        self._ids = ids

    # --- configurations

    async def create(
        self, scope: AccountScope, change: SigningChange, tags: dict[str, str]
    ) -> SigningConfig:
        check_new_tags(tags)
        id_ = f"csc-{self._ids().replace('-', '')[:ID_LENGTH]}"
        config = SigningConfig(
            arn=f"arn:{PARTITION}:lambda:{scope.region}:{scope.account}:code-signing-config:{id_}",
            publishers=change.publishers or (),
            untrusted=change.untrusted or Untrusted.WARN,
            description=change.description,
            last_modified=shown(self._clock.utc()),
        )
        if tags:
            await self._tagging.add(Tagged(scope, id_), tags)
        await self._documents.put(CONFIGS, scope, config, id_)
        return config

    def get(self, scope: AccountScope, arn: str) -> SigningConfig:
        """Raises ResourceNotFound."""
        config = self._documents.get(CONFIGS, scope, arn.rpartition(":")[2])
        if config is None or config.arn != arn:
            raise _not_found(arn)
        return config

    def tagged(self, account: AccountId, region: Region, arn: str) -> Tagged:
        """Raises ResourceNotFound."""
        scope = AccountScope(account, region)
        return Tagged(scope, self.get(scope, arn).id)

    def find_all(self, scope: AccountScope) -> tuple[SigningConfig, ...]:
        """By id."""
        return tuple(document.value for document in self._documents.find_all(CONFIGS, scope))

    async def update(self, scope: AccountScope, arn: str, change: SigningChange) -> SigningConfig:
        def decide(before: Document[SigningConfig] | None) -> SigningConfig:
            if before is None or before.value.arn != arn:
                raise _not_found(arn)
            now = before.value
            return replace(
                now,
                publishers=now.publishers if change.publishers is None else change.publishers,
                untrusted=change.untrusted or now.untrusted,
                description=now.description if change.description is None else change.description,
                last_modified=shown(self._clock.utc()),
            )

        document = await self._documents.change(CONFIGS, scope, decide, arn.rpartition(":")[2])
        assert document is not None, "decide always answers a value"
        return document.value

    async def delete(self, scope: AccountScope, arn: str) -> None:
        config = self.get(scope, arn)
        if self.functions_of(scope, arn):
            raise ResourceConflict(
                f"The code signing configuration {arn} is used by one or more functions. "
                "Remove it from them first."
            )
        await self._documents.delete(CONFIGS, scope, config.id)
        await self._tagging.forget(Tagged(scope, config.id))

    def functions_of(self, scope: AccountScope, arn: str) -> tuple[FunctionKey, ...]:
        """Those that the configuration is attached to, by name. Raises ResourceNotFound."""
        self.get(scope, arn)
        return tuple(
            function.key
            for function in self._replica.list(scope.account, scope.region)
            if self.of(function) == arn
        )

    # --- what functions use

    def of(self, function: FunctionVersion) -> str | None:
        attached = self._documents.get(ATTACHED, function)
        return None if attached is None else attached.arn

    async def attach(self, function: FunctionVersion, arn: str) -> None:
        """Raises CodeSigningConfigNotFound."""
        self._usable(function.key, arn)
        await self._documents.put(ATTACHED, function, Attached(arn))

    async def detach(self, function: FunctionVersion) -> None:
        await self._documents.delete(ATTACHED, function)

    # --- deployments

    def check_new(self, key: FunctionKey, arn: str) -> None:
        """May a function with this configuration be created?

        Raises CodeSigningConfigNotFound, CodeVerificationFailed.
        """
        _judge(key, self._usable(key, arn))

    def check_update(self, function: FunctionVersion) -> None:
        """May the function get other code? Raises CodeVerificationFailed."""
        arn = self.of(function)
        if arn is not None:
            _judge(function.key, self._usable(function.key, arn))

    def _usable(self, key: FunctionKey, arn: str) -> SigningConfig:
        try:
            return self.get(AccountScope(key.account, key.region), arn)
        except ResourceNotFound as error:
            raise CodeSigningConfigNotFound(
                "The code signing configuration cannot be found. "
                f"Check that the provided configuration is not deleted: {arn}."
            ) from error


def _judge(key: FunctionKey, config: SigningConfig) -> None:
    if config.untrusted is Untrusted.ENFORCE:
        raise CodeVerificationFailed(
            "Lambda cannot deploy the function. The function or layer might be signed using a "
            "signature that the client is not configured to accept. "
            f"Check the provided signature for {key.name}."
        )
    log.warning("code is not signed by an allowed publisher", function=key.arn(), config=config.arn)


def _not_found(arn: str) -> ResourceNotFound:
    return ResourceNotFound(f"The Lambda code signing configuration {arn} can not be found.")
