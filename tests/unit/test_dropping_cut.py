"""The grammar of cuts: every cut has one spelling, and every misspelling is answered with the nearest name."""

from __future__ import annotations

import random

import pytest

from dtr.dropping.cut import COMPONENTS, METRICS, SELECTIONS, SUBLAYERS, Cut, Part, parse_cut
from dtr.errors import UnknownName


def random_part(rng: random.Random) -> Part:
    target = rng.choice([*COMPONENTS, "vision.dino", "vision.siglip"])
    rule = rng.choice([*SELECTIONS, *METRICS, "keep"])
    sublayer = rng.choice([None, *SUBLAYERS])
    if rule in METRICS:
        return Part(target, rule, count=rng.randint(1, 40), sublayer=sublayer)
    keep = tuple(sorted(rng.sample(range(33), rng.randint(1, 9)))) if rule == "keep" else ()
    return Part(target, rule, keep=keep, sublayer=sublayer)


def test_round_trip_of_random_cuts() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        cut = Cut(tuple(dict.fromkeys(random_part(rng) for _ in range(rng.randint(0, 4)))))
        assert parse_cut(str(cut)) == cut
        assert str(parse_cut(str(cut))) == str(cut)


def test_a_cut_is_a_path_part() -> None:
    rng = random.Random(1)
    assert all(set(str(random_part(rng))) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.+") for _ in range(200))


def test_whatever_parses_is_spelled_the_same() -> None:
    """Mutations of good cuts either fail with UnknownName or are themselves spelled canonically."""
    rng = random.Random(2)
    for _ in range(5000):
        text = list(str(Cut((random_part(rng),))))
        for _ in range(rng.randint(1, 3)):
            text[rng.randrange(len(text))] = rng.choice("abef0159-_+. ")
        try:
            cut = parse_cut("".join(text))
        except UnknownName:
            continue
        assert str(cut) == "".join(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("none", ()),
        ("language-half", (Part("language", "half"),)),
        ("language-half-mlp", (Part("language", "half", sublayer="mlp"),)),
        ("language-gateprobe-9-mlp", (Part("language", "gateprobe", count=9, sublayer="mlp"),)),
        ("language-keep-0_5", (Part("language", "keep", keep=(0, 5)),)),
        ("language-gateprobe-9+vision.dino-ends", (Part("language", "gateprobe", count=9), Part("vision.dino", "ends"))),
        ("action-leave_one_out-1", (Part("action", "leave_one_out", count=1),)),
    ],
)
def test_reading(text: str, parts: tuple[Part, ...]) -> None:
    assert parse_cut(text).parts == parts


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("langage-half", "did you mean 'language'"),
        ("language-hlaf", "did you mean 'language-half'"),
        ("language-gatprobe-9", "did you mean 'gateprobe'"),
        ("language-gateprobe", "how many blocks go"),
        ("language-gateprobe-0", "how many blocks go"),
        ("language-gateprobe-09", "how many blocks go"),
        ("language-gateprobe-9-mpl", "unknown cut"),
        ("language-keep-5_0", "language-keep-0_5"),
        ("language-keep-5_5", "language-keep-5"),
        ("language-keep-", "unknown cut"),
        ("language-half+language-half", "twice"),
        ("language-half+", "unknown cut"),
        ("none+language-half", "unknown cut"),
        ("vision.-half", "unknown component"),
        ("half", "did you mean"),
        ("", "unknown cut"),
    ],
)
def test_misspelt(text: str, answer: str) -> None:
    with pytest.raises(UnknownName, match="unknown") as caught:
        parse_cut(text)
    assert answer in str(caught.value)
    assert "\n" not in str(caught.value)


def test_metrics_needed() -> None:
    assert parse_cut("language-half").metrics == ()
    assert parse_cut("language-gateprobe-9+vision-gateprobe-3+action-leave_one_out-1").metrics == ("gateprobe", "leave_one_out")
    assert parse_cut("language-gateprobe-9-mlp+vision-gateprobe-2+action-gateprobe-1-mlp").metrics == ("gateprobe.mlp", "gateprobe")
