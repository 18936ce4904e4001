"""The filter that selects recorded questions for a replay."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import Field

from agentic_flywheel.broker.records import DeadLetter
from agentic_flywheel.models import Model, Record, State


class Wanted(Model):
    """A filter over records, dead letters and traces; what is not given does not matter."""

    #: Asked within this time before now.
    since: timedelta | None = None
    #: Asked longer ago than this.
    older: timedelta | None = None
    domain: str | None = None
    flow: str | None = None
    state: State | None = None
    error_type: str | None = None
    #: The name of an owner or of a user.
    user: str | None = None
    #: Rated, and lower than this.
    score_below: float | None = None
    query_ids: frozenset[str] = frozenset()
    #: At most so many, drawn evenly from all.
    sample: int | None = Field(None, ge=1)

    def bounds(self, now: datetime) -> tuple[datetime | None, datetime]:
        """Return the earliest moment, if any, and the latest one."""
        return None if self.since is None else now - self.since, now if self.older is None else now - self.older

    def admits_record(self, record: Record) -> bool:
        """Whether a record is wanted, its score aside. One that has not ended has nothing to compare with."""
        targets = record.route.targets if record.route else ()
        domains = {record.domain, *(target.domain for target in targets)}
        flows = {record.flow, *(target.flow for target in targets)}
        return (
            record.state.terminal
            and (self.state is None or record.state == self.state)
            and (self.domain is None or self.domain in domains)
            and (self.flow is None or self.flow in flows)
            and (self.user is None or self.user in record.asker)
            and (self.error_type is None or (record.error is not None and record.error.error_type == self.error_type))
            and (not self.query_ids or record.query_id in self.query_ids)
        )

    def admits_letter(self, letter: DeadLetter) -> bool:
        """Whether a dead letter is wanted, its age aside."""
        return (
            (not self.query_ids or letter.query_id in self.query_ids)
            and (self.flow is None or letter.flow == self.flow)
            and (self.domain is None or letter.domain == self.domain)
            and (self.user is None or self.user in letter.query.asker)
            and (self.error_type is None or letter.error.error_type == self.error_type)
        )

    def admits_rating(self, rating: float | None) -> bool:
        """Whether an answer's rating is wanted; one without a rating is not, where a rating is asked for."""
        return self.score_below is None or (rating is not None and rating < self.score_below)
