"""The table of Redis's refusals: after which the call is repeated, and after which a person has to act.

Sources: Redis and Valkey, ``src/server.c`` (shared replies) and ``src/script.c``; redis-py 8.1, ``_parsers/base.py``.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from redis.exceptions import ConnectionError, TimeoutError

#: Errors without an answer: the connection is lost, or the server hangs.
NO_ANSWER = (ConnectionError, TimeoutError, OSError)


class Remedy(enum.Enum):
    """What helps against a refusal."""

    #: It passes by itself: repeat the call later.
    WAIT = "wait"
    #: Connect again: the server's name may by then lead to another server.
    RECONNECT = "reconnect"
    #: Only a person can help: by a right, a password or a setting.
    PERSON = "person"


class Refusal(NamedTuple):
    """One kind of refusal."""

    code: str
    remedy: Remedy
    meaning: str


REFUSALS = (
    Refusal("OOM", Remedy.WAIT, "its memory is full (`maxmemory` with `noeviction`): give it more"),
    Refusal("MISCONF", Remedy.WAIT, "it cannot write its data to disk: make room there, see its log"),
    Refusal("NOREPLICAS", Remedy.WAIT, "too few replicas are connected"),
    Refusal("BUSY", Remedy.WAIT, "a script occupies it"),
    Refusal("LOADING", Remedy.WAIT, "it reads its data after a start"),
    Refusal("TRYAGAIN", Remedy.WAIT, "it moves keys to another server"),
    Refusal("EXECABORT", Remedy.WAIT, "it gave up a transaction"),
    Refusal("MAXCLIENTS", Remedy.WAIT, "it has all the connections that it may have"),
    Refusal("READONLY", Remedy.RECONNECT, "it is a replica"),
    Refusal("MASTERDOWN", Remedy.RECONNECT, "it is a replica that has lost its primary"),
    Refusal("CLUSTERDOWN", Remedy.RECONNECT, "its cluster is down"),
    Refusal(
        "NOPERM", Remedy.PERSON, "its user may not do this: it needs all commands, keys and channels (`~* &* +@all`)"
    ),
    Refusal("NOAUTH", Remedy.PERSON, "it wants a password: set it in REDIS_URL"),
    Refusal("WRONGPASS", Remedy.PERSON, "it does not accept the user or password in REDIS_URL"),
    Refusal(
        "WRONGTYPE",
        Remedy.PERSON,
        "a key of ours holds something else: see `flywheel audit`",
    ),
    Refusal("NOPROTO", Remedy.PERSON, "it does not speak its protocol's version 3: Redis 7 or Valkey is needed"),
    Refusal("NODB", Remedy.PERSON, "it has no database of the number in REDIS_URL"),
    Refusal("UNREADABLE", Remedy.PERSON, "its answer cannot be read: is it Redis that listens there?"),
    Refusal(
        "CERTIFICATE",
        Remedy.PERSON,
        "its certificate is not trusted here: name its authority in REDIS_URL (`?ssl_ca_certs=FILE`)",
    ),
    Refusal("HOSTNAME", Remedy.PERSON, "its certificate is for another name than the host in REDIS_URL"),
    Refusal("EXPIRED", Remedy.PERSON, "its certificate is not valid today: renew it, or set the clock"),
    Refusal(
        "CLIENT",
        Remedy.PERSON,
        "it does not accept the client's certificate: name one in REDIS_URL (`?ssl_certfile=FILE&ssl_keyfile=FILE`)",
    ),
    # These three are ours: see ``versions`` and ``tls_spoken``.
    Refusal("CLUSTER", Remedy.PERSON, "it is in cluster mode, which is not served"),
    Refusal("TLS", Remedy.PERSON, "it speaks TLS: REDIS_URL has to begin with rediss://"),
    Refusal("PLAIN", Remedy.PERSON, "it speaks no TLS: REDIS_URL has to begin with redis://"),
    Refusal("DENIED", Remedy.PERSON, "it is in protected mode and takes local connections only"),
)
#: Codes after which every call is refused until a person acts. The others may concern one key or one call alone.
SHUT_OUT = frozenset(
    "NOPERM NOAUTH WRONGPASS NOPROTO NODB TLS PLAIN CLUSTER DENIED CERTIFICATE HOSTNAME EXPIRED CLIENT".split()  # noqa: SIM905
)
#: Stands for every refusal that is not in the table.
UNKNOWN = Refusal("ERR", Remedy.PERSON, "it does not take a call of ours")

#: The code of a reply that is not UTF-8. The server refuses nothing: another program has written what is read.
UNDECODABLE = "UNDECODABLE"

_BY_CODE = {each.code: each for each in REFUSALS}
#: Refusals with the general code ERR, by their text.
_BY_TEXT = {
    "max number of clients": "MAXCLIENTS",
    "invalid password": "WRONGPASS",
    "DB index is out of range": "NODB",
    "unknown command 'HELLO'": "NOPROTO",
    "ACL failure in script": "NOPERM",
    # Redis 7.0's, of a command, a key or a channel.
    "The user executing the script can't": "NOPERM",
    # What hiredis says of an answer that is not of the protocol at all.
    "Protocol error, got": "UNREADABLE",
    # OpenSSL's, in what Python says of a connection that it did not make: what is wrong before what is always said.
    "Hostname mismatch": "HOSTNAME",
    "IP address mismatch": "HOSTNAME",
    "certificate has expired": "EXPIRED",
    "certificate is not yet valid": "EXPIRED",
    "CERTIFICATE_VERIFY_FAILED": "CERTIFICATE",
    # What the server has told us of the certificate that it was shown, or not shown.
    "ALERT_CERTIFICATE_": "CLIENT",
    "ALERT_BAD_CERTIFICATE": "CLIENT",
    "ALERT_UNSUPPORTED_CERTIFICATE": "CLIENT",
    "ALERT_UNKNOWN_CA": "CLIENT",
    "ALERT_HANDSHAKE_FAILURE": "CLIENT",
}


def refusal_of(error: BaseException) -> Refusal | None:
    """Return the refusal that an error of redis-py stands for. ``UNKNOWN``: not in the table. None: no answer."""
    text = str(error)
    # redis-py removes some codes from the text.
    code = getattr(error, "status_code", None) or text.partition(" ")[0].lstrip("-")
    if code in _BY_CODE:
        return _BY_CODE[code]
    for part, meant in _BY_TEXT.items():
        if part in text:
            return _BY_CODE[meant]
    return None if isinstance(error, NO_ANSWER) else UNKNOWN
