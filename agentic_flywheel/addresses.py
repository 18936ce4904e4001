"""Take the secrets out of addresses. Whatever shows an address, or a text that may hold one, shows it through this."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlsplit

#: A user and a password, and what follows a path: passwords and keys stand there too.
_LOGIN = re.compile(r"(?<=://)[^\s/?#\"'<>]*@")
_QUERY = re.compile(r"(://[^\s?#\"'<>]*)[?#][^\s\"'<>]*")


#: What an address of a broker may say behind its question mark: how TLS is spoken. See redis-py's `SSLConnection`.
_TLS_OPTIONS = frozenset(
    f"ssl_{name}"
    for name in ("ca_certs", "ca_data", "ca_path", "certfile", "keyfile", "password", "cert_reqs", "check_hostname")
)
#: Schemes that are known and not served, each with what to do instead.
_OTHER_BROKERS = {
    "amqp": "RabbitMQ is not served: use Redis or Valkey",
    "amqps": "RabbitMQ is not served: use Redis or Valkey",
    "sqs": "Amazon SQS is not served: use Redis or Valkey",
    "sentinel": "Sentinel is not served: give the address of the primary",
    "redis+cluster": "cluster mode is not served: give one server, or one that is not clustered",
    "rediss+cluster": "cluster mode is not served: give one server, or one that is not clustered",
}


def checked_broker(address: str) -> str:
    """Return the address of a broker. Raises ValueError with the reason, which has no part of the address's password.

    One Redis or Valkey is served: ``redis[s]://[[user]:password@]host[:port][/database][?ssl_…=…]``.
    """
    scheme, _, rest = address.partition("://")
    if scheme not in ("redis", "rediss"):
        raise ValueError(_OTHER_BROKERS.get(scheme, "it should begin with redis:// or rediss:// (with TLS)"))
    login_and_place = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in rest[len(login_and_place) :]:
        raise ValueError("a password with the characters / ? # has to be written with %2F %3F %23")
    if "," in login_and_place.rpartition("@")[2]:
        raise ValueError("it names several hosts: give one server")
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("its host or port cannot be read: a port is a number from 0 to 65535") from None
    if not host:
        raise ValueError("it names no host")
    database = unquote(parts.path).strip("/")
    if database and not (database.isdecimal() and database.isascii()):
        raise ValueError("behind the host stands the number of a database, such as /0")
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _TLS_OPTIONS:
            raise ValueError(f"it has an option {name!r}; options are {', '.join(sorted(_TLS_OPTIONS))}")
    if parts.fragment:
        raise ValueError("it has a `#`, and nothing of an address stands behind one")
    if parts.query and scheme == "redis":
        raise ValueError("it has options of TLS, but begins with redis://: begin with rediss://")
    return address


def holds_login(address: str) -> bool:
    """Return whether an address has a user, with or without a password."""
    return _LOGIN.search(address) is not None


def without_secrets(text: str) -> str:
    """Return an address, or a text with addresses, without their users, passwords and queries."""
    return _QUERY.sub(r"\1", _LOGIN.sub("", text)) if "://" in text else text
