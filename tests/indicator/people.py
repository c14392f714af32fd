"""Users who have indicators of their own."""

from typing import Any

import httpx

from indicator_service.app import NAME
from shared.ids import new_id
from shared.limits.plans import Entitlements
from tests.support.principals import ALL, headers_for, user

BASE = "/api/v1/indicators"
CUSTOM = f"{BASE}/custom"
LENGTH = {"name": "length", "type": "int", "default": 20, "minimum": 2, "maximum": 500}
SPREAD = {"name": "spread", "expression": "close - sma(close, length)", "parameters": [LENGTH]}


class Person:
    """A user and what the gateway vouches for; a signature holds for 30 s, so each request is signed anew."""

    def __init__(self, client: httpx.AsyncClient, entitlements: Entitlements = ALL) -> None:
        self._client = client
        self._principal = user()
        self.entitlements = entitlements

    async def __call__(self, method: str, path: str, **sent: Any) -> httpx.Response:
        headers = {**headers_for(self._principal, NAME, self.entitlements), **sent.pop("headers", {})}
        return await self._client.request(method, path, headers=headers, **sent)

    def move(self) -> None:
        """To another tenant."""
        self._principal = self._principal.model_copy(update={"tenant_id": str(new_id())})

    async def get(self, path: str, **sent: Any) -> httpx.Response:
        return await self("GET", path, **sent)

    async def post(self, path: str, json: Any) -> httpx.Response:
        return await self("POST", path, json=json)

    async def save(self, **body: Any) -> dict[str, Any]:
        answer = await self.post(CUSTOM, body)
        assert answer.status_code == 201, answer.text
        saved: dict[str, Any] = answer.json()
        return saved

    async def values(self, path: str) -> list[Any]:
        answer = await self.get(path)
        assert answer.status_code == 200, answer.text
        return [row["value"] for row in answer.json()["data"]]
