"""Refusals of a model's provider that a repetition does not change."""

from __future__ import annotations

from dataclasses import dataclass

from agentic_flywheel.errors.flow import FlowError


@dataclass(eq=False)
class QuotaUsedUp(FlowError):
    """The account behind the flow has used up what it may, or has not paid. To wait does not help."""

    reason: str = ""

    suggestions = (
        "Look at the account's plan, budget and bill at the provider, and raise or pay them.",
        "Give the flow a `fallback` whose provider or account is another one.",
        "Redrive what failed with `flywheel dead-letters retry` once the account is in order.",
    )
    elsewhere = suggestions

    @property
    def message(self) -> str:
        return f"The account behind flow {self.flow!r} has used up its quota: {self.reason}"


@dataclass(eq=False)
class PromptTooLong(FlowError):
    """Question, history and system text are together longer than the flow's model reads."""

    reason: str = ""

    suggestions = (
        "Lower the flow's `history_chars` or `history_turns` in the registry.",
        "Ask a shorter question, or begin a new session.",
        "Give the flow a `model` that reads more, or a `fallback` with one.",
    )
    elsewhere = suggestions

    @property
    def message(self) -> str:
        return f"What flow {self.flow!r} was sent is longer than its model reads: {self.reason}"


@dataclass(eq=False)
class ContentFiltered(FlowError):
    """The provider's filter refused the question, or let nothing of the answer through."""

    reason: str = ""

    suggestions = (
        "Ask in other words: the filter would refuse the same ones again.",
        "Look at the rules of the content filter at the provider.",
        "Give the flow a `fallback` whose provider has other rules.",
    )
    elsewhere = suggestions

    @property
    def message(self) -> str:
        return f"The content filter of flow {self.flow!r} let nothing through: {self.reason}"
