"""Language rewriting, and instruction modes: what a policy is told. The task stays what it is.

    level 1   a polite frame around the same words          level 4   both kinds of other words in a frame
    level 2   other verbs                                   level 5   the same after a sentence that says nothing of the task
    level 3   other nouns

LIBERO-Plus lets a language model rewrite (32 to 50 texts a task); these are fixed tables, so that nothing is generated and all can be read.
A policy with a word list of its own does not know most of the new words: for it, levels 2 to 5 ask what it does without them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from dtr.sim.perturbations.variant import Perturbation

VERBS = {
    "pick up": ("grab", "take hold of", "lift"),
    "pick": ("grab", "take"),
    "put": ("set", "lay", "leave"),
    "place": ("set", "deposit", "lay down"),
    "open": ("pull open", "slide open"),
    "close": ("shut", "push shut"),
    "turn on": ("switch on", "start"),
    "turn off": ("switch off",),
    "push": ("shove", "slide"),
}
NOUNS = {
    "crate": ("bin", "container"),
    "plate": ("dish", "flat disc"),
    "milk": ("milk carton", "carton"),
    "cereal": ("box of cereal", "breakfast package"),
    "can": ("tin", "drink"),
    "bread": ("loaf", "baked good"),
    "block": ("brick", "cuboid"),
    "bowl": ("round vessel", "mixing dish"),
    "mug": ("cup", "drinking vessel"),
    "basket": ("hamper", "carrier"),
    "stove": ("cooker", "cooking appliance"),
    "cabinet": ("cupboard", "storage unit"),
    "drawer": ("sliding tray", "compartment"),
    "bottle": ("flask", "glass container"),
    "rack": ("stand", "holder"),
    "microwave": ("oven", "heating appliance"),
    "moka pot": ("coffee maker", "stovetop pot"),
    "book": ("volume", "printed work"),
    "caddy": ("organiser", "desk holder"),
    "ramekin": ("small pot", "baking cup"),
}
FRAMES = ("please {}", "could you {}", "robot, {}", "would you mind this: {}", "i would like you to {}", "{}, please", "{} now, gently")
OPENINGS = (
    "the guests will be here in ten minutes.",
    "i have just cleaned this place and it looks great.",
    "it has been a long day and my hands are full.",
    "we will need the room for something else later.",
    "my grandmother taught me to keep things tidy.",
)


def rewrite(text: str, perturbation: Perturbation, rng: np.random.Generator) -> str:
    """`text` in other words: (category, level, seed, task, initial state) -> one sentence, or two at level 5."""
    level = perturbation.level
    if level in (2, 4, 5):
        text = replaced(text, VERBS, rng)
    if level in (3, 4, 5):
        text = replaced(text, NOUNS, rng)
    if level in (1, 4):
        text = str(rng.choice(FRAMES)).format(text)
    return f"{rng.choice(OPENINGS)} {text}" if level == 5 else text


def replaced(text: str, words: Mapping[str, Sequence[str]], rng: np.random.Generator) -> str:
    """Every phrase of the table by one of its others, the same one throughout."""
    chosen = {phrase: str(rng.choice(others)) for phrase, others in words.items()}
    phrases = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    return re.sub(rf"\b({phrases})\b", lambda match: chosen[match.group()], text)


def instructed(mode: str, text: str, others: Sequence[str], rng: np.random.Generator) -> str:
    """What is told under an instruction mode; `others`: the instructions of the suite. One alone is swapped for nothing."""
    if mode == "blank":
        return ""
    if mode == "swapped":
        choices = sorted({other for other in others if other != text})
        return str(rng.choice(choices)) if choices else ""
    words = text.split()
    while len(set(words)) > 1:
        mixed = " ".join(rng.permutation(words))
        if mixed != text:
            return mixed
    return text
