"""Ask the questions that one flow has answered of another flow: which are taken, and with which conversation."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping

from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.sessions import recent_turns
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import UnusableSource
from agentic_flywheel.models import Message, Record, State, Turn
from agentic_flywheel.recalling import as_messages, fitting
from producer.replay.items import ReplayItem
from producer.replay.reads import Note, Problem, Read

#: Other flows that are named where their questions are left out.
_NAMED = 5
#: Turns of a session that are looked at; sessions whose turns are kept in memory.
_TURNS, _SESSIONS = 200, 100


async def moved(reads: AsyncIterator[Read], moves: Mapping[str, str], title: str) -> AsyncIterator[Read]:
    """Yield the questions that flows of ``moves`` have answered, each for the flow that is asked now.

    Raises UnusableSource where one of these flows has answered none of them.
    """
    counts: Counter[str] = Counter()
    async for read in reads:
        if not isinstance(read, ReplayItem):
            yield read
            continue
        old = _answered_by(read, moves)
        if old is None:
            yield Problem(number=read.number, reason="it does not say which flow answered it, and several are moved")
            continue
        counts[old] += 1
        if old in moves:
            update = {"flow": moves[old], "moved_from": old, "domain": None, "intent": None}
            yield read.model_copy(update=update)
    others = [(name, count) for name, count in counts.most_common() if name not in moves]
    for old in moves:
        if not counts[old]:
            raise UnusableSource(title, _never(old, counts.total(), others))
    if others:
        left_out = sum(count for _, count in others)
        yield Note(text=f"has {left_out:,} more that are left out: {_listed(others)}")


def _answered_by(item: ReplayItem, moves: Mapping[str, str]) -> str | None:
    """Return the flow that answered a question, or what became of it in its place; None where that is not told."""
    before = item.baseline
    if before is not None and before.state != State.SUCCEEDED and not before.stopped:  # it has asked a person
        return "(not answered)"
    if before is not None and before.kind == "clarify":
        return "(asked back)"
    if before is not None and before.flow_keys:
        return " + ".join(sorted(before.flow_keys))
    return item.flow or (next(iter(moves)) if len(moves) == 1 else None)


def _never(old: str, total: int, others: list[tuple[str, int]]) -> str:
    found = f"the flow {old!r} has answered none of its {total:,}" if total else f"there is no answer of {old!r} in it"
    return f"{found}; in it are: {_listed(others)}" if others else found


def _listed(others: list[tuple[str, int]]) -> str:
    named = ", ".join(f"{name} ({count:,})" for name, count in others[:_NAMED])
    return f"{named} and others" if len(others) > _NAMED else named


class Conversations:
    """Gives each question of a session what was said in it before: the new flow is told what the old one was told."""

    def __init__(self, batch: Batch, catalog: Catalog, moves: Mapping[str, str]) -> None:
        self._batch, self._catalog, self._moves = batch, catalog, moves
        self._turns: dict[str, list[Turn]] = {}

    async def before(self, record: Record) -> tuple[Message, ...]:
        """Return the turns before a query's, as many as the flow is sent that is asked now. Raises BrokerUnavailable.

        Empty where the query has given a history itself, or the flow is to remember nothing.
        """
        query = record.query
        flow = self._catalog.flows.get(self._moves.get(record.answer.flow if record.answer else "", ""))
        if flow is None or query.session_id is None or query.history or flow.memory == "none":
            return ()
        name = record.asker.session_name(query.session_id)
        if name not in self._turns:
            if len(self._turns) >= _SESSIONS:
                self._turns.pop(next(iter(self._turns)))
            self._turns[name] = await recent_turns(self._batch, query.session_id, _TURNS, asker=record.asker)
        turns = self._turns[name]
        own = next((place for place, turn in enumerate(turns) if turn.query_id == record.query_id), None)
        # Where its own turn is not kept any more, neither are those before it.
        return as_messages(fitting([turn for turn in turns[: own or 0] if turn.private_to is None], flow))
