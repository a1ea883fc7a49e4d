"""Words to token ids: one small interface, a stored word list at small scale, transformers' tokenizers at paper scale."""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dtr.errors import BadConfig, MissingAssets, MissingLibrary, unknown

FETCHED = Path("work/hub")
"""Where `dtr fetch` puts what the hub publishes, in folders <id>@<revision>."""


class Tokenizer(Protocol):
    """What the processor needs of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without BOS and without padding."""

    def to_dict(self) -> dict[str, Any]:
        """JSON values from which `read_tokenizer` makes the same tokenizer."""


def words_of(text: str) -> list[str]:
    """Lower-cased words and punctuation marks, in order."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


@dataclass(frozen=True)
class WordTokenizer:
    """Word k of `words` has the id `first` + k; a word that is not among them has the id `unknown`."""

    words: tuple[str, ...]
    first: int
    unknown: int

    @classmethod
    def of(cls, texts: Iterable[str], first: int, unknown: int) -> WordTokenizer:
        """The tokenizer whose words are those of `texts`, sorted."""
        return cls(tuple(sorted({word for text in texts for word in words_of(text)})), first, unknown)

    def encode(self, text: str) -> list[int]:
        """One id a word."""
        return [self._ids.get(word, self.unknown) for word in words_of(text)]

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {word: self.first + k for k, word in enumerate(self.words)}

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"kind": "words", "words": list(self.words), "first": self.first, "unknown": self.unknown}


@dataclass(frozen=True)
class PretrainedTokenizer:
    """A tokenizer of the transformers library: of the hub's repository `source` at one `revision`, as `dtr fetch` has put it here.

    Nothing is downloaded on the side: MissingAssets when it has not been fetched.
    """

    source: str
    revision: str

    def encode(self, text: str) -> list[int]:
        """Ids without special tokens."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False).input_ids
        return ids

    @functools.cached_property
    def _tokenizer(self) -> Any:
        try:
            transformers = importlib.import_module("transformers")
        except ImportError as error:
            raise MissingLibrary(
                "this policy needs the transformers library for its tokenizer: `make setup` installs it from envs/lock.txt."
            ) from error
        folder = FETCHED / f"{self.source}@{self.revision}"
        try:
            return transformers.AutoTokenizer.from_pretrained(folder.resolve(strict=True), local_files_only=True)
        except (OSError, ValueError) as error:
            raise MissingAssets(f"expected the tokenizer's files in {folder} ({error}): fetch them there with `dtr fetch`.") from error

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"kind": "pretrained", "source": self.source, "revision": self.revision}


def read_tokenizer(values: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that `to_dict` described; UnknownName or BadConfig when it describes none."""
    kind = values.get("kind")
    try:
        if kind == "words":
            return WordTokenizer(tuple(values["words"]), int(values["first"]), int(values["unknown"]))
        if kind == "pretrained":
            return PretrainedTokenizer(str(values["source"]), str(values["revision"]))
    except KeyError as error:
        raise BadConfig(f"a tokenizer of kind {kind!r} needs the field {error}: write the policy file again.") from error
    raise unknown("tokenizer", str(kind), ("words", "pretrained"))
