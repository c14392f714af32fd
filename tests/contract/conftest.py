"""What each service says of itself: its own OpenAPI document, private paths included."""

from collections.abc import Mapping
from typing import Any

import pytest

from kalpi_local.openapi import service_documents


@pytest.fixture(scope="session")
def documents() -> Mapping[str, Any]:
    return service_documents()
