"""Read the address of a broker: which Redis or Valkey it names, and how to get there.

What is not served is refused by name. Four forms are served, and no other: docs/redis.md has one test for each.
"""

from __future__ import annotations

import os
import re
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

SERVER_PORT, SENTINEL_PORT = 6379, 26379
#: What an address may say of TLS behind its question mark. See redis-py's `SSLConnection`.
_TLS_OPTIONS = frozenset(
    f"ssl_{name}"
    for name in ("ca_certs", "ca_data", "ca_path", "certfile", "keyfile", "password", "cert_reqs", "check_hostname")
)
_CERTIFICATE_NEEDS = ("required", "optional", "none")
_YES_OR_NO = ("true", "false", "yes", "no", "1", "0")
#: Those of them that name a file or a folder of this machine.
_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_ca_path")
_SENTINEL_OPTIONS = frozenset({"service", "sentinel_username", "sentinel_password"})
#: What each form may say there.
_OPTIONS = {
    "redis": frozenset[str](),
    "rediss": _TLS_OPTIONS,
    "unix": frozenset({"db"}),
    "sentinel": _SENTINEL_OPTIONS,
}
#: A prefix of keys. Its only colon ends it, so that no prefix is the beginning of another one.
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}:")
#: What has a meaning of its own between `//` and the host, or that readers of addresses leave out without a word.
_TO_BE_WRITTEN = re.compile(r"[\x00-\x20\x7f\[\]]")
#: Bytes of the path of a socket: the field of `sockaddr_un` without the zero that ends it.
_LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107
_ANOTHER = "use Redis or Valkey"
_CLUSTERED = "cluster mode is not served: give one server, or one that is not clustered"
_SOCKET = "a socket is written unix:///path/of/the.sock?db=0"
_OVER_TLS = "Sentinel over TLS is not served: begin with sentinel://, or give the address of the primary"
#: Schemes that are known and not served, each with what to do instead.
_OTHERS = {
    "amqp": f"RabbitMQ is not served: {_ANOTHER}",
    "amqps": f"RabbitMQ is not served: {_ANOTHER}",
    "sqs": f"Amazon SQS is not served: {_ANOTHER}",
    "redis+cluster": _CLUSTERED,
    "rediss+cluster": _CLUSTERED,
    "redis+socket": _SOCKET,
    "redis+unix": _SOCKET,
    "sentinels": _OVER_TLS,
    "rediss+sentinel": _OVER_TLS,
    "redis+sentinel": "Sentinel is written sentinel://host:26379,host:26379/0?service=NAME",
}


@dataclass(frozen=True)
class Endpoint:
    """What the address of a broker says."""

    #: ``redis``, ``rediss`` (TLS), ``unix`` (a socket of this machine) or ``sentinel``.
    scheme: str
    #: The server; with Sentinel, the Sentinels; none with a socket.
    hosts: tuple[tuple[str, int], ...] = ()
    #: Path of the socket.
    path: str = ""
    database: int = 0
    username: str = ""
    password: str = ""
    #: With Sentinel: the name under which the Sentinels know the primary, and the login to the Sentinels themselves.
    service: str = ""
    sentinel_username: str = ""
    sentinel_password: str = ""

    @property
    def shown(self) -> str:
        """The address without its login, for messages."""
        if self.scheme == "unix":
            return f"unix://{self.path}?db={self.database}"
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{self.scheme}://{hosts}/{self.database}" + (f"?service={self.service}" if self.service else "")


def read_endpoint(address: str) -> Endpoint:
    """Read an address. Raises ValueError with the reason, which has no part of the address's passwords.

    ``redis[s]://[[user]:password@]host[:port][/database][?ssl_…=…]``, ``unix://[[user]:password@]/path[?db=database]``,
    ``sentinel://[[user]:password@]host[:port][,host[:port]…][/database]?service=name``.
    """
    scheme, mark, rest = address.partition("://")
    if scheme not in _OPTIONS or not mark:
        fallback = "it should begin with redis://, rediss:// (with TLS), unix:// or sentinel://"
        raise ValueError(_OTHERS.get(scheme, fallback))
    login_and_place = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in rest[len(login_and_place) :]:
        raise ValueError("a password with the characters / ? # has to be written with %2F %3F %23")
    login, at, place = login_and_place.rpartition("@")
    if _TO_BE_WRITTEN.search(login):
        raise ValueError("a password's spaces, brackets and ends of lines have to be written as %20, %5B, %5D and %0A")
    if scheme != "sentinel" and "," in place:
        raise ValueError("it names several hosts: give one server, or Sentinels with sentinel://")
    # Several hosts are no address that `urlsplit` reads.
    one = f"{login}{at}host{rest[len(login_and_place) :]}"
    parts = _split(f"{scheme}://{one}" if scheme == "sentinel" and place else address)
    options = _options(scheme, parts)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if scheme == "unix":
        if place or len(parts.path) < 2:
            raise ValueError(f"it names no path: {_SOCKET}")
        path = unquote(parts.path)
        if len(os.fsencode(path)) > _LONGEST_SOCKET:
            raise ValueError(f"its path is longer than the {_LONGEST_SOCKET} bytes that the path of a socket may have")
        database = _number(options.get("db", ""), "behind `db=` stands the number of a database")
        return Endpoint(scheme, path=path, database=database, username=user, password=password)
    standard = SENTINEL_PORT if scheme == "sentinel" else SERVER_PORT
    hosts = tuple(_host(each, standard) for each in place.split(","))
    database = _number(unquote(parts.path).strip("/"), "behind the host stands the number of a database, such as /0")
    if scheme == "sentinel" and not options.get("service"):
        raise ValueError("it does not say how the Sentinels call the primary: end it with ?service=NAME")
    return Endpoint(
        scheme,
        hosts,
        database=database,
        username=user,
        password=password,
        service=options.get("service", ""),
        sentinel_username=options.get("sentinel_username", ""),
        sentinel_password=options.get("sentinel_password", ""),
    )


def checked_broker(address: str) -> str:
    """Return the address of a broker as it stands.

    Raises ValueError as ``read_endpoint`` does, and where a file of TLS that it names cannot be read here.
    """
    if read_endpoint(address).scheme == "rediss":
        given = dict(parse_qsl(urlsplit(address).query))
        for name in filter(given.get, _TLS_FILES):
            if why := _why_unreadable(Path(given[name]), folder=name == "ssl_ca_path"):
                raise ValueError(f"{name} names {given[name]}: {why}")
        _check_certificates(given)
    return address


def checked_prefix(prefix: str) -> str:
    """Return a prefix as it stands; '' is none. Raises ValueError."""
    if prefix and (not _PREFIX.fullmatch(prefix) or prefix[:-1] == "flywheel"):
        raise ValueError(
            "should be letters, digits, dots, dashes and underscores with a colon at the end, such as `blue:`, "
            "64 at most, and not `flywheel:`"
        )
    return prefix


def _why_unreadable(path: Path, *, folder: bool) -> str:
    """Return why nothing can be read at a path; empty where something can. A pipe, for example, would never end."""
    try:
        if not path.exists():
            return "there is no such file"
        if not (path.is_dir() if folder else path.is_file()):
            return "it is no folder" if folder else "it is no file"
    except OSError as refused:  # such as a folder above it that this user may not enter
        return str(refused.strerror)
    return "" if os.access(path, os.R_OK) else "this user may not read it"


def _check_certificates(given: Mapping[str, str]) -> None:
    """Raise ValueError where TLS can do nothing with the certificates and keys of an address.

    Otherwise each attempt to connect would fail, and look as if the broker were away.
    """
    trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    file, text = given.get("ssl_ca_certs"), given.get("ssl_ca_data")
    for name, path, data in (("ssl_ca_certs", file, None), ("ssl_ca_data", None, text)):
        try:
            if path or data:
                trusted.load_verify_locations(path, cadata=data)
        except (OSError, ValueError):  # an error of ssl is an OSError
            raise ValueError(f"{name} {f'names {path}: it' if path else 'is text that'} holds no certificate") from None
    certificate, key = given.get("ssl_certfile"), given.get("ssl_keyfile")
    if key and not certificate:
        raise ValueError("ssl_keyfile is there without ssl_certfile: a key needs its certificate")
    if certificate:
        try:
            # Without a password OpenSSL would ask for it at the terminal.
            trusted.load_cert_chain(certificate, key, given.get("ssl_password", ""))
        except (OSError, ValueError):
            raise ValueError(
                f"ssl_certfile names {certificate}: with {key or 'itself'} as the key, and ssl_password, it is no "
                "certificate with its key"
            ) from None


def _split(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("its host or port cannot be read: a port is a number from 0 to 65535") from None
    if parts.fragment or address.endswith("#"):
        raise ValueError("it has a `#`, and nothing of an address stands behind one")
    return parts


def _options(scheme: str, parts: SplitResult) -> dict[str, str]:
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    allowed = _OPTIONS[scheme]
    for name in given:
        if name in allowed:
            continue
        if name in _TLS_OPTIONS:
            raise ValueError(f"it has options of TLS, but begins with {scheme}://: begin with rediss://")
        known = f"; options are {', '.join(sorted(allowed))}" if allowed else ", and may have none"
        raise ValueError(f"it has an option {name!r}{known}")
    for name, choices in (("ssl_cert_reqs", _CERTIFICATE_NEEDS), ("ssl_check_hostname", _YES_OR_NO)):
        if given.get(name, choices[0]).lower() not in choices:
            raise ValueError(f"its option {name} is one of {', '.join(choices)}")
    if nothing := next((name for name, value in given.items() if not value and name in _TLS_OPTIONS), None):
        raise ValueError(f"its option {nothing} has no value")
    return given


def _host(place: str, standard: int) -> tuple[str, int]:
    parts = _split(f"//{place}")
    if not parts.hostname:
        raise ValueError("it names no host")
    try:
        name = parts.hostname.encode("idna")
    except UnicodeError:  # a part of it is empty, or longer than 63 characters
        name = b" "
    if re.search(rb"[\x00-\x20\x7f]", name):
        raise ValueError("its host is no name that a host can have")
    return parts.hostname, parts.port or standard


def _number(text: str, reason: str) -> int:
    if text and not (text.isdecimal() and text.isascii() and len(text) < 6):
        raise ValueError(reason)
    return int(text or 0)
