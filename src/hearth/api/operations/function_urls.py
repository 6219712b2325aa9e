"""Create-, Get-, List-, Update- and DeleteFunctionUrlConfig.

Texts: recorded; Create, Update and List have other words for a function that is not there than
Get and Delete, whose answer is that of a function without a URL.
Source: https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunctionUrlConfig.html
"""

from collections.abc import Mapping
from typing import Any, Final

from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.operations.addresses import addressed, addressed_latest
from hearth.api.operations.lookups import Functions, found
from hearth.api.operations.pages import page
from hearth.control.function_urls import (
    NO_URL,
    FunctionUrl,
    FunctionUrls,
    InvokeMode,
    UrlAuth,
    UrlChange,
)
from hearth.model.functions import FunctionVersion

NO_FUNCTION: Final = "Function does not exist"


def operations(functions: Functions, urls: FunctionUrls) -> tuple[Operation, ...]:
    handlers = _Handlers(functions, urls)
    return (
        Operation("lambda", "CreateFunctionUrlConfig", handlers.create),
        Operation("lambda", "GetFunctionUrlConfig", handlers.get),
        Operation("lambda", "ListFunctionUrlConfigs", handlers.list_page),
        Operation("lambda", "UpdateFunctionUrlConfig", handlers.update),
        Operation("lambda", "DeleteFunctionUrlConfig", handlers.delete),
    )


class _Handlers:
    def __init__(self, functions: Functions, urls: FunctionUrls) -> None:
        self._functions = functions
        self._urls = urls

    async def create(self, request: OperationRequest) -> OperationResponse:
        key, alias = addressed(request, "CreateFunctionUrlConfig")
        function = await found(self._functions, key, alias, NO_FUNCTION)
        url = await self._urls.create(function, alias, _change(request.members))
        members = self._shown(function, alias, url)
        del members["LastModifiedTime"]  # CreateFunctionUrlConfig answers all but this
        return OperationResponse(members=members)

    async def get(self, request: OperationRequest) -> OperationResponse:
        key, alias = addressed(request, "GetFunctionUrlConfig")
        function = await found(self._functions, key, None, NO_URL)
        url = self._urls.get(function, alias)
        return OperationResponse(members=self._shown(function, alias, url))

    async def list_page(self, request: OperationRequest) -> OperationResponse:
        key = addressed_latest(request, "ListFunctionUrlConfigs")
        function = await found(self._functions, key, None, NO_FUNCTION)
        shown, marker = page(
            [
                (alias or "", self._shown(function, alias, url))
                for alias, url in self._urls.find_all(function)
            ],
            request.members,
        )
        return OperationResponse(members={"FunctionUrlConfigs": shown} | marker)

    async def update(self, request: OperationRequest) -> OperationResponse:
        key, alias = addressed(request, "UpdateFunctionUrlConfig")
        function = await found(self._functions, key, None, NO_FUNCTION)
        url = await self._urls.update(function, alias, _change(request.members))
        return OperationResponse(members=self._shown(function, alias, url))

    async def delete(self, request: OperationRequest) -> OperationResponse:
        key, alias = addressed(request, "DeleteFunctionUrlConfig")
        await self._urls.delete(await found(self._functions, key, None, NO_URL), alias)
        return OperationResponse(status=204)

    def _shown(
        self, function: FunctionVersion, alias: str | None, url: FunctionUrl
    ) -> dict[str, Any]:
        members: dict[str, Any] = {
            "FunctionUrl": self._urls.address(function, url),
            "FunctionArn": function.key.arn(alias),
            "AuthType": str(url.auth),
            "CreationTime": url.created,
            "LastModifiedTime": url.modified,
            "InvokeMode": str(url.mode),
        }
        if url.cors is not None:
            members["Cors"] = url.cors
        return members


def _change(members: Mapping[str, Any]) -> UrlChange:
    auth, mode = members.get("AuthType"), members.get("InvokeMode")
    return UrlChange(
        auth=None if auth is None else UrlAuth(auth),
        cors=members.get("Cors"),
        mode=None if mode is None else InvokeMode(mode),
    )
