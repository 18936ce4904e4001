"""Keep every key and channel of an installation below a prefix, so that several can share one server and database.

Names have no prefix in our code, in scripts, in records and in messages: it is added where a command leaves for the
server, here for our clients and in scripts, and by kombu and Celery for theirs (their option ``global_keyprefix``).
Where there is none, commands and scripts are sent as they are.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

#: Commands whose arguments are all keys, those whose first two are, and those that name no key in our use of them. A
#: subscription's channels are named in full: redis-py looks them up by what the server replies. All other commands
#: name one key, behind the command.
ALL_KEYS = frozenset({"DEL", "EXISTS", "MGET", "UNLINK", "WATCH"})
TWO_KEYS = frozenset({"BLMOVE", "COPY", "LMOVE", "RENAME"})
NO_KEY = frozenset(
    "ACL AUTH BGREWRITEAOF CLIENT CONFIG EVAL EVALSHA EXEC HELLO INFO MULTI PING PSUBSCRIBE PUNSUBSCRIBE SCRIPT "  # noqa: SIM905
    "SELECT SUBSCRIBE TIME UNSUBSCRIBE UNWATCH".split()
)

#: What stands before a script. A command's keys are found as in ``below``; scripts scan no keys.
_WRITTEN = """
local redis = (function(server)
  local prefix = 'PREFIX'
  local function all(...)
    local keys = {...}
    for at = 1, #keys do keys[at] = prefix .. keys[at] end
    return unpack(keys)
  end
  local function two(one, other, ...) return prefix .. one, prefix .. other, ... end
  local function none(...) return ... end
  local keys_of = {KEYS_OF}
  local function calling(call)
    return function(command, ...)
      local keys = keys_of[command]
      if keys then return call(command, keys(...)) end
      local key = ...
      return call(command, prefix .. key, select(2, ...))
    end
  end
  return {call = calling(server.call), pcall = calling(server.pcall), sha1hex = server.sha1hex,
    acl_check_cmd = server.acl_check_cmd}
end)(redis)
"""
_KEYS_OF = ", ".join(
    f"{name} = {kind}"
    for kind, names in (("all", ALL_KEYS), ("two", TWO_KEYS), ("none", NO_KEY))
    for name in sorted(names)
)
#: The same on one line, so that the lines of a script keep their distance in what the server says of a fault.
_LUA = " ".join(_WRITTEN.replace("KEYS_OF", _KEYS_OF).split()) + "\n"


def below(prefix: str, command: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a command with the prefix before each of its keys and channels."""
    name, *words = command
    first = name.split()[0]
    if first in NO_KEY:
        return command
    if first == "SCAN":
        return _scan_below(prefix, command)
    keys = len(words) if first in ALL_KEYS else 2 if first in TWO_KEYS else 1
    return (name, *(f"{prefix}{key}" for key in words[:keys]), *words[keys:])


def _scan_below(prefix: str, command: tuple[Any, ...]) -> tuple[Any, ...]:
    scan, cursor, *options = command
    named = [str(each) for each in options]
    at = named.index("MATCH") if "MATCH" in named else len(options)
    pattern = options[at + 1] if at < len(options) else "*"
    return (scan, cursor, *options[:at], "MATCH", f"{prefix}{pattern}", *options[at + 2 :])


def without(prefix: str, names: list[str]) -> list[str]:
    """Return the names of keys or channels, as the server has told them, without the prefix."""
    return [name.removeprefix(prefix) for name in names]


class _Below:
    """What connections are made of whose keys have a prefix."""

    prefix = ""

    def pack_command(self, *args: Any) -> Any:
        """Pack a command as it is sent."""
        packed = super().pack_command  # type: ignore[misc]  # a connection of redis-py stands behind this class
        return packed(*below(self.prefix, args))


def put_below(prefix: str, client: Redis) -> Redis:
    """Return the client, which from its first connection on puts the prefix before its keys."""
    pool = client.connection_pool
    kind = pool.connection_class
    if prefix:
        pool.connection_class = type(kind.__name__, (_Below, kind), {"prefix": prefix})
    return client


def prefix_of(client: Redis) -> str:
    """Return the prefix of a client's keys; '' for none."""
    kind = client.connection_pool.connection_class
    return kind.prefix if issubclass(kind, _Below) else ""


def lua_below(prefix: str) -> str:
    """Return the line of Lua that has the script behind it put the prefix before all its keys; '' for no prefix."""
    return _LUA.replace("PREFIX", prefix) if prefix else ""
