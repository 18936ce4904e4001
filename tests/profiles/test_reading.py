"""Profile files: what they give, what is refused and how, and which of several counts."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest

from agentic_flywheel.errors import InvalidProfile, UnknownProfile, rebuild
from agentic_flywheel.models import MAX_CONTEXT
from agentic_flywheel.profiles import Profile, ProfileWatch, read_profile
from agentic_flywheel.profiles.reading import MAX_BYTES, check_profile
from profiles.house import MARKER, PAYMENTS, VAULT


def written(folder: Path, text: str, name: str = "acme") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(text)
    # As if it had been there for a while: a fresh file is read again at every look.
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 10))
    return path


def test_a_profile_is_what_its_file_says(tmp_path: Path) -> None:
    profile = read_profile(written(tmp_path, PAYMENTS))

    assert (profile.name, profile.privacy, profile.owners) == ("acme", "internal", ())
    assert profile.kinds == ("technical", "strategic")
    assert profile.keywords == ("settlement", "python service", "database")
    assert [fact.line for fact in profile.technical] == [
        "- Stack: Python 3.12; PostgreSQL 16",
        "- Rule: Money is an integer of cents.",
    ]
    assert profile.readable_by("anybody")


def test_numbers_dates_and_single_texts_are_taken_as_they_were_meant(tmp_path: Path) -> None:
    text = "description: d\nowners: alice\nkeywords: [3.12, 2027-01-01]\ntechnical: [3.12, {}]\n"
    _, faults = check_profile(written(tmp_path, text))
    profile = read_profile(written(tmp_path, text.replace(", {}", "")))

    assert [(fault.line, fault.key) for fault in faults] == [(4, "technical")]
    assert profile.owners == ("alice",)
    assert profile.keywords == ("3.12", "2027-01-01")
    assert profile.technical[0].line == "- 3.12"


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("technical: x\n", 1, "description"),
        ("description: d\n", 1, "technical"),
        ("description: d\ntechnical: x\nprivacy: secret\n", 3, "privacy"),
        ("description: d\ntechnical: x\nprivacy: confidential\n", 3, "privacy"),
        ("description: d\ntechnical: x\nowners: [two words]\n", 3, "owners[0]"),
        ("description: d\ntechnical: x\nkeywords: {a: b}\n", 3, "keywords"),
        ("description: d\ntechnical: x\nkeywords: ['', b]\n", 3, "keywords[0]"),
        ("description: d\ntechnical: x\ncontext_type: social\n", 3, "context_type"),
        ("description: d\ntechnical: x\ntone: warm\n", 3, "tone"),
        ("description: d\ntechnical:\n  stack: []\n", 2, "technical"),
        ("description: d\ntechnical:\n  stack: {deep: er}\n", 2, "technical"),
        ("description: d\ntechnical: x\ntechnical: y\n", 3, "(file)"),
        ("description: d\ntechnical: [x\n", 3, "(file)"),
        ("- a\n- b\n", 1, "(file)"),
        ("", 1, "(file)"),
        (f"description: d\ntechnical: {'x' * (MAX_CONTEXT + 1)}\n", 1, "description"),
        (f"description: {'x' * MAX_BYTES}\n", 1, "(file)"),
    ],
)
def test_a_faulty_file_is_refused_with_its_line_and_key(tmp_path: Path, text: str, line: int, key: str) -> None:
    path = written(tmp_path, text)

    with pytest.raises(InvalidProfile) as caught:
        read_profile(path)

    assert (caught.value.path, caught.value.line, caught.value.key) == (str(path), line, key)
    assert len(caught.value.describe().recovery_suggestions) >= 3
    assert str(rebuild(caught.value.describe())) == str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f"description: d\ntechnical: x\n{MARKER} buys: y\n",
        f"description: d\ntechnical: x\nprivacy: {MARKER}\n",
        f"description: d\ntechnical: x\nowners: [a b {MARKER}]\n",
        f"description: d\ntechnical: *{MARKER}\n",
        f"description: d\ntechnical: !{MARKER} x\n",
        f'description: d\ntechnical: "{MARKER}\n',
        f"description: d\ntechnical: {{{MARKER}: []}}\n",
        f"{MARKER}\n",
    ],
)
def test_what_is_wrong_is_said_without_quoting_the_file(tmp_path: Path, text: str) -> None:
    _, faults = check_profile(written(tmp_path, text))

    assert faults
    assert MARKER not in str([fault.describe() for fault in faults])


def test_every_change_of_the_content_is_another_revision(tmp_path: Path) -> None:
    revisions = {
        read_profile(written(tmp_path, text)).revision
        for text in (PAYMENTS, f"# a remark\n{PAYMENTS}", PAYMENTS.replace("cents", "pence"), VAULT)
    }

    assert len(revisions) == 3


def test_the_nearest_folder_counts_and_a_named_one_is_the_only_one(tmp_path: Path) -> None:
    cwd, home = tmp_path / "here", tmp_path / "home"
    place = Path(".agentic_flywheel") / "domains"
    written(home / place, "description: home\ntechnical: x\n")
    written(home / place, "description: other\ntechnical: x\n", "other")
    written(cwd / place, "description: here\ntechnical: x\n")

    both = ProfileWatch(None, cwd=cwd, home=home)
    named = ProfileWatch(home / place, cwd=cwd, home=tmp_path)
    nothing = ProfileWatch(None, cwd=tmp_path / "empty", home=tmp_path / "empty")

    assert [each.description for each in both.readable("me")] == ["here", "other"]
    assert named.get("acme", "me").description == "home"
    assert nothing.folders == ()
    with pytest.raises(UnknownProfile):
        nothing.get("acme", "me")


def test_who_is_not_an_owner_does_not_learn_that_a_profile_is_there(tmp_path: Path) -> None:
    written(tmp_path, VAULT, "vault")
    written(tmp_path, PAYMENTS)
    watch = ProfileWatch(tmp_path)

    assert watch.get("vault", "alice").confidential
    with pytest.raises(UnknownProfile) as refused:
        watch.get("vault", "bob")
    with pytest.raises(UnknownProfile) as absent:
        watch.get("nowhere", "bob")
    assert refused.value.known == absent.value.known == ["acme"]


def test_a_change_is_taken_over_and_a_faulty_one_leaves_the_profile_of_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path, PAYMENTS)
    watch = ProfileWatch(tmp_path, interval=0)
    first = watch.get("acme", "me")

    path.write_text(PAYMENTS.replace("Portugal", "Spain"))
    second = watch.get("acme", "me")
    with caplog.at_level(logging.ERROR):
        path.write_text(f"privacy: {MARKER}\n")
        kept = [watch.get("acme", "me") for _ in range(3)]

    assert "Spain" in second.text()
    assert first.revision != second.revision
    assert [each.revision for each in kept] == [second.revision] * 3
    assert len(caplog.records) == 1
    assert MARKER not in caplog.text
    assert [fault.key for fault in watch.faults()] == ["description"]
    path.unlink()
    with pytest.raises(UnknownProfile):
        watch.get("acme", "me")


def test_what_is_there_and_cannot_be_read_is_named_with_what_can_be_done(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    written(tmp_path, "#" * (MAX_BYTES + 1), "large")
    watch = ProfileWatch(tmp_path, interval=0)

    faults = watch.faults()

    assert [Path(fault.path).stem for fault in faults] == ["folder", "gone", "large", "loop", "pipe"]
    for fault in faults:
        with pytest.raises(InvalidProfile, match=f"is not acceptable: {fault.path} ") as refused:
            watch.get(Path(fault.path).stem, "me")
        assert "named line" not in refused.value.advice[0]


def test_a_folder_whose_files_may_not_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr("agentic_flywheel.profiles.watch.os.scandir", refused)

    (fault,) = ProfileWatch(tmp_path).faults()

    assert fault.fault == f"{tmp_path} cannot be read: Permission denied"


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, PAYMENTS)
    watch = ProfileWatch(tmp_path, interval=0)
    first = watch.get("acme", "me")

    def refuse(self: Path, mode: str = "") -> None:
        raise AssertionError("read again")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        assert watch.get("acme", "me") is first


def test_a_profile_that_was_faulty_from_the_start_is_named_as_such(tmp_path: Path) -> None:
    written(tmp_path, "technical: x\n")

    with pytest.raises(InvalidProfile):
        ProfileWatch(tmp_path).get("acme", "me")


def test_a_file_whose_name_is_no_name_is_refused(tmp_path: Path) -> None:
    profile, faults = check_profile(written(tmp_path, PAYMENTS, "two words"))

    assert profile is None
    assert "name" in faults[0].reason


def test_a_name_never_leads_out_of_the_folder(tmp_path: Path) -> None:
    written(tmp_path, PAYMENTS)
    inside = tmp_path / "domains"
    inside.mkdir()

    with pytest.raises(UnknownProfile):
        ProfileWatch(inside).get("../acme", "me")


def test_a_profile_in_memory_is_as_strict_as_one_in_a_file() -> None:
    with pytest.raises(ValueError, match="description"):
        Profile(name="x", description="  ")
