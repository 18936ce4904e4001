"""Make deploy/.env from deploy/.env.example, with fresh secrets that only their owner can read.

``--with flowise,langfuse,monitoring`` has compose.yaml start these too, and the workers use them.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLACEHOLDER = re.compile(r"(?<==|-)<hex>$", re.MULTILINE)
#: What a profile of compose.yaml sets: where the workers find what it starts.
PROFILES = {
    "flowise": ("FLOWISE_BASE_URL", "http://flowise:3000"),
    "langfuse": ("LANGFUSE_BASE_URL", "http://langfuse-web:3000"),
    "monitoring": None,
}


def filled(example: str, profiles: list[str]) -> str:
    """Return the text with 32 random bytes, in hexadecimal, for each placeholder, and with these profiles."""
    settings = [("COMPOSE_PROFILES", ",".join(profiles)), *filter(None, map(PROFILES.__getitem__, profiles))]
    for name, value in settings:
        example = re.sub(rf"^{name}=$", f"{name}={value}", example, flags=re.MULTILINE)
    return PLACEHOLDER.sub(lambda _: secrets.token_hex(32), example)


def main() -> None:
    asked = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    asked.add_argument("target", type=Path, nargs="?", default=HERE / ".env")
    asked.add_argument("--with", dest="profiles", default="", metavar="A,B", help="of " + ", ".join(PROFILES))
    given = asked.parse_args()
    profiles = [name for name in given.profiles.split(",") if name]
    if unknown := sorted(set(profiles) - set(PROFILES)):
        asked.error(f"--with: there is no {unknown[0]!r}; there are {', '.join(PROFILES)}")
    try:
        descriptor = os.open(given.target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        sys.exit(
            f"{given.target} is there already. Data made with its secrets needs them, so remove it yourself to start "
            "anew."
        )
    except OSError as refused:
        sys.exit(f"{given.target} cannot be written: {refused.strerror}")
    with open(descriptor, "w") as file:
        file.write(filled((HERE / ".env.example").read_text(), profiles))
    print(f"{given.target} is made. Now: docker compose --env-file {given.target} up --build --wait")


if __name__ == "__main__":
    main()
