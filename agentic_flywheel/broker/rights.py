"""Ask the broker whether it can be used at all, and whether its user has all rights that our processes need.

A user without some right is otherwise found by the first query that needs it: a worker without channels says that it is
ready and hears of no cancellation. docs/redis.md has the whole rule for such a user.
"""

from __future__ import annotations

import asyncio
from typing import assert_never

from redis.exceptions import NoScriptError

from agentic_flywheel.broker import scripts, wire
from agentic_flywheel.broker.batch import Batch, connect
from agentic_flywheel.endpoint import read_endpoint
from agentic_flywheel.errors import BrokerRefused, BrokerRightsMissing

#: With what all keys and channels of ours begin, behind a prefix.
_OURS = wire.PREFIX
#: A key of ours that nobody sets.
NO_KEY = wire.record_key("rights")
#: The calls on keys, each as it has to be written: the server looks for keys in it.
_ON_KEYS = """
BLMOVE k k RIGHT RIGHT 1; BRPOP k 1; COPY k k; DECRBY k 1; DEL k; EXISTS k; EXPIRE k 1; GET k; GETRANGE k 0 1; HDEL k f
HEXISTS k f; HGET k f; HGETALL k; HINCRBY k f 1; HKEYS k; HLEN k; HMGET k f; HRANDFIELD k; HSCAN k 0; HSET k f v
HSETNX k f v; HVALS k; INCR k; INCRBY k 1; LINDEX k 0; LLEN k; LMOVE k k RIGHT LEFT; LPOP k; LPOS k v; LPUSH k v
LRANGE k 0 1; LREM k 1 v; LTRIM k 0 1; MGET k; PEXPIRE k 1; PTTL k; RENAME k k; RPOP k; RPUSH k v; SADD k v; SCARD k
SET k v; SETEX k 1 v; SISMEMBER k v; SMEMBERS k; SMISMEMBER k v; SPOP k; SRANDMEMBER k; SREM k v; SSCAN k 0; STRLEN k
TTL k; TYPE k; UNLINK k; WATCH k; XADD k * f v; XINFO STREAM k; XLEN k; XRANGE k - +; XREAD STREAMS k 0; XREVRANGE k + -
ZADD k 1 v; ZCARD k; ZCOUNT k 0 1; ZMSCORE k v; ZPOPMIN k; ZRANDMEMBER k; ZRANGE k 0 1; ZRANGEBYSCORE k 0 1; ZREM k v
ZREMRANGEBYSCORE k 0 1; ZREVRANGE k 0 1; ZREVRANGEBYSCORE k 1 0; ZSCAN k 0; ZSCORE k v
"""
_WITHOUT_KEYS = """
EVAL return 0; EVALSHA 0 0; EXEC; INFO server; MULTI; PING; SCAN 0; SCRIPT LOAD return; SELECT 0; TIME; UNWATCH
"""


def commands() -> set[str]:
    """Return the commands that the check asks for."""
    every = (*_calls(_ON_KEYS), *_calls(_WITHOUT_KEYS), *_speaking(), *channel_rules(0).values(), _listening())
    return {call.split()[0] for call in every}


def key_rules(prefix: str = "") -> dict[str, str]:
    """Return the patterns of keys that a user needs, each with a key that it is for."""
    if prefix:
        return {f"~{prefix}*": f"{prefix}{NO_KEY}"}
    return {
        f"~{_OURS}*": NO_KEY,
        f"~{wire.CLASSIFY_QUEUE}*": wire.CLASSIFY_QUEUE,
        f"~{wire.SYNTHESIS_QUEUE}*": wire.SYNTHESIS_QUEUE,
        "~domain.*": wire.domain_queue("rights"),
        # Celery's and kombu's own: results, chords, bindings, and the queues of remote control.
        "~celery*": wire.result_key("rights"),
        "~_kombu.*": "_kombu.binding.celery",
        "~unacked*": "unacked_mutex",
        "~*.pidbox*": f"rights.reply.celery.pidbox{wire.PRIORITY_MARK}3",
    }


def channel_rules(database: int, prefix: str = "") -> dict[str, str]:
    """Return the patterns of channels that a user needs, each with a call that it is for."""
    publish = _speaking(prefix)[0]
    ours = (
        {f"&{prefix}*": publish}
        if prefix
        else {f"&{_OURS}*": publish, "&celery-task-meta-*": f"PUBLISH {wire.result_key('rights')} 0"}
    )
    # A pattern that is subscribed to has to be allowed as it stands.
    patterns = (f"{prefix}/{database}.celery.pidbox", f"{prefix}/{database}.celeryev/*")
    return {**ours, **{f"&{pattern}": f"PSUBSCRIBE {pattern}" for pattern in patterns}}


async def check_broker(address: str, prefix: str = "") -> dict[str, str]:
    """Return what the broker tells of itself (INFO) where its user has all rights to what has this prefix.

    Raises BrokerRightsMissing, BrokerUnavailable, BrokerTooOld; BrokerRefused where it lets nobody of this name in.
    """
    batch = Batch(connect(address, prefix=prefix))
    # In one round trip.
    looking = asyncio.create_task(_missing(batch, read_endpoint(address).database))
    try:
        about = await _about(batch)
        if missing := await looking:
            raise BrokerRightsMissing(batch.address, missing)
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await batch.close()
    return about


async def _about(batch: Batch) -> dict[str, str]:
    """Return what the server tells of itself; nothing where the user has no right to ask."""
    try:
        told = str(await batch.call("INFO"))
    except BrokerRefused as refused:
        if refused.code != "NOPERM":
            raise
        return {}
    lines = (line.partition(":") for line in told.splitlines())
    return {name: value for name, colon, value in lines if colon}


async def _missing(batch: Batch, database: int) -> list[str]:
    """Return the rules that the user lacks."""
    prefix = batch.prefix
    keys, channels, speaking = key_rules(prefix), channel_rules(database, prefix), _speaking(prefix)
    patterns_heard = [_listening(prefix), *(call for call in channels.values() if call.startswith("PSUBSCRIBE "))]
    on_keys, others = _calls(_ON_KEYS, prefix), _calls(_WITHOUT_KEYS)
    on_each_key = [call for key in keys.values() for call in _of_key(key)]
    calls = [*on_keys, *others, *speaking, *channels.values(), *patterns_heard, *on_each_key]
    try:
        told = await scripts.rights(batch, calls=list(dict.fromkeys(calls)))
    except BrokerRefused as refused:
        if refused.code != "NOPERM":
            raise
        return await _missing_of_scripts(batch)
    match told:
        case scripts.RightsTold():
            refused_calls = set(told.refused)
        case _:
            assert_never(told)
    missing = [call for call in others if call in refused_calls]
    # A call on a key is refused for its command or for its key: if all are, it is the key. So it is with channels.
    for of_one in (on_keys, speaking):
        if not refused_calls.issuperset(of_one):
            missing += [call for call in of_one if call in refused_calls]
    # One of the patterns is that of a channel on which it may speak; so it is the command, or it is all patterns.
    if refused_calls.issuperset(patterns_heard) and not refused_calls.issuperset(speaking):
        missing.append("PSUBSCRIBE")
    patterns = [rule for rule, key in keys.items() if refused_calls.issuperset(_of_key(key))]
    commands_missing = {_rule_of(call) for call in missing}
    patterns += [
        rule for rule, call in channels.items() if call in refused_calls and _rule_of(call) not in commands_missing
    ]
    return [*(f"+{_rule_of(call)}" for call in missing), *patterns]


async def _missing_of_scripts(batch: Batch) -> list[str]:
    """Return the rules without which no script runs, so that no script can tell."""
    missing = []
    for call in (("SCRIPT", "LOAD", "return 0"), ("EVALSHA", "0" * 40, "0"), ("EVAL", "return 0", "0")):
        try:
            await batch.call(*call)
        except NoScriptError:
            continue
        except BrokerRefused as refused:
            if refused.code != "NOPERM":
                raise
            missing.append(f"+{_rule_of(' '.join(call))}")
    return missing


def _speaking(prefix: str = "") -> tuple[str, str]:
    """Return the calls on channels, here both on one of ours."""
    channel = f"{prefix}{wire.CONTROL_CHANNEL}"
    return f"PUBLISH {channel} 0", f"SUBSCRIBE {channel}"


def _listening(prefix: str = "") -> str:
    """Return a call that listens to all channels of ours."""
    return f"PSUBSCRIBE {prefix or _OURS}*"


def _calls(table: str, prefix: str = "") -> list[str]:
    key = f" {prefix}{NO_KEY}"
    return [call.strip().replace(" k", key) for line in table.split("\n") for call in line.split(";") if call]


def _of_key(key: str) -> list[str]:
    """Return two calls, one that reads a key and one that writes it."""
    return [f"EXISTS {key}", f"DEL {key}"]


def _rule_of(call: str) -> str:
    command, *words = call.lower().split()
    return f"{command}|{words[0]}" if command in ("script", "xinfo") else command
