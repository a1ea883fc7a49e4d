"""pi0.5 and GigaBrain-0 a second time, naively, in float64, straight from the official key names, to check the real ones against.

A sample at a time: only its valid tokens exist, so there is no padding to mask and positions simply count. No cache: every Euler step
runs both streams. Attention is written out, RoPE is complex numbers, gates are real scalars in the graph. The sampling times are float32
as upstream's. `write_golden` makes a folder of the golden format for any dimensions.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import naive_oft
import torch
from naive_oft import Weights
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

Tensors = dict[str, Tensor]
MODEL = "paligemma_with_expert"


def config(model: str, **change: Any) -> dict[str, Any]:
    """A small configuration, every dimension another number; `change` replaces values by dotted path ("language__num_blocks")."""
    shared = {"num_blocks": 3, "num_heads": 4, "num_kv_heads": 2, "head_dim": 6, "rms_norm_eps": 1e-6, "rope_base": 10000.0}
    shared |= {"activation": "gelu_tanh", "gated_mlp": True, "attention_bias": False}
    giga = model == "gigabrain0"
    shared |= {"query_pre_attn_scalar": 6, "attention_scale": "query_pre_attn_scalar**-0.5"} if giga else {}
    c: dict[str, Any] = {
        "model": model, "max_text_len": 5,
        "vision": {
            "num_blocks": 2, "hidden_size": 12, "num_heads": 2, "mlp_size": 17, "activation": "gelu_tanh", "layer_norm_eps": 1e-6,
            "image_size": 16, "patch_size": 8, "num_images": 2, "in_channels": 3, "image_feature_scale": 1.0,
        },
        "language": shared | {"hidden_size": 20, "mlp_size": 31, "rms_norm_weight": "1+w", "vocab_size": 40,
                              "embedding_scale": "sqrt(hidden_size), text tokens only", "tie_word_embeddings": True},
        "action": shared | {"hidden_size": 16, "mlp_size": 22, "action_dim": 5, "horizon": 3, "num_embodiments": 2,
                            "time_embedding": {"dim": 16, "min_period": 0.004, "max_period": 4.0, "computed_in": "float64"}},
        "flow": {"num_steps": 3},
    }  # fmt: skip
    for path, value in change.items():
        *parents, leaf = path.split("__")
        for stream in ("language", "action") if parents == ["both"] else (None,):
            node = c
            for key in (stream,) if stream else parents:
                node = node[key]
            node[leaf] = value
    c["action"]["time_embedding"]["dim"] = c["action"]["hidden_size"]
    return c


def turn(x: Tensor, positions: Tensor, base: float) -> Tensor:
    """RoPE: the pair (x_j, x_{j + K/2}) as one complex number times exp(i position base^(-2j/K)). (T, K) -> (T, K)."""
    K = x.shape[1]
    angle = positions.double()[:, None] * base ** (-2 * torch.arange(K // 2, dtype=torch.float64) / K)
    z = torch.complex(x[:, : K // 2], x[:, K // 2 :]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([z.real, z.imag], dim=-1)


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh((2 / math.pi) ** 0.5 * (x + 0.044715 * x**3)))


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """One head: (T, K), (S, K), (S, K)."""
    return torch.softmax(q @ k.T / scale**0.5, dim=-1) @ v


class Gentle(Weights):
    """Matrices that amplify little, so that rounding stays within the tolerances of the golden README."""

    def __call__(self, part: str, name: str, *shape: int, around: float = 0.0, std: float | None = None) -> Tensor:
        fan_in = shape[1] if len(shape) == 3 else shape[-1]
        return super().__call__(part, name, *shape, around=around, std=std or (0.8 / fan_in**0.5 if len(shape) > 1 else None))


class Run(naive_oft.Run):
    """One sample through the model; `residual` removes, gates and watches blocks."""

    def name(self, s: int, i: int, part: str) -> str:
        """The official name of a part of layer i, stream s."""
        if self.c["model"] == "gigabrain0":
            return f"{MODEL}.layers.{i}." + (part.replace("mlp.", f"mlps.{s}.") if part.startswith("mlp.") else f"{part}.{s}")
        part = {"input_layernorms": "input_layernorm", "pre_feedforward_layernorms": "post_attention_layernorm"}.get(part, part)
        return f"{MODEL}." + ("paligemma.model.language_model" if s == 0 else "gemma_expert.model") + f".layers.{i}.{part}"

    def linear(self, x: Tensor, name: str, size: int, bias: bool = True) -> Tensor:
        return self.w.linear(x, "weights", name, size, bias)

    def tower(self, image: Tensor) -> Tensor:
        t, w, p = self.c["vision"], self.w, self.c["vision"]["patch_size"]
        v = f"{MODEL}.vision_tower" if self.c["model"] == "gigabrain0" else f"{MODEL}.paligemma.model.vision_tower.vision_model"
        D, K, eps = t["hidden_size"], t["hidden_size"] // t["num_heads"], t["layer_norm_eps"]
        kernel = w("weights", f"{v}.embeddings.patch_embedding.weight", D, t["in_channels"], p, p, std=0.1)
        x = F.conv2d(image[None], kernel, w("weights", f"{v}.embeddings.patch_embedding.bias", D), stride=p)[0].flatten(1).T
        x = x + w("weights", f"{v}.embeddings.position_embedding.weight", len(x), D, std=0.5)

        def block(x: Tensor, b: str) -> Tensor:
            n = w.layer_norm(x, "weights", f"{b}.layer_norm1", eps)
            q, k, u = (self.linear(n, f"{b}.self_attn.{s}_proj", D).split(K, 1) for s in "qkv")
            x = x + self.linear(torch.cat([attend(*h, K) for h in zip(q, k, u, strict=True)], 1), f"{b}.self_attn.out_proj", D)
            m = gelu(self.linear(w.layer_norm(x, "weights", f"{b}.layer_norm2", eps), f"{b}.mlp.fc1", t["mlp_size"]))
            return x + self.linear(m, f"{b}.mlp.fc2", D)

        for i in range(t["num_blocks"]):
            x = self.residual("vision", i, x, lambda x, i=i: block(x, f"{v}.encoder.layers.{i}"))
        features = w.layer_norm(x, "weights", f"{v}.post_layernorm", eps)
        giga = self.c["model"] == "gigabrain0"
        projector = f"{MODEL}.multi_modal_projector.linear" if giga else f"{MODEL}.paligemma.model.multi_modal_projector.linear"
        y = self.linear(features, projector, self.c["language"]["hidden_size"])
        for name, value in {"output": x, "features": features, "projected": y}.items():
            self.seen.setdefault(f"vision.{name}", []).append(value)
        return y

    def norm(self, x: Tensor, s: int, name: str, eps: float, steered: bool) -> tuple[Tensor, Tensor | float]:
        """The normed stream and the factor of the branch that reads it."""
        n = x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt()
        if not steered:
            return n * (1 + self.w("weights", f"{name}.weight", x.shape[-1])), 1.0
        scale, shift, gate = self.linear(self.c_t[None], f"{name}.dense", 3 * x.shape[-1])[0].chunk(3)
        return n * (1 + scale) + shift, gate

    def layer(self, i: int, hs: list[Tensor]) -> list[Tensor]:
        positions, ready = torch.arange(sum(map(len, hs))).split([len(h) for h in hs]), []
        for s, stream in enumerate(("language", "action")):
            t = self.c[stream]
            n, r = self.norm(hs[s], s, self.name(s, i, "input_layernorms"), t["rms_norm_eps"], steered=s == 1)
            sizes = {"q": t["num_heads"], "k": t["num_kv_heads"], "v": t["num_kv_heads"]}
            parts = [
                self.linear(n, self.name(s, i, f"self_attn.{x}_proj"), m * t["head_dim"], t["attention_bias"]).split(t["head_dim"], 1)
                for x, m in sizes.items()
            ]
            q, k = ([turn(x, positions[s], t["rope_base"]) for x in part] for part in parts[:2])
            ready.append((r, q, k, parts[2]))

        def block(h: Tensor, s: int) -> Tensor:
            t, post = self.c["language" if s == 0 else "action"], self.c["model"] == "gigabrain0"
            H, G, eps = t["num_heads"], t["num_kv_heads"], t["rms_norm_eps"]
            r, q = ready[s][:2]
            seen = [[torch.cat([ready[z][x][g] for z in range(s + 1)]) for g in range(G)] for x in (2, 3)]
            scale = t.get("query_pre_attn_scalar", t["head_dim"])
            y = torch.cat([attend(q[a], seen[0][a * G // H], seen[1][a * G // H], scale) for a in range(H)], 1)
            y = self.linear(y, self.name(s, i, "self_attn.o_proj"), h.shape[1], t["attention_bias"])
            x = h + r * (self.norm(y, s, self.name(s, i, "post_attention_layernorms"), eps, False)[0] if post else y)
            m, g = self.norm(x, s, self.name(s, i, "pre_feedforward_layernorms"), eps, steered=s == 1)
            up, gate = (self.linear(m, self.name(s, i, f"mlp.{z}_proj"), t["mlp_size"], False) for z in ("up", "gate"))
            y = self.linear(gelu(gate) * up, self.name(s, i, "mlp.down_proj"), h.shape[1], False)
            return x + g * (self.norm(y, s, self.name(s, i, "post_feedforward_layernorms"), eps, False)[0] if post else y)

        return [self.residual(name, i, hs[s], lambda h, s=s: block(h, s)) for s, name in enumerate(("language", "action"))]

    def prefix(self, images: Tensor, present: Tensor, ids: Tensor) -> Tensor:
        """The valid tokens of the first stream, (N, D)."""
        t, giga = self.c["language"], self.c["model"] == "gigabrain0"
        towers = [self.tower(image) for image in images]
        self.table = self.w(
            "weights",
            f"{MODEL}.embed_tokens.weight" if giga else f"{MODEL}.paligemma.lm_head.weight",
            t["vocab_size"],
            t["hidden_size"],
            std=0.2,
        )
        return torch.cat([*(x for x, p in zip(towers, present, strict=True) if p), self.table[ids] * t["hidden_size"] ** 0.5])

    def velocity(self, h: Tensor, x: Tensor, time: Tensor, robot: int) -> Tensor:
        """(N, D), (C, A), a time -> (C, A)."""
        t, e = self.c["action"], self.c["action"]["time_embedding"]
        giga, E, A = self.c["model"] == "gigabrain0", t["hidden_size"], t["action_dim"]
        fraction = torch.arange(E // 2, dtype=torch.float64) / max(E // 2 - 1, 1)
        angle = 2 * math.pi * time.double() / (e["min_period"] * (e["max_period"] / e["min_period"]) ** fraction)
        silu = lambda z: z / (1 + torch.exp(-z))  # noqa: E731
        c_t = silu(self.linear(torch.cat([angle.sin(), angle.cos()])[None], "time_mlp_in", E))
        self.c_t = silu(self.linear(c_t, "time_mlp_out", E))[0]

        def project(x: Tensor, name: str, size: int) -> Tensor:
            if not giga:
                return self.linear(x, name, size)
            R = t["num_embodiments"]
            return x @ self.w("weights", f"{name}.weight", R, x.shape[1], size)[robot] + self.w("weights", f"{name}.bias", R, size)[robot]

        hs = [h, project(x, "action_in_proj", E)]
        for i in range(t["num_blocks"]):
            hs = self.layer(i, hs)
        names = [f"{MODEL}.norms.0", f"{MODEL}.norms.1"]
        names = names if giga else [f"{MODEL}.paligemma.model.language_model.norm", f"{MODEL}.gemma_expert.model.norm"]
        final = [self.norm(hs[s], s, names[s], self.c[n]["rms_norm_eps"], s == 1)[0] for s, n in enumerate(("language", "action"))]
        self.w("weights", f"{MODEL}.gemma_expert.lm_head.weight", self.c["language"]["vocab_size"], E) if not giga else None
        ends = {"language.output": hs[0], "language.final": final[0], "action.output": hs[1], "action.final": final[1]}
        self.seen |= {name: [value] for name, value in (ends | {"time_condition": self.c_t}).items()}
        return project(final[1], "action_out_proj", A)


def inputs(c: dict[str, Any], seed: int, lengths: tuple[int, ...]) -> Tensors:
    """Random inputs, one sample a text length; the last camera of every second sample is missing."""
    random, v, a, B = torch.Generator().manual_seed(seed), c["vision"], c["action"], len(lengths)
    present = torch.ones(B, v["num_images"], dtype=torch.bool)
    present[1::2, -1] = v["num_images"] == 1
    images = torch.rand(B, v["num_images"], v["in_channels"], v["image_size"], v["image_size"], generator=random) * 2 - 1
    chunk = (B, a["horizon"], a["action_dim"])
    given = {
        "images": images.masked_fill(~present[:, :, None, None, None], -1.0),
        "image_mask": present,
        "tokens": torch.randint(1, c["language"]["vocab_size"], (B, c["max_text_len"]), generator=random),
        "token_mask": torch.arange(c["max_text_len"]) < torch.tensor(lengths)[:, None],
        "time": torch.rand(B, generator=random) * 0.999 + 0.001,
    }
    given |= {name: torch.randn(chunk, generator=random) for name in ("actions", "noise", "sample_noise")}
    if c["model"] == "gigabrain0":
        given["embodiment_id"] = torch.randint(0, a["num_embodiments"], (B,), generator=random)
        given["action_loss_mask"] = torch.arange(a["horizon"]) < torch.arange(B)[:, None] % a["horizon"] + 1
    return given


def times(c: dict[str, Any]) -> Tensor:
    """The sampling times in float32."""
    n = c["flow"]["num_steps"]
    if c["model"] == "gigabrain0":
        return torch.arange(1.0, 0.5 / n, -1.0 / n)
    t = [torch.tensor(1.0)]
    for _ in range(n - 1):
        t.append(t[-1] + torch.tensor(-1.0 / n))
    return torch.stack(t)


def run(c: dict[str, Any], w: Weights, given: Tensors, removed: dict[str, list[int]] | None = None) -> tuple[Tensors, list[Run]]:
    """Losses and actions, and the run of every sample's training forward."""
    runs: list[Run] = []
    rows: dict[str, list[Tensor]] = {}
    for b in range(len(given["tokens"])):
        r, alone = Run(c, w, removed, gated=removed is None), Run(c, w, removed or {})
        ids, robot = given["tokens"][b, given["token_mask"][b]], int(given.get("embodiment_id", torch.zeros(99))[b])
        a, e, t = given["actions"][b].double(), given["noise"][b].double(), given["time"][b].double()
        h = r.prefix(given["images"][b].double(), given["image_mask"][b], ids)
        v = r.velocity(h, t * e + (1 - t) * a, given["time"][b], robot)
        square = (v - (e - a)) ** 2
        mask = given["action_loss_mask"][b] if "action_loss_mask" in given else torch.ones(len(a))
        made = {"velocity": v, "loss_elementwise": square, "loss": (square.mean(1) * mask).mean(), "loss_unmasked": square.mean()}
        x, steps, h = given["sample_noise"][b].double(), [], h.detach()
        for time in times(c):
            steps.append(alone.velocity(h, x, time, robot))
            x = x - steps[-1] / c["flow"]["num_steps"]
        for name, value in (made | {"sample_velocity": torch.stack(steps), "actions": x}).items():
            rows.setdefault(name, []).append(value)
        runs.append(r)
    return {name: torch.stack(values) for name, values in rows.items()}, runs


def write_golden(folder: Path, c: dict[str, Any], seed: int, lengths: tuple[int, ...]) -> None:
    """A folder of the golden format; gates are gradients of really inserted scalars."""
    folder.mkdir(parents=True, exist_ok=True)
    w, given = Gentle(seed), inputs(c, seed + 1, lengths)
    out, runs = run(c, w, given)
    values: dict[str, dict[str, list[float]]] = {}
    for b, r in enumerate(runs):
        gradients = torch.autograd.grad(out["loss"][b], list(r.alphas.values()), allow_unused=True, retain_graph=True)
        for (stack, i), g in zip(r.alphas, gradients, strict=True):
            values.setdefault(stack, {}).setdefault(str(i), []).append(0.0 if g is None else float(g))
    P = (c["vision"]["image_size"] // c["vision"]["patch_size"]) ** 2
    valid = torch.cat([given["image_mask"].repeat_interleave(P, 1), given["token_mask"]], 1)
    for name in runs[0].seen:
        if name.startswith("language"):
            out[name] = torch.zeros(*valid.shape, c["language"]["hidden_size"], dtype=torch.float64)
            for b, r in enumerate(runs):
                out[name][b, valid[b]] = r.seen[name][0].detach()
        else:
            out[name] = torch.stack([torch.stack(r.seen[name]) if name.startswith("vision") else r.seen[name][0] for r in runs])
    if c["model"] == "gigabrain0":
        out["language_logits"] = out["language.final"][:, -c["max_text_len"] :] @ runs[0].table.T
        w("weights", f"{MODEL}.lm_head.weight", *runs[0].table.shape).copy_(runs[0].table)
    else:
        del out["loss_unmasked"]
    counts = {stack: c[stack]["num_blocks"] for stack in ("vision", "language", "action")}
    removed = {f"{s}_last": {s: [n - 1]} for s, n in counts.items()} | {"odd": {s: list(range(1, n, 2)) for s, n in counts.items()}}
    dropped: Tensors = {}
    for name, gone in removed.items():
        left = run(c, w, given, gone)[0]
        dropped |= {f"{name}.{what}": left[what] for what in ("loss", "actions")}
    single = lambda tensors: {k: v.detach().float().contiguous() for k, v in tensors.items()}  # noqa: E731
    more = {"language.valid_mask": valid, "sample_time": times(c)}
    save_file(single(out) | more, folder / "outputs.safetensors")
    save_file({k: v.contiguous() for k, v in given.items()}, folder / "inputs.safetensors")
    save_file(single(dropped), folder / "drops.safetensors")
    save_file(single(w.parts["weights"]), folder / "weights.safetensors")
    drops = [{"name": name, "removed_blocks": gone} for name, gone in removed.items()]
    for name, value in {"config": c, "drops": {"drops": drops}, "gates": {"values": values}}.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
