"""What variables of TLS name is looked at before a library opens it: it would wait for a pipe while it is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import REPOSITORY

from agentic_flywheel.errors import InvalidSetting
from agentic_flywheel.settings import load_settings
from agentic_flywheel.tls_files import check_tls_files

#: Those that import aiohttp in a function, after the settings. That none does so before is in tests/shipping.
WALK = """
import sys
from http_gateway.__main__ import main as serve
from producer.cli import main
print(serve([]))
sys.argv[1:] = ["doctor"]
main()
"""


def test_doctor_and_gateway_open_nothing_that_is_not_usable(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = subprocess.run(
        [sys.executable, "-c", WALK],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "SSL_CERT_FILE": "pipe"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    said = "The setting SSL_CERT_FILE is not acceptable: pipe cannot be read: it is not a regular file"
    assert done.stderr.startswith(said)
    assert (done.stdout.splitlines()[0], done.returncode) == ("2", 1)
    assert f"✗ settings  {said}" in done.stdout


def test_every_process_that_reads_its_settings_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")

    with pytest.raises(InvalidSetting, match=r"SSL_CERT_DIR is not acceptable: there is no folder /nowhere"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "given", "reason"),
    [
        ("SSL_CERT_FILE", "nothing", "nothing cannot be read: No such file or directory"),
        ("SSL_CERT_FILE", "folder", "folder cannot be read: it is not a regular file"),
        ("SSL_CERT_FILE", "text", "text holds no certificate"),
        ("SSL_CERT_DIR", "nothing:nowhere", "there is no folder nothing:nowhere"),
        ("SSL_CERT_DIR", "folder:pipe", "pipe is no folder"),
        ("SSLKEYLOGFILE", "pipe", "pipe is no file that can be written to its end"),
        ("SSLKEYLOGFILE", "nowhere/keys", "nowhere/keys cannot be written"),
    ],
)
def test_it_is_said_what_is_wrong_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, given: str, reason: str
) -> None:
    _furnish(tmp_path, monkeypatch)

    with pytest.raises(ValueError, match=name) as refused:
        check_tls_files({name: given})

    assert refused.value.args == (name, reason)


def test_what_can_be_used_is_taken_and_what_is_empty_is_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _furnish(tmp_path, monkeypatch)
    given = {"SSL_CERT_FILE": "authority", "SSL_CERT_DIR": "nowhere:folder", "SSLKEYLOGFILE": "keys"}
    environment = dict(given)
    empty = dict.fromkeys(given, " ")

    check_tls_files(environment)
    check_tls_files(empty)

    assert (environment, empty) == (given, {})


def _furnish(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    os.mkfifo("pipe")
    Path("folder").mkdir()
    Path("text").write_text("no certificate")
    Path("authority").write_text("-----BEGIN CERTIFICATE-----\n")
