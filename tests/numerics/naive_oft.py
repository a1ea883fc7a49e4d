"""OpenVLA-OFT a second time, naively, in float64, straight from the official key names, to check the real one against.

No module, no fused kernel, no mask trick: a sample at a time without padding, attention written out, RoPE as complex numbers, gates
inserted as real scalars into the graph. `write_golden` makes a folder of the golden format from it for any dimensions.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

Tensors = dict[str, Tensor]
NAMES = {"vision.featurizer": "featurizer", "vision.fused_featurizer": "fused_featurizer"}


def tower(
    blocks: int, width: int, heads: int, mlp: int, registers: int, class_token: bool, layer_scale: bool, eps: float
) -> dict[str, Any]:
    return {
        "num_blocks": blocks, "hidden_size": width, "num_heads": heads, "head_dim": width // heads, "mlp_size": mlp,
        "activation": "gelu_exact_erf", "layer_norm_eps": eps, "layer_scale": layer_scale, "class_token": class_token,
        "num_register_tokens": registers, "num_prefix_tokens": registers + class_token, "readout_after_block": blocks - 2,
        "readout_final_norm": False, "dead_blocks": [blocks - 1],
    }  # fmt: skip


def config(**change: Any) -> dict[str, Any]:
    """A small configuration, every dimension another number; `change` replaces values by dotted path ("language__num_blocks")."""
    c: dict[str, Any] = {
        "model": "openvla_oft",
        "vision": {
            "num_images": 2, "image_size": 24, "patch_size": 8,
            "featurizer": tower(3, 12, 2, 20, 4, True, True, 1e-6),
            "fused_featurizer": tower(4, 18, 3, 23, 0, False, False, 1e-5),
            "projector": {"activation": "gelu_exact_erf", "sizes": [30, 37, 28, 24]},
        },
        "language": {
            "num_blocks": 3, "hidden_size": 24, "num_heads": 4, "num_kv_heads": 4, "head_dim": 6, "mlp_size": 31, "activation": "silu",
            "gated_mlp": True, "rms_norm_eps": 1e-6, "rope_base": 10000.0, "attention_bias": False, "embedding_scale": 1.0,
            "vocab_size": 90, "pad_token_id": 80, "bos_token_id": 1, "stop_token_id": 2, "empty_token_id": 60,
            "action_token_begin_idx": 63, "tie_word_embeddings": False,
        },
        "action": {"num_blocks": 2, "action_dim": 5, "chunk": 3, "hidden_size": 26, "layer_norm_eps": 1e-5, "activation": "relu"},
        "proprio": {"dim": 6, "projector_sizes": [6, 24, 24], "activation": "gelu_exact_erf"},
    }  # fmt: skip
    for path, value in change.items():
        *parents, leaf = path.split("__")
        node = c
        for key in parents:
            node = node[key]
        node[leaf] = value
    A = c["action"]["action_dim"]
    bounds = {"q01": [-1.0 - k / 7 for k in range(A)], "q99": [0.7 + k / 9 for k in range(A)], "mask": [True] * (A - 1) + [False]}
    return c | {"action_unnormalisation": {"kind": "bounds_q99", **bounds}}


class Weights:
    """Random weights under official names, made as they are asked for and then remembered."""

    def __init__(self, seed: int) -> None:
        self.random, self.parts = torch.Generator().manual_seed(seed), {"weights": {}, "action_head": {}, "proprio_projector": {}}

    def __call__(self, part: str, name: str, *shape: int, around: float = 0.0, std: float | None = None) -> Tensor:
        key = name if part == "weights" else f"module.{name}"
        if key not in self.parts[part]:
            spread = std if std is not None else (1.2 / shape[-1] ** 0.5 if len(shape) > 1 else 0.15)
            drawn = torch.randn(*shape, generator=self.random, dtype=torch.float64) * spread + around
            self.parts[part][key] = drawn.float().double()  # exactly representable in the file
        return self.parts[part][key]

    def linear(self, x: Tensor, part: str, name: str, size: int, bias: bool = True) -> Tensor:
        y = x @ self(part, f"{name}.weight", size, x.shape[-1]).T
        return y + self(part, f"{name}.bias", size) if bias else y

    def layer_norm(self, x: Tensor, part: str, name: str, eps: float) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        x = centred / (centred.pow(2).mean(-1, keepdim=True) + eps).sqrt()
        D = x.shape[-1]
        return x * self(part, f"{name}.weight", D, around=1.0) + self(part, f"{name}.bias", D)

    def rms_norm(self, x: Tensor, name: str, eps: float) -> Tensor:
        return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * self("weights", f"{name}.weight", x.shape[-1], around=1.0)


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / 2**0.5))


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One head: (T, K) each."""
    return torch.softmax(q @ k.T / q.shape[-1] ** 0.5, dim=-1) @ v


def turn(x: Tensor, base: float) -> Tensor:
    """RoPE: the pair (x_j, x_{j + K/2}) as one complex number times exp(i position base^(-2j/K)). (T, K) -> (T, K)."""
    T, K = x.shape
    angle = torch.arange(T, dtype=torch.float64)[:, None] * base ** (-2 * torch.arange(K // 2, dtype=torch.float64) / K)
    z = torch.complex(x[:, : K // 2], x[:, K // 2 :]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([z.real, z.imag], dim=-1)


class Run:
    """One sample through the model; `removed` and `alphas` by (stack, block), `seen` collects the states entering each block."""

    def __init__(self, c: dict[str, Any], w: Weights, removed: dict[str, list[int]] | None = None, gated: bool = False) -> None:
        self.c, self.w, self.removed, self.gated = c, w, removed or {}, gated
        self.alphas: dict[tuple[str, int], Tensor] = {}
        self.seen: dict[str, list[Tensor]] = {}

    def residual(self, stack: str, i: int, h: Tensor, block: Any) -> Tensor:
        self.seen.setdefault(f"{stack}.{i}.input", []).append(h)
        if i in self.removed.get(stack, []):
            return h
        out = block(h)
        if not self.gated:
            return out
        alpha = self.alphas.setdefault((stack, i), torch.ones((), dtype=torch.float64, requires_grad=True))
        return h + alpha * (out - h)

    def vision_tower(self, stack: str, image: Tensor) -> Tensor:
        t, w, p = self.c["vision"][NAMES[stack]], self.w, self.c["vision"]["patch_size"]
        name, D, eps = f"vision_backbone.{NAMES[stack]}", t["hidden_size"], t["layer_norm_eps"]
        kernel = w("weights", f"{name}.patch_embed.proj.weight", D, 3, p, p, std=0.1)
        x = F.conv2d(image[None], kernel, w("weights", f"{name}.patch_embed.proj.bias", D), stride=p)[0].flatten(1).T
        x = x + w("weights", f"{name}.pos_embed", 1, len(x), D, std=0.5)[0]
        if t["num_register_tokens"]:
            x = torch.cat([w("weights", f"{name}.reg_token", 1, t["num_register_tokens"], D, std=0.5)[0], x])
        if t["class_token"]:
            x = torch.cat([w("weights", f"{name}.cls_token", 1, 1, D, std=0.5)[0], x])

        def block(x: Tensor, i: int) -> Tensor:
            b, K = f"{name}.blocks.{i}", D // t["num_heads"]
            qkv = w.linear(w.layer_norm(x, "weights", f"{b}.norm1", eps), "weights", f"{b}.attn.qkv", 3 * D)
            heads = [attend(*(qkv[:, s * D + h * K : s * D + (h + 1) * K] for s in range(3))) for h in range(t["num_heads"])]
            y = w.linear(torch.cat(heads, -1), "weights", f"{b}.attn.proj", D)
            x = x + (y * w("weights", f"{b}.ls1.scale_factor", D, around=0.6) if t["layer_scale"] else y)
            y = gelu(w.linear(w.layer_norm(x, "weights", f"{b}.norm2", eps), "weights", f"{b}.mlp.fc1", t["mlp_size"]))
            y = w.linear(y, "weights", f"{b}.mlp.fc2", D)
            return x + (y * w("weights", f"{b}.ls2.scale_factor", D, around=0.6) if t["layer_scale"] else y)

        read = x
        for i in range(t["num_blocks"]):
            x = self.residual(stack, i, x, lambda x, i=i: block(x, i))
            read = x if i <= t["readout_after_block"] else read
        w.layer_norm(x, "weights", f"{name}.norm", eps)  # dead: only creates the weights
        return read[len(x) - (self.c["vision"]["image_size"] // p) ** 2 :]

    def language_block(self, x: Tensor, i: int) -> Tensor:
        t, w, b = self.c["language"], self.w, f"language_model.model.layers.{i}"
        H, G, K, bias = t["num_heads"], t["num_kv_heads"], t["head_dim"], t["attention_bias"]
        n = w.rms_norm(x, f"{b}.input_layernorm", t["rms_norm_eps"])
        q, k, v = (w.linear(n, "weights", f"{b}.self_attn.{s}_proj", m * K, bias) for s, m in (("q", H), ("k", G), ("v", G)))
        part = lambda t, h: t[:, h * K : (h + 1) * K]  # noqa: E731
        heads = [attend(turn(part(q, h), t["rope_base"]), turn(part(k, h * G // H), t["rope_base"]), part(v, h * G // H)) for h in range(H)]
        x = x + w.linear(torch.cat(heads, -1), "weights", f"{b}.self_attn.o_proj", t["hidden_size"], bias)
        n = w.rms_norm(x, f"{b}.post_attention_layernorm", t["rms_norm_eps"])
        gate = w.linear(n, "weights", f"{b}.mlp.gate_proj", t["mlp_size"], False)
        up = w.linear(n, "weights", f"{b}.mlp.up_proj", t["mlp_size"], False)
        return x + w.linear(gate / (1 + torch.exp(-gate)) * up, "weights", f"{b}.mlp.down_proj", t["hidden_size"], False)

    def __call__(self, pixels: Tensor, ids: Tensor, proprio: Tensor) -> Tensor:
        """(6 n, S, S), (T,), (P,) -> (C, A). `ids` = [BOS] prompt [empty] [C A placeholders] [stop]."""
        c, w, t = self.c, self.w, self.c["language"]
        C, A, D, n = c["action"]["chunk"], c["action"]["action_dim"], t["hidden_size"], c["vision"]["num_images"]
        images = [
            torch.cat([self.vision_tower(s, pixels[6 * m + 3 * k : 6 * m + 3 * k + 3]) for k, s in enumerate(NAMES)], -1) for m in range(n)
        ]
        x = features = torch.cat(images)
        for k, size in enumerate(c["vision"]["projector"]["sizes"][1:]):
            x = w.linear(gelu(x) if k else x, "weights", f"projector.fc{k + 1}", size)
        s = w.linear(proprio, "proprio_projector", "fc1", c["proprio"]["projector_sizes"][1])
        s = w.linear(gelu(s), "proprio_projector", "fc2", D)
        text = w("weights", "language_model.model.embed_tokens.weight", t["vocab_size"], D, std=1.0)[ids].clone()
        text[len(ids) - 1 - C * A : -1] = 0
        h = torch.cat([text[:1], x, s[None], text[1:]])
        for i in range(t["num_blocks"]):
            h = self.residual("language", i, h, lambda h, i=i: self.language_block(h, i))
        final = w.rms_norm(h, "language_model.model.norm", t["rms_norm_eps"])
        if not t["tie_word_embeddings"]:
            w("weights", "language_model.lm_head.weight", t["vocab_size"], D)
        states = final[len(h) - 2 - C * A : -2]
        head, eps, W = "action_head", c["action"]["layer_norm_eps"], c["action"]["hidden_size"]
        y = w.layer_norm(states.reshape(C, A * D), head, "model.layer_norm1", eps)
        y = w.linear(y, head, "model.fc1", W).clamp(min=0)
        for i in range(c["action"]["num_blocks"]):
            ffn = f"model.mlp_resnet_blocks.{i}.ffn"
            y = self.residual(
                "action", i, y, lambda y, f=ffn: y + w.linear(w.layer_norm(y, head, f"{f}.0", eps), head, f"{f}.1", W).clamp(min=0)
            )
        more = {"vision.features": features, "vision.projected": x, "proprio.projected": s, "language.output": h, "language.final": final}
        for name, value in (more | {"action.input_hidden": states, "action.output": y}).items():
            self.seen[name] = [value]
        return w.linear(w.layer_norm(y, head, "model.layer_norm2", eps), head, "model.fc2", A)


def inputs(c: dict[str, Any], seed: int, prompts: tuple[int, ...], text_tokens: int = 0) -> Tensors:
    """Random inputs with `prompts` numbers of prompt tokens (BOS and the empty token included), padded to `text_tokens` or the longest."""
    random, t, v = torch.Generator().manual_seed(seed), c["language"], c["vision"]
    B, C, A = len(prompts), c["action"]["chunk"], c["action"]["action_dim"]
    T = text_tokens or max(prompts) + C * A + 1
    ids = torch.full((B, T), t["pad_token_id"])
    prompt_ids = torch.full((B, max(prompts)), t["pad_token_id"])
    for b, n in enumerate(prompts):
        prompt_ids[b, :n] = torch.tensor([t["bos_token_id"], *torch.randint(3, 59, (n - 2,), generator=random), t["empty_token_id"]])
        ids[b, :n] = prompt_ids[b, :n]
        ids[b, n : n + C * A] = torch.randint(64, 80, (C * A,), generator=random)
        ids[b, n + C * A] = t["stop_token_id"]
    lengths = torch.tensor(prompts)[:, None]
    return {
        "pixel_values": torch.randn(B, 6 * v["num_images"], v["image_size"], v["image_size"], generator=random),
        "input_ids": ids,
        "attention_mask": torch.arange(T) < lengths + C * A + 1,
        "prompt_input_ids": prompt_ids,
        "prompt_attention_mask": torch.arange(max(prompts)) < lengths,
        "proprio": torch.rand(B, c["proprio"]["dim"], generator=random) * 2 - 1,
        "actions": torch.randn(B, C, A, generator=random),
    }


def run(c: dict[str, Any], w: Weights, given: Tensors, removed: dict[str, list[int]] | None = None) -> tuple[Tensor, list[Run]]:
    """Actions (B, C, A) and the run of every sample, alone and without its padding."""
    runs, actions = [], []
    for b in range(len(given["input_ids"])):
        runs.append(Run(c, w, removed, gated=removed is None))
        ids = given["input_ids"][b, given["attention_mask"][b]]
        actions.append(runs[-1](given["pixel_values"][b].double(), ids, given["proprio"][b].double()))
    return torch.stack(actions), runs


def write_golden(folder: Path, c: dict[str, Any], seed: int, prompts: tuple[int, ...], text_tokens: int = 0) -> Weights:
    """A folder of the golden format; gates are gradients of really inserted scalars."""
    folder.mkdir(parents=True, exist_ok=True)
    w, given = Weights(seed), inputs(c, seed + 1, prompts, text_tokens)
    actions, runs = run(c, w, given)
    elementwise = (actions - given["actions"].double()).abs()
    values: dict[str, dict[str, list[float]]] = {}
    for b, r in enumerate(runs):
        gradients = torch.autograd.grad(elementwise[b].mean(), list(r.alphas.values()), allow_unused=True, retain_graph=True)
        for (stack, i), g in zip(r.alphas, gradients, strict=True):
            values.setdefault(stack, {}).setdefault(str(i), []).append(0.0 if g is None else float(g))
    out: Tensors = {
        "loss": elementwise.mean((1, 2)),
        "loss_elementwise": elementwise,
        "train_predicted_actions": actions,
        "actions": actions,
    }
    N = given["input_ids"].shape[1] + c["vision"]["num_images"] * (c["vision"]["image_size"] // c["vision"]["patch_size"]) ** 2 + 1
    for name in runs[0].seen:
        rows = [torch.stack(r.seen[name]) if name.startswith("vision.f") and name.endswith("input") else r.seen[name][0] for r in runs]
        out[name] = torch.stack([F.pad(x, (0, 0, 0, N - len(x))) for x in rows] if name.startswith("language") else rows)
    out["predict_action_hidden_states"] = out["action.input_hidden"]
    lengths = given["attention_mask"].sum(1)[:, None]
    un = c["action_unnormalisation"]
    low, high = torch.tensor(un["q01"]).double(), torch.tensor(un["q99"]).double()
    restored = torch.where(torch.tensor(un["mask"]), 0.5 * (actions + 1) * (high - low + 1e-8) + low, actions)
    counts = {"language": c["language"]["num_blocks"], "action": c["action"]["num_blocks"]}
    counts |= {s: c["vision"][NAMES[s]]["num_blocks"] for s in NAMES}
    listed = [{"name": f"{s}_last", "removed_blocks": {s: [n - 1]}} for s, n in counts.items()]
    listed += [{"name": "odd", "removed_blocks": {s: list(range(1, n, 2)) for s, n in counts.items()}}]
    dropped: Tensors = {}
    for entry in listed:
        left = run(c, w, given, entry["removed_blocks"])[0]
        dropped |= {f"{entry['name']}.actions": left, f"{entry['name']}.loss": (left - given["actions"].double()).abs().mean((1, 2))}
    single = {k: v.detach().float().contiguous() for k, v in out.items()}
    single |= {
        "actions_unnormalized": restored.detach(),
        "language.valid_mask": torch.arange(N) < lengths + N - given["input_ids"].shape[1],
    }
    save_file(single, folder / "outputs.safetensors")
    save_file({k: v.contiguous() for k, v in given.items()}, folder / "inputs.safetensors")
    save_file({k: v.detach().float().contiguous() for k, v in dropped.items()}, folder / "drops.safetensors")
    for part, tensors in w.parts.items():
        save_file({k: v.float() for k, v in tensors.items()}, folder / f"{part}.safetensors")
    files = {"config": copy.deepcopy(c), "drops": {"drops": listed}, "gates": {"values": values}}
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return w
