"""What a stream has said of an answer, where nothing that was said can be taken back."""

from __future__ import annotations

#: Between the beginning of an answer that was given up, and the answer.
AGAIN = "\n\n---\n\nWhat stands above was broken off. The whole answer:\n\n"


class StreamedText:
    """Says an answer as it comes, so that in the end the client has all of it, once.

    A flow that failed amid its answer begins again. What it says then is passed over while it is what was said before,
    and held back once it differs: the end says the whole answer.
    """

    def __init__(self) -> None:
        #: What the client has been told, and what the present attempt has said.
        self.told = self._said = ""

    def hear(self, text: str) -> str:
        """Return what to tell the client of the next words of the flow."""
        self._said += text
        if len(self._said) <= len(self.told) or not self._said.startswith(self.told):
            return ""
        return self._tell(self._said[len(self.told) :])

    def begin_again(self) -> None:
        """Take note that the flow begins its answer anew."""
        self._said = ""

    def finish(self, whole: str) -> str:
        """Return what to tell the client so that it has the whole answer."""
        if whole.startswith(self.told):
            return self._tell(whole[len(self.told) :])
        if whole.strip() == self.told.strip():
            return ""
        return self._tell(AGAIN + whole)

    def _tell(self, text: str) -> str:
        self.told += text
        return text
