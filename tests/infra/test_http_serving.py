"""What every HTTP server of ours stands on."""

import asyncio
import socket

from infra import ports
from infra.http.serving import listening_on


async def test_what_is_answered_leaves_at_once() -> None:
    """Nagle's algorithm is off on connections that are accepted; with it the second packet of an answer waits for 40 ms."""
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def look(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    with listening_on(0, "a test") as listening:
        async with await asyncio.start_server(look, sock=listening):
            _, writer = await asyncio.open_connection(ports.HOST, listening.getsockname()[1])
            assert await accepted
            writer.close()
