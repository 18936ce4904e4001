"""Call a flow once, under a lease. If an earlier attempt has got its answer meanwhile, that is taken instead."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from agentic_flywheel.backends import Abilities, FlowAnswer, FlowCall
from agentic_flywheel.backends.sent_secrets import sent_secrets
from agentic_flywheel.broker.executions import Execution, chat_id
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import (
    DecisionUnderWay,
    FlowError,
    FlowProtocolError,
    FlowTimeout,
    FlowUnable,
    ServerUnreachable,
)
from agentic_flywheel.settings import key_of
from agentic_flywheel.stops import Decided
from workers.context import Context
from workers.engine.at_work import at_work
from workers.hiding import SecretHiding
from workers.journal import TraceJournal
from workers.runtime import Runtime
from workers.stopping import human_input
from workers.telling import Telling
from workers.uploading import flow_uploads

#: Seconds between two looks for such a call's answer.
_PAUSE = 1.0


async def ask_flow(
    runtime: Runtime,
    flow: Flow,
    execution: Execution,
    context: Context,
    journal: TraceJournal,
    *,
    attempts: int,
    previous: tuple[str, ...],
    decided: Decided | None = None,
    telling: Telling | None,
) -> FlowAnswer:
    """Return a flow's answer. ``previous``: fences of the attempts before. Raises FlowError, UploadLost,
    UploadRefused.

    ``decided``: what a person has decided, with which the flow goes on instead of being asked.
    """
    backend, key = runtime.backends.of(flow), key_of(flow, runtime.settings)
    abilities = backend.abilities(flow)
    hiding = SecretHiding(sent_secrets(flow, runtime.settings), telling.push if telling else None)
    chats = [execution.chat_id] if decided else [chat_id(execution.query_id, fence) for fence in previous]

    async def late(*chats: str) -> FlowAnswer | None:
        # A time-out does not stop a flow: an attempt may have got its answer after it was given up.
        if not (chats and abilities.late_answers):  # to gather nothing takes a lap of the loop, too
            return None
        return next(filter(None, await asyncio.gather(*map(look, chats))), None)

    async def look(chat: str) -> FlowAnswer | None:
        with contextlib.suppress(FlowError):
            found = await backend.find(flow, chat, api_key=key)
            # What was asked is not the answer to the decision.
            if found and not (decided and found.message_id == decided.asked.message_id):
                return found
        return None

    with at_work.elsewhere(), runtime.leases.renewing(execution), journal.attempt(execution, context, attempts) as seen:
        call = FlowCall(
            flow=flow,
            question="" if decided else context.question,
            form={} if decided else context.form,
            chat_id=execution.chat_id,
            session_id=context.session_id,
            config=context.config,
            carried=context.carried,
            history=() if decided else context.history,
            human_input=human_input(decided) if decided else None,
            stream=flow.streaming and abilities.stream,
        )
        if lack := _lack(call, context, abilities):
            raise FlowUnable(flow.key, lack, backend=flow.backend)
        try:
            call = await backend.prepare(call, api_key=key)
        except FlowError as refused:
            raise _named(refused, flow, abilities) from None
        seen.config_used, seen.warnings = call.config_used, (*context.warnings, *call.warnings)
        found = await late(*chats)
        if found is not None:
            return seen.answered(hiding.answer(found), late=True)
        if context.uploads and not decided:
            given = await flow_uploads(runtime, context.asker, context.uploads)
            call = call.model_copy(update={"uploads": given})
        try:
            found = await backend.ask(call, api_key=key, on_news=hiding.tell)
        except FlowError as failed:
            # A decision is told once: where a lost call has done so, the flow refuses it now, and its answer is there.
            if not (isinstance(failed, FlowTimeout) or decided):
                raise _named(failed, flow, abilities) from None
            found = await late(*{*chats, execution.chat_id})
            if found is None and isinstance(failed, DecisionUnderWay):
                found = await _soon(partial(late, execution.chat_id), flow)
            if found is None:
                raise _named(failed, flow, abilities) from None
            found = seen.answered(hiding.answer(found), late=True)
        else:
            found = seen.answered(hiding.answer(found))
        if telling is not None:
            await telling.close()
        return found


def _lack(call: FlowCall, context: Context, abilities: Abilities) -> str:
    """Return what a call needs that its flow's server cannot do; empty where it can do all of it."""
    if context.uploads and not abilities.uploads:
        return "takes no files"
    if call.form and not abilities.form:
        return "takes no forms"
    if call.human_input is not None and not abilities.human_input:
        return "cannot go on with a person's decision"
    if call.history and not abilities.history:
        return "takes no earlier messages; set the flow's `memory: none`, or ask without a session and without history"
    given = {**call.config, **call.carried}
    # What the registry says of the flow itself is for whoever wrote it.
    added = sorted(name for name, value in given.items() if call.flow.config.get(name) != value)
    if added and not abilities.overrides:
        return f"takes no configuration with a question ({', '.join(added)})"
    return ""


def _named(failed: FlowError, flow: Flow, abilities: Abilities) -> FlowError:
    """Return the error of a call with the flow's backend; of one that was cut or not read, whether it is lost."""
    if isinstance(failed, FlowTimeout | ServerUnreachable | FlowProtocolError) and not abilities.late_answers:
        lost = not isinstance(failed, ServerUnreachable) or failed.sent
        return replace(failed, backend=flow.backend, lost=lost)
    return replace(failed, backend=flow.backend) if flow.backend != failed.backend else failed


async def _soon(look: Callable[[], Awaitable[FlowAnswer | None]], flow: Flow) -> FlowAnswer:
    """Return the answer of a call that was lost while its flow goes on. Raises FlowTimeout after the flow's time."""
    try:
        async with asyncio.timeout(flow.timeout.total_seconds()):
            while True:
                await asyncio.sleep(_PAUSE)
                if (found := await look()) is not None:
                    return found
    except TimeoutError:
        raise FlowTimeout(flow.key, flow.timeout.total_seconds()) from None
