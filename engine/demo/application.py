"""The application of the demo's shop, as the engine's webhooks reach it: a gate, an out-of-session hook, callbacks.

Its answers follow from the scene alone, so that the recorded traffic can say what becomes of each webhook.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.channels.sockets import ListenAddress, bind_tcp
from engine.channels.twiml.forms import parse_form
from engine.demo import scene
from engine.formats.signatures import Form, signature
from engine.listeners import Listener

_VOICE_DOCUMENT = "<Response><Say>The shop is closed today.</Say></Response>"
_MESSAGE_DOCUMENT = "<Response><Message>The shop is closed today.</Message></Response>"


class ShopApplication:
    """What the shop's webhooks meet."""

    def __init__(self, url: str) -> None:
        """Be reached at a URL."""
        self.url = url
        self.token = ""
        """The account's auth token, once there is an account; every webhook must be signed with it."""
        self.called_back: set[str] = set()
        """Idempotency tokens of the callbacks that came."""
        self.forged = 0
        """Webhooks that were not signed as they should be."""

    @property
    def urls(self) -> dict[str, str]:
        """The service's settings that lead here."""
        return {
            "CallbackUrl": f"{self.url}/told",
            "InterceptCallbackUrl": f"{self.url}/gate",
            "OutOfSessionCallbackUrl": f"{self.url}/outside",
        }

    async def take_callback(self, request: Request) -> Response:
        """Take a callback."""
        await self._form(request)
        self.called_back.add(request.headers["i-twilio-idempotency-token"])
        return Response(status_code=204)

    async def judge(self, request: Request) -> Response:
        """Block who asks for a real number."""
        form = await self._form(request)
        text = json.loads(form.get("interactionData") or "{}").get("body", "")
        return Response(status_code=403 if text == scene.FORBIDDEN_TEXT else 204)

    async def welcome(self, request: Request) -> Response:
        """Answer a call or message that meets no session."""
        form = await self._form(request)
        caller = form.get("From", "")
        if caller in scene.BUYERS:
            wanted = {"participantIdentifier": scene.SELLER, "participantProxyIdentifier": scene.BUYERS[caller]}
            return JSONResponse(wanted)
        if caller == scene.IMPOSSIBLE_CALLER:
            return JSONResponse({"participantIdentifier": "nobody"})
        if caller == scene.UNLUCKY_CALLER:
            return Response(status_code=500)
        if caller == scene.HANDLED_CALLER:
            return Response("taken care of", status_code=201, media_type="text/plain")
        document = _VOICE_DOCUMENT if "CallSid" in form else _MESSAGE_DOCUMENT
        return Response(document, media_type="text/xml")

    async def _form(self, request: Request) -> dict[str, str]:
        form: Form = parse_form(await request.body())
        right = signature(self.token, f"{self.url}{request.url.path}", form).decode()
        self.forged += request.headers.get("x-twilio-signature") != right
        return form.fields


@asynccontextmanager
async def shop_application() -> AsyncIterator[ShopApplication]:
    """Serve the application on a free port of this machine."""
    with closing(bind_tcp(ListenAddress("127.0.0.1", 0))) as bound:
        shop = ShopApplication(f"http://127.0.0.1:{bound.getsockname()[1]}")
        routes = [
            Route("/told", shop.take_callback, methods=["POST"]),
            Route("/gate", shop.judge, methods=["POST"]),
            Route("/outside", shop.welcome, methods=["POST"]),
        ]
        listener = Listener(Starlette(routes=routes), grace_seconds=1)
        await listener.open(bound)
        try:
            yield shop
        finally:
            await listener.close()
