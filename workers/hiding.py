"""Keep what a flow's server was sent in secret out of what it tells: a service may answer with what it was sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

from agentic_flywheel.backends import FlowAnswer, FlowNews
from agentic_flywheel.models import EventKind

#: Shorter ones are stand-ins, such as ``ollama``: an answer may well have the word.
_LEAST = 16
_HIDDEN = "***"


class SecretHiding:
    """Passes on what a flow tells, without the secrets that it was sent, wherever the network has cut them."""

    def __init__(self, secrets: Collection[str], tell: Callable[[FlowNews], None] | None) -> None:
        """``secrets``: the longest first, so that none is hidden in part."""
        self._secrets = [each for each in secrets if len(each) >= _LEAST]
        self._tell = tell
        #: The end of what was told, where it may be the beginning of a secret.
        self._held = ""

    @property
    def tell(self) -> Callable[[FlowNews], None] | None:
        return self._push if self._secrets and self._tell is not None else self._tell

    def answer(self, found: FlowAnswer) -> FlowAnswer:
        """Return an answer without the secrets, after the rest of what was told."""
        self._release()
        if not self._secrets:
            return found
        written = shown = found.model_dump_json()
        for secret in self._secrets:
            shown = shown.replace(json.dumps(secret, ensure_ascii=False)[1:-1], _HIDDEN)
        return found if shown == written else FlowAnswer.model_validate_json(shown)

    def _push(self, news: FlowNews) -> None:
        if news.kind is not EventKind.TOKEN:
            self._release()
            self._pass_on(FlowNews(news.kind, {name: self._without(each) for name, each in news.data.items()}))
            return
        text = self._shown(self._held + str(news.data["text"]))
        kept = max(_begun(secret, text) for secret in self._secrets)
        self._held = text[len(text) - kept :]
        if told := text[: len(text) - kept]:
            self._pass_on(FlowNews(EventKind.TOKEN, {**news.data, "text": told}))

    def _release(self) -> None:
        held, self._held = self._held, ""
        if held:
            self._pass_on(FlowNews(EventKind.TOKEN, {"text": held}))

    def _pass_on(self, news: FlowNews) -> None:
        if self._tell is not None:
            self._tell(news)

    def _shown(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return text

    def _without(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._shown(value)
        if isinstance(value, dict):
            return {name: self._without(each) for name, each in value.items()}
        return [self._without(each) for each in value] if isinstance(value, list) else value


def _begun(secret: str, text: str) -> int:
    """Return how many characters of a secret a text ends with."""
    sizes = range(min(len(secret) - 1, len(text)), 0, -1)
    return next((size for size in sizes if text.endswith(secret[:size])), 0)
