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
    "place": ("set", "deposit", "lay"),
    "open": ("pull open",),
    "close": ("shut",),
    "turn on": ("switch on", "start"),
    "turn off": ("switch off",),
    "push": ("shove", "slide"),
}
NOUNS = {
    "crate": ("chest", "bin"),
    "plate": ("saucer", "platter"),
    "milk": ("milk carton",),
    "cereal": ("muesli", "breakfast flakes"),
    "can": ("tin",),
    "bread": ("loaf", "toast"),
    "block": ("brick", "cube"),
    "bowl": ("basin", "tureen"),
    "mug": ("cup", "beaker"),
    "basket": ("hamper", "carrier"),
    "stove": ("cooker", "hob"),
    "cabinet": ("cupboard", "sideboard"),
    "bottle": ("flask", "decanter"),
    "rack": ("stand",),
    "microwave": ("microwave oven",),
    "moka pot": ("coffee maker", "espresso pot"),
    "book": ("volume", "paperback"),
    "caddy": ("organiser", "desk tidy"),
    "ramekin": ("souffle dish",),
}
"""Other words for a thing, none of which could mean another thing that an instruction of ours or of LIBERO's names: a policy that took that
one would count as failed. (For a drawer there is none.) Plurals follow."""
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
    """Every phrase of the table, or its plural, by one of its others, the same one throughout."""
    chosen = {phrase: str(rng.choice(others)) for phrase, others in words.items()}
    phrases = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    return re.sub(rf"\b({phrases})(s?)\b", lambda match: chosen[match[1]] + match[2], text)


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
