"""The flows of these tests: those that have a model are given one of ours, so that any Flowise has them."""

from __future__ import annotations

import json
import uuid
from typing import Any

from flowise_real.server import RealFlowise

#: Answers after as many milliseconds as the question says.
_SLOW = """
const from = Date.now(), wait = parseInt(String($flow.input).replace(/\\D/g, '').slice(0, 5)) || 0;
await new Promise(resolve => setTimeout(resolve, wait));
return JSON.stringify({from, to: Date.now()});
"""
#: Answers with what Flowise knows of the call.
_MIRROR = """
return JSON.stringify({session: $flow.sessionId, chat: $flow.chatId, input: $flow.input, city: $vars.city || null});
"""
_OVERRIDES = {
    "overrideConfig": {
        "status": True,
        "nodes": {},
        "variables": [{"id": "city", "name": "city", "type": "string", "enabled": True}],
    }
}
_LIMIT = {"rateLimit": {"status": True, "limitMax": 2, "limitDuration": 60, "limitMsg": "Slow down"}}

#: A tool that finds a document.
_FIND = """
const page = {pageContent: 'Oslo is the capital of Norway.', metadata: {source: 'atlas.pdf', loc: {pageNumber: 7}}};
return 'found ' + $input + '\\n\\n----FLOWISE_SOURCE_DOCUMENTS----\\n\\n' + JSON.stringify([page]);
"""
_TAKES = [{"id": 0, "property": "input", "description": "What to find", "type": "string", "required": True}]
_FIELDS = [
    {"type": "string", "label": "Name", "name": "name", "addOptions": ""},
    {"type": "options", "label": "Kind", "name": "kind", "addOptions": [{"option": "travel"}, {"option": "meal"}]},
]

REGISTRY = """
operational_flows:
  mirror: {{id: {mirror}, domain: mirror}}
  open: {{id: {open}, domain: open, config: {{vars: {{city: Oslo, mood: calm}}}}}}
  closed: {{id: {mirror}, domain: closed, config: {{temperature: 0.5}}}}
  slow: {{id: {slow}, domain: slow, cache: off}}
  hurried: {{id: {slow}, domain: hurried, timeout: 2s, attempts: 3}}
  single: {{id: {slow}, domain: single, timeout: 2s, attempts: 1, failure_ttl: 0}}
  failing: {{id: {failing}, domain: failing, fallback: mirror}}
  limited: {{id: {limited}, domain: limited}}
  webhook: {{id: {webhook}, domain: webhook}}
  form: {{id: {form}, domain: form, form: [{{name: name}}, {{name: kind, type: options, options: [travel, meal]}}]}}
  form-unsaid: {{id: {form}, domain: form, failure_ttl: 0}}
  deciding: {{id: {deciding}, domain: deciding}}
  finding: {{id: {finding}, domain: finding}}
  finding-plain: {{id: {finding}, domain: finding, streaming: false}}
  careful: {{id: {careful}, domain: careful}}
  seeing: {{id: {seeing}, domain: seeing}}
"""


def letters() -> str:
    """Return a new word without digits, which the flow `slow` would read as a time."""
    return uuid.uuid4().hex.translate(str.maketrans("0123456789", "ghijklmnop"))


def make_flows(flowise: RealFlowise, model: str) -> dict[str, str]:
    """Make the flows; return their ids by the names that the registry has for them. ``model``: its address."""
    if not any(each["name"] == "city" for each in flowise.call("GET", "variables")):
        flowise.make("variables", {"name": "city", "value": "Rome", "type": "static"})
    return {
        "mirror": flowise.scripted(_MIRROR),
        "open": flowise.scripted(_MIRROR, settings=_OVERRIDES),
        "slow": flowise.scripted(_SLOW),
        "failing": flowise.scripted("throw new Error('boom');"),
        "limited": flowise.scripted(_MIRROR, settings=_LIMIT),
        "webhook": flowise.scripted(
            _MIRROR, startInputType="webhookTrigger", webhookMethod="POST", webhookResponseMode="sync"
        ),
        "form": _form(flowise),
        "deciding": _deciding(flowise),
        **_with_model(flowise, model),
    }


def _form(flowise: RealFlowise) -> str:
    start = flowise.node("startAgentflow", startInputType="formInput", formTitle="Claim", formInputTypes=_FIELDS)
    reply = flowise.node("directReplyAgentflow", directReplyMessage="{{ $form.name }} has {{ $form.kind }}")
    return flowise.flow(start, reply)


def _deciding(flowise: RealFlowise) -> str:
    asks = {"humanInputDescriptionType": "fixed", "humanInputDescription": "Delete it?"}
    person = flowise.node("humanInputAgentflow", **asks, humanInputEnableFeedback=True)
    ways = [flowise.node("directReplyAgentflow", directReplyMessage=each) for each in ("deleted", "kept")]
    return flowise.flow(flowise.node("startAgentflow", startInputType="chatInput"), person, ways=ways)


def _with_model(flowise: RealFlowise, model: str) -> dict[str, str]:
    key = {"name": "flywheel-test", "credentialName": "openAIApi", "plainDataObj": {"openAIApiKey": "none"}}
    credential = flowise.make("credentials", key)
    about = {"name": "find", "description": "Finds a page", "color": "#fff", "iconSrc": ""}
    find = flowise.make("tools", {**about, "schema": json.dumps(_TAKES), "func": _FIND})
    tool: dict[str, Any] = {"agentSelectedTool": "customTool", "agentSelectedToolRequiresHumanInput": ""}
    tool["agentSelectedToolConfig"] = {"agentSelectedTool": "customTool", "selectedTool": find}
    asking = {**tool, "agentSelectedToolRequiresHumanInput": True}
    return {
        "careful": flowise.modelled("agent", model, credential, agentTools=[asking], agentEnableMemory=True),
        "finding": flowise.modelled("agent", model, credential, agentTools=[tool], agentEnableMemory=True),
        "seeing": flowise.modelled("llm", model, credential, llmEnableMemory=True, llmMemoryType="allMessages"),
    }
