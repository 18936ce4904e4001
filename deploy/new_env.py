"""Make deploy/.env from deploy/.env.example, with fresh secrets that only their owner can read."""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLACEHOLDER = re.compile(r"(?<==|-)<hex>$", re.MULTILINE)


def filled(example: str) -> str:
    """Return the text with 32 random bytes, in hexadecimal, for each placeholder at the end of a line."""
    return PLACEHOLDER.sub(lambda _: secrets.token_hex(32), example)


def main(target: Path) -> None:
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        sys.exit(
            f"{target} is there already. Data made with its secrets needs them, so remove it yourself to start anew."
        )
    with open(descriptor, "w") as file:
        file.write(filled((HERE / ".env.example").read_text()))
    print(f"{target} is made. Now: docker compose --env-file {target} up --build --wait")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / ".env")
