"""An encoder behind an OpenAI-compatible ``/embeddings``: asked for what the first stage leaves unsure."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import threading
import time
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import urllib3

from agentic_flywheel.catalog import EncoderServer
from agentic_flywheel.errors import EncoderUnavailable
from agentic_flywheel.settings import flow_key

logger = logging.getLogger(__name__)

Vector = npt.NDArray[np.float32]

#: Seconds that a question waits for its vector, and that one batch of a catalog's texts does.
_PATIENCE, _BATCH_PATIENCE = 1.5, 30.0
_BATCH = 64
#: After so many failures in a row the server is left alone for so many seconds; then one question tries it again.
_FAILURES, _PAUSE = 3, 30.0
#: No answer is read beyond so many bytes.
_LONGEST_ANSWER = 32_000_000
#: Vectors of so many texts are kept on disk at most.
_KEPT = 20_000


class ServerEncoder:
    """Texts become vectors by one call; a catalog's texts are asked for once and kept. Safe to use from threads."""

    meaning = 3.0
    alignment = 1.0
    english = False

    def __init__(self, server: EncoderServer, cache_dir: Path | None) -> None:
        """Take the server that the registry names; vectors are kept in ``cache_dir``, where given."""
        self.server = server
        self.name = "server-" + hashlib.sha256(repr((server.url, server.model)).encode()).hexdigest()[:12]
        self._path = None if cache_dir is None else cache_dir / f"vectors-{self.name}.npz"
        self._pool = urllib3.PoolManager(maxsize=8, retries=False)
        self._lock = threading.Lock()
        self._failures = 0
        self._closed_until = 0.0

    def encode(self, texts: Sequence[str]) -> Vector:
        """Return a unit vector for each text. One text is a question; several are a catalog's, and are kept.

        Raises EncoderUnavailable where the server is away, slow or wrong, and while it is left alone for that.
        """
        if len(texts) == 1:
            return self._asked(texts, _PATIENCE)
        digests = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]
        unknown = {digest: text for digest, text in zip(digests, texts, strict=True) if digest not in self._kept}
        wanted = list(unknown.items())
        for at in range(0, len(wanted), _BATCH):
            batch = wanted[at : at + _BATCH]
            vectors = self._asked([text for _, text in batch], _BATCH_PATIENCE)
            self._kept.update(zip((digest for digest, _ in batch), vectors, strict=True))
        if unknown:
            self._keep()
        found = [self._kept[digest] for digest in digests]
        if len({len(vector) for vector in found}) > 1:
            # The model behind the name has changed: what was kept does not fit any more.
            self._kept.clear()
            raise self._unavailable("its vectors have another length than before; all texts are asked for anew")
        return np.array(found, np.float32)

    def _asked(self, texts: Sequence[str], patience: float) -> Vector:
        with self._lock:
            if time.monotonic() < self._closed_until:
                raise self._unavailable(f"it failed {_FAILURES} times in a row and is left alone for a while")
            if self._failures >= _FAILURES:
                # Of several threads one tries; the others do not wait for it.
                self._closed_until = time.monotonic() + _PAUSE
        try:
            vectors = self._read(self._call(texts, patience), len(texts))
        except EncoderUnavailable as failed:
            with self._lock:
                self._failures += 1
                if self._failures == _FAILURES:
                    self._closed_until = time.monotonic() + _PAUSE
                    logger.warning("%s; not asked for %.0f s", failed, _PAUSE)
            raise
        with self._lock:
            self._failures, self._closed_until = 0, 0.0
        return vectors

    def _call(self, texts: Sequence[str], patience: float) -> bytes:
        key = flow_key(self.server.api_key_env, None)
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key.get_secret_value()}"
        body = json.dumps({"model": self.server.model, "input": list(texts), "encoding_format": "float"})
        ends = time.monotonic() + patience
        try:
            answer = self._pool.request(
                "POST",
                self.server.url.rstrip("/") + "/embeddings",
                body=body.encode(),
                headers=headers,
                timeout=urllib3.Timeout(total=patience),
                redirect=False,
                preload_content=False,
            )
            try:
                read = b""
                # A time-out of urllib3 is for each piece: a server that drips is cut here.
                while len(read) <= _LONGEST_ANSWER and time.monotonic() < ends and (piece := answer.read1(1 << 16)):
                    read += piece
            finally:
                answer.close()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as failed:
            raise self._unavailable(type(failed).__name__) from None
        if answer.status != 200:
            raise self._unavailable(f"status {answer.status}")
        return read

    def _read(self, answer: bytes, count: int) -> Vector:
        try:
            items = sorted(json.loads(answer)["data"], key=lambda item: int(item["index"]))
            vectors = np.array([item["embedding"] for item in items], np.float32)
        except (ValueError, TypeError, LookupError, RecursionError):
            raise self._unavailable("its answer is not one of /embeddings, or was cut off") from None
        lengths = np.linalg.norm(vectors, axis=-1, keepdims=True) if vectors.ndim == 2 else np.zeros(1)
        if len(vectors) != count or not np.isfinite(vectors).all() or not (lengths > 0).all():
            raise self._unavailable(f"it gave no {count} vectors of numbers")
        unit: Vector = vectors / lengths
        return unit

    @cached_property
    def _kept(self) -> dict[str, Vector]:
        if self._path is None:
            return {}
        try:
            with np.load(self._path, allow_pickle=False) as stored:
                return dict(zip(stored["digests"].tolist(), stored["vectors"], strict=True))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile) as damaged:
            logger.warning("the kept vectors in %s are unusable and asked for anew: %s", self._path.name, damaged)
            return {}

    def _keep(self) -> None:
        """Write the newest vectors, whole or not at all. A folder that cannot be written costs a new call later."""
        newest = dict(list(self._kept.items())[-_KEPT:])
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._path.parent, suffix=".part", delete=False) as out:
                np.savez(out, digests=np.array(list(newest)), vectors=np.array(list(newest.values()), np.float32))
            os.replace(out.name, self._path)
        except (OSError, ValueError) as refused:
            logger.warning("vectors could not be kept in %s: %s", self._path.parent, refused)

    def _unavailable(self, reason: str) -> EncoderUnavailable:
        return EncoderUnavailable(self.server.url, reason)
