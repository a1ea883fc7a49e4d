"""Verb `serve`: offer a policy over a local socket, for robots and foreign simulators (docs/serving.md)."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import Any

from dtr.errors import BadConfig
from dtr.provenance import sha256_file
from dtr.wire.address import LOOPBACK, Address, listening


def add_parser(verbs: Any) -> None:
    """Declare `dtr serve`."""
    p = verbs.add_parser("serve", help="offer a policy over a local socket, for robots and foreign simulators")
    p.add_argument("--policy", type=Path, required=True, help="policy file")
    p.add_argument("--host", default=LOOPBACK, help=f"address to listen at (default {LOOPBACK}: this machine alone; there is no password)")
    p.add_argument("--port", type=int, default=0, help="port to listen at (default: one that is free)")
    p.add_argument("--socket", type=Path, help="listen at this Unix socket instead, which only you may use")
    p.add_argument("--rows", type=int, default=1, help="rows of every padded batch: so many clients are answered at once (default 1)")
    p.add_argument("--patience-ms", type=float, default=5.0, help="how long a request waits for others, where there are any (default 5)")
    p.add_argument("--device", default="cpu", help="where the policy runs: cpu or cuda")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Serve until Ctrl-C or SIGTERM, which is this verb's ordinary end."""
    if args.rows < 1 or args.patience_ms < 0 or not 0 <= args.port <= 65535:
        raise BadConfig(f"expected --rows of 1 or more, --patience-ms of 0 or more and a port below 65536, got {vars(args)}.")
    address = Address("", 0, str(args.socket)) if args.socket else Address(args.host, args.port)
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        serve(args, address)
    except KeyboardInterrupt:
        print("serve: stopped", file=sys.stderr)
    finally:
        signal.signal(signal.SIGTERM, previous)


def serve(args: argparse.Namespace, address: Address) -> None:
    """Load the policy, listen, say where, and answer."""
    import torch

    from dtr.policies.file import load_policy
    from dtr.serving.server import PolicyServer

    server = PolicyServer(load_policy(args.policy, args.device), sha256_file(args.policy), args.rows, args.patience_ms / 1000)
    torch.set_num_threads(1)
    with listening(address) as (listener, found):
        if not found.local:
            print(f"warning: whoever reaches {found} can use this policy; there is no password.", file=sys.stderr)
        print(f"serving {server.hello.policy} {server.hello.sha256[:16]} at {found}", flush=True)
        try:
            server.run(listener)
        finally:
            print(f"serve: {server.served} requests were answered", file=sys.stderr)
