"""Ask through OpenAI's client: ``python openai_client.py URL PROXY KEY QUESTIONS``, the last one as JSON."""

import json
import sys

import openai

url, proxy, key, questions = *sys.argv[1:4], json.loads(sys.argv[4])
direct = openai.OpenAI(base_url=f"{url}/v1", api_key=key)
shaky = openai.OpenAI(base_url=f"{proxy}/v1", api_key=key)


def ask(client, name, model="plain", **more):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": questions[name]}], **more)


def streamed(client, name, model):
    text, finish, usage, annotations = "", None, None, []
    with ask(client, name, model, stream=True, stream_options={"include_usage": True}) as stream:
        for chunk in stream:
            usage = chunk.usage.total_tokens if chunk.usage else usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
                annotations += getattr(choice.delta, "annotations", None) or []
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
    except Exception as broken:  # the connection's own: httpx' classes are no part of this client's promise
        return {"class": type(broken).__name__, "said": str(broken)}


answer = ask(direct, "answer")
told = {
    "models": [model.id for model in direct.models.list()],
    "answer": answer.choices[0].message.content,
    "query": answer._request_id,
    "stream": streamed(direct, "stream", "technical-analysis"),
    "unknown": failure(lambda: ask(direct, "answer", "gpt-4o")),
    "unsupported": failure(lambda: ask(direct, "answer", n=2)),
    "failed": failure(lambda: ask(direct, "failed", "broken")),
    "failed_in_stream": failure(lambda: streamed(direct, "failed_in_stream", "broken")),
    "stranger": failure(lambda: ask(direct.with_options(api_key="nobody"), "answer")),
    "embeddings": failure(lambda: direct.embeddings.create(model="auto", input="x")),
    "lost": ask(shaky, "lost").choices[0].message.content,
    "cut": failure(lambda: streamed(shaky, "cut", "seeing")),
}
sys.stdout.write(json.dumps(told))
