"""Questions from what other programs export: Langfuse, Flowise, OpenAI, Excel; the examples, and odd cases of each."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from replay.reading import Found, found, of_file

from agentic_flywheel.errors import PackageMissing
from agentic_flywheel.installation import install_command
from agentic_flywheel.models import Message
from producer.replay import excel_sheets
from producer.replay.files import read_file
from producer.replay.items import ReplayItem
from producer.replay.recorded import Recorded
from producer.replay.sheets import MAX_UNPACKED

EXAMPLES = Path(__file__).parents[2] / "examples" / "questions"
RECORDINGS = Path(__file__).parents[1] / "recordings"
NIGHT = "Why does our checkout service lose its database connection every night?"
HOTEL = "How much may a hotel cost according to our travel policy?"
GARDEN = "Which vision could guide the garden that my neighbours dream of?"
BACKUP = "The nightly backup closes idle connections."


def example(name: str) -> Found:
    return found(read_file(EXAMPLES / name))


def rows(tmp_path: Path, *values: Any) -> Found:
    return of_file(tmp_path / "q.jsonl", "\n".join(map(json.dumps, values)))


def plain(item: ReplayItem) -> dict[str, Any]:
    return item.model_dump(exclude_defaults=True, exclude={"number"})


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir()))
def test_every_example_gives_questions(name: str) -> None:
    assert example(name).items


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_traces_that_langfuse_exported_have_their_answers_of_before(ending: str) -> None:
    first, second = example(f"langfuse-traces.{ending}").items

    assert plain(first) == {
        "id": f"{1:032x}",
        "question": NIGHT,
        "session_id": "shop",
        "metadata": {"langfuse_trace": f"{1:032x}"},
        "baseline": {"text": BACKUP},
    }
    assert (second.question, second.session_id, second.baseline) == (
        HOTEL,
        None,
        Recorded(text="Up to 140 euros a night."),
    )


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_observations_that_langfuse_exported_may_hold_messages(ending: str) -> None:
    first, second = example(f"langfuse-observations.{ending}").items

    assert (first.question, first.baseline) == (NIGHT, Recorded(text=BACKUP))
    assert (second.question, second.metadata) == (HOTEL, {"langfuse_trace": f"{2:032x}"})


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_items_of_a_dataset_that_langfuse_exported_name_it_and_archived_ones_are_told(ending: str) -> None:
    result = example(f"langfuse-dataset-items.{ending}")

    first, second = result.items
    assert (first.question, first.expected, first.expected_domain) == (GARDEN, "A garden that nobody owns.", "creative")
    assert (second.expected, second.metadata) == ("4", {"langfuse_dataset": "garden", "langfuse_item": "item-3"})
    assert [reason for _, reason in result.faults] == ["it is archived in Langfuse"]


def test_rows_of_langfuses_blob_export_have_names_of_their_own(tmp_path: Path) -> None:
    row = {"id": "t", "project_id": "p", "session_id": "s", "input": '{"question": "q"}', "output": '"so"'}

    (item,) = rows(tmp_path, row).items

    assert (item.question, item.session_id, item.baseline) == ("q", "s", Recorded(text="so"))


@pytest.mark.parametrize("given", [None, "", {}, {"topic": "x"}, [], 7, [{"role": "assistant", "content": "x"}]])
def test_a_row_of_langfuse_without_a_question_is_named(tmp_path: Path, given: Any) -> None:
    result = rows(tmp_path, {"traceId": "t", "id": "o", "input": given, "output": "x"})

    assert result.items == []
    assert "its input names no question" in result.faults[0][1]


def test_conversations_that_go_from_new_to_old_are_pointed_at(tmp_path: Path) -> None:
    one = {"id": "a", "bookmarked": False, "sessionId": "s", "input": "later", "timestamp": "2026-11-23T09:00:00.000Z"}
    two = {**one, "id": "b", "input": "sooner", "timestamp": "2026-11-23T08:00:00.000Z"}

    assert any("goes from new to old" in note for note in rows(tmp_path, one, two).notes)
    assert not any("goes from new to old" in note for note in rows(tmp_path, two, one).notes)


def test_the_messages_that_flowise_exported_are_conversations_turn_by_turn() -> None:
    result = example("flowise-messages.json")

    first, second, third = result.items
    chat = "6f0c1e9a-5a0e-4f0c-9a53-0d8a3b1c2d4e"
    assert plain(first) == {
        "id": f"{chat}-1",
        "question": NIGHT,
        "session_id": chat,
        "metadata": {"source": "API/Embed"},
        "baseline": {"text": BACKUP},
    }
    assert (second.question, second.session_id) == ("How do I keep them open?", chat)
    assert third.baseline == Recorded(text="Up to 140 euros a night.")
    assert "example.com" not in third.written()  # nobody's address goes along


def test_messages_as_flowises_api_gives_them_are_paired(tmp_path: Path) -> None:
    recorded = json.loads((RECORDINGS / "messages.json").read_text())["response"]["json"]

    result = of_file(tmp_path / "q.json", json.dumps(recorded))

    assert [(item.question, item.session_id) for item in result.items] == [("hello there", "mem-1"), ("again", "mem-1")]
    assert [item.baseline and item.baseline.text for item in result.items] == ["echo: hello there", "echo: again"]


def test_openai_messages_end_in_the_question_and_what_follows_is_expected() -> None:
    first, second = example("openai-messages.jsonl").items

    assert plain(first) == {
        "id": "1",
        "question": NIGHT,
        "expected": BACKUP,
        "metadata": {"system": "You help the people who run our shop."},
    }
    assert second.question == "And a train ticket, according to our travel policy?"
    assert second.history == (
        Message(role="userMessage", content="What may a hotel cost?"),
        Message(role="apiMessage", content="Up to 140 euros a night."),
    )
    assert second.expected == "Second class, any price."


def test_a_batch_file_of_openais_has_its_ids() -> None:
    first, second = example("openai-batch.jsonl").items

    assert (first.id, first.question, first.metadata) == ("request-1", GARDEN, {"system": "Answer briefly."})
    assert (second.id, second.question) == ("request-2", HOTEL)


ASKED = {"role": "user", "content": "q"}


CLAUDE = {
    "uuid": "c",
    "name": "Parcels",
    "chat_messages": [
        {"sender": "human", "text": "Where?", "content": [{"type": "text", "text": "Where?"}]},
        {"sender": "assistant", "text": "There."},
        {"sender": "human", "text": "When?"},
    ],
}
CHATGPT = {
    "conversation_id": "c",
    "current_node": "6",
    "mapping": {
        "0": {"message": None, "parent": None},
        "1": {"message": {"author": {"role": "system"}, "content": {"parts": [""]}}, "parent": "0"},
        "2": {"message": {"author": {"role": "user"}, "content": {"parts": ["Where?"]}}, "parent": "1"},
        "3": {"message": {"author": {"role": "assistant"}, "content": {"parts": ["There."]}}, "parent": "2"},
        "5": {"message": {"author": {"role": "user"}, "content": {"parts": ["thrown away"]}}, "parent": "3"},
        "6": {"message": {"author": {"role": "user"}, "content": {"parts": ["When?"]}}, "parent": "3"},
    },
}


@pytest.mark.parametrize("value", [CLAUDE, CHATGPT], ids=["claude", "chatgpt"])
def test_each_message_of_a_user_in_a_chat_is_a_question_of_its_session(tmp_path: Path, value: dict[str, Any]) -> None:
    result = rows(tmp_path, value)

    assert [(each.id, each.question, each.session_id) for each in result.items] == [
        ("c-1", "Where?", "c"),
        ("c-2", "When?", "c"),
    ]
    assert [each.baseline and each.baseline.text for each in result.items] == ["There.", None]
    assert (result.faults, len(result.notes)) == ([], 1)


def test_a_tree_of_messages_that_goes_round_in_a_circle_ends(tmp_path: Path) -> None:
    circle = {"mapping": {"0": {"message": {"role": "user", "content": "Why?"}, "parent": "0"}}, "current_node": "0"}

    assert [each.question for each in rows(tmp_path, circle).items] == ["Why?"]


def test_a_page_of_a_dataset_server_is_its_rows(tmp_path: Path) -> None:
    page = {"features": [], "rows": [{"row_idx": 0, "row": {"question": "a", "label": 3}, "truncated_cells": []}]}

    assert [(each.question, each.metadata) for each in rows(tmp_path, page).items] == [("a", {"label": 3})]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, "a"),
        ({"prompt": "q", "completion": "a"}, "a"),
        ({"input": {"messages": [ASKED]}, "preferred_output": [{"role": "assistant", "content": "a"}]}, "a"),
        ({"messages": [ASKED, {"role": "assistant", "content": None, "tool_calls": []}, {"role": "tool"}]}, None),
        ({"messages": [ASKED], "expected": "b", "id": 3.10}, "b"),
        ({"model": "m", "input": [ASKED]}, None),
        ({"contents": [{"role": "user", "parts": [{"text": "q"}]}, {"role": "model", "parts": [{"text": "a"}]}]}, "a"),
    ],
)
def test_conversations_are_known_in_the_forms_that_others_write(
    tmp_path: Path, value: dict[str, Any], expected: str | None
) -> None:
    (item,) = rows(tmp_path, value).items

    assert (item.question, item.expected) == ("q", expected)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"messages": []}, "none of its messages is a user's"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "none of its messages is a user's"),
        ({"messages": ["a"]}, "one of its messages is no object"),
        ({"messages": [{"role": "narrator", "content": "a"}]}, "a role that is not known: 'narrator'"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "pictures, sound and files",
        ),
        ({"custom_id": "a", "response": {"body": {}}}, "it is the answer of a batch and holds no question"),
        ({"input": "q", "output": "a"}, "it has no 'question' but input, output; name the one"),
        ({"messages": [{"role": "user", "content": "a\x00"}]}, "question: U+0000"),
    ],
)
def test_a_conversation_that_cannot_be_asked_is_named(tmp_path: Path, value: dict[str, Any], reason: str) -> None:
    result = rows(tmp_path, value)

    assert result.items == []
    assert reason in result.faults[0][1]


def test_a_workbook_is_read_from_the_sheet_that_has_questions() -> None:
    result = example("workbook.xlsx")

    assert [plain(item) for item in result.items] == [
        {
            "id": "1",
            "question": NIGHT,
            "expected": BACKUP,
            "expected_domain": "technical",
            "metadata": {"asked on": "2026-11-23"},
        },
        {
            "id": "2",
            "question": "How many vines fit along a wall of 3.10 m?",
            "expected": "4",
            "expected_domain": "creative",
            "metadata": {"asked on": "2026-11-24"},
        },
        {
            "id": "007",
            "question": "Wie viel darf ein Hotel in Zürich kosten?",
            "expected": "140 €",
            "expected_domain": "documents",
        },
    ]
    assert [item.number for item in result.items] == [2, 3, 5]
    assert result.notes == ["is a workbook; read is the sheet 'Questions'; its 1 other sheet is not read"]


@pytest.fixture
def book(tmp_path: Path) -> Callable[..., Found]:
    def of(*sheets: list[list[Any]]) -> Found:
        workbook = openpyxl.Workbook()
        workbook.remove(workbook.active)
        for given in sheets:
            sheet = workbook.create_sheet()
            for row in given:
                sheet.append(row)
        workbook.save(tmp_path / "q.xlsx")
        return found(read_file(tmp_path / "q.xlsx"))

    return of


def test_a_header_may_stand_below_a_title_and_on_a_later_sheet(book: Callable[..., Found]) -> None:
    result = book([["Notes"]], [["Our questions"], [], ["No", "Question"], [1, "How?"], [2, None], [3, "Why?"]])

    assert result.questions == [(4, "How?"), (6, "Why?")]
    assert result.faults == [(5, "question: it is missing")]


def test_cells_are_what_a_person_reads_in_them(book: Callable[..., Found]) -> None:
    result = book([["question", "a", "b", "c"], [42, 2.50, True, 1e6]])

    assert result.items[0].question == "42"
    assert result.items[0].metadata == {"a": "2.5", "b": "TRUE", "c": "1000000"}


def test_a_workbook_without_questions_is_refused(book: Callable[..., Found]) -> None:
    with pytest.raises(ValueError, match="no sheet has a row with a column 'question': Sheet"):
        book([["Frage"], ["Wie?"]])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xd0\xcf\x11\xe0" + bytes(100), "a workbook of the old kind"),
        (b"PK\x03\x04 and no more", "it is no workbook"),
        (b"", "it is no workbook"),
    ],
)
def test_what_is_no_workbook_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        of_file(tmp_path / "q.xlsx", content)


def test_a_workbook_that_would_fill_the_memory_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "q.xlsx", "w", zipfile.ZIP_DEFLATED) as parts:
        parts.writestr("xl/sharedStrings.xml", bytes(MAX_UNPACKED + 1))

    with pytest.raises(ValueError, match="unpacked, at most 256 are read"):
        found(read_file(tmp_path / "q.xlsx"))


def test_without_the_package_for_workbooks_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(excel_sheets, "import_module", missing)

    with pytest.raises(PackageMissing) as caught:
        example("workbook.xlsx")

    assert install_command("xlsx") in caught.value.recovery_suggestions[0]
    assert len(caught.value.recovery_suggestions) >= 3
