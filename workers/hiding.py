"""Keep a flow's key out of what its server tells: a service may answer with what it was sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pydantic import SecretStr

from agentic_flywheel.backends import FlowAnswer, FlowNews
from agentic_flywheel.models import EventKind

#: Shorter keys are stand-ins, such as ``ollama``: an answer may well have the word.
_LEAST = 16
_HIDDEN = "***"


class KeyHiding:
    """Passes on what a flow tells, without its key, wherever the network has cut that."""

    def __init__(self, key: SecretStr | None, tell: Callable[[FlowNews], None] | None) -> None:
        secret = "" if key is None else key.get_secret_value()
        self._secret = secret if len(secret) >= _LEAST else ""
        self._tell = tell
        #: The end of what was told, where it may be the beginning of the key.
        self._held = ""

    @property
    def tell(self) -> Callable[[FlowNews], None] | None:
        return self._push if self._secret and self._tell is not None else self._tell

    def answer(self, found: FlowAnswer) -> FlowAnswer:
        """Return an answer without the key, after the rest of what was told."""
        self._release()
        if not self._secret:
            return found
        written, secret = found.model_dump_json(), json.dumps(self._secret, ensure_ascii=False)[1:-1]
        return FlowAnswer.model_validate_json(written.replace(secret, _HIDDEN)) if secret in written else found

    def _push(self, news: FlowNews) -> None:
        if news.kind is not EventKind.TOKEN:
            self._release()
            self._pass_on(FlowNews(news.kind, {name: self._without(each) for name, each in news.data.items()}))
            return
        text = (self._held + str(news.data["text"])).replace(self._secret, _HIDDEN)
        most = min(len(self._secret) - 1, len(text))
        kept = next((size for size in range(most, 0, -1) if text.endswith(self._secret[:size])), 0)
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

    def _without(self, value: Any) -> Any:
        if isinstance(value, str):
            return value.replace(self._secret, _HIDDEN)
        if isinstance(value, dict):
            return {name: self._without(each) for name, each in value.items()}
        return [self._without(each) for each in value] if isinstance(value, list) else value
