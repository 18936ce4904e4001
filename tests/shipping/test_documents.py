"""What the documents name is there: files, folders, and the pages that they link to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from processes import REPOSITORY

PAGES = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")])
#: Pages that guide through the sources: every path in them has to exist.
GUIDES = [REPOSITORY / "docs" / "architecture.md", *sorted((REPOSITORY / "docs" / "decisions").glob("*.md"))]
TOPS = (
    "agentic_flywheel",
    "workers",
    "producer",
    "mcp_bridge",
    "http_gateway",
    "flowise_sandbox",
    "tests",
    "benchmarks",
    "docs",
)


def relative(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def headings(page: Path) -> set[str]:
    """Return a page's headings as the anchors that a link can name."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in found}


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_link_leads_somewhere(page: Path) -> None:
    lost = []
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        name, _, anchor = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        if not place.exists() or (anchor and anchor not in headings(place)):
            lost.append(target)

    assert lost == []


@pytest.mark.parametrize("page", GUIDES, ids=relative)
def test_every_path_in_a_guide_exists(page: Path) -> None:
    named = re.findall(rf"`((?:{'|'.join(TOPS)})/[\w./-]+)`", page.read_text())

    assert [each for each in named if not (REPOSITORY / each).exists()] == []


def test_the_architecture_names_every_package() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    packages = {
        relative(path.parent)
        for top in TOPS[:5]
        for path in (REPOSITORY / top).rglob("__init__.py")
        if len(path.relative_to(REPOSITORY).parts) <= 3
    }
    # The producer's own are told in its line.
    inner = {each for each in packages if each.startswith("producer/")}

    assert [each for each in packages - inner - {"agentic_flywheel"} if f"`{each}/`" not in text] == []
    assert [each for each in inner if f"`{each.removeprefix('producer/')}/`" not in text] == []


def test_every_decision_is_in_the_index() -> None:
    folder = REPOSITORY / "docs" / "decisions"
    index = (folder / "README.md").read_text()

    assert [each.name for each in folder.glob("*.md") if each.name != "README.md" and each.name not in index] == []


def test_every_test_that_a_page_names_exists() -> None:
    named = [each for page in PAGES for each in re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", page.read_text())]
    lost = []
    for each in named:
        file, _, test = each.partition("::")
        path = REPOSITORY / file
        if not path.exists() or (test and f"def {test}(" not in path.read_text()):
            lost.append(each)

    assert lost == []
    assert len(named) > 20


def test_the_table_of_packages_names_every_module_and_package() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text().partition("## The house")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = {name.rstrip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)}
    kernel = [path for path in (REPOSITORY / "agentic_flywheel").iterdir() if path.suffix == ".py" or path.is_dir()]
    there = {relative(path) for path in kernel if not path.name.startswith("__")}

    assert {name for name in named if name.startswith("agentic_flywheel/")} == there
    assert set(TOPS[1:5]) <= named
