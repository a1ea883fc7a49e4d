"""One message over a socket: words and arrays.

    8 bytes   N, little-endian
    N bytes   a safetensors file in memory: the arrays by name, and in its `__metadata__` the key "dtr": a JSON object, `kind` and words

A safetensors file is itself a JSON header and raw array bytes, so a peer without that library writes and reads it in a few lines.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from dtr.errors import BadMessage

LIMIT = 64 * 2**20
"""Bytes of the longest message that is read."""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Message:
    """`kind` says what it is; `words` are JSON values, `arrays` arrays, both by name."""

    kind: str
    words: Mapping[str, Any]
    arrays: Mapping[str, Array] = field(default_factory=dict)


def pack(message: Message) -> bytes:
    """The bytes of a message, its length first."""
    text = json.dumps({"kind": message.kind, **message.words}, allow_nan=False)
    body = save({name: np.ascontiguousarray(array) for name, array in message.arrays.items()}, metadata={"dtr": text})
    return len(body).to_bytes(8, "little") + body


def unpack(body: bytes) -> Message:
    """The message of these bytes (without the length). BadMessage when it is none."""
    try:
        arrays = load(body)
        header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
        words = json.loads(header["__metadata__"]["dtr"])
        return Message(words.pop("kind"), words, arrays)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadMessage(
            f"expected a safetensors message with a JSON object that has a kind, got {len(body)} bytes that are none "
            f"({type(error).__name__}: {error}): see docs/serving.md."
        ) from error


class Channel:
    """One end of a connection, over which messages go one at a time."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer, self.unread = peer, 0
        if peer.family != socket.AF_UNIX:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # small messages, each of them waited for

    def send(self, kind: str, arrays: Mapping[str, Array] | None = None, **words: Any) -> None:
        """Send one message. OSError when the other end has gone."""
        self.peer.sendall(pack(Message(kind, words, arrays or {})))

    def receive(self) -> Message:
        """The next message. EOFError or OSError when the other end has gone.

        BadMessage when it does not read or is longer than LIMIT; the next call then skips what is left of it.
        """
        while self.unread:
            self.unread -= len(self.read(min(self.unread, 2**20)))
        length = int.from_bytes(self.read(8), "little")
        if length > LIMIT:
            self.unread = length
            raise BadMessage(f"expected a message of at most {LIMIT} bytes behind its length, got {length} bytes: see docs/serving.md.")
        return unpack(bytes(self.read(length)))

    def read(self, count: int) -> bytearray:
        """So many bytes."""
        buffer, have = bytearray(count), 0
        while have < count:
            got = self.peer.recv_into(memoryview(buffer)[have:])
            if got == 0:
                raise EOFError("the other end has closed the connection")
            have += got
        return buffer

    def end(self) -> None:
        """End the conversation from another thread: who waits in `receive` gets EOFError."""
        with contextlib.suppress(OSError):  # the other end was quicker
            self.peer.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close this end."""
        self.peer.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def check_hello(message: Message, offers: str, version: int, address: object) -> Mapping[str, Any]:
    """The words of a server's first message. BadMessage when it offers something else, or speaks another version."""
    said = (message.kind, message.words.get("offers"), message.words.get("version"))
    if said != ("hello", offers, version):
        raise BadMessage(
            f"expected a server that offers a {offers} in version {version} at {address}, got {said[1]!r} in version {said[2]!r}: "
            "name the right address, or use equal versions at both ends."
        )
    return message.words
