"""The recipe: learning rates by hand, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import recovery_world as world

from dtr.errors import BadConfig, UnknownName
from dtr.recovery.recipe import LATER, Recipe, read_recipe

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas/recipe.schema.json").read_text())


def rates(**changes: object) -> list[float]:
    recipe = Recipe.from_dict({"steps": 8, "batch": 2, "lr": 1.0, **changes})
    return [recipe.rate(k) for k in range(8)]


def test_warm_up_reaches_the_rate_at_its_last_step() -> None:
    assert rates(warmup_steps=4) == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]


def test_linear_decay_begins_where_it_should_and_heads_for_the_final_rate() -> None:
    assert rates(decay="linear", decay_from=0.5, lr_final=0.2) == pytest.approx([1, 1, 1, 1, 1, 0.8, 0.6, 0.4])


def test_cosine_decay_is_half_way_down_in_the_middle() -> None:
    values = rates(decay="cosine")
    assert values[0] == 1
    assert values[4] == pytest.approx(0.5)
    assert values[6] == pytest.approx((1 - 2**-0.5) / 2)


def test_warm_up_and_decay_multiply() -> None:
    assert rates(warmup_steps=2, decay="linear")[:2] == pytest.approx([0.5, 7 / 8])


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"decay": "cosin"}, UnknownName, "did you mean 'cosine'"),
        ({"statistics": "dat"}, UnknownName, "did you mean 'data'"),
        ({"batch": 7}, BadConfig, "batch must be a multiple of shards"),
        ({"steps": 0}, BadConfig, "steps and report_every must be at least 1"),
        ({"lr": -1.0}, BadConfig, "lr and clip must be positive"),
        ({"ema": 1.0}, BadConfig, "ema must lie in"),
        ({"val_fraction": 1.0}, BadConfig, "val_fraction"),
        ({"lr_rate": 1.0}, BadConfig, "lr_rate is no field of Recipe"),
        ({"steps": "many"}, BadConfig, "recipe.steps must be int"),
    ],
)
def test_wrong_recipes_are_refused(changes: dict[str, object], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        world.recipe(**changes)


def test_a_recipe_is_read_from_text_and_from_a_file(tmp_path: Path) -> None:
    text = '{"steps": 3, "batch": 4, "lr": 0.1, "ema": 0.9}'
    (tmp_path / "r.json").write_text(text)
    assert read_recipe(text) == read_recipe(str(tmp_path / "r.json")) == Recipe(steps=3, batch=4, lr=0.1, ema=0.9)
    with pytest.raises(BadConfig, match="--recipe must be JSON or the path"):
        read_recipe("no/such/file")


def test_the_schema_and_the_class_agree() -> None:
    jsonschema.validate(world.recipe().to_dict(), SCHEMA)
    defaults = Recipe(steps=1, batch=2, lr=1.0).to_dict()
    assert set(SCHEMA["properties"]) == {*defaults, *LATER}  # which are written only where they are asked for
    assert {k: v["default"] for k, v in SCHEMA["properties"].items() if "default" in v and k not in LATER} == {
        k: v for k, v in defaults.items() if k not in ("steps", "batch", "lr")
    }
