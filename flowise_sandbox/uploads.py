"""Uploads: which a flow takes, files that it reads, and what Flowise refuses of them."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from aiohttp.web_request import FileField

from agentic_flywheel.uploads import type_of
from flowise_sandbox.flows import SandboxFlow
from flowise_sandbox.installation import Installation
from flowise_sandbox.pages import json_response, problem

_IMAGES = ["image/gif", "image/jpeg", "image/png", "image/webp", ""]
_ATTACH = "Error: attachmentService.createAttachment - "


class Uploads:
    """The handlers of the calls that concern uploads."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/api/v1/chatflows-uploads/{flow}", self.accepted)
        app.router.add_post("/api/v1/attachments/{flow}/{chat}", self.attach)

    async def accepted(self, request: web.Request) -> web.Response:
        flow = self._installation.flows.get(request.match_info["flow"])
        if flow is None:
            where = "Error: chatflowsService.checkIfChatflowIsValidForUploads"
            return problem(500, f"{where} - Chatflow {request.match_info['flow']} not found")
        return json_response(accepted_of(flow))

    async def attach(self, request: web.Request) -> web.Response:
        flow = self._installation.flows.get(request.match_info["flow"])
        if flow is None:
            return problem(500, f"{_ATTACH}Chatflow {request.match_info['flow']} not found")
        if not flow.files:
            return problem(500, f"{_ATTACH}File upload is not enabled for this chatflow")
        read: list[dict[str, Any]] = []
        form = await request.post()
        for file in form.getall("files", []):
            if not isinstance(file, FileField):
                continue
            if file.content_type not in flow.files:
                allowed = ", ".join(flow.files)
                return problem(
                    500, f"{_ATTACH}File type '{file.content_type}' is not allowed. Allowed types: {allowed}"
                )
            content = file.file.read()
            if file.content_type == "application/pdf" and not content.startswith(b"%PDF-"):
                return problem(500, f"{_ATTACH}Failed operation: createFileAttachment - Invalid PDF structure")
            told = {"name": file.filename, "mimeType": file.content_type, "size": len(content)}
            read.append({**told, "content": content.decode(errors="replace")})
        return json_response(read)


def accepted_of(flow: SandboxFlow) -> dict[str, Any]:
    """Return which uploads a flow makes use of."""
    return {
        "isSpeechToTextEnabled": flow.speech,
        "isImageUploadAllowed": flow.images,
        "isRAGFileUploadAllowed": False,
        "imgUploadSizeAndTypes": [{"fileTypes": _IMAGES, "maxUploadSize": 5}] if flow.images else [],
        "fileUploadSizeAndTypes": [],
    }


def refusal_of_uploads(body: dict[str, Any]) -> str | None:
    """Return the error of a prediction for its uploads; None where there is none."""
    uploads = body.get("uploads")
    for upload in uploads if isinstance(uploads, list) else ():
        if upload.get("type") not in ("file", "audio", "file:rag") or not upload.get("data"):
            continue
        name, mime = str(upload.get("name")), str(upload["data"]).partition(";")[0].removeprefix("data:")
        ending = name.rpartition(".")[2].lower()
        if type_of(name) != mime:
            return f'MIME type mismatch: file extension "{ending}" does not match declared MIME type "{mime}"'
    return None
