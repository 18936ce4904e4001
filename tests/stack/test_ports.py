from __future__ import annotations

import socket

from producer.stack.ports import Ports


def test_neighbours_share_a_range_and_pass_over_what_is_taken() -> None:
    ours, theirs = Ports(), Ports()
    try:
        first = ours.claim()
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            listened_on = server.getsockname()[1]
            claimed = [each.claim(prefer=first, among=100) for each in (ours, theirs, ours)]
            beside_a_server = theirs.claim(prefer=listened_on, among=100)
    finally:
        ours.close()
        theirs.close()

    assert first < claimed[0] < claimed[1] < claimed[2] < first + 100
    assert listened_on < beside_a_server < listened_on + 100
