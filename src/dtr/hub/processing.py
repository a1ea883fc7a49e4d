"""The processor of a published checkpoint: its tokenizer, prompt, pictures and normalisation, from the manifest and the files beside it.

What a class of policies was trained with stands in SPOKEN, by class and prompt; an entry's `processor` may give other values. The weights
tell none of it, and a wrong one costs all success without a word; what the checkpoint's own files state of it is compared and refused.

                  prompt                                                       pictures    gripper
    openvla_oft   "In: What action should the robot take to ...?"              oft         1 = open, decided at 0.5
    pi05          text: BOS, the instruction, and "\\n" encoded apart           openpi      raw
                  text_state: "Task: ..., State: 12 200 ...;\\nAction: "
                  text_padded_state: the same, 32 numbers (lerobot's port)
    gigabrain0    text_state: in lower case, "...;\\n"                          gigabrain   raw
    lingbot_vla   text: the words "<bos>" and "\\n" around it, state a token    lingbot     sign

openpi, GigaBrain-0 and LingBot-VLA see three images; LIBERO has two cameras, so the third is masked.
Sources: facts of `dtr.policies.flow_processor`; openpi `libero_policy.py`; lingbot-vla `experiment/libero`. GigaBrain-0 publishes no
LIBERO: its masked third camera and its raw gripper are openpi's, by our choice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dtr.errors import BadConfig
from dtr.hub.manifest import Manifest
from dtr.hub.statistics import Pair, measured, read_statistics_file
from dtr.policies.bounds import KINDS
from dtr.policies.flow_processor import PROMPT
from dtr.policies.image_path import image_path
from dtr.policies.processor import EXACT, Processor
from dtr.policies.registry import policy_class, processor_class
from dtr.policies.tokenizer import PretrainedTokenizer, Tokenizer, read_tokenizer
from dtr.provenance import read_json

ACTION_NUMBERS, STATE_NUMBERS, CAMERAS = 7, 8, 2
"""LIBERO's, for policies whose own dimensions are padded."""
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""Mean and standard deviation of pixels: Qwen2.5-VL's preprocessor_config.json."""
STATED_KINDS = {"QUANTILES": "q99", "bounds_99_woclip": "q99", "MEAN_STD": "meanstd", "meanstd": "meanstd"}
DERIVED = ("tokenizer", "actions_bounds", "proprio_bounds", "image_size", "chunk", "action_dim", "padded_dim", "state_dim")
"""Fields of the processor that follow from something else; an entry's `processor` may give the others."""

_PI05 = {"image_path": "openpi"}
SPOKEN: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("openvla_oft", "question"): {"image_path": "oft"},
    ("pi05", "text"): {**_PI05, "state": "none", "prompt": "{instruction}", "end": "\n"},
    ("pi05", "text_state"): {**_PI05, "state": "text", "prompt": PROMPT},
    ("pi05", "text_padded_state"): {**_PI05, "state": "text", "prompt": PROMPT, "state_numbers": 32, "image_path": "lerobot"},
    ("gigabrain0", "text_state"): {
        "image_path": "gigabrain",
        "state": "text",
        "prompt": "Task: {instruction}, State: {state};\n",
        "lower": True,
        "lower_edge": True,
    },
    ("lingbot_vla", "text"): {
        "image_path": "lingbot",
        "state": "token",
        "prompt": "<bos>{instruction}\n",  # <bos> is no special token of Qwen's: three ordinary pieces of text
        "bos": -1,
        "pad": 151643,
        "pixel_mean": CLIP[0],
        "pixel_std": CLIP[1],
        "missing": 0.0,
        "gripper": "sign",
    },
}


def make_processor(entry: Mapping[str, Any], manifest: Manifest, config: Any, folder: Path, data: Sequence[Path]) -> Processor:
    """The processor of an entry of `policies`; `folder`: its files, `data`: demonstrations, for a base. BadConfig or BadCheckpoint."""
    if manifest.horizon != config.chunk:
        raise BadConfig(f"the manifest says a horizon of {manifest.horizon}, the model has {config.chunk}: correct one of them.")
    check_stated(manifest, folder)
    name = entry["class"]
    speaker = processor_class(policy_class(name).processor_kind)
    derived = padded(name, config) if speaker.kind == "flow" else {"image_size": config.image_size, "action_dim": config.action_dim}
    sizes = (derived["action_dim"], getattr(config, "proprio_dim", STATE_NUMBERS))
    actions, proprio = numbers_of(manifest, folder, data, sizes)
    chosen = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.get("processor", {}).items()}
    if wrong := sorted(set(chosen) & set(DERIVED)):
        raise BadConfig(f"processor.{wrong[0]} follows from the model or the checkpoint: leave it away.")
    fields: dict[str, Any] = {**derived, "chunk": config.chunk, **SPOKEN[name, manifest.prompt], **chosen}
    image_path(fields.get("image_path", EXACT))
    try:
        made: Any = speaker
        processor: Processor = made(tokenizer=tokenizer(manifest), actions_bounds=actions, proprio_bounds=proprio, **fields)
    except TypeError as error:
        raise BadConfig(f"`processor` has a field that the processor has not ({error}): correct the configuration.") from error
    processor.fits(config)
    return processor


def padded(name: str, config: Any) -> dict[str, Any]:
    """What follows from the configuration of a policy whose actions, words and images are padded."""
    fields = {
        "image_size": config.picture[-1],
        "action_dim": ACTION_NUMBERS,
        "padded_dim": config.action_dim,
        "text_tokens": config.max_text,
        "state_dim": getattr(config, "state_dim", 0),
    }
    return fields | ({"slots": config.images, "cameras": CAMERAS} if config.images > CAMERAS else {})


def numbers_of(manifest: Manifest, folder: Path, data: Sequence[Path], sizes: tuple[int, int]) -> Pair:
    """Statistics of the manifest's kind, with these numbers of actions and state."""
    kind = KINDS[manifest.normalisation]
    if "data" not in manifest.statistics:
        return read_statistics_file(folder / manifest.statistics["file"], manifest.statistics.get("key"), kind, sizes)
    pair = measured(data, kind)
    for what, found, wanted in zip(("action", "state"), pair, sizes, strict=True):
        if len(found.mask) != wanted:
            raise BadConfig(f"the demonstrations have {len(found.mask)} {what} numbers, the model {wanted}: name data of its robot.")
    return pair


def tokenizer(manifest: Manifest) -> Tokenizer:
    """The manifest's tokenizer, by default the checkpoint's own."""
    if "kind" in manifest.tokenizer:
        return read_tokenizer(manifest.tokenizer)
    source = manifest.sources[-1]
    return PretrainedTokenizer(source.id, source.pinned())


def stated(folder: Path) -> Iterator[tuple[Path, str, Any]]:
    """(file, what, value) of all that a checkpoint's own files say of its normalisation and horizon: lerobot's and LingBot's do."""
    path = folder / "config.json"
    values = read_json(path) if path.exists() else {}
    for what in ("ACTION", "STATE"):
        if what in values.get("normalization_mapping", {}):
            yield path, what, values["normalization_mapping"][what]
    if "chunk_size" in values:
        yield path, "chunk_size", values["chunk_size"]
    path = folder / "lingbotvla_cli.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, yaml.YAMLError) as error:
        raise BadConfig(f"{path} does not read ({error}): fetch it again.") from error
    for section, what in (("data", "norm_type"), ("train", "chunk_size")):
        if what in (values.get(section) or {}):
            yield path, what, values[section][what]


def check_stated(manifest: Manifest, folder: Path) -> None:
    """BadConfig when the checkpoint states another normalisation than the manifest, or another horizon where nothing is trained anew."""
    for path, what, value in stated(folder):
        if what == "chunk_size":
            if value != manifest.horizon and manifest.role != "base":
                raise BadConfig(f"{path} states {what} {value}, the manifest says a horizon of {manifest.horizon}: correct it.")
        elif (kind := STATED_KINDS.get(value)) != manifest.normalisation:
            known = f"which is {kind}" if kind else f"which is none of {', '.join(KINDS)}"
            raise BadConfig(f"{path} states {value} for {what}, {known}, the manifest says {manifest.normalisation}: correct it.")


def conventions(name: str, processor: Processor) -> dict[str, str]:
    """`prompt` and `normalisation` of a manifest for this processor; its other fields stand in the entry's `processor`."""
    prompts = [prompt for kind, prompt in SPOKEN if kind == name]

    def agrees(prompt: str) -> bool:
        said = {key: value for key, value in SPOKEN[name, prompt].items() if key in ("state", "prompt", "end", "state_numbers")}
        return all(getattr(processor, key) == value for key, value in said.items())

    return {"prompt": next(filter(agrees, prompts), prompts[0]), "normalisation": processor.actions_bounds.kind}


def chosen_fields(processor: Processor) -> dict[str, Any]:
    """Every field that an entry's `processor` may give, as JSON values."""
    values = {f.name: getattr(processor, f.name) for f in dataclasses.fields(processor) if f.name not in DERIVED}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
