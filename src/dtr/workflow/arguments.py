"""From a configuration to the arguments of the verbs, as text. A rule passes on only what its output depends on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dtr.errors import unknown
from dtr.policies.tokenizer import words_of
from dtr.rollout.official import resolved
from dtr.sim.suites import suite
from dtr.workflow import paths


@dataclass(frozen=True)
class Arguments:
    """What one configuration says to each stage. `folder` is where the sheets' relative paths start."""

    config: Mapping[str, Any]
    folder: str = "."

    @property
    def scale(self) -> str:
        """The name of the configuration."""
        return str(self.config["scale"])

    def protocol_json(self, protocol: str) -> str:
        """The protocol as `dtr rollout` reads it, from its part of a path."""
        name, trials = re.fullmatch(r"(.+)-n(\d+)(?:-live)?", protocol).groups()  # type: ignore[union-attr]
        if name not in self.config["protocols"]:
            raise unknown("protocol", name, self.config["protocols"])
        return json.dumps({**resolved(self.config["protocols"][name], name), "name": name, "trials": int(trials)}, sort_keys=True)

    def of_origin(self, section: str, origin: str) -> str:
        """A regular expression of the names in `section` that have the key `origin`: policies trained here or fetched, say."""
        names = [re.escape(name) for name, entry in self.config[section].items() if origin in entry]
        return "|".join(names) or "(?!)"  # (?!) matches nothing

    def demonstrations(self, suite: str) -> str:
        """The arguments of `dtr demonstrate` for a suite."""
        return " ".join(f"--{key.replace('_', '-')} {value}" for key, value in sorted(self.config["demos"][suite].items()))

    def policy_json(self, policy: str) -> str:
        """The untrained policy as `dtr checkpoint` reads it."""
        entry = self.config["policies"][policy]
        return json.dumps({"name": entry["class"], "config": entry["model"], "processor": entry.get("processor", {})}, sort_keys=True)

    def published(self, section: str, name: str) -> str:
        """The entry of `policies` or `demos` as `dtr fetch` and `dtr import` read it, without what neither depends on."""
        entry = self.config[section][name]
        return json.dumps({key: entry[key] for key in ("class", "model", "processor", "hub") if key in entry}, sort_keys=True)

    def measured(self, policy: str) -> list[str]:
        """The demonstrations on which the statistics of a published policy are measured; none when it brings its own."""
        statistics = self.config["policies"][policy]["hub"]["statistics"]
        return self.data(statistics["data"]) if "data" in statistics else []

    def recipe_json(self, recipe: str) -> str:
        """The recipe as `dtr recover` reads it."""
        return json.dumps(self.config["recipes"][recipe], sort_keys=True)

    def data(self, data: str) -> list[str]:
        """The demonstrations of a mixture."""
        return [paths.SUITE.format(scale=self.scale, suite=suite) for suite in self.config["data"][data]]

    def checked(self, data: str) -> list[str]:
        """What has been found in the fetched demonstrations of a mixture: training and scoring wait for it."""
        fetched = [suite for suite in self.config["data"][data] if "hub" in self.config["demos"][suite]]
        return [paths.CHECKED.format(scale=self.scale, suite=suite) for suite in fetched]

    def rendering(self, data: str) -> list[str]:
        """The stages behind the pictures of a mixture: none when all of it is fetched."""
        return ["render"] if any("hub" not in self.config["demos"][suite] for suite in self.config["data"][data]) else []

    def pictures(self) -> str:
        """The arguments of a verb that may have to render demonstrations: how large, and where the pictures are kept."""
        return f"--image-size {self.config['image_size']} --pictures {paths.PICTURES.format(scale=self.scale)}"

    @property
    def device(self) -> str:
        """The argument that names the device of training, scoring and inference, where the configuration does."""
        return f"--device {self.config['device']}" if "device" in self.config else ""

    def gpus(self, policy: str) -> int:
        """GPUs that training this policy takes."""
        return int(self.config["policies"][policy].get("gpus", 1)) if self.device.startswith("--device cuda") else 0

    def training(self, policy: str) -> str:
        """The arguments that say what this policy is trained on: `device`, and how many GPUs where the configuration says so."""
        entry = self.config["policies"][policy]
        gpus = f" --gpus {entry['gpus']}" if "gpus" in entry else ""
        return f"{self.device}{gpus}{' --recompute' if entry.get('recompute') else ''}"

    def scoring(self, calibration: str) -> str:
        """The arguments that say where and in which precision importance is scored."""
        entry = self.config["calibrations"][calibration]
        return self.device + (f" --precision {entry['precision']}" if "precision" in entry else "")

    def words(self) -> str:
        """Every word of every suite's instructions: what a policy that is trained here must be able to read later on."""
        names = sorted({*self.config["demos"], *self.config["suites"].values()})
        return " ".join(sorted({word for name in names for task in suite(name).tasks for word in words_of(task.language)}))
