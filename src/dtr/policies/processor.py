"""Everything between raw numbers and tensors, stored in the policy file.

    images   x = (u / 255 - mean_t) / std_t for each tower t, uint8 pixels u            instruction   template -> lower case -> ids
    state    BOUNDS_Q99, clipped                                                        action        BOUNDS_Q99, clipped

Outside of here actions are LIBERO's: gripper -1 opens, +1 closes. The model sees OpenVLA-OFT's gripper g in [0, 1] with 1 = open,
g = (1 - a) / 2, never normalised (mask False); back, g > 0.5 opens.
Text: [BOS] prompt [empty] [placeholder x C A] [stop] [pad ...], padded behind the stop token to `text_tokens`, or to the longest of
the batch when that is 0. A fixed length makes the shape of a batch, and with it every bit of a row, independent of its neighbours.
Legend: B batch, n images, S pixels, T text tokens, C chunk, A action dim. Source: openvla-oft `213c5ff`; facts of its processor.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dtr.errors import BadConfig
from dtr.policies.base import Batch, Observation
from dtr.policies.bounds import Bounds, FloatArray
from dtr.policies.tokenizer import Tokenizer, read_tokenizer

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
OPENVLA_PROMPT = "In: What action should the robot take to {instruction}?\nOut:"


@dataclass(frozen=True)
class Processor:
    """`pixel_mean`, `pixel_std`: six numbers, three for each tower. `text_tokens`: T, 0 = the longest of a batch."""

    tokenizer: Tokenizer
    actions_bounds: Bounds
    proprio_bounds: Bounds
    image_size: int
    chunk: int
    action_dim: int
    prompt: str = OPENVLA_PROMPT
    text_tokens: int = 0
    bos: int = 1
    stop: int = 2
    pad: int = 32000
    empty: int = 29871
    placeholder: int = 1
    pixel_mean: tuple[float, ...] = IMAGENET[0] + HALF[0]
    pixel_std: tuple[float, ...] = IMAGENET[1] + HALF[1]

    def inputs(self, observations: Sequence[Observation]) -> Batch:
        """Raw observations to model inputs (see `batch`)."""
        images = np.stack([o.images for o in observations])
        state = np.stack([o.state for o in observations])
        return self.batch(images, state, [o.instruction for o in observations])

    def batch(self, images: NDArray[np.uint8] | Tensor, state: ArrayLike, instructions: Sequence[str]) -> Batch:
        """(B, n, S, S, 3) uint8, (B, 8), B texts -> pixel_values (B, 6 n, S, S), input_ids and attention_mask (B, T), proprio (B, 8)."""
        ids, mask = self.text(instructions)
        return {"pixel_values": self.pixels(images), "input_ids": ids, "attention_mask": mask, "proprio": self.proprio(state)}

    def pixels(self, images: NDArray[np.uint8] | Tensor) -> Tensor:
        """(B, n, S, S, 3) uint8 -> (B, 6 n, S, S) float32, normalised for each tower. BadConfig for another size."""
        u = torch.as_tensor(images)
        if u.dtype != torch.uint8 or u.dim() != 5 or u.shape[2:] != (self.image_size, self.image_size, 3):
            raise BadConfig(
                f"images must be uint8 (B, n, {self.image_size}, {self.image_size}, 3), got {u.dtype} {tuple(u.shape)}: "
                "render them at the policy's image size."
            )
        scale, shift = self._pixel_affine
        x = u.permute(0, 1, 4, 2, 3).unsqueeze(2).to(torch.float32)
        B, n, S = u.shape[0], u.shape[1], self.image_size
        return torch.addcmul(shift, x, scale).reshape(B, 6 * n, S, S)

    @functools.cached_property
    def _pixel_affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift (2, 3, 1, 1) with x = u * scale + shift."""
        mean = torch.tensor(self.pixel_mean, dtype=torch.float64).view(2, 3, 1, 1)
        std = torch.tensor(self.pixel_std, dtype=torch.float64).view(2, 3, 1, 1)
        return (1 / (255 * std)).float(), (-mean / std).float()

    def text(self, instructions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Texts to ids (B, T) int64 and mask (B, T) bool. BadConfig when one does not fit into `text_tokens`."""
        rows = [self._row(instruction) for instruction in instructions]
        longest = max(len(row) for row in rows)
        if self.text_tokens and longest > self.text_tokens:
            raise BadConfig(f"an instruction needs {longest} tokens but text_tokens is {self.text_tokens}: raise it in the configuration.")
        ids = torch.full((len(rows), self.text_tokens or longest), self.pad, dtype=torch.int64)
        for k, row in enumerate(rows):
            ids[k, : len(row)] = torch.tensor(row)
        lengths = torch.tensor([len(row) for row in rows])
        return ids, torch.arange(ids.shape[1]) < lengths[:, None]

    def _row(self, instruction: str) -> list[int]:
        """[BOS] prompt [empty] [placeholders] [stop]; the empty token is not doubled when the prompt already ends in it."""
        ids = [self.bos, *self.tokenizer.encode(self.prompt.format(instruction=instruction.lower().strip()))]
        ids += [] if ids[-1] == self.empty else [self.empty]
        return [*ids, *[self.placeholder] * (self.chunk * self.action_dim), self.stop]

    def proprio(self, state: ArrayLike) -> Tensor:
        """(B, 8) raw -> (B, 8) float32 normalised, in [-1, 1]."""
        return torch.from_numpy(self.proprio_bounds.normalise(state)).float()

    def targets(self, actions: ArrayLike) -> Tensor:
        """(B, C, A) actions of the environment -> (B, C, A) float32 normalised, gripper in [0, 1] with 1 = open."""
        a = np.array(actions, dtype=np.float64)
        a[..., -1] = (1 - np.clip(a[..., -1], -1, 1)) / 2
        return torch.from_numpy(self.actions_bounds.normalise(a)).float()

    def actions(self, normalised: Tensor) -> FloatArray:
        """(B, C, A) normalised -> (B, C, A) float64 actions of the environment in [-1, 1], gripper exactly -1 (open) or +1 (close)."""
        a = self.actions_bounds.restore(normalised.detach().cpu().numpy())
        a[..., -1] = np.where(a[..., -1] > 0.5, -1.0, 1.0)
        return np.clip(a, -1, 1)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in ("tokenizer", "actions_bounds", "proprio_bounds"):
            values[name] = values[name].to_dict()
        return values | {"pixel_mean": list(self.pixel_mean), "pixel_std": list(self.pixel_std)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Processor:
        """What `to_dict` described; BadConfig when a field is missing or unknown."""
        try:
            bounds = {name: Bounds.from_dict(values[name]) for name in ("actions_bounds", "proprio_bounds")}
            pixels = {name: tuple(values[name]) for name in ("pixel_mean", "pixel_std")}
            return cls(**{**values, **bounds, **pixels, "tokenizer": read_tokenizer(values["tokenizer"])})
        except (KeyError, TypeError) as error:
            raise BadConfig(f"the processor does not read ({error}): write the policy file again.") from error
