"""A real Chromium without a window, driven over its own protocol: pages as they are laid out, not as they are written."""

import asyncio
import base64
import itertools
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.support.peers import program

SECONDS = 30.0
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-port=0",
)  # fmt: skip

# Every text that is shown: its contrast with what is behind it (WCAG 2.2, 1.4.3), its size, whether it sticks out of the window.
_LOOK = """(() => {
  const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const numbers = color => (color.match(/[\\d.]+/g) || []).map(Number);
  const light = color => { const [r, g, b] = numbers(color).map(channel); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = node => { for (; node; node = node.parentElement) {
    const color = getComputedStyle(node).backgroundColor;
    if ((numbers(color)[3] ?? 1) > 0) return color; } return 'rgb(255, 255, 255)'; };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement, box = node.getBoundingClientRect();
    if (!walker.currentNode.data.trim() || !box.width || node.closest('script,style,title')) continue;
    const style = getComputedStyle(node), a = light(style.color), b = light(behind(node));
    found.push({text: walker.currentNode.data.trim().slice(0, 40), contrast: (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05),
                size: parseFloat(style.fontSize), right: box.right});
  }
  return {texts: found, width: innerWidth, whole: document.documentElement.scrollWidth, shown: document.body.innerText};
})()"""


class Browser:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._session = ""
        self._loaded = False
        self.requested: list[str] = []  # addresses of everything that pages fetched
        self.complaints: list[str] = []  # what the browser logged: a violated policy, a broken document

    async def open_tab(self) -> None:
        target = await self.tell("Target.createTarget", url="about:blank")
        self._session = (await self.tell("Target.attachToTarget", targetId=target["targetId"], flatten=True))["sessionId"]
        for domain in ("Page", "Network", "Log"):
            await self.tell(f"{domain}.enable")
        await self.tell("Emulation.setScriptExecutionDisabled", value=True)

    async def visit(self, url: str, width: int, language: str, scheme: str = "light", height: int = 800) -> dict[str, Any]:
        """Shows a page, without scripts; returns what there is to be seen of it."""
        await self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        await self.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        await self.tell("Network.setExtraHTTPHeaders", headers={"Accept-Language": language})
        self._loaded = False
        await self.tell("Page.navigate", url=url)
        while not self._loaded:
            await self._next()
        found = await self.tell("Runtime.evaluate", expression=_LOOK, returnByValue=True)
        seen: dict[str, Any] = found["result"]["value"]
        return seen

    async def picture(self) -> bytes:
        """The whole page as PNG."""
        shot = await self.tell("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    async def tell(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        await self._socket.send_json(message | ({"sessionId": self._session} if self._session else {}))
        while True:
            reply = await self._next()
            if reply.get("id") == number:
                assert "error" not in reply, f"{method}: {reply['error']}"
                return reply["result"]

    async def _next(self) -> Any:
        reply = await asyncio.wait_for(self._socket.receive_json(), SECONDS)
        match reply.get("method"):
            case "Network.requestWillBeSent":
                self.requested.append(reply["params"]["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(reply["params"]["entry"]["text"])
            case "Page.loadEventFired":
                self._loaded = True
        return reply


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    chromium = program("chromium", "chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            chromium, *_FLAGS, f"--user-data-dir={profile}", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, env=os.environ | {"TMPDIR": profile},
        )  # fmt: skip
        try:
            assert process.stderr is not None
            line = b""
            while b"DevTools listening on " not in line:
                line = await asyncio.wait_for(process.stderr.readline(), SECONDS)
                assert line, "chromium ended before it listened"
            drained = asyncio.create_task(process.stderr.read())
            address = line.decode().rpartition(" ")[2].strip()
            async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
                seen = Browser(socket)
                await seen.open_tab()
                yield seen
                drained.cancel()
        finally:
            if process.returncode is None:
                process.terminate()
            await asyncio.wait_for(process.wait(), SECONDS)
