"""Verb `checkpoint`: the policy that everything starts from. At embedded scale it is trained here, from random weights.

    {"name": "openvla_oft", "config": {... the policy's dimensions, vocab may be left out ...}, "processor": {"prompt": "{instruction}"}}

Its words are those of the data's instructions and of --words, so that what is taught later can be said with the vocabulary of the
checkpoint. Its normalisation is that of the data. All of it is stored in the policy file.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from dtr.data.dataset import Dataset
from dtr.data.pictures import read_data
from dtr.errors import BadConfig
from dtr.policies.base import Policy
from dtr.policies.bounds import Bounds
from dtr.policies.processor import Processor
from dtr.policies.registry import build, policy_class, processor_class
from dtr.policies.tokenizer import WordTokenizer
from dtr.records import read_given
from dtr.recovery.batches import Rows, check, fitted
from dtr.recovery.fleet import working
from dtr.recovery.recipe import Recipe, read_recipe
from dtr.recovery.recover import add_training_arguments, train_and_save
from dtr.recovery.team import check_size

UNKNOWN, FIRST_WORD = 5, 6
"""Token ids; those below are the processors' own."""


def newborn(settings: Mapping[str, Any], data: Dataset, rows: Rows, sentences: Sequence[str], seed: int) -> tuple[Policy, Processor]:
    """A policy with random weights and its processor: vocabulary of `sentences` and the data, statistics of `rows` of the data."""
    try:
        name, config = settings["name"], json.loads(json.dumps(settings["config"]))
        options, kind = dict(settings.get("processor", {})), policy_class(name)
        speaker = processor_class(kind.processor_kind)
        table = config[kind.vocab_section] if kind.vocab_section else config
    except (KeyError, TypeError) as error:
        raise BadConfig(f"--config must have name, config and config.language, got {settings!r:.120} ({error}): correct it.") from error
    tokenizer = WordTokenizer.of([speaker.vocabulary(options), *sentences, *data.instructions], FIRST_WORD, UNKNOWN)
    needed = FIRST_WORD + len(tokenizer.words)
    if table.setdefault("vocab", needed) < needed:
        raise BadConfig(f"config: vocab must be at least {needed} for these words, got {table['vocab']}: leave it out.")
    policy = build(name, config, seed)
    try:
        processor = speaker.newborn(policy.config, tokenizer, (unset(data.actions.shape[1]), unset(data.state.shape[1])), options)
    except TypeError as error:
        raise BadConfig(f"--config: processor has a field that is none of a processor's ({error}): correct it.") from error
    check(data, processor, policy.config.images)
    return policy, fitted(processor, data, rows)


def unset(dimensions: int) -> Bounds:
    """Bounds before any data were seen."""
    return Bounds((0.0,) * dimensions, (1.0,) * dimensions, (True,) * dimensions)


def read_settings(text: str) -> Mapping[str, Any]:
    """JSON text, or the path of a JSON or YAML file."""
    value: Mapping[str, Any] = read_given(text, "--config", yaml=True)
    return value


def image_size(settings: Mapping[str, Any]) -> int:
    """Side of the pictures that the policy will read, in pixels."""
    try:
        config = settings["config"]
        return int(config["image_size"] if "image_size" in config else config["vision"]["image_size"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadConfig(f"--config must say config.image_size, got {settings!r:.120}: add it, or pass --image-size.") from error


def run(args: argparse.Namespace) -> None:
    """The verb."""
    started, recipe, settings = time.time(), read_recipe(args.recipe), read_settings(args.config)
    check_size(args.processes, recipe.shards)
    with working(args, recipe.shards) as here:
        if here:
            pretrain(args, started, recipe, settings)


def pretrain(args: argparse.Namespace, started: float, recipe: Recipe, settings: Mapping[str, Any]) -> None:
    """The verb, in every process that trains."""
    data = read_data(args.data, args.image_size or image_size(settings), args.pictures, args.processes)
    rows, _ = data.hold_out(recipe.val_fraction, args.seed)
    policy, processor = newborn(settings, data, rows, [args.words], args.seed)
    provenance = {"stage": "checkpoint", "data": data.sha256, "recipe": recipe.to_dict(), "seed": args.seed}
    train_and_save(args, started, policy, processor, data, recipe, provenance)


def add_parser(verbs: Any) -> None:
    """`dtr checkpoint`."""
    p = verbs.add_parser("checkpoint", help="make the policy that everything starts from (resumable)")
    p.add_argument("--config", required=True, help="JSON of {name, config, processor}, or the path of a JSON or YAML file")
    p.add_argument("--words", default="", help="text whose words the policy must know, beside those of the data")
    add_training_arguments(p)
    p.set_defaults(run=run)
