"""`dtr serve`: an answer is the policy's own, whoever asks beside; a bad request costs a sentence; the end leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from serving_world import ROWS, TEXTS, served
from tiny_policy import frames, tiny

from dtr.errors import BadMessage, Unreachable
from dtr.policies.base import Observation
from dtr.policies.file import save_policy
from dtr.provenance import sha256_file
from dtr.rollout.inference import Inference
from dtr.serving.desk import Desk, Request, row_of
from dtr.sim.simulator import Frame
from dtr.wire.address import Address, connect, listening, parse_address
from dtr.wire.message import LIMIT, Channel
from dtr.wire.policy import PolicyClient, PolicyHello
from dtr.wire.robot import RobotHello


def test_the_hello_says_what_is_expected() -> None:
    with served() as (address, _), PolicyClient(address) as client:
        h = client.hello
        assert (h.policy, h.sha256, h.rows) == ("openvla_oft", "5" * 64, ROWS)
        assert (h.cameras, h.image_size, h.state_dim, h.chunk, h.action_dim) == (2, 64, 8, 8, 7)
        with Channel(connect(client.address)) as plain:
            assert set(plain.receive().words["expects"]) == {"images", "state", "instruction", "episode"}


@pytest.mark.parametrize(
    ("robot", "state", "action"), [("libero", "axis-angle x rad", "in [-1, 1]: move x"), ("aloha", "left joint 1 rad", "that")]
)
def test_the_hello_says_whose_numbers_it_speaks_of(robot: str, state: str, action: str) -> None:
    """Both arms' joints are no position and axis-angle, and nothing else tells them apart."""
    with served(robot=robot) as (address, _), PolicyClient(address) as client, Channel(connect(client.address)) as plain:
        words = plain.receive().words
        assert client.hello.robot == words["robot"] == robot
        assert state in words["expects"]["state"] and action in words["answers"]["actions"]


def test_a_server_of_an_older_version_is_understood_or_refused_in_a_sentence() -> None:
    """Hellos once had neither image path nor robot."""
    old = asdict(PolicyHello("p", "5" * 64, 2, 64, 8, 8, 7, 1, "exact"))
    for missing, said in ((("image_path", "robot"), None), (("rows",), "lacks rows in its hello")):
        with listening(Address()) as (listener, found):

            def answer(listener: Any = listener, missing: tuple[str, ...] = missing) -> None:
                with Channel(listener.accept()[0]) as channel:
                    channel.send("hello", offers="policy", version=1, **{k: v for k, v in old.items() if k not in missing})

            thread = threading.Thread(target=answer)
            thread.start()
            if said:
                with pytest.raises(BadMessage, match=said):
                    PolicyClient(str(found))
            else:
                with PolicyClient(str(found)) as client:
                    assert (client.hello.image_path, client.hello.robot) == ("exact", "libero")
            thread.join()


def test_a_policy_that_scales_by_itself_is_sent_what_was_drawn() -> None:
    """As its evaluation does: shrunk by somebody else first, its pictures would be others."""
    (_, state), *_ = frames(1)
    drawn = np.random.default_rng(0).integers(0, 255, (2, 100, 100, 3), dtype=np.uint8)
    with served(rows=1, image_path="openpi") as (address, server), PolicyClient(address) as client:
        assert (client.hello.image_path, client.hello.image_size) == ("openpi", 64)
        answer = client.act(drawn, state, TEXTS[0])
        batch = server.processor.fixed([TEXTS[0]]).inputs([Observation(drawn, state, TEXTS[0])])
        np.testing.assert_array_equal(answer.actions, server.processor.actions(server.policy.act(batch))[0])
        with pytest.raises(BadMessage, match="expected images uint8"):
            client.act(drawn[:, :90], state, TEXTS[0])


def test_an_answer_depends_on_its_request_alone() -> None:
    policy, processor = tiny(TEXTS)
    asked = [(i, images, state, TEXTS[i % 3]) for i, (images, state) in enumerate(frames(9))]
    rows = [row_of(str(i), ROWS) for i, *_ in asked]
    assert set(rows) == set(range(ROWS))
    expected = [
        Inference(policy, processor, ROWS, [text])({row: (Frame(images, state), text)})[row]
        for row, (_, images, state, text) in zip(rows, asked, strict=True)
    ]
    sizes: list[int] = []
    with served() as (address, server):
        infer = server.infer
        server.infer = lambda group: (sizes.append(len(group)), infer(group))[1]  # type: ignore[method-assign]

        def one(i: int, images: np.ndarray, state: np.ndarray, text: str) -> list[np.ndarray]:
            with PolicyClient(address) as client:
                return [client.act(images, state, text, episode=str(i)).actions for _ in range(3)]

        with ThreadPoolExecutor(len(asked)) as pool:
            answers = list(pool.map(lambda request: one(*request), asked))
    assert max(sizes) > 1 and sum(sizes) == 27
    for wanted, got in zip(expected, answers, strict=True):
        assert all(np.array_equal(wanted, actions) for actions in got)


def test_requests_of_other_shapes_or_of_the_same_row_wait_for_another_batch() -> None:
    desk = Desk(2, 0.0)
    batches = [(0, 3), (0, 3), (1, 4), (1, 3)]
    desk.waiting = [Request({"x": torch.zeros(1, length)}, row) for row, length in batches]
    order = [[desk_index(batches, request) for request in desk.take()] for _ in range(3)]
    assert order == [[(0, 3), (1, 3)], [(0, 3)], [(1, 4)]]


def desk_index(batches: list[tuple[int, int]], request: Request) -> tuple[int, int]:
    return request.row, request.batch["x"].shape[1]


def test_bad_requests_get_a_sentence_and_the_connection_lives_on() -> None:
    (images, state), *_ = frames(1)
    with served(rows=1) as (address, _), PolicyClient(address) as client:
        good = client.act(images, state, TEXTS[0])
        for change, says in (
            ({"images": images[:1]}, r"expected images uint8 \(2, 64, 64, 3\), got uint8 \(1, 64, 64, 3\)"),
            ({"images": images.astype(np.float32)}, "got float32"),
            ({"state": state[:7]}, "a state of 8 finite numbers"),
            ({"state": state * np.nan}, "a state of 8 finite numbers"),
            ({"instruction": ""}, "an instruction of 1 to"),
            ({"instruction": 3}, "an instruction of 1 to"),
            ({"episode": None}, "an episode's name"),
        ):
            with pytest.raises(BadMessage, match=says):
                client.act(**({"images": images, "state": state, "instruction": TEXTS[0]} | change))
        client.channel.send("dance")
        assert "expected a message of kind 'act', got 'dance'" in client.receive().words["message"]
        client.channel.peer.sendall((4).to_bytes(8, "little") + b"abcd")
        assert "expected a safetensors message" in client.receive().words["message"]
        client.channel.peer.sendall((LIMIT + 1).to_bytes(8, "little"))
        assert f"at most {LIMIT} bytes" in client.receive().words["message"]
        client.channel.peer.sendall(bytes(LIMIT + 1))
        again = client.act(images, state, TEXTS[0])
        assert np.array_equal(again.actions, good.actions) and again.latency_ms > 0


def test_an_answer_that_is_not_finite_is_never_sent() -> None:
    (images, state), *_ = frames(1)
    with served(rows=1) as (address, server), PolicyClient(address) as client:
        with torch.no_grad():
            server.policy.action.fc2.bias.fill_(float("nan"))
        with pytest.raises(BadMessage, match="not finite: do not move"):
            client.act(images, state, TEXTS[0])


def test_the_end_leaves_no_thread_and_no_open_file() -> None:
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    with served() as (address, server):
        clients = [PolicyClient(address) for _ in range(5)]
        clients[0].close()
        connect(parse_address(address)).close()  # somebody who never says a word
        half = Channel(connect(parse_address(address)))
        half.peer.sendall((1000).to_bytes(8, "little") + b"half a message")
    with pytest.raises(Unreachable, match="has gone"):
        clients[1].act(*frames(1)[0], TEXTS[0])
    for open_ in (*clients, half):
        open_.close()
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before and not server.channels


def test_a_client_of_something_else_is_told() -> None:
    with listening(Address()) as (listener, found):

        def robot() -> None:
            peer, _ = listener.accept()
            with Channel(peer) as channel:
                channel.send("hello", offers="robot", version=1, name=RobotHello.__name__)

        thread = threading.Thread(target=robot)
        thread.start()
        with pytest.raises(BadMessage, match="expected a server that offers a policy in version 1"):
            PolicyClient(str(found))
        thread.join()


def test_the_verb_serves_until_ctrl_c(tmp_path: Path) -> None:
    policy, processor = tiny(TEXTS)
    path, place = tmp_path / "p.safetensors", tmp_path / "s"
    save_policy(path, policy, processor, {})
    command = [sys.executable, "-m", "dtr.cli", "serve", "--policy", str(path), "--socket", str(place), "--rows", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"serving openvla_oft {sha256_file(path)[:16]} at {place}\n"
        (images, state), *_ = frames(1)
        with PolicyClient(str(place)) as client:
            got = client.act(images, state, TEXTS[0], "a").actions
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
    row = row_of("a", 2)
    assert np.array_equal(got, Inference(policy, processor, 2, TEXTS[:1])({row: (Frame(images, state), TEXTS[0])})[row])
    assert (process.returncode, said) == (0, "serve: 1 requests were answered\nserve: stopped\n") and not place.exists()
