"""Servers of flows are behind one protocol: who knows more of one than that, and what a backend knows of us."""

from __future__ import annotations

import subprocess
import sys

from processes import REPOSITORY
from shipping.source_tree import imports_of, modules_of

HOME = "agentic_flywheel.backends.flowise"
#: What is Flowise's alone, and why it is asked of its client.
ITS_OWN = {
    "agentic_flywheel.registry.importing": "takes over what Flowise knows of its flows: prompts, forms, limits",
    "http_gateway.flowise.clients": "passes on what Flowise's own clients ask beside questions",
    "http_gateway.flowise.passing": "names the files that Flowise keeps",
    "producer.cli.checkup_servers": "tells a key that Flowise refuses from one that it does not need",
    "producer.cli.server_flows": "lists what Flowise knows of its flows",
    "producer.flowise_chats": "deletes the chats that Flowise keeps",
}
PACKAGES = ("agentic_flywheel", "workers", "producer", "mcp_bridge", "http_gateway")


def test_flowise_is_known_to_its_backend_and_to_what_is_its_alone() -> None:
    modules = modules_of(PACKAGES)
    known = [each.name for each in modules if each.name == HOME or each.name.startswith(f"{HOME}.")]
    users = {each.name for each in modules if each.name not in known and imports_of(each.tree, known) & set(known)}

    assert users == ITS_OWN.keys()


def test_no_backend_knows_celery_or_redis() -> None:
    backends = [each.name for each in modules_of(["agentic_flywheel/backends"])]
    program = (
        f"import importlib, sys\nfor name in {backends!r}: importlib.import_module(name)\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules} & {'celery', 'kombu', 'redis'}))"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)

    assert len(backends) > 20
    assert ran.stdout.split() == []
