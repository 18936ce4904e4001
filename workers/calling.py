"""Call a flow once, under a lease. If an earlier attempt has got its answer meanwhile, that is taken instead."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from pydantic import JsonValue

from agentic_flywheel.backends.flowise.models import Chatflow
from agentic_flywheel.backends.flowise.overrides import honoured, ignored
from agentic_flywheel.backends.flowise.request import effective_config
from agentic_flywheel.backends.models import FlowAnswer, FlowCall
from agentic_flywheel.broker.executions import Execution, chat_id
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowError, FlowRefused, FlowTimeout
from agentic_flywheel.forms import UnfitForm, fitted
from agentic_flywheel.given import FormScalar
from agentic_flywheel.secret_values import without_secret_values
from agentic_flywheel.stops import Decided
from workers.context import Context
from workers.engine.at_work import at_work
from workers.journal import TraceJournal
from workers.runtime import Runtime
from workers.stopping import human_input
from workers.telling import Telling
from workers.uploading import flow_uploads

#: In Flowise's refusal of a decision: an earlier call has told it, and the flow is carrying it out.
_STILL_RUNS = "'INPROGRESS'"
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
    key = runtime.key_of(flow)
    chats = [execution.chat_id] if decided else [chat_id(execution.query_id, fence) for fence in previous]

    async def late(*chats: str) -> FlowAnswer | None:
        # A time-out does not stop a flow: an attempt may have got its answer after it was given up.
        return next(filter(None, await asyncio.gather(*map(look, chats))), None)

    async def look(chat: str) -> FlowAnswer | None:
        with contextlib.suppress(FlowError):
            found = await runtime.flowise.find_answer(flow, chat, api_key=key)
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
            config={**context.config, **context.carried},
            history=() if decided else context.history,
            human_input=human_input(decided) if decided else None,
        )
        config = effective_config(call)
        asks = config or context.form or flow.form
        known = await runtime.flowise.chatflows.known(flow, api_key=key) if asks else None
        seen.config_used = without_secret_values(honoured({**flow.config, **context.config}, known)) if known else {}
        seen.warnings = (*context.warnings, *_warnings(config, known))
        if known is not None and not decided:
            call = call.model_copy(update={"form": _fitted(call, known)})
        found = await late(*chats)
        if found is not None:
            return seen.answered(found, late=True)
        if not decided:
            given = await flow_uploads(runtime, flow, execution.chat_id, context.asker, context.uploads)
            call = call.model_copy(update={"uploads": given})
        if flow.streaming and await runtime.flowise.chatflows.can_stream(flow):
            call = call.model_copy(update={"stream": True})
        try:
            found = await runtime.flowise.predict(call, api_key=key, on_news=telling.push if telling else None)
        except FlowError as failed:
            # A decision is told once: where a lost call has done so, the flow refuses it now, and its answer is there.
            if not (isinstance(failed, FlowTimeout) or decided):
                raise
            found = await late(*{*chats, execution.chat_id})
            if found is None and decided and isinstance(failed, FlowRefused) and _STILL_RUNS in failed.reason:
                found = await _soon(partial(late, execution.chat_id), flow)
            if found is None:
                raise
            found = seen.answered(found, late=True)
        else:
            found = seen.answered(found)
        if telling is not None:
            await telling.close()
        return found


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


def _fitted(call: FlowCall, known: Chatflow) -> dict[str, FormScalar]:
    """Return a call's form as the server's flow takes it. Raises FlowRefused where it is none that it begins with."""
    if known.start != "formInput":
        if call.form:
            raise FlowRefused(call.flow.key, "there it begins with no form; ask it a question")
        return {}
    optional = {field.name for field in call.flow.form if not field.required}
    fields = [each.model_copy(update={"required": each.name not in optional}) for each in known.form]
    try:
        return fitted(call.form, fields)
    except UnfitForm as unfit:
        raise FlowRefused(call.flow.key, str(unfit)) from None


def _warnings(config: Mapping[str, JsonValue], known: Chatflow | None) -> tuple[str, ...]:
    """Return what is to be said of a configuration that was sent."""
    if not config:
        return ()
    if known is None:
        names = ", ".join(sorted(config))
        return (f"It is not known whether Flowise used {names}: it says so to an API key only.",)
    names = ", ".join(ignored(config, known))
    return (f"Flowise ignored {names}: overriding it is not enabled in the flow's configuration.",) if names else ()
