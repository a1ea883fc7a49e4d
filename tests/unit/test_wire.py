"""Messages and addresses: what is sent arrives, what is none is refused in one sentence, a long message is skipped."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest

from dtr.errors import BadConfig, BadMessage, Unreachable
from dtr.wire.address import Address, connect, listening, parse_address
from dtr.wire.message import LIMIT, Channel, Message, pack, unpack


def pair() -> tuple[Channel, Channel]:
    return tuple(map(Channel, socket.socketpair()))  # type: ignore[return-value]


def test_what_is_sent_arrives() -> None:
    here, there = pair()
    with here, there:
        images = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)[:, ::-1]  # not contiguous
        here.send("act", {"images": images, "x": np.float64([np.pi])}, text="größer", none=None, nested={"a": [1]})
        here.send("bye")
        got = there.receive()
        assert (got.kind, got.words) == ("act", {"text": "größer", "none": None, "nested": {"a": [1]}})
        assert np.array_equal(got.arrays["images"], images) and got.arrays["x"].tobytes() == np.float64([np.pi]).tobytes()
        assert there.receive() == Message("bye", {}, {})
        here.close()
        with pytest.raises(EOFError):
            there.receive()


def test_a_message_is_what_the_documentation_says_by_hand() -> None:
    """A peer without the safetensors library."""
    header = b'{"__metadata__":{"dtr":"{\\"kind\\":\\"step\\"}"},"actions":{"dtype":"F64","shape":[1,2],"data_offsets":[0,16]}}'
    got = unpack(len(header).to_bytes(8, "little") + header + np.float64([[1, -1]]).tobytes())
    assert got.kind == "step" and got.arrays["actions"].tolist() == [[1.0, -1.0]]


@pytest.mark.parametrize("body", [
    b"", b"GET / HTTP/1.1\r\n\r\n", (10**12).to_bytes(8, "little") + b"{}", pack(Message("x", {}))[8:-1],
    (24).to_bytes(8, "little") + b'{"__metadata__":{}}     ',
    (32).to_bytes(8, "little") + b'{"__metadata__":{"dtr":"[1,2]"}}',
    (32).to_bytes(8, "little") + b'{"__metadata__":{"dtr":"{}"}}   ',
    (56).to_bytes(8, "little") + b'{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}} ' + b"ab",
])  # fmt: skip
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(BadMessage, match="expected a safetensors message"):
        unpack(body)


def test_a_message_that_is_too_long_is_skipped() -> None:
    here, there = pair()
    with here, there:
        here.peer.settimeout(0.2)
        here.peer.sendall((LIMIT + 1).to_bytes(8, "little"))
        with pytest.raises(BadMessage, match=f"at most {LIMIT} bytes"):
            there.receive()
        there.unread = 3  # what is left of it, made short
        here.peer.sendall(b"abc")
        here.send("next")
        assert there.receive().kind == "next"


def test_addresses() -> None:
    assert parse_address("10.0.0.2:80") == Address("10.0.0.2", 80) and str(parse_address("[::1]:80")) == "[::1]:80"
    assert str(parse_address("./x.sock")) == "./x.sock"
    assert all(parse_address(text).local for text in ("127.0.0.1:1", "localhost:1", "[::1]:1", "./x"))
    assert not any(parse_address(text).local for text in ("0.0.0.0:1", "example.org:1"))
    for wrong in ("8700", ":8700", "host:", "host:99999", "host:port", ""):
        with pytest.raises(BadConfig, match="expected HOST:PORT"):
            parse_address(wrong)


def test_a_unix_socket_is_private_and_goes_and_a_dead_one_is_replaced(tmp_path: Path) -> None:
    place = Address("", 0, str(tmp_path / "s"))
    with listening(place):
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
        connect(place).close()
        with pytest.raises(Unreachable, match="somebody listens at"), listening(place):
            pass
        with pytest.raises(Unreachable, match=r"cannot listen at .* too long"), listening(Address("", 0, str(tmp_path / ("s" * 200)))):
            pass
    assert not list(tmp_path.iterdir())
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(place.path)
    with pytest.raises(Unreachable, match="nobody answers at"):
        connect(place)
    with listening(place):
        connect(place).close()
    (tmp_path / "s").write_text("mine")
    with pytest.raises(Unreachable, match="a file of another kind"), listening(place):
        pass
    assert (tmp_path / "s").read_text() == "mine"


def test_a_taken_port_is_said() -> None:
    with listening(Address()) as (_, found):
        assert found.port > 0
        with pytest.raises(Unreachable, match=f"cannot listen at {found}"), listening(found):
            pass
    with pytest.raises(Unreachable, match="nobody answers at"):
        connect(found)
