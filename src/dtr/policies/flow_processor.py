"""The numbers and words of the flow-matching policies: pi0.5, GigaBrain-0, LingBot-VLA.

    images   x = (u / 255 - mean) / std, one tower             state    n = 2 (x - q01) / (q99 - q01 + e) - 1, not clipped
    actions  the same, then zeros up to the model's dimensions      e = 1e-6

Where the state goes differs, and a policy file says it (`state`):
    text    256 bins of n as integers in the prompt: "Task: ..., State: 12 200 ...;\\nAction: "      pi0.5, GigaBrain-0
    token   n, padded with zeros to `state_dim`, as an input of its own                             LingBot-VLA
    none    nowhere: the prompt is the instruction alone                                            openpi's `pi05_libero`

A request's noise is seeded by what it shows, so an episode's actions depend neither on its neighbours nor on when it is played.
Sources: openpi `src/openpi/models/tokenizer.py`, `transforms.py`; giga-brain-0; lingbot-vla. Legend: `dtr.policies.processor`; D the
model's action dimension.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dtr.errors import unknown
from dtr.policies.base import Batch
from dtr.policies.bounds import Bounds, FloatArray
from dtr.policies.processor import HALF, Processor, affine, pad_ids
from dtr.policies.tokenizer import Tokenizer

EPSILON = 1e-6
BINS = 256
STATES = ("text", "token", "none")
PROMPT = "Task: {instruction}, State: {state};\nAction: "


@dataclass(frozen=True)
class FlowProcessor(Processor):
    """`padded_dim` D; `text_tokens` T; `embodiment`: index of the robot for a policy that knows several, -1 for one that does not."""

    kind = "flow"
    padded_dim: int
    text_tokens: int
    state: str = "text"
    state_dim: int = 0
    embodiment: int = -1
    prompt: str = PROMPT
    bos: int = 2
    pad: int = 0
    pixel_mean: tuple[float, ...] = HALF[0]
    pixel_std: tuple[float, ...] = HALF[1]

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise unknown("place of the state", self.state, STATES)

    def batch(self, images: NDArray[np.uint8] | Tensor, state: ArrayLike, instructions: Sequence[str]) -> Batch:
        """-> pixel_values (B, n, 3, S, S), input_ids and attention_mask (B, T), noise_seed (B,); `state` (B, state_dim) where it is a
        token, `embodiment` (B,) where there are several."""
        normalised = self.proprio_bounds.normalise(state, clip=False, epsilon=EPSILON)
        rows = [self._row(text, numbers) for text, numbers in zip(instructions, normalised, strict=True)]
        ids, mask = pad_ids(rows, self.text_tokens, self.pad)
        pixels = self.scaled(images, *affine(self.pixel_mean, self.pixel_std)).squeeze(2)
        batch = {"pixel_values": pixels, "input_ids": ids, "attention_mask": mask, "noise_seed": seeds(images, state)}
        if self.state == "token":
            batch["state"] = padded(normalised, self.state_dim)
        if self.embodiment >= 0:
            batch["embodiment"] = torch.full((len(rows),), self.embodiment)
        return batch

    @classmethod
    def example(cls, config: Any, text_tokens: int) -> Batch:
        """See `batch`; `state` for a policy with a `state_dim`, `embodiment` for one of several `embodiments`."""
        batch = {
            "pixel_values": torch.empty(1, config.images, *config.picture),
            "input_ids": torch.empty(1, text_tokens, dtype=torch.long),
            "attention_mask": torch.empty(1, text_tokens, dtype=torch.bool),
        }
        if size := getattr(config, "state_dim", 0):
            batch["state"] = torch.empty(1, size)
        if getattr(config, "embodiments", 0):
            batch["embodiment"] = torch.zeros(1, dtype=torch.long)
        return batch

    def text_length(self, instruction: str) -> int:
        """Always T."""
        return self.text_tokens

    def _row(self, instruction: str, numbers: FloatArray) -> list[int]:
        """[BOS] prompt; numbers (8,) normalised."""
        cleaned = instruction.strip().replace("_", " ").replace("\n", " ")
        return [self.bos, *self.tokenizer.encode(self.prompt.format(instruction=cleaned, state=binned(numbers)))]

    def targets(self, actions: ArrayLike) -> Tensor:
        """(..., A) -> (..., D) float32; the gripper stays -1 or +1, as openpi trains it."""
        return padded(self.actions_bounds.normalise(actions, clip=False, epsilon=EPSILON), self.padded_dim)

    def actions(self, normalised: Tensor) -> FloatArray:
        """(B, C, D) -> (B, C, A): the first A dimensions, restored; nothing is done to the gripper."""
        numbers = normalised[..., : self.action_dim].detach().cpu().numpy()
        return np.clip(self.actions_bounds.restore(numbers, epsilon=EPSILON), -1, 1)

    @classmethod
    def vocabulary(cls, options: Mapping[str, Any]) -> str:
        """The prompt's own words, and every bin where the state is text."""
        bins = " ".join(map(str, range(-1, BINS))) if options.get("state", "text") == "text" else ""
        return str(options.get("prompt", PROMPT)).format(instruction="", state=bins)

    @classmethod
    def newborn(cls, config: Any, tokenizer: Tokenizer, bounds: tuple[Bounds, Bounds], options: Mapping[str, Any]) -> Self:
        """For this environment's actions; the model's own dimensions from its configuration."""
        actions, proprio = bounds
        fields = {"pad": 0, "bos": 1, "padded_dim": config.action_dim, "text_tokens": config.max_text, **options}
        return cls(tokenizer, actions, proprio, config.picture[-1], config.chunk, len(actions.mask), **fields)


def binned(numbers: FloatArray) -> str:
    """Each number of [-1, 1] as the integer of its bin, 0 to 255 (-1 below): openpi's PaligemmaTokenizer."""
    return " ".join(str(k) for k in (np.digitize(numbers, np.linspace(-1, 1, BINS + 1)[:-1]) - 1).tolist())


def padded(values: FloatArray, width: int) -> Tensor:
    """(..., A) -> (..., width) float32, zeros behind."""
    extra = [(0, 0)] * (values.ndim - 1) + [(0, width - values.shape[-1])]
    return torch.from_numpy(np.pad(values, extra)).float()


def seeds(images: NDArray[np.uint8] | Tensor, state: ArrayLike) -> Tensor:
    """A seed for the noise of every request, from its pictures and its state: (B,) int64."""
    pictures, numbers = np.asarray(images), np.asarray(state, dtype=np.float32)
    digests = (hashlib.sha256(p.tobytes() + n.tobytes()).digest() for p, n in zip(pictures, numbers, strict=True))
    return torch.tensor([int.from_bytes(d[:7], "little") for d in digests])
