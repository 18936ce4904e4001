from __future__ import annotations

import pytest
from pydantic import SecretStr

from agentic_flywheel.cutting import cut
from agentic_flywheel.errors import InvalidSetting
from agentic_flywheel.models import Usage
from agentic_flywheel.tracing.text import MASKING_FAILED, as_text, load_mask, masked, redact


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("write to ada.lovelace+x@example.co.uk now", "write to [e-mail] now"),
        ("Authorization: Bearer abc.def-123456", "Authorization: Bearer [redacted]"),
        ("my key is sk-proj-abcdefghij0123456789", "my key is [redacted]"),
        ("LANGFUSE_SECRET_KEY=sk-lf-1234567890abcdef1234", "LANGFUSE_SECRET_KEY=[redacted]"),
        ('{"api_key": "hunter2hunter2", "a": 1}', '{"api_key": "[redacted]", "a": 1}'),
        (r'{"x": "{\"password\": \"hunter2\"}"}', r'{"x": "{\"password\": \"[redacted]\"}"}'),
        ("redis://bob:geheim@db:6379/0", "redis://[redacted]@db:6379/0"),
        ("token ghp_abcdefghijklmnopqrstuvwxyz0123", "token [redacted]"),
        ("AKIAABCDEFGHIJKLMNOP", "[redacted]"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdEFGH", "[redacted]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nend", "[redacted]\nend"),
    ],
)
def test_secrets_and_addresses_are_taken_out(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "maxOutputTokens: 4096, temperature: 0.7",
        "How do I ask for a token in OAuth?",
        "ratio 3:4, time 12:30, a=b, see https://example.com/x?y=1",
        "the risk-assessment of desk-bound work",
        "basic questions about the bearer of a letter",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text) == text


def test_a_long_text_is_cut_before_a_word_and_says_how_much_is_missing() -> None:
    text = "word " * 10 + "sk-proj-abcdefghij0123456789 end"

    shown = cut(text, 60)

    assert shown == "word " * 9 + "word… [33 characters more]"
    assert cut("short", 60) == "short"
    assert cut("x" * 100, 10) == "x" * 10 + "… [90 characters more]"


def test_values_become_json_and_secrets_stay_hidden() -> None:
    value = {"n": 1, "usage": Usage(input_tokens=2), "key": SecretStr("hunter2")}

    assert "hunter2" not in as_text(value)
    assert '"input_tokens": 2' in as_text(value)
    assert as_text("plain") == "plain"


def test_a_mask_that_fails_shows_nothing() -> None:
    def broken(text: str) -> str:
        raise RuntimeError(text)

    assert masked("secret", broken) == MASKING_FAILED


def test_masks_are_found_by_name() -> None:
    assert load_mask("off") is None
    assert load_mask("redact") is redact
    assert load_mask("textwrap:dedent") is not None
    for name in ("nowhere:at_all", "textwrap:nothing", "textwrap", ":", "sys:path"):
        with pytest.raises(InvalidSetting):
            load_mask(name)
