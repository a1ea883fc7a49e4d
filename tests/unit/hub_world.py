"""An OpenVLA-OFT checkpoint as its authors publish it: official names written out by hand, full depth, narrow width."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from dtr.policies.bounds import Bounds

DINO, SIGLIP, LANGUAGE = 24, 27, 32
D, V, S, L, A = 8, 12, 10, 16, 24  # widths: DINOv2, SigLIP (V its MLP too), MLPs, language, action head
CONFIG: dict[str, Any] = {
    "image_size": 16,
    "patch_size": 8,
    "chunk": 8,
    "dino": {"depth": DINO, "width": D, "heads": 2, "mlp": S, "class_token": True, "registers": 4, "layer_scale": 1e-5},
    "siglip": {"depth": SIGLIP, "width": V, "heads": 2, "mlp": S},
    "language": {"depth": LANGUAGE, "width": L, "heads": 2, "mlp": S, "vocab": 40},
    "action": {"depth": 2, "hidden": A},
}
WORDS = {"kind": "words", "words": ["put", "the", "bowl"], "first": 6, "unknown": 5}
HUB: dict[str, Any] = {
    "id": "somebody/openvla-oft-libero",
    "revision": "0123456789abcdef0123456789abcdef01234567",
    "role": "finetuned",
    "parts": {
        "weights": ["model*.safetensors*"],
        "action_head": ["action_head--*_checkpoint.pt"],
        "proprio_projector": ["proprio_projector--*_checkpoint.pt"],
    },
    "files": ["dataset_statistics.json"],
    "prompt": "question",
    "normalisation": "q99",
    "horizon": 8,
    "statistics": {"file": "dataset_statistics.json", "key": "libero_spatial_no_noops"},
    "tokenizer": WORDS,
}
ACTIONS = Bounds((-0.7,) * 7, (0.9,) * 7, (True,) * 6 + (False,))
PROPRIO = Bounds((-1.0,) * 8, (1.5,) * 8, (True,) * 8)


def entry(**change: Any) -> dict[str, Any]:
    """An entry of `policies`; `change` goes into its `hub`."""
    return {"class": "openvla_oft", "calibration": "four", "model": CONFIG, "hub": {**HUB, **change}}


def both(name: str, out: int, *inner: int) -> dict[str, tuple[int, ...]]:
    """Weight and bias of a linear map, or of a norm."""
    return {f"{name}.weight": (out, *inner), f"{name}.bias": (out,)}


def tower(name: str, depth: int, width: int, scaled: bool) -> dict[str, tuple[int, ...]]:
    """timm's names."""
    shapes = {**both(f"{name}.patch_embed.proj", width, 3, 8, 8), f"{name}.pos_embed": (1, 4, width), **both(f"{name}.norm", width)}
    for i in range(depth):
        b = f"{name}.blocks.{i}"
        shapes |= both(f"{b}.norm1", width) | both(f"{b}.attn.qkv", 3 * width, width) | both(f"{b}.attn.proj", width, width)
        shapes |= both(f"{b}.norm2", width) | both(f"{b}.mlp.fc1", S, width) | both(f"{b}.mlp.fc2", width, S)
        shapes |= {f"{b}.ls{k}.scale_factor": (width,) for k in (1, 2)} if scaled else {}
    return shapes


def shapes() -> dict[str, dict[str, tuple[int, ...]]]:
    """Part -> official key -> shape."""
    vision, features = "vision_backbone", D + V
    vlm = tower(f"{vision}.featurizer", DINO, D, True) | tower(f"{vision}.fused_featurizer", SIGLIP, V, False)
    vlm |= {f"{vision}.featurizer.cls_token": (1, 1, D), f"{vision}.featurizer.reg_token": (1, 4, D)}
    pool = f"{vision}.fused_featurizer.attn_pool"
    vlm |= {f"{pool}.latent": (1, 1, V)} | both(f"{pool}.q", V, V) | both(f"{pool}.kv", 2 * V, V) | both(f"{pool}.proj", V, V)
    vlm |= both(f"{pool}.norm", V) | both(f"{pool}.mlp.fc1", S, V) | both(f"{pool}.mlp.fc2", V, S)
    vlm |= both("projector.fc1", 4 * features, features) | both("projector.fc2", L, 4 * features) | both("projector.fc3", L, L)
    vlm |= {"language_model.model.embed_tokens.weight": (40, L), "language_model.lm_head.weight": (40, L)}
    vlm |= {"language_model.model.norm.weight": (L,)}
    for i in range(LANGUAGE):
        b = f"language_model.model.layers.{i}"
        vlm |= {f"{b}.self_attn.{x}_proj.weight": (L, L) for x in "qkvo"}
        vlm |= {f"{b}.mlp.gate_proj.weight": (S, L), f"{b}.mlp.up_proj.weight": (S, L), f"{b}.mlp.down_proj.weight": (L, S)}
        vlm |= {f"{b}.{x}_layernorm.weight": (L,) for x in ("input", "post_attention")}
    head = both("model.layer_norm1", 7 * L) | both("model.fc1", A, 7 * L) | both("model.layer_norm2", A) | both("model.fc2", 7, A)
    for i in range(2):
        head |= both(f"model.mlp_resnet_blocks.{i}.ffn.0", A) | both(f"model.mlp_resnet_blocks.{i}.ffn.1", A, A)
    return {"weights": vlm, "action_head": head, "proprio_projector": both("fc1", L, 8) | both("fc2", L, L)}


def tensors(dtype: torch.dtype = torch.float32) -> dict[str, dict[str, Tensor]]:
    """Weights that all differ."""
    random = torch.Generator().manual_seed(0)
    return {part: {key: torch.randn(s, generator=random).to(dtype) for key, s in keys.items()} for part, keys in shapes().items()}


def without(weights: dict[str, Tensor], layers: tuple[int, ...], anew: bool = False) -> dict[str, Tensor]:
    """Only these language layers, by original number or numbered `anew`."""
    left = {}
    for key, tensor in weights.items():
        match = re.fullmatch(r"(language_model\.model\.layers)\.(\d+)\.(.*)", key)
        if match is None:
            left[key] = tensor
        elif int(match[2]) in layers:
            left[f"{match[1]}.{layers.index(int(match[2])) if anew else match[2]}.{match[3]}"] = tensor
    return left


def write(folder: Path, parts: dict[str, dict[str, Tensor]], shards: int = 1, prefix: str = "module.") -> Path:
    """The files of a repository."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = list(parts["weights"])
    if shards == 1:
        save_file(parts["weights"], folder / "model.safetensors")
    else:
        home = {key: f"model-{k % shards + 1:05d}-of-{shards:05d}.safetensors" for k, key in enumerate(keys)}
        for name in set(home.values()):
            save_file({key: parts["weights"][key] for key in keys if home[key] == name}, folder / name)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": home}))
    for part in ("action_head", "proprio_projector"):
        if part in parts:
            torch.save({prefix + key: t for key, t in parts[part].items()}, folder / f"{part}--150000_checkpoint.pt")
    numbers = {"action": ACTIONS.to_dict(), "proprio": {k: v for k, v in PROPRIO.to_dict().items() if k != "mask"}, "num_trajectories": 432}
    (folder / "dataset_statistics.json").write_text(json.dumps({"libero_spatial_no_noops": numbers}))
    return folder
