"""OpenVLA-OFT's numbers and words.

    images   x = (u / 255 - mean_t) / std_t for each tower t, uint8 pixels u            instruction   template -> lower case -> ids
    state    BOUNDS_Q99, clipped                                                        action        BOUNDS_Q99, clipped

The model sees a gripper g in [0, 1] with 1 = open, g = (1 - a) / 2, never normalised (mask False); back, g > 0.5 opens.
Text: [BOS] prompt [empty] [placeholder x C A] [stop] [pad ...], padded behind the stop token to `text_tokens`, or to the longest of
the batch when that is 0. A fixed length makes the shape of a batch, and with it every bit of a row, independent of its neighbours.
Source: openvla-oft `213c5ff`; facts of its processor. Legend: `dtr.policies.processor`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dtr.policies.base import Batch
from dtr.policies.bounds import FloatArray, Statistics
from dtr.policies.processor import HALF, IMAGENET, Processor, affine, filled, pad_ids
from dtr.policies.tokenizer import Tokenizer

OPENVLA_PROMPT = "In: What action should the robot take to {instruction}?\nOut:"
SPECIAL = {"pad": 0, "bos": 1, "stop": 2, "empty": 3, "placeholder": 4}
"""Token ids of a policy that is trained here; words begin behind them."""


@dataclass(frozen=True)
class OpenVLAProcessor(Processor):
    """`pixel_mean`, `pixel_std`: six numbers, three for each tower. `text_tokens`: T, 0 = the longest of a batch."""

    kind = "openvla_oft"
    prompt: str = OPENVLA_PROMPT
    text_tokens: int = 0
    bos: int = 1
    stop: int = 2
    pad: int = 32000
    empty: int = 29871
    placeholder: int = 1
    pixel_mean: tuple[float, ...] = IMAGENET[0] + HALF[0]
    pixel_std: tuple[float, ...] = IMAGENET[1] + HALF[1]

    def batch(self, images: NDArray[np.uint8] | Tensor, state: ArrayLike, instructions: Sequence[str]) -> Batch:
        """(B, n, S, S, 3) uint8, (B, P), B texts -> pixel_values (B, 6 n, S, S), input_ids and attention_mask (B, T), proprio (B, P)."""
        ids, mask = self.text(instructions)
        return {"pixel_values": self.pixels(images), "input_ids": ids, "attention_mask": mask, "proprio": self.proprio(state)}

    def pixels(self, images: NDArray[np.uint8] | Tensor) -> Tensor:
        """(B, n, S, S, 3) uint8 -> (B, 6 n, S, S) float32, normalised for each tower. BadConfig for another size."""
        x = self.scaled(images, *affine(self.pixel_mean, self.pixel_std))
        return x.reshape(x.shape[0], -1, *x.shape[-2:])

    def text(self, instructions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Texts to ids (B, T) int64 and mask (B, T) bool. BadConfig when one does not fit into `text_tokens`."""
        return pad_ids([self._row(instruction) for instruction in instructions], self.text_tokens, self.pad)

    def text_length(self, instruction: str) -> int:
        """Fixed by `text_tokens`, or what the instruction needs."""
        return self.text_tokens or len(self._row(instruction))

    @classmethod
    def example(cls, config: Any, text_tokens: int) -> Batch:
        """See `batch`."""
        return {
            "pixel_values": torch.empty(1, 6 * config.images, config.image_size, config.image_size),
            "input_ids": torch.empty(1, text_tokens, dtype=torch.long),
            "attention_mask": torch.empty(1, text_tokens, dtype=torch.bool),
            "proprio": torch.empty(1, config.proprio_dim),
        }

    def fixed(self, instructions: Sequence[str]) -> Self:
        """Padded to the longest of these instructions, or to more where the policy says so; itself where that is its length already."""
        length = max(self.text_tokens, *(len(self._row(text)) for text in instructions))
        return self if length == self.text_tokens else dataclasses.replace(self, text_tokens=length)

    def _row(self, instruction: str) -> list[int]:
        """[BOS] prompt [empty] [placeholders] [stop]; the empty token is not doubled when the prompt already ends in it."""
        ids = [self.bos, *self.tokenizer.encode(filled(self.prompt, instruction=instruction.lower().strip()))]
        ids += [] if ids[-1] == self.empty else [self.empty]
        return [*ids, *[self.placeholder] * (self.chunk * self.action_dim), self.stop]

    def proprio(self, state: ArrayLike) -> Tensor:
        """(B, P) raw -> (B, P) float32 normalised, in [-1, 1]."""
        return torch.from_numpy(self.proprio_bounds.normalise(state)).float()

    def targets(self, actions: ArrayLike) -> Tensor:
        """(..., A) actions of the environment -> (..., A) float32 normalised, gripper in [0, 1] with 1 = open."""
        a = np.array(actions, dtype=np.float64)
        a[..., -1] = (1 - np.clip(a[..., -1], -1, 1)) / 2
        return torch.from_numpy(self.actions_bounds.normalise(a)).float()

    def actions(self, normalised: Tensor) -> FloatArray:
        """(B, C, A) normalised -> (B, C, A) float64 actions of the environment in [-1, 1], gripper exactly -1 (open) or +1 (close)."""
        a = self.actions_bounds.restore(normalised.detach().cpu().numpy())
        a[..., -1] = np.where(a[..., -1] > 0.5, -1.0, 1.0)
        return np.clip(a, -1, 1)

    @classmethod
    def vocabulary(cls, options: Mapping[str, Any]) -> str:
        """The prompt's own words."""
        return filled(str(options.get("prompt", "{instruction}")), instruction="")

    @classmethod
    def newborn(cls, config: Any, tokenizer: Tokenizer, bounds: tuple[Statistics, Statistics], options: Mapping[str, Any]) -> Self:
        """With the bare instruction as prompt, unless the options say otherwise."""
        fields = {**SPECIAL, "prompt": "{instruction}", **options}
        return cls(tokenizer, *bounds, config.image_size, config.chunk, config.action_dim, **fields)
