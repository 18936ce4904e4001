"""The description of the API: it is true, and no request that fits it, or just does not, meets a fault of ours."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2
import pytest
from client_rooms import python_of, ran

from gateway.house import ALICE, GatewayHouse

#: What our own API promises of its responses, and what all do.
OURS = "not_a_server_error,content_type_conformance,response_schema_conformance"
OTHERS = "^/(api/|v1/(chat|models|embeddings))"


@pytest.mark.timeout(400)  # its room may have to be made first
@pytest.mark.parametrize(
    ("chosen", "checks", "seconds"),
    [(["--exclude-path-regex", OTHERS], OURS, 22), (["--include-path-regex", OTHERS], "not_a_server_error", 12)],
    ids=["ours", "others"],
)
async def test_no_request_that_schemathesis_makes_meets_a_fault(
    gateway_house: GatewayHouse, tmp_path: Path, chosen: list[str], checks: str, seconds: int
) -> None:
    program = python_of("schemathesis").parent / "schemathesis"
    command = [
        *("run", f"{gateway_house.url}/openapi.json", "--checks", checks, "--no-color", "--warnings", "off", *chosen),
        *("--generation-deterministic", "--max-examples", "5", "--max-time", str(seconds), "--request-timeout", "20"),
        *("-H", f"Authorization: Bearer {ALICE}"),
    ]
    status, told = await ran(program, *command, cwd=tmp_path, within=380)

    assert status == 0, told[-6000:]
    # A slow machine makes fewer of them; it makes some for each operation.
    assert int((re.search(r"(\d+) generated", told) or ["", "0"])[1]) > 10, told[-2000:]


async def test_every_reference_of_the_description_leads_somewhere(alice: httpx2.AsyncClient) -> None:
    told = await alice.get("/openapi.json")
    api = told.json()
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', told.text))
    operations = [each["operationId"] for methods in api["paths"].values() for each in methods.values()]

    assert names <= set(api["components"]["schemas"])
    assert len(operations) == len(set(operations))
    assert set(re.findall(r'"operationId":"([^"]+)","parameters":\{"query_id"', told.text)) <= set(operations)
