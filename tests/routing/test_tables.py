"""The two tables of vectors and vocabularies, which are kept small in memory."""

from __future__ import annotations

import numpy as np

from agentic_flywheel.routing.encoder import HalfBytes
from agentic_flywheel.routing.pieces import Pieces

#: The most frequent first; one is there twice, as spellings that count as one are.
VOCABULARY = ("paket", "##en", "пакет", "##ы", "宅", "宅配", "paket", "é", "##é")


def test_half_a_byte_holds_each_number_from_minus_eight_to_seven() -> None:
    numbers = np.arange(-8, 8, dtype=np.int8)
    every = np.stack(np.meshgrid(numbers, numbers, indexing="ij"), -1).reshape(256, 2)

    table = HalfBytes(np.arange(256, dtype=np.uint8).reshape(256, 1))

    assert table.shape == every.shape
    assert (table[np.arange(256)] == every).all()
    assert table[17].tolist() == every[17].tolist()


def test_a_piece_is_known_by_its_place_whatever_its_script() -> None:
    pieces = Pieces("\n".join(VOCABULARY).encode())

    assert {piece: pieces.rank(piece) for piece in VOCABULARY if piece[0] != "#"} == {
        "paket": 0,
        "пакет": 2,
        "宅": 4,
        "宅配": 5,
        "é": 7,
    }
    assert pieces.rank("pake") is None


def test_a_word_is_cut_into_its_pieces() -> None:
    pieces = Pieces("\n".join(VOCABULARY).encode())
    cut = {"paketen": [0, 1], "пакеты": [2, 3], "宅宅配": [4, 5], "paketé": [0, 8], "q": []}

    assert {run: pieces.tokens([run]) for run in cut} == cut
