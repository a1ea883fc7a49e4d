"""Official key names of LingBot-VLA (module tree of lingbot-vla `61ef6b1` on transformers 4.51.3, whose Qwen2.5-VL has the old layout)."""

from __future__ import annotations

TOWER_BLOCK = {
    "norm1": "norm1",
    "attn.qkv": "qkv",
    "attn.proj": "proj",
    "norm2": "norm2",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "down",
}
MERGER = {"ln_q": "norm", "mlp.0": "fc1", "mlp.2": "fc2"}
