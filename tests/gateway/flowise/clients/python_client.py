"""Ask through the Python package of Flowise: ``python python_client.py URL TOKEN all|cut``."""

import json
import sys
import time

from flowise import Flowise, IFileUpload, IMessage, PredictionData
from requests import RequestException

PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)


def streamed(client, flow, question, **more):
    given = PredictionData(chatflowId=flow, question=question, streaming=True, **more)
    return [json.loads(each) for each in client.create_prediction(given)]


def plain(client, flow, question, **more):
    (answer,) = client.create_prediction(PredictionData(chatflowId=flow, question=question, **more))
    return answer


def everything(client):
    told = {"plain": plain(client, "poet", "a poem about pythons", overrideConfig={"sessionId": "py"})}
    told["second"] = streamed(client, "poet", "and one about bears", chatId="py", overrideConfig={})
    said = [IMessage("hello", "userMessage"), IMessage("good day", "apiMessage")]
    told["history"] = plain(client, "poet", "with a history", history=said)
    dot = IFileUpload(PNG, "file", "dot.png", "image/png")
    told["upload"] = streamed(client, "seeing", "what is in it", uploads=[dot])
    told["failed"] = streamed(client, "broken", "x")
    told["unknown"] = refusal(lambda: plain(client, "no-such-flow", "x"))
    told["stranger"] = streamed(Flowise(base_url=client.base_url, api_key="wrong"), "poet", "x")
    return told


def refusal(call):
    try:
        call()
    except RequestException as refused:
        return f"{refused.response.status_code}" if refused.response is not None else type(refused).__name__
    return ""


def cut(client):
    """Say when the first token is there, notice that the stream breaks, and ask again when the server is back."""
    given = PredictionData(chatflowId="poet", question="cut in python", streaming=True, chatId="cut-py")
    try:
        for each in client.create_prediction(given):
            if json.loads(each)["event"] == "token":
                sys.stdout.write("token\n")
                sys.stdout.flush()
        broke = False
    except RequestException:
        broke = True
    for _ in range(200):
        try:
            return {"broke": broke, "after": plain(client, "poet", "after python", chatId="cut-py")}
        except RequestException:
            time.sleep(0.2)
    return {"broke": broke}


url, token, mode = sys.argv[1:]
sys.stdout.write(json.dumps({"all": everything, "cut": cut}[mode](Flowise(base_url=url, api_key=token))))
