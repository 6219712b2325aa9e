"""GetAccountSettings: how much may this account use in this region, and how much does it use?

Source: https://docs.aws.amazon.com/lambda/latest/api/API_GetAccountSettings.html
"""

from typing import Protocol

from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.control.documents import AccountScope
from hearth.control.requests import CodeUsage
from hearth.model import limits
from hearth.model.ids import AccountId, Region


class Storage(Protocol):
    """What is stored: control's Functions."""

    def usage(self, account: AccountId, region: Region) -> CodeUsage: ...


class ConcurrencyUsage(Protocol):
    @property
    def limit(self) -> int: ...

    @property
    def unreserved(self) -> int: ...


class Concurrency(Protocol):
    """What may run at once: counting's Counter."""

    def usage(self, account: AccountId, region: Region) -> ConcurrencyUsage: ...


class LayerStorage(Protocol):
    """What layers take: control's Layers."""

    def package_bytes(self, scope: AccountScope) -> int: ...


def operations(
    storage: Storage, concurrency: Concurrency, layers: LayerStorage | None = None
) -> tuple[Operation, ...]:
    async def get_account_settings(request: OperationRequest) -> OperationResponse:
        account, region = request.caller.account, request.caller.region
        used = storage.usage(account, region)
        layer_bytes = layers.package_bytes(AccountScope(account, region)) if layers else 0
        running = concurrency.usage(account, region)
        return OperationResponse(
            members={
                "AccountLimit": {
                    "TotalCodeSize": limits.CODE_STORAGE_BYTES_MAX,
                    "CodeSizeUnzipped": limits.UNZIPPED_BYTES_MAX,
                    "CodeSizeZipped": limits.ZIPPED_BYTES_MAX,
                    "ConcurrentExecutions": running.limit,
                    "UnreservedConcurrentExecutions": running.unreserved,
                },
                "AccountUsage": {
                    "TotalCodeSize": used.code_bytes + layer_bytes,
                    "FunctionCount": used.functions,
                },
            }
        )

    return (Operation("lambda", "GetAccountSettings", get_account_settings),)
