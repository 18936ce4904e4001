"""A worker takes no more messages than keep it busy: what it holds has had its turn."""

from __future__ import annotations

from workers.engine.at_work import AtWork


def test_without_a_limit_any_number_may_be_taken() -> None:
    assert AtWork().room(10_000, on_room=lambda: None) is None


def test_there_is_room_again_when_half_of_them_have_gone() -> None:
    at_work = AtWork()
    at_work.most = 10

    assert [at_work.room(held, on_room=lambda: None) for held in (0, 5, 6, 10)] == [10, 5, 0, 0]


def test_who_waits_elsewhere_makes_room_and_says_so_once() -> None:
    at_work, told = AtWork(), list[str]()
    at_work.most = 4
    assert at_work.room(4, on_room=lambda: told.append("room")) == 0

    with at_work.elsewhere():
        assert told == []
        with at_work.elsewhere(), at_work.elsewhere():
            assert told == ["room"]
            assert at_work.room(4, on_room=lambda: told.append("again")) == 3
    assert told == ["room"]
    assert at_work.room(4, on_room=lambda: None) == 0
