"""LingBot-VLA a second time, naively, in float64, straight from the official key names, to check the real one against.

A sample at a time: only its valid tokens exist, so there is no padding to mask and positions simply count. No cache: every Euler step
runs the whole model. Attention is written out, RoPE is complex numbers, gates are real scalars in the graph. Only the time embedding
is computed in float32, as upstream does: its angles reach 2 pi / min_period, where float32 is coarse.
`write_golden` makes a folder of the golden format from it for any dimensions.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from naive_oft import Weights, gelu
from safetensors.torch import save_file
from torch import Tensor

Tensors = dict[str, Tensor]
TOWER, LANGUAGE = "model.qwenvl_with_expert.qwenvl.visual", "model.qwenvl_with_expert.qwenvl.model"
EXPERT = "model.qwenvl_with_expert.qwen_expert.model"


def config(**change: Any) -> dict[str, Any]:
    """A small configuration, every dimension another number; `change` replaces values by dotted path ("language__num_blocks")."""
    c: dict[str, Any] = {
        "model": "lingbot_vla", "max_text_len": 6,
        "vision": {
            "num_blocks": 3, "hidden_size": 24, "num_heads": 2, "head_dim": 12, "mlp_size": 20, "activation": "silu", "gated_mlp": True,
            "mlp_bias": True, "rms_norm_eps": 1e-6, "rope_base": 10000.0, "image_size": 16, "patch_size": 4, "temporal_patch_size": 2,
            "in_channels": 3, "spatial_merge_size": 2, "window_size_pixels": 8, "full_attention_blocks": [1], "num_images": 2,
        },
        "language": {
            "num_blocks": 3, "hidden_size": 20, "num_heads": 4, "num_kv_heads": 2, "head_dim": 6, "mlp_size": 31, "activation": "silu",
            "gated_mlp": True, "rms_norm_eps": 1e-6, "qkv_bias": True, "o_proj_bias": False, "rope_base": 10000.0,
            "attention_scale": "head_dim**-0.5", "embedding_scale": 1.0, "vocab_size": 50,
        },
        "action": {
            "num_blocks": 3, "hidden_size": 16, "num_heads": 4, "num_kv_heads": 2, "head_dim": 6, "mlp_size": 22, "activation": "silu",
            "gated_mlp": True, "qkv_bias": True, "ada_rms_norm_eps": 1e-6, "final_rms_norm_eps": 1e-6, "rope_base": 10000.0,
            "state_dim": 9, "padded_action_dim": 7, "action_dim": 5, "chunk": 3, "state_token": True,
            "time_embedding": {"dim": 16, "min_period": 0.004, "max_period": 4.0, "computed_in": "float32", "layout": "[sin | cos]"},
        },
        "flow": {"num_steps": 10}, "loss": "L1_fm: mean absolute error", "mask": {"masked_value": -2.3819763e38},
    }  # fmt: skip
    for path, value in change.items():
        *parents, leaf = path.split("__")
        node = c
        for key in parents:
            node = node[key]
        assert leaf in node, f"{path} is no field"
        node[leaf] = value
    c["action"]["time_embedding"]["dim"] = c["action"]["hidden_size"]
    return c


def turn(x: Tensor, angle: Tensor) -> Tensor:
    """RoPE: the pair (x_j, x_{j + K/2}) as one complex number times exp(i angle_j). (T, K), (T, K/2) -> (T, K)."""
    half = x.shape[1] // 2
    z = torch.complex(x[:, :half], x[:, half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([z.real, z.imag], dim=-1)


def angles(positions: Tensor, count: int, base: float) -> Tensor:
    """position * base^(-j / count): (T,) -> (T, count)."""
    return positions.double()[:, None] * base ** (-torch.arange(count, dtype=torch.float64) / count)


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


class Run:
    """One sample through the model; `removed` and `alphas` by (stack, block), `seen` collects the states entering each block."""

    def __init__(self, c: dict[str, Any], w: Weights, removed: dict[str, list[int]] | None = None, gated: bool = False) -> None:
        self.c, self.w, self.removed, self.gated = c, w, removed or {}, gated
        self.alphas: dict[tuple[str, int], Tensor] = {}
        self.seen: dict[str, list[Tensor]] = {}

    def see(self, name: str, value: Tensor) -> None:
        self.seen.setdefault(name, []).append(value)

    def residual(self, stack: str, i: int, h: Tensor, out: Tensor) -> Tensor:
        self.see(f"{stack}.{i}.input", h)
        if i in self.removed.get(stack, []):
            return h
        if not self.gated:
            return out
        alpha = self.alphas.setdefault((stack, i), torch.ones((), dtype=torch.float64, requires_grad=True))
        return h + alpha * (out - h)

    def mlp(self, x: Tensor, name: str, size: int, bias: bool) -> Tensor:
        w = self.w
        up = silu(w.linear(x, "weights", f"{name}.gate_proj", size, bias)) * w.linear(x, "weights", f"{name}.up_proj", size, bias)
        return w.linear(up, "weights", f"{name}.down_proj", x.shape[-1], bias)

    def image(self, pixels: Tensor) -> Tensor:
        """(3, S, S) -> (cells, language width), cells row by row."""
        v, w = self.c["vision"], self.w
        D, p, m, copies = v["hidden_size"], v["patch_size"], v["spatial_merge_size"], v["temporal_patch_size"]
        side, reach = v["image_size"] // (p * m), v["window_size_pixels"] // (p * m)
        cells = [(r, c) for r in range(side) for c in range(side)]
        ordered = sorted(cells, key=lambda rc: (rc[0] // reach, rc[1] // reach, rc))
        places = [(r * m + i, c * m + j) for r, c in ordered for i in range(m) for j in range(m)]
        window = torch.tensor([(r // m // reach) * side + c // m // reach for r, c in places])
        film = pixels[:, None].expand(-1, copies, -1, -1)
        kernel = w("weights", f"{TOWER}.patch_embed.proj.weight", D, v["in_channels"], copies, p, p, std=0.1)
        x = torch.stack([(kernel * film[None, :, :, r * p : (r + 1) * p, c * p : (c + 1) * p]).sum((1, 2, 3, 4)) for r, c in places])
        H, K, eps, turns = v["num_heads"], D // v["num_heads"], v["rms_norm_eps"], torch.tensor(places)
        angle = torch.cat([angles(turns[:, axis], K // 4, v["rope_base"]) for axis in (0, 1)], dim=-1)
        for i in range(v["num_blocks"]):
            b = f"{TOWER}.blocks.{i}"
            qkv = w.linear(w.rms_norm(x, f"{b}.norm1", eps), "weights", f"{b}.attn.qkv", 3 * D)
            look = torch.ones(len(x), len(x), dtype=torch.bool) if i in v["full_attention_blocks"] else window[:, None] == window
            heads = []
            for h in range(H):
                q, k, u = (qkv[:, s * D + h * K : s * D + (h + 1) * K] for s in range(3))
                scores = turn(q, angle) @ turn(k, angle).T / K**0.5
                heads.append(torch.softmax(scores.masked_fill(~look, -torch.inf), dim=-1) @ u)
            y = x + w.linear(torch.cat(heads, -1), "weights", f"{b}.attn.proj", D)
            y = y + self.mlp(w.rms_norm(y, f"{b}.norm2", eps), f"{b}.mlp", v["mlp_size"], True)
            x = self.residual("vision", i, x, y)
        self.see("vision.output", x)
        y = w.rms_norm(x, f"{TOWER}.merger.ln_q", eps).reshape(len(cells), m * m * D)
        y = gelu(w.linear(y, "weights", f"{TOWER}.merger.mlp.0", m * m * D))
        y = w.linear(y, "weights", f"{TOWER}.merger.mlp.2", self.c["language"]["hidden_size"])
        y = torch.stack([y[ordered.index(cell)] for cell in cells])
        self.see("vision.projected", y)
        return y

    def ada(self, x: Tensor, name: str, condition: Tensor) -> Tensor:
        w, D = self.w, x.shape[-1]
        gamma, beta = (w.linear(condition, "weights", f"{name}.{s}", D) for s in ("gamma", "beta"))
        return (1 + gamma) * w.rms_norm(x, name, self.c["action"]["ada_rms_norm_eps"]) + beta

    def time(self, t: float) -> Tensor:
        """(D,) in float32."""
        e = self.c["action"]["time_embedding"]
        low, high = e["min_period"], e["max_period"]
        period = low * (high / low) ** torch.linspace(0.0, 1.0, e["dim"] // 2, dtype=torch.float32)
        angle = 1.0 / period * 2 * math.pi * torch.tensor(t, dtype=torch.float32)
        return torch.cat([angle.sin(), angle.cos()]).double()

    def prefix(self, images: Tensor, seen: Tensor, tokens: Tensor) -> Tensor:
        """(n, 3, S, S), which cameras are there, (T,) -> (N, language width)."""
        t = self.c["language"]
        visual = [self.image(image) for image in images]
        text = self.w("weights", f"{LANGUAGE}.embed_tokens.weight", t["vocab_size"], t["hidden_size"], std=1.0)[tokens]
        return torch.cat([*(x for x, there in zip(visual, seen.tolist(), strict=True) if there), text])

    def velocity(self, prefix: Tensor, state: Tensor, x_t: Tensor, t: float) -> Tensor:
        """(N, D), (S,), (C, A), t -> (C, A)."""
        l, a, w = self.c["language"], self.c["action"], self.w  # noqa: E741
        E, C = a["hidden_size"], a["chunk"]
        condition = self.time(t)
        y = w.linear(x_t, "weights", "model.action_in_proj", E)
        y = torch.cat([y, condition.expand(C, E)], dim=-1)
        y = w.linear(silu(w.linear(y, "weights", "model.action_time_mlp_in", E)), "weights", "model.action_time_mlp_out", E)
        self.see("action_time_embedding", y)
        h, s = prefix, torch.cat([w.linear(state, "weights", "model.state_proj", E)[None], y])
        N, T = len(h), len(h) + 1 + C
        look = torch.ones(T, T, dtype=torch.bool)
        look[:N, N:] = False
        look[N, N + 1 :] = False
        H, G, K = l["num_heads"], l["num_kv_heads"], l["head_dim"]
        angle = angles(torch.arange(T), K // 2, l["rope_base"])
        for i in range(l["num_blocks"]):
            L, X, eps = f"{LANGUAGE}.layers.{i}", f"{EXPERT}.layers.{i}", l["rms_norm_eps"]
            normed = {L: w.rms_norm(h, f"{L}.input_layernorm", eps), X: self.ada(s, f"{X}.input_layernorm", condition)}
            both = {}
            for kind, count in (("q", H), ("k", G), ("v", G)):
                both[kind] = torch.cat([w.linear(n, "weights", f"{b}.self_attn.{kind}_proj", count * K) for b, n in normed.items()])
            rows = torch.arange(T) if i not in self.removed.get("action", []) else torch.arange(N)
            heads = []
            for head in range(H):
                q, k, v = (both[kind][:, j * K : (j + 1) * K] for kind, j in (("q", head), ("k", head * G // H), ("v", head * G // H)))
                scores = (turn(q, angle) @ turn(k, angle).T / K**0.5).masked_fill(~look, -torch.inf)
                heads.append(torch.softmax(scores[rows][:, rows], dim=-1) @ v[rows])
            out = torch.cat(heads, dim=-1)
            y = h + w.linear(out[:N], "weights", f"{L}.self_attn.o_proj", len(h.T), False)
            y = y + self.mlp(w.rms_norm(y, f"{L}.post_attention_layernorm", eps), f"{L}.mlp", l["mlp_size"], False)
            h = self.residual("language", i, h, y)
            if len(rows) == T:
                y = s + w.linear(out[N:], "weights", f"{X}.self_attn.o_proj", E, False)
                y = y + self.mlp(self.ada(y, f"{X}.post_attention_layernorm", condition), f"{X}.mlp", a["mlp_size"], False)
            s = self.residual("action", i, s, y)
        final = w.rms_norm(s, f"{EXPERT}.norm", a["final_rms_norm_eps"])
        for name, value in {"language.output": h, "action.output": s, "action.final": final}.items():
            self.see(name, value)
        self.see("language.final", w.rms_norm(h, f"{LANGUAGE}.norm", l["rms_norm_eps"]))
        return w.linear(final[1:], "weights", "model.action_out_proj", a["padded_action_dim"])


def inputs(c: dict[str, Any], seed: int, lengths: tuple[int, ...], missing: tuple[tuple[int, int], ...]) -> Tensors:
    """Random inputs with texts of these `lengths`, padded; `missing`: (sample, camera) that are not there."""
    random, v, a, B, T = torch.Generator().manual_seed(seed), c["vision"], c["action"], len(lengths), c["max_text_len"]
    normal = lambda *shape: torch.randn(*shape, generator=random)  # noqa: E731
    images, image_mask = (
        normal(B, v["num_images"], v["in_channels"], v["image_size"], v["image_size"]),
        torch.ones(B, v["num_images"]).bool(),
    )
    for b, k in missing:
        images[b, k], image_mask[b, k] = 0, False
    p, m = v["patch_size"], v["spatial_merge_size"]
    n = v["image_size"] // (p * m)
    patches = images.view(B, -1, v["in_channels"], n, m, p, n, m, p).permute(0, 1, 3, 6, 4, 7, 2, 5, 8).unsqueeze(7)
    patches = patches.expand(*[-1] * 7, v["temporal_patch_size"], -1, -1).reshape(B, v["num_images"], (n * m) ** 2, -1)
    return {
        "images": images, "image_patches": patches, "image_mask": image_mask,
        "tokens": torch.randint(0, c["language"]["vocab_size"], (B, T), generator=random),
        "token_mask": torch.arange(T) < torch.tensor(lengths)[:, None],
        "state": normal(B, a["state_dim"]), "actions": normal(B, a["chunk"], a["padded_action_dim"]),
        "noise": normal(B, a["chunk"], a["padded_action_dim"]), "sample_noise": normal(B, a["chunk"], a["padded_action_dim"]),
        "time": torch.rand(B, generator=random) * 0.998 + 0.001,
    }  # fmt: skip


def grid(c: dict[str, Any]) -> list[float]:
    """The times of the Euler steps, accumulated in float32."""
    times, dt = [torch.tensor(1.0)], torch.tensor(-1.0 / c["flow"]["num_steps"])
    for _ in range(c["flow"]["num_steps"] - 1):
        times.append(times[-1] + dt)
    return [float(t) for t in times]


def run(c: dict[str, Any], w: Weights, given: Tensors, removed: dict[str, list[int]] | None = None) -> tuple[Tensors, list[Run]]:
    """Loss, actions and the like, and the training run of every sample, alone and without its padding."""
    runs: list[Run] = []
    out: dict[str, list[Tensor]] = {name: [] for name in ("velocity", "loss_elementwise", "actions", "sample_velocity")}
    for b in range(len(given["tokens"])):
        g = {k: t[b].double() if t.is_floating_point() else t[b] for k, t in given.items()}
        r = Run(c, w, removed, gated=removed is None)
        prefix, t = r.prefix(g["images"], g["image_mask"], g["tokens"][g["token_mask"]]), float(given["time"][b])
        v = r.velocity(prefix, g["state"], t * g["noise"] + (1 - t) * g["actions"], t)
        runs.append(r)
        with torch.no_grad():
            x, steps = g["sample_noise"], []
            for t in grid(c):
                steps.append(Run(c, w, removed).velocity(prefix, g["state"], x, t))
                x = x - steps[-1] / c["flow"]["num_steps"]
        for name, value in zip(out, (v, (v - (g["noise"] - g["actions"])).abs(), x, torch.stack(steps)), strict=True):
            out[name].append(value)
    found = {name: torch.stack(values) for name, values in out.items()}
    real = found["loss_elementwise"][..., : c["action"]["action_dim"]]
    found |= {"loss_mse": real.square().mean((1, 2)), "loss_all_dims": found["loss_elementwise"].mean((1, 2)), "loss": real.mean((1, 2))}
    return (found | {"loss": found["loss_mse"]} if c["loss"].startswith("fm") else found), runs


def write_golden(
    folder: Path, c: dict[str, Any], seed: int, lengths: tuple[int, ...] = (6, 3), missing: tuple[tuple[int, int], ...] = ((1, 1),)
) -> None:
    """A folder of the golden format; gates are gradients of really inserted scalars."""
    folder.mkdir(parents=True, exist_ok=True)
    w, given = Weights(seed), inputs(c, seed + 1, lengths, missing)
    out, runs = run(c, w, given)
    values: dict[str, dict[str, list[float]]] = {}
    for r, loss in zip(runs, out["loss"], strict=True):
        gradients = torch.autograd.grad(loss, list(r.alphas.values()), allow_unused=True, retain_graph=True)
        for (stack, i), g in zip(r.alphas, gradients, strict=True):
            values.setdefault(stack, {}).setdefault(str(i), []).append(0.0 if g is None else float(g))
    v, a = c["vision"], c["action"]
    cells = (v["image_size"] // (v["patch_size"] * v["spatial_merge_size"])) ** 2
    valid = torch.cat([given["image_mask"].repeat_interleave(cells, dim=1), given["token_mask"]], dim=1)
    for name, first in runs[0].seen.items():
        rows = [torch.stack(r.seen[name]) if name.startswith("vision") else r.seen[name][0] for r in runs]
        if name.startswith("language"):
            out[name] = torch.zeros(*valid.shape, first[0].shape[-1], dtype=torch.float64)
            out[name][valid] = torch.cat(rows)
        else:
            out[name] = torch.stack(rows)
    counts = {"vision": v["num_blocks"], "language": c["language"]["num_blocks"], "action": a["num_blocks"]}
    listed = [{"name": f"{s}_last", "removed_blocks": {s: [n - 1]}} for s, n in counts.items()]
    listed += [{"name": "odd", "removed_blocks": {s: list(range(1, n, 2)) for s, n in counts.items()}}]
    listed += [{"name": "language_all", "removed_blocks": {"language": list(range(counts["language"]))}}]
    dropped: Tensors = {}
    for entry in listed:
        left = run(c, w, given, entry["removed_blocks"])[0]  # type: ignore[arg-type]
        dropped |= {f"{entry['name']}.{what}": left[what] for what in ("actions", "loss")}
    single = {k: t.detach().float().contiguous() for k, t in out.items()}
    save_file(single | {"language.valid_mask": valid, "sample_time": torch.tensor(grid(c))}, folder / "outputs.safetensors")
    save_file({k: t.contiguous() for k, t in given.items()}, folder / "inputs.safetensors")
    save_file({k: t.detach().float().contiguous() for k, t in dropped.items()}, folder / "drops.safetensors")
    save_file({k: t.float() for k, t in w.parts["weights"].items()}, folder / "weights.safetensors")
    for name, value in {"config": c, "drops": {"drops": listed}, "gates": {"values": values}}.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
