"""A folder of golden values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from dtr.errors import BadCheckpoint, BadConfig

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Golden:
    """The folder, its configuration, and its files on demand."""

    folder: Path
    config: Mapping[str, Any]

    @classmethod
    def read(cls, folder: str | Path) -> Golden:
        """The folder's configuration. BadCheckpoint when there is none."""
        config = _json(Path(folder), "config.json")
        if not isinstance(config, dict):
            raise BadCheckpoint(f"{folder}/config.json should be an object, got {type(config).__name__}: name a folder of golden values.")
        return cls(Path(folder), config)

    def value(self, path: str) -> Any:
        """A field of config.json by its dotted path; BadConfig when it is not there."""
        value: Any = self.config
        for key in path.split("."):
            if not isinstance(value, Mapping) or key not in value:
                raise BadConfig(f"{self.folder}/config.json has no field {path}, which the comparison needs: complete the folder.")
            value = value[key]
        return value

    def optional(self, path: str, default: Any) -> Any:
        """A field of config.json, `default` where it is absent."""
        value: Any = self.config
        for key in path.split("."):
            if not isinstance(value, Mapping) or key not in value:
                return default
            value = value[key]
        return value

    def only(self, flags: Mapping[str, Any], who: str) -> None:
        """BadConfig when a flag of config.json is another than the one value that `who` has for it (absent ones are that value)."""
        for path, known in flags.items():
            if self.optional(path, known) != known:
                raise BadConfig(f"config.json says {path} = {self.value(path)!r} but {who} has {known!r}: compare another folder.")

    def json(self, name: str, field: str) -> Any:
        """A field of a JSON file of the folder. BadCheckpoint when it is not there."""
        record = _json(self.folder, name)
        if not isinstance(record, dict) or field not in record:
            raise BadCheckpoint(f"{self.folder / name} has no field {field}: name a whole folder of golden values.")
        return record[field]

    def tensors(self, name: str, *needed: str) -> Tensors:
        """The tensors of a safetensors file, cloned: unaligned memory-mapped ones can select other CPU kernels (1e-5 was seen).

        BadCheckpoint when the file does not read or lacks one of the `needed` tensors.
        """
        path = self.folder / name
        try:
            tensors = {key: tensor.clone() for key, tensor in load_file(path).items()}
        except (SafetensorError, OSError) as error:
            raise BadCheckpoint(f"{path} does not read ({error}): name a whole folder of golden values.") from error
        absent = [key for key in needed if key not in tensors]
        if absent:
            raise BadCheckpoint(f"{path} lacks {', '.join(absent)}: name a whole folder of golden values.")
        return tensors


def _json(folder: Path, name: str) -> Any:
    try:
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadCheckpoint(f"{folder / name} does not read ({error}): name a whole folder of golden values.") from error
