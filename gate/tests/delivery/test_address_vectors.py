"""The address guard, by the vectors in conformance/addresses, which every guard of this project runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from stacksona_gate.delivery.addresses import NOT_FOUND, NOT_PLAIN, NOT_PUBLIC, AddressGuard, AddressRefused

VECTORS: Final = json.loads((Path(__file__).parents[3] / "conformance/addresses/hosts.json").read_text())
SAID: Final = {NOT_PUBLIC: "not_public", NOT_PLAIN: "not_plain", NOT_FOUND: "not_found"}


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
async def test_a_vector(vector: dict[str, Any]) -> None:
    async def resolver(host: str, port: int) -> Sequence[str]:
        assert vector["resolves"] is not None
        assert vector["verdict"] != "not_plain"
        return list(vector["resolves"])

    guard = AddressGuard.of(vector["networks"], "", resolver)
    if vector["verdict"] == "open":
        assert await guard.addresses(vector["host"], 443) == (vector["resolves"] or [vector["host"]])
        return
    with pytest.raises(AddressRefused) as refused:
        await guard.addresses(vector["host"], 443)
    assert SAID[str(refused.value)] == vector["verdict"]
