"""Where a server listens: `HOST:PORT`, or the path of a Unix socket (text with a slash)."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from dtr.errors import BadConfig, Unreachable

LOOPBACK = "127.0.0.1"
CONNECT_S = 10.0


@dataclass(frozen=True)
class Address:
    """A `host` and a `port`, or the `path` of a Unix socket."""

    host: str = LOOPBACK
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return self.path or (f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return bool(self.path) or self.host in ("localhost", "::1") or self.host.startswith("127.")


def parse_address(text: str) -> Address:
    """`HOST:PORT` or the path of a Unix socket. BadConfig for what is neither."""
    if "/" in text:
        return Address("", 0, text)
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise BadConfig(f"expected HOST:PORT, or the path of a Unix socket with a slash in it, got {text!r}: correct the address.")
    return Address(host.strip("[]"), int(port))


def connect(address: Address) -> socket.socket:
    """A connection to whoever listens there. Raises Unreachable."""
    try:
        if not address.path:
            peer = socket.create_connection((address.host, address.port), CONNECT_S)
            peer.settimeout(None)
            return peer
        peer = socket.socket(socket.AF_UNIX)
        try:
            peer.connect(address.path)
        except OSError:
            peer.close()
            raise
        return peer
    except OSError as error:
        raise Unreachable(f"nobody answers at {address} ({error}): start the server there first, or correct the address.") from error


@contextlib.contextmanager
def listening(address: Address) -> Iterator[tuple[socket.socket, Address]]:
    """A socket that listens there, and where that is (port 0: one that was free). A Unix socket is its owner's alone, and goes at the end.

    Raises Unreachable when the address is taken or is none of this machine's.
    """
    listener = None
    try:
        if address.path:
            clear(address.path)
            listener = socket.socket(socket.AF_UNIX)
            mask = os.umask(0o177)
            try:
                listener.bind(address.path)
            finally:
                os.umask(mask)
            listener.listen()
        else:
            family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
            listener = socket.create_server((address.host, address.port), family=family)
            address = Address(address.host, listener.getsockname()[1])
    except OSError as error:
        if listener is not None:
            listener.close()
        raise Unreachable(f"cannot listen at {address} ({error}): name another host and port, or another path.") from error
    try:
        yield listener, address
    finally:
        listener.close()
        if address.path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(address.path)


def clear(path: str) -> None:
    """Remove the socket that a killed server has left. Unreachable when somebody listens there, or when it is another kind of file."""
    try:
        kind = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise Unreachable(f"expected a path for a Unix socket, but {path} is a file of another kind: name another path.")
    with socket.socket(socket.AF_UNIX) as knock:
        if knock.connect_ex(path) == 0:
            raise Unreachable(f"somebody listens at {path} already: end that server, or name another path.")
    os.unlink(path)
