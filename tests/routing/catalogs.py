"""Catalogs that the routing tests share: a rich one with topics, and a legacy one with keywords only."""

from __future__ import annotations

from typing import Any

from agentic_flywheel.catalog import Catalog, Flow, Policy, revision_of


def catalog_of(*flows: Flow, **policy: Any) -> Catalog:
    keyed = {flow.key: flow for flow in flows}
    rules = Policy(**policy)
    return Catalog(flows=keyed, policy=rules, revision=revision_of(keyed, rules, {}))


def flow(key: str, domain: str = "", **fields: Any) -> Flow:
    return Flow(key=key, id=f"id-{key}", domain=domain or key, **fields)


CREATIVE = flow(
    "creative-orientation",
    "creative",
    name="Creative Orientation",
    description="Helps people create: stories, poems, names, visions, goals, seen from what they want to bring about.",
    keywords=("story", "poem", "brainstorm", "vision"),
    topics={
        "writing": (
            "write a short story about a lighthouse keeper",
            "help me with the opening line of my novel",
            "draft a poem for my sister's wedding",
            "give this scene more tension",
            "write a limerick about rain",
        ),
        "ideas": (
            "brainstorm names for my bakery",
            "I need ideas for a birthday party",
            "what could I paint next",
            "suggest a theme for our festival",
            "give me ten unusual gift ideas",
        ),
        "vision": (
            "what do I want to create in my life",
            "help me imagine where I will be in five years",
            "how do I find my purpose",
            "describe the future I want",
            "set a creative goal for this year",
        ),
    },
)
TECHNICAL = flow(
    "technical-analysis",
    "technical",
    name="Technical Analysis",
    description="Reads code and systems: debugging, performance, architecture, databases, deployment.",
    keywords=("code", "debug", "architecture", "database"),
    topics={
        "debugging": (
            "why does this function throw a TypeError",
            "my program crashes with a segmentation fault",
            "the unit test fails only in the pipeline",
            "find the bug in this loop",
            "explain this stack trace",
        ),
        "performance": (
            "this SQL query is slow, how can I speed it up",
            "reduce the memory use of my service",
            "profile this Python script",
            "which index does this table need",
            "our API has a high latency under load",
        ),
        "design": (
            "should I use microservices or a monolith",
            "review the architecture of our backend",
            "how do I structure a REST API",
            "which database fits time series",
            "design a schema for orders and customers",
        ),
    },
)
DOCUMENTS = flow(
    "document-qa",
    "documents",
    name="Document Q&A",
    description="Answers from the uploaded documents: finds passages, summarises, quotes and compares them.",
    keywords=("document", "pdf", "summarize"),
    topics={
        "lookup": (
            "what does the contract say about termination",
            "find the section on warranty in the manual",
            "which page mentions the delivery date",
            "quote the paragraph about liability",
            "who signed the agreement",
        ),
        "summary": (
            "summarise this report in five sentences",
            "give me the key points of the attached file",
            "what are the main findings of the paper",
            "shorten the minutes of the meeting",
            "make an abstract of the document",
        ),
    },
)
BUNDLED = catalog_of(CREATIVE, TECHNICAL, DOCUMENTS, fallback_flow="creative-orientation")

LEGACY = catalog_of(
    flow(
        "creative-orientation", name="Creative Orientation", keywords=("creative", "story", "imagine", "vision", "goal")
    ),
    flow(
        "technical-analysis", name="Technical Analysis", keywords=("code", "bug", "technical", "architecture", "debug")
    ),
    flow("document-qa", name="Document QA", keywords=("document", "pdf", "file", "summary")),
    fallback_flow="creative-orientation",
)
