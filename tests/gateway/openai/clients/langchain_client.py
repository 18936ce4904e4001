"""Ask through LangChain's client: ``python langchain_client.py URL PROXY KEY QUESTIONS``, the last one as JSON."""

import json
import sys

import openai
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI

url, proxy, key, questions = *sys.argv[1:4], json.loads(sys.argv[4])


def chat(model="plain", base=url, api_key=key, **more):
    return ChatOpenAI(model=model, base_url=f"{base}/v1", api_key=api_key, stream_usage=True, **more)


def streamed(name, model, base=url):
    text, finish, usage = "", None, None
    for chunk in chat(model, base).stream(questions[name]):
        text += chunk.content
        finish = chunk.response_metadata.get("finish_reason") or finish
        usage = chunk.usage_metadata["total_tokens"] if chunk.usage_metadata else usage
    return {"text": text, "finish": finish, "usage": usage}


def failure(call):
    try:
        return {"returned": repr(call())}
    except openai.APIStatusError as refused:
        return {
            "class": type(refused).__name__,
            "status": refused.status_code,
            "code": refused.code,
            "said": str(refused),
        }
    except openai.APIError as refused:
        return {"class": type(refused).__name__, "code": refused.code, "said": str(refused)}
    except Exception as broken:  # the connection's own
        return {"class": type(broken).__name__, "said": str(broken)}


before = [SystemMessage("Be short."), HumanMessage("Hello"), AIMessage("Hi")]
told = {
    "answer": chat().invoke([*before, HumanMessage(questions["answer"])]).content,
    "stream": streamed("stream", "technical-analysis"),
    "unknown": failure(lambda: chat("gpt-4o").invoke(questions["answer"])),
    "unsupported": failure(lambda: chat(n=2).invoke(questions["answer"])),
    "failed": failure(lambda: chat("broken").invoke(questions["failed"])),
    "failed_in_stream": failure(lambda: streamed("failed_in_stream", "broken")),
    "stranger": failure(lambda: chat(api_key="nobody").invoke(questions["answer"])),
    "lost": chat(base=proxy).invoke(questions["lost"]).content,
    "cut": failure(lambda: streamed("cut", "seeing", proxy)),
}
sys.stdout.write(json.dumps(told))
