from __future__ import annotations

import json
import stat
from pathlib import Path

from agentic_flywheel.models import Usage
from agentic_flywheel.tracing import Observation
from agentic_flywheel.tracing.file_sink import CURRENT, FileSink, from_line, read_lines, to_line
from agentic_flywheel.tracing.text import as_text

SEEN = Observation(
    "q",
    "flow-execution",
    "generation",
    1,
    2,
    span_id="ab" * 8,
    parent="cd" * 8,
    input="What?",
    usage=Usage(input_tokens=1),
    tags=("a", "b"),
    metadata={"flow": "x"},
)


def test_an_observation_survives_its_line() -> None:
    assert from_line(to_line(SEEN, as_text)) == SEEN


def test_what_is_not_there_takes_no_room() -> None:
    assert "output" not in json.loads(to_line(SEEN, as_text))


def test_a_line_cut_by_a_crash_is_passed_over(tmp_path: Path) -> None:
    sink = FileSink(tmp_path)
    sink.send([sink.encode(SEEN, as_text)[:20] + b"\n", b"[]\n", b'{"unknown": 1}\n', sink.encode(SEEN, as_text)])

    assert list(read_lines(tmp_path)) == [SEEN]


def test_files_are_put_aside_when_full_and_the_oldest_go(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, file_bytes=500, files=3)
    for number in range(40):
        sink.send([sink.encode(SEEN._replace(name=f"step {number}"), as_text)])

    kept = [each.name for each in read_lines(tmp_path)]
    assert len(list(tmp_path.iterdir())) <= 3
    assert kept == [f"step {number}" for number in range(40 - len(kept), 40)]
    assert kept


def test_traces_are_for_their_owner_only(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "traces")
    sink.send([sink.encode(SEEN, as_text)])

    assert stat.S_IMODE((tmp_path / "traces" / CURRENT).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "traces").stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_written_is_a_reason_not_an_error(tmp_path: Path) -> None:
    (tmp_path / "traces").write_text("in the way")

    outcome = FileSink(tmp_path / "traces").send([b"x"])

    assert outcome.kind == "again"
    assert "traces" in outcome.reason
