"""Checkpoints of the three flow policies as their authors publish them: official names written out by hand, full depth, narrow width."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from hub_world import both
from narrow_flow import FULL
from safetensors.torch import save_file
from torch import Tensor

from dtr.policies.tokenizer import FETCHED

PINNED = "0123456789abcdef0123456789abcdef01234567"
DEPTHS = {"pi05": (27, 18), "gigabrain0": (27, 26), "lingbot_vla": (32, 36)}
V, D, E, M, H, K, VOCAB, A, ROBOTS = 8, 8, 8, 12, 2, 4, 48, 9, 3  # tower (of S x S pixels), language, expert, MLPs, heads, words, actions
S = 28
Shapes = dict[str, tuple[int, ...]]


def config(name: str, **change: Any) -> Any:
    """The released configuration at its depth, a few numbers wide; one key head."""
    full = FULL[name]
    stream = {"heads": H, "kv_heads": 1, "head_dim": K, "scale": float(K), "mlp": M}
    own = {"state_dim": A} if name == "lingbot_vla" else {"text_scale": 0.0}
    tower = {"width": V, "heads": H, "mlp": M, "image_size": S} | ({"window": S} if name == "lingbot_vla" else {})
    return replace(
        full,
        vision=replace(full.vision, **(tower | ({"heads": 1} if name == "lingbot_vla" else {}))),
        language=replace(full.language, **stream, width=D),
        action=replace(full.action, **stream, width=E),
        **{"vocab": VOCAB, "chunk": 4, "action_dim": A, "max_text": 40, **own, **change},
    )


def weight(name: str, *shape: int) -> Shapes:
    """A linear map without bias, or an RMS norm."""
    return {f"{name}.weight": shape}


def siglip(name: str, depth: int) -> Shapes:
    """transformers' names."""
    found = both(f"{name}.embeddings.patch_embedding", V, 3, 14, 14) | weight(f"{name}.embeddings.position_embedding", (S // 14) ** 2, V)
    for i in range(depth):
        b = f"{name}.encoder.layers.{i}"
        found |= both(f"{b}.layer_norm1", V) | both(f"{b}.layer_norm2", V) | both(f"{b}.mlp.fc1", M, V) | both(f"{b}.mlp.fc2", V, M)
        for x in ("q_proj", "k_proj", "v_proj", "out_proj"):
            found |= both(f"{b}.self_attn.{x}", V, V)
    return found | both(f"{name}.post_layernorm", V)


def decoder(name: str, depth: int, width: int, norm: Any, bias: bool = False) -> Shapes:
    """transformers' names of Gemma and Qwen; `norm`: what a norm of this name and width holds."""
    found: Shapes = {}
    for i in range(depth):
        b, linear = f"{name}.layers.{i}", both if bias else weight
        found |= norm(f"{b}.input_layernorm", width) | norm(f"{b}.post_attention_layernorm", width)
        found |= linear(f"{b}.self_attn.q_proj", H * K, width) | weight(f"{b}.self_attn.o_proj", width, H * K)
        found |= linear(f"{b}.self_attn.k_proj", K, width) | linear(f"{b}.self_attn.v_proj", K, width)
        found |= weight(f"{b}.mlp.gate_proj", M, width) | weight(f"{b}.mlp.up_proj", M, width) | weight(f"{b}.mlp.down_proj", width, M)
    return found


def dense(name: str, width: int) -> Shapes:
    """An adaptive norm of three parts."""
    return both(f"{name}.dense", 3 * width, width)


def steered(name: str, width: int) -> Shapes:
    """LingBot's adaptive norm."""
    return weight(name, width) | both(f"{name}.gamma", width, width) | both(f"{name}.beta", width, width)


def pi05() -> Shapes:
    """openpi's names; embed_tokens is not written."""
    vlm, expert = "paligemma_with_expert.paligemma", "paligemma_with_expert.gemma_expert"
    towers, layers = DEPTHS["pi05"]
    found = siglip(f"{vlm}.model.vision_tower.vision_model", towers) | both(f"{vlm}.model.multi_modal_projector.linear", D, V)
    found |= decoder(f"{vlm}.model.language_model", layers, D, weight) | weight(f"{vlm}.model.language_model.norm", D)
    found |= weight(f"{vlm}.lm_head", VOCAB, D) | decoder(f"{expert}.model", layers, E, dense) | dense(f"{expert}.model.norm", E)
    found |= weight(f"{expert}.lm_head", VOCAB, E) | both("action_in_proj", E, A) | both("action_out_proj", A, E)
    return found | both("time_mlp_in", E, E) | both("time_mlp_out", E, E)


def gigabrain0() -> Shapes:
    """giga-models' names: the streams are numbered behind the module."""
    model = "paligemma_with_expert"
    towers, layers = DEPTHS["gigabrain0"]
    found = siglip(f"{model}.vision_tower", towers) | both(f"{model}.multi_modal_projector.linear", D, V)
    found |= weight(f"{model}.embed_tokens", VOCAB, D) | weight(f"{model}.lm_head", VOCAB, D)
    for i in range(layers):
        b = f"{model}.layers.{i}"
        for s, width in ((0, D), (1, E)):
            for x, out, inner in (("q", H * K, width), ("k", K, width), ("v", K, width), ("o", width, H * K)):
                found |= weight(f"{b}.self_attn.{x}_proj.{s}", out, inner)
            found |= weight(f"{b}.mlps.{s}.gate_proj", M, width) | weight(f"{b}.mlps.{s}.up_proj", M, width)
            found |= weight(f"{b}.mlps.{s}.down_proj", width, M)
            for norm in ("post_attention", "post_feedforward"):
                found |= weight(f"{b}.{norm}_layernorms.{s}", width)
            for norm in ("input", "pre_feedforward"):
                found |= (dense if s else weight)(f"{b}.{norm}_layernorms.{s}", width)
    found |= weight(f"{model}.norms.0", D) | dense(f"{model}.norms.1", E) | both("time_mlp_in", E, E) | both("time_mlp_out", E, E)
    found |= {"action_in_proj.weight": (ROBOTS, A, E), "action_in_proj.bias": (ROBOTS, E)}
    return found | {"action_out_proj.weight": (ROBOTS, E, A), "action_out_proj.bias": (ROBOTS, A)}


def lingbot_vla() -> Shapes:
    """lingbot-vla's names, with the prefix that it writes."""
    vlm, expert = "qwenvl_with_expert.qwenvl", "qwenvl_with_expert.qwen_expert"
    towers, layers = DEPTHS["lingbot_vla"]
    found = weight(f"{vlm}.visual.patch_embed.proj", V, 3, 2, 14, 14)
    for i in range(towers):
        b = f"{vlm}.visual.blocks.{i}"
        found |= weight(f"{b}.norm1", V) | weight(f"{b}.norm2", V) | both(f"{b}.attn.qkv", 3 * V, V) | both(f"{b}.attn.proj", V, V)
        found |= both(f"{b}.mlp.gate_proj", M, V) | both(f"{b}.mlp.up_proj", M, V) | both(f"{b}.mlp.down_proj", V, M)
    found |= weight(f"{vlm}.visual.merger.ln_q", V) | both(f"{vlm}.visual.merger.mlp.0", 4 * V, 4 * V)
    found |= both(f"{vlm}.visual.merger.mlp.2", D, 4 * V) | weight(f"{vlm}.model.embed_tokens", VOCAB, D)
    found |= decoder(f"{vlm}.model", layers, D, weight, bias=True) | weight(f"{vlm}.model.norm", D)
    found |= decoder(f"{expert}.model", layers, E, steered, bias=True) | weight(f"{expert}.model.norm", E)
    found |= both("state_proj", E, A) | both("action_in_proj", E, A) | both("action_out_proj", A, E)
    found |= both("action_time_mlp_in", E, 2 * E) | both("action_time_mlp_out", E, E)
    return {f"model.{key}": shape for key, shape in found.items()}


SHAPES: Mapping[str, Any] = {"pi05": pi05, "gigabrain0": gigabrain0, "lingbot_vla": lingbot_vla}


def tensors(name: str) -> dict[str, Tensor]:
    """Weights that all differ; what is one weight under two names is equal."""
    random = torch.Generator().manual_seed(0)
    found = {key: 0.3 * torch.randn(shape, generator=random) for key, shape in SHAPES[name]().items()}
    if name == "gigabrain0":
        found["paligemma_with_expert.lm_head.weight"] = found["paligemma_with_expert.embed_tokens.weight"].clone()
    return found


def dropped(weights: Mapping[str, Tensor], layers: tuple[int, ...], layer: str, rest: tuple[str, ...]) -> dict[str, Tensor]:
    """Without these layers of the language stream: all that stands under `layer` (with {i}) but what holds one of `rest`."""
    gone = tuple(layer.format(i=i) for i in layers)
    return {key: t for key, t in weights.items() if not key.startswith(gone) or any(name in key for name in rest)}


STATS: dict[str, Any] = {
    "state": {"mean": [0.1 * k for k in range(8)], "std": [0.5 + 0.1 * k for k in range(8)], "q01": [-1.0] * 8, "q99": [1.5] * 8},
    "actions": {"mean": [0.05] * 7, "std": [0.2] * 6 + [0.9], "q01": [-0.8] * 6 + [-1.0], "q99": [0.9] * 6 + [1.0]},
}


def padded(stats: Mapping[str, Any], size: int = 32) -> dict[str, Any]:
    """The same with dimensions that never move behind it."""
    return {what: {name: [*numbers, *[0.0] * (size - len(numbers))] for name, numbers in values.items()} for what, values in stats.items()}


def write_statistics(name: str, folder: Path) -> str:
    """Upstream's own file; its name."""
    if name == "gigabrain0":
        wide = padded(STATS)
        values: Any = {"norm_stats": {"observation.state": wide["state"], "action": wide["actions"]}}
    else:
        values = {"norm_stats": STATS if name == "pi05" else padded(STATS)}
    (folder / "norm_stats.json").write_text(json.dumps(values))
    return "norm_stats.json"


def write_tokenizer(source: str) -> None:
    """A small fast tokenizer where `dtr fetch` would have put it, below the working directory."""
    import tokenizers

    words = ["<unk>", "task", "Task", "State", ":", ",", ";", "Action", "put", "the", "bowl", "\n", "bos", "<", ">", *map(str, range(30))]
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"\w+|\n|[^\w\s]"), "isolated"),
            tokenizers.pre_tokenizers.Split(" ", "removed"),
        ]
    )
    folder = FETCHED / f"{source}@{PINNED}"
    folder.mkdir(parents=True)
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}')


PROMPTS = {"pi05": "text_state", "gigabrain0": "text_state", "lingbot_vla": "text"}
PROCESSORS: Mapping[str, Any] = {
    "pi05": {},
    "gigabrain0": {"embodiment": 1},
    "lingbot_vla": {"pad": 0, "image_path": "openpi"},  # Qwen's padding has no place in the narrow table
}


def entry(name: str, processor: Mapping[str, Any] | None = None, **change: Any) -> dict[str, Any]:
    """An entry of `policies`; `change` goes into its `hub`, `processor` over what the class needs."""
    hub = {
        "id": f"somebody/{name}-libero",
        "revision": PINNED,
        "role": "finetuned",
        "parts": {"weights": ["*.safetensors*"]},
        "prompt": PROMPTS[name],
        "normalisation": "meanstd" if name == "lingbot_vla" else "q99",
        "horizon": 4,
        "statistics": {"file": "norm_stats.json"},
        "tokenizer": {"id": "some/words", "revision": PINNED},
        **change,
    }
    chosen = {**PROCESSORS[name], **(processor or {})}
    return {"class": name, "calibration": "four", "model": config(name).to_dict(), "processor": chosen, "hub": hub}


def write(name: str, folder: Path, weights: Mapping[str, Tensor], prefix: str = "", shards: int = 1) -> Path:
    """The files of a repository."""
    folder.mkdir(parents=True, exist_ok=True)
    named = {prefix + key: tensor for key, tensor in weights.items()}
    if shards == 1:
        save_file(named, folder / "model.safetensors")
    else:
        home = {key: f"model-{k % shards + 1:05d}-of-{shards:05d}.safetensors" for k, key in enumerate(named)}
        for file in set(home.values()):
            save_file({key: named[key] for key in named if home[key] == file}, folder / file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": home}))
    write_statistics(name, folder)
    return folder
