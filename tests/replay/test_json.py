"""JSON in any layout: lines, arrays, documents, compressed or not; strict in what a value is."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import importlib
import io
import json
import lzma
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from replay.reading import Found, found, of_file

from agentic_flywheel.errors import PackageMissing
from agentic_flywheel.installation import install_command
from producer.replay import opening
from producer.replay.files import read_file, read_stream
from producer.replay.json_source import MAX_LINE
from producer.replay.opening import NO_TEXT
from producer.replay.reads import NAMELESS


def read(tmp_path: Path, content: str | bytes, name: str = "q.jsonl", encoding: str = "") -> Found:
    return of_file(tmp_path / name, content, encoding)


@pytest.mark.parametrize(
    ("value", "text"),
    [("4", "4"), ("2.0", "2.0"), ("3.10", "3.10"), ("1e3", "1e3"), ("-0", "0"), ("true", "true"), ("[1, 2]", "[1, 2]")],
)
def test_where_a_text_is_meant_a_number_is_the_one_that_was_written(tmp_path: Path, value: str, text: str) -> None:
    (item,) = read(tmp_path, f'{{"question": "q", "id": {value}, "expected": {value}, "answer": {value}}}').items

    assert item.baseline is not None
    assert (item.id, item.expected, item.baseline.text) == (text, text, text)


def test_numbers_of_metadata_stay_numbers(tmp_path: Path) -> None:
    (item,) = read(tmp_path, '{"question": "q", "metadata": {"a": 2.0, "b": 12345678901234567890, "c": 3.10}}').items

    assert item.metadata == {"a": 2.0, "b": 12345678901234567890, "c": 3.1}
    assert type(item).model_validate_json(item.written()) == item


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"question": "q", "metadata": {"x": NaN}}', "it is not JSON: NaN is no number in JSON"),
        ('{"question": "q", "metadata": {"x": -Infinity}}', "it is not JSON: -Infinity is no number in JSON"),
        ('{"question": "q", "metadata": {"x": 1e999}}', "metadata: `x`: should be a finite number"),
        ('{"question": "q", "metadata": {"x": %s}}' % ("9" * 400), "metadata: `x`: is too large a number"),
        ('{"question": "q", "id": %s}' % ("9" * 5000), "it is not JSON: a number of 5000 digits is too large"),
        ('{"question": "q", "question": "r"}', "it is not JSON: the key 'question' is given twice"),
        ('{"question": "q", "metadata": {"a": {"b": 1, "b": 1}}}', "it is not JSON: the key 'b' is given twice"),
        ('{"question": "q", "metadata": ' + "[" * 100_000, "it is not JSON: it is nested too deeply"),
        ('{"question": "q", "metadata": {"a": ' + "[" * 40 + "]" * 40 + "}}", "metadata: is nested more than 32"),
        ('{"question": "q\tr"}', "it is not JSON: Invalid control character, at character 16"),
        ("{'question': 'q'}", "it is not JSON: Expecting property name"),
        ('{"question": "q",}', "it is not JSON: "),
        ('{"question": "q"', "it is not JSON: it is cut off, at character 17"),
        ('{"question": "q', "it is not JSON: it is cut off, at character 16"),
        ("17", "it is no JSON object"),
        ("null", "it is no JSON object"),
        ('{"question": 3}', "question: it should be a text"),
    ],
)
def test_what_json_does_not_have_is_named_and_stops_no_other(tmp_path: Path, line: str, reason: str) -> None:
    result = read(tmp_path, f'{{"question": "a"}}\n{line}\n\n{{"question": "b"}}\n')

    assert result.questions == [(1, "a"), (4, "b")]
    ((number, told),) = result.faults
    assert number == 2
    assert reason in told


def test_a_last_line_that_was_cut_off_is_named(tmp_path: Path) -> None:
    result = read(tmp_path, '{"question": "a"}\n{"question": "b"}\n{"question": "c", "exp')

    assert result.questions == [(1, "a"), (2, "b")]
    assert result.faults == [(3, "it is not JSON: it is cut off, at character 19")]


def test_several_objects_in_a_line_are_several_questions_with_numbers_of_their_own(tmp_path: Path) -> None:
    result = read(
        tmp_path, '{"question": "a"}{"question": "b"} , {"question": "c"}\n{"question": "d"}\n{"question": 5}'
    )

    assert result.questions == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    assert result.faults == [(3, "question: it should be a text")]


@pytest.mark.parametrize("mark", ["\x1e", ""])
def test_lines_may_have_the_mark_of_a_json_sequence_or_commas_after_them(tmp_path: Path, mark: str) -> None:
    assert read(tmp_path, f'{mark}{{"question": "a"}},\n{mark}{{"question": "b"}},\n').questions == [(1, "a"), (2, "b")]


def test_a_line_that_is_a_text_is_a_question(tmp_path: Path) -> None:
    assert read(tmp_path, '"How?"\n"Why?"\n').questions == [(1, "How?"), (2, "Why?")]


QUESTIONS: list[dict[str, Any]] = [
    {"question": "a"},
    {"question": 'b } ] , "\\', "metadata": {"x": ["[", {"y": "]"}]}},
    {"question": "c"},
]
ARRAY = "is read as a JSON array"


@pytest.mark.parametrize("indent", [None, 0, 2, "\t"])
@pytest.mark.parametrize("name", ["q.json", "q.jsonl", "q.ndjson", "q"])
def test_an_array_is_read_in_any_layout_under_any_name(tmp_path: Path, indent: Any, name: str) -> None:
    result = read(tmp_path, json.dumps(QUESTIONS, indent=indent), name)

    assert [question for _, question in result.questions] == [each["question"] for each in QUESTIONS]
    assert (result.faults, result.notes) == ([], [ARRAY])
    numbers = [number for number, _ in result.questions]
    assert numbers == sorted(set(numbers))


def test_one_object_and_objects_over_many_lines_are_read(tmp_path: Path) -> None:
    assert read(tmp_path, '{"question": "a"}', "q.json").questions == [(1, "a")]
    several = read(tmp_path, "\n".join(json.dumps(each, indent=2) for each in QUESTIONS), "q.json")
    assert [question for _, question in several.questions] == [each["question"] for each in QUESTIONS]
    assert several.notes == ["is read as JSON values over many lines"]


def test_a_page_of_an_api_is_its_data(tmp_path: Path) -> None:
    page = json.dumps({"data": QUESTIONS, "meta": {"page": 1}}, indent=1)

    assert len(read(tmp_path, page, "q.json").items) == 3


def test_keys_that_are_no_fields_are_kept_as_metadata_as_in_csv_and_told(tmp_path: Path) -> None:
    rows = [{"question": "a", "lang": "de", "metadata": {"x": 1}}, {"question": "b", "_id": {"$oid": "1"}}]

    result = of_file(tmp_path / "q.jsonl", "\n".join(map(json.dumps, rows)))

    assert [item.metadata for item in result.items] == [{"lang": "de", "x": 1}, {"_id": {"$oid": "1"}}]
    assert result.notes == ["has keys that are no fields; they go to `metadata`: lang"]


def test_an_object_with_both_the_key_that_was_named_and_a_question_is_named(tmp_path: Path) -> None:
    result = of_file(tmp_path / "q.jsonl", '{"text": "a", "question": "b"}\n{"text": "c"}\n', column="text")

    assert result.questions == [(2, "c")]
    assert result.faults == [(1, "it has both 'text' and 'question'")]


def test_an_object_around_one_list_of_objects_is_that_list(tmp_path: Path) -> None:
    result = of_file(tmp_path / "q.json", '{"version": 2, "items": [{"question": "a"}, {"question": "b"}]}')

    assert result.questions == [(1, "a"), (2, "b")]
    assert result.notes == ["is an object around a list: 'items' is read, and nothing else of it"]
    two = of_file(tmp_path / "q.json", '{"items": [{"question": "a"}], "more": [{"question": "b"}]}')
    assert two.faults == [(1, f"it has no 'question' but items, more; {NAMELESS}")]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("q.csv", '{"question": "How?"}\n', "is named .csv but begins as JSON does, and is read as that"),
        ("q.tsv", '[{"question": "How?"}]', "is named .tsv but begins as JSON does, and is read as that"),
        ("q.jsonl", "question,expected\nHow?,so\n", "is named .jsonl but begins as CSV does, and is read as that"),
        ("q.xlsx", "id;question\n1;How?\n", "is named .xlsx but begins as CSV does, and is read as that"),
    ],
)
def test_a_file_with_the_wrong_ending_is_read_as_what_it_is(tmp_path: Path, name: str, content: str, said: str) -> None:
    result = of_file(tmp_path / name, content)

    assert [item.question for item in result.items] == ["How?"]
    assert result.notes[0] == said


def test_a_header_that_begins_with_a_bracket_is_no_json(tmp_path: Path) -> None:
    assert of_file(tmp_path / "q.csv", "[team],question\nred,How?\n").questions == [(2, "How?")]


def test_a_missing_quote_in_an_array_costs_one_element(tmp_path: Path) -> None:
    text = '[\n  {"question": "a"},\n  {"question": "b},\n  {"question": "c"}\n]\n'

    result = read(tmp_path, text, "q.json")

    assert result.questions == [(2, "a"), (4, "c")]
    assert [number for number, _ in result.faults] == [3]


@pytest.mark.parametrize(
    ("text", "questions", "faults"),
    [
        ('[{"question": "a"},', ["a"], ["the array is not closed: the file is cut off"]),
        (
            '[{"question": "a"}, {"quest',
            ["a"],
            ["it is not JSON: it is cut off, at character 2", "the array is not closed: the file is cut off"],
        ),
        ('["a", 3, {"question": "c"}]', ["a", "c"], ["it is no JSON object"]),
        ('[{"question": "a"}]\n{"question": "b"}', ["a", "b"], []),
        ("[]", [], []),
    ],
)
def test_what_is_wrong_with_an_array_is_named(
    tmp_path: Path, text: str, questions: list[str], faults: list[str]
) -> None:
    result = read(tmp_path, text, "q.json")

    assert [question for _, question in result.questions] == questions
    assert [reason for _, reason in result.faults] == faults


def test_lines_of_arrays_are_named_one_by_one(tmp_path: Path) -> None:
    assert read(tmp_path, "[1]\n[2]\n").faults == [(1, "it is no JSON object"), (2, "it is no JSON object")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_may_be_in_any_encoding_of_unicode(tmp_path: Path, encoding: str) -> None:
    assert read(tmp_path, '{"question": "größe"}\n'.encode(encoding)).questions == [(1, "größe")]


def test_json_is_read_in_the_encoding_that_is_told(tmp_path: Path) -> None:
    raw = '{"question": "請求書の再発行"}\n'.encode("cp932") + b'{"question": "\x81"}\n' + b'{"question": "b"}\n'

    result = read(tmp_path, raw, encoding="shift_jis")

    assert (result.questions, result.faults) == ([(1, "請求書の再発行"), (3, "b")], [(2, NO_TEXT)])


def test_json_that_a_program_wrote_in_the_encoding_of_its_windows_is_read(tmp_path: Path) -> None:
    result = read(tmp_path, '{"question": "Где моя посылка?"}\n{"question": "Как дела?"}\n'.encode("cp1251"))

    assert result.questions == [(1, "Где моя посылка?"), (2, "Как дела?")]
    assert result.notes == ["is not UTF-8 (first in line 1); read as windows-1251, which fits its words best"]


def test_json_whose_encoding_is_not_clear_is_named_line_by_line(tmp_path: Path) -> None:
    result = read(tmp_path, b'{"question": "a"}\n{"question": "\xff"}\n{"question": "\\ud800"}\n')

    assert result.questions == [(1, "a")]
    assert result.faults[0] == (2, NO_TEXT)
    assert "U+D800 (half of a surrogate pair) at position 1" in result.faults[1][1]


@pytest.mark.parametrize("wrap", ['{"question": "%s"}\n{"question": "b"}\n', '[{"question": "%s"}, {"question": "b"}]'])
def test_a_value_of_a_hundred_megabytes_is_named_and_never_held(tmp_path: Path, wrap: str) -> None:
    (tmp_path / "q.json").write_text(wrap % ("x" * 100_000_000))

    tracemalloc.start()
    result = found(read_file(tmp_path / "q.json"))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert [question for _, question in result.questions] == ["b"]
    assert f"at most {MAX_LINE} are read" in result.faults[0][1]
    assert most < 64 * 2**20


def test_an_array_of_any_length_is_read_in_little_memory(tmp_path: Path) -> None:
    (tmp_path / "q.json").write_text("[" + ",".join(['{"question": "How do I connect it?"}'] * 20_000) + "]")

    tracemalloc.start()
    count = sum(1 for _ in read_file(tmp_path / "q.json"))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 20_001
    assert most < 6.4 * 2**20


LINES = b'{"question": "a"}\n{"question": "b"}\n'


# Named, since gzip writes the time into its bytes.
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.jsonl.gz", gzip.compress(LINES)),
        ("q.jsonl.zst", zstd.compress(LINES)),
        ("q.jsonl", gzip.compress(LINES)),
        ("q.gz", gzip.compress(LINES)),
        ("q.csv.gz", gzip.compress(b"question\na\nb\n")),
        ("q.tsv.zst", zstd.compress(b"id\tquestion\n1\ta\n2\tb\n")),
    ],
    ids=["lines, gzip", "lines, zstd", "no ending", "one ending", "CSV, gzip", "tabs, zstd"],
)
def test_a_compressed_file_is_read_as_what_is_in_it(tmp_path: Path, name: str, content: bytes) -> None:
    assert [question for _, question in read(tmp_path, content, name).questions] == ["a", "b"]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd.compress])
def test_a_compressed_file_of_which_no_line_is_left_is_refused(tmp_path: Path, pack: Any) -> None:
    with pytest.raises(ValueError, match="it is cut off: the compressed file has no end"):
        read(tmp_path, pack(b'{"question": "a"}')[:-9])


def test_the_whole_lines_of_a_compressed_file_that_was_cut_off_are_asked_and_the_loss_is_named(tmp_path: Path) -> None:
    rows = [f"{number},{hashlib.sha256(str(number).encode()).hexdigest()}" for number in range(5000)]
    packed = gzip.compress("\n".join(["id,question", *rows, ""]).encode())

    result = read(tmp_path, packed[: len(packed) // 2], "q.csv.gz")

    asked = [item.question for item in result.items]
    assert 1000 < len(asked) < 4000
    assert asked == [row.partition(",")[2] for row in rows[: len(asked)]]
    assert result.faults == [(len(asked) + 2, "the compressed file is cut off here: what followed is lost")]


def test_what_follows_a_compressed_file_costs_no_line_of_it(tmp_path: Path) -> None:
    result = read(tmp_path, gzip.compress(LINES) + b"garbage")

    assert [question for _, question in result.questions] == ["a", "b"]
    assert result.faults == [(3, "after this line follows something that is not compressed with gzip; it is not read")]


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress])
def test_files_of_the_packers_that_python_knows_are_read_also_where_two_are_joined(tmp_path: Path, pack: Any) -> None:
    result = read(tmp_path, pack(LINES) + pack(LINES), "q.jsonl.bz2" if pack is bz2.compress else "q.jsonl.xz")

    assert [question for _, question in result.questions] == ["a", "b", "a", "b"]


@pytest.mark.parametrize(
    ("begin", "what"), [(b"%PDF-1.7", "a PDF"), (b"PAR1", "a Parquet file"), (b"SQLite format 3\0", "a database")]
)
def test_a_file_of_another_program_is_named(tmp_path: Path, begin: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=f"it is {what}"):
        read(tmp_path, begin + bytes(100), "q.csv")


def test_a_byte_order_mark_in_the_middle_costs_no_line(tmp_path: Path) -> None:
    result = read(tmp_path, b'{"question": "a"}\n\xef\xbb\xbf{"question": "b"}\n')

    assert (result.questions, result.faults) == ([(1, "a"), (2, "b")], [])


def test_a_named_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_PIPE_WAIT", 0.1)
    os.mkfifo(tmp_path / "q.jsonl")

    with pytest.raises(ValueError, match="nobody has opened for writing"):
        list(read_file(tmp_path / "q.jsonl"))


def test_a_folder_that_is_no_replay_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it is a folder without results"):
        list(read_file(tmp_path))


@pytest.mark.parametrize(
    "damaged", [gzip.compress(LINES)[:-8] + bytes(8), zstd.compress(LINES)[:4] + b"\xff" * 40], ids=["gzip", "zstd"]
)
def test_a_compressed_file_that_is_damaged_is_refused(tmp_path: Path, damaged: bytes) -> None:
    with pytest.raises(ValueError, match="it cannot be unpacked"):
        read(tmp_path, damaged)


def test_what_comes_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MAX_UNPACKED", 1000)

    with pytest.raises(ValueError, match="ask it in parts"):
        read(tmp_path, gzip.compress(LINES * 1000))


def test_without_the_package_for_zstd_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(opening, "import_module", missing)

    with pytest.raises(PackageMissing) as caught:
        read(tmp_path, zstd.compress(LINES))

    assert install_command("zstd") in caught.value.recovery_suggestions[0]
    assert importlib.import_module("backports.zstd") is zstd


class Pipe(io.RawIOBase):
    """Bytes that can be read once, as those of a pipe."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self._content.read(size)


@pytest.mark.parametrize(
    "content",
    [LINES, gzip.compress(LINES), b'["a", "b"]', b"id;question\n1;a\n2;b\n", LINES.decode().encode("utf-16")],
    ids=["lines", "gzip", "array", "CSV", "UTF-16"],
)
def test_stdin_may_hold_the_same(content: bytes) -> None:
    assert [item.question for item in found(read_stream(Pipe(content))).items] == ["a", "b"]  # type: ignore[arg-type]
