"""Rows of a table that sum up those above them, as spreadsheets end with. They are asked, and pointed at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from producer.replay.reads import Note, lines_told

#: What such a row is called, alone or before other words.
_LABEL = re.compile(
    r"(?:grand |sub ?)?totals?|sum|count|average|mean|(?:gesamt|zwischen|end)?summe|"
    r"gesamt(?:ergebnis|zahl)?|anzahl|mittelwert|durchschnitt|somme|total général|moyenne|"
    r"suma|promedio|soma|média|totale|somma|media|totaal|gemiddelde|razem|łącznie|celkem|"
    r"součet|spolu|összesen|összeg|yhteensä|summa|totalt|i alt|toplam|ortalama|genel toplam|"
    r"итог(?:о|и)?|всего|сумма|разом|усього|всього|сума|общо|σύνολο|άθροισμα|סה[\"״]כ|المجموع|"
    r"الإجمالي|مجموع|جمع|कुल|योग|รวม|ผลรวม|tổng(?: cộng)?|jumlah|合計|総計|小計|总计|合计|小计|總計|合計數|합계|"
    r"총계|소계",
    re.IGNORECASE,
)
#: Of a column, from one row to another: a sum over the cells of one row belongs to each row.
_FORMULA = re.compile(r"=.*\b(?:SUM|SUBTOTAL|AGGREGATE|COUNT\w*|AVERAGE\w*)\(.*?[A-Z]+\$?(\d+):\$?[A-Z]+\$?(\d+)")
_NUMBER = re.compile(r"[^\w]*\d[\d.,' \u00a0\u202f]*\s?[^\w\s]?", re.ASCII)
#: Such a row's text has at most so many words and characters, and no sign of a question.
_WORDS, _LONGEST = 3, 60
_QUESTION = re.compile(r"[?？؟;՞]\s*$")
#: Rows above the last one that are needed to tell which columns all have.
_FEWEST = 2


class Sums:
    """Looks at the rows of one table, whose questions are in one column."""

    def __init__(self, at: int) -> None:
        """``at``: the place of the column of the questions."""
        self._at = at
        self._rows = 0
        #: Columns that all rows so far have a value in.
        self._full: list[int] = []
        self._found: list[int] = []
        self._last: int | None = None

    def look(self, number: int, row: Sequence[str], written: Sequence[str] = ()) -> None:
        """Look at a row; ``written``: its formulas, where these are known."""
        text = row[self._at] if len(row) > self._at else ""
        self._last = None
        # Most rows are questions, of which nothing more is looked at.
        if len(text) <= _LONGEST and len(text.split()) <= _WORDS and not _QUESTION.search(text):
            self._look_closer(number, row, written)
        known = self._full if self._rows else range(len(row))
        self._full = [at for at in known if at < len(row) and row[at]]
        self._rows += 1

    def _look_closer(self, number: int, row: Sequence[str], written: Sequence[str]) -> None:
        text = row[self._at].strip(" :*") if len(row) > self._at else ""
        others = [value for at, value in enumerate(row) if at != self._at and value.strip()]
        lacks = any(at >= len(row) or not row[at].strip() for at in self._full)
        sparse = self._rows >= _FEWEST and lacks and others and all(map(_NUMBER.fullmatch, others))
        if text and any((found := _FORMULA.match(each)) and found[1] != found[2] for each in written):
            self._found.append(number)
        elif text and self._rows and (sparse or _LABEL.fullmatch(text)):
            self._last = number

    def notes(self) -> Iterator[Note]:
        """Yield what was found, once the table has ended: of rows without formulas only the last one may be such."""
        lines = [*self._found, *([] if self._last is None else [self._last])]
        if lines:
            yield Note(text=f"sums up the rows above in {lines_told(lines, len(lines))}, it seems; asked as written")
