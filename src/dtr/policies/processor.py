"""Everything between raw numbers and tensors, stored in the policy file: one class a family of policies, one interface.

Outside of here state and actions are those of the robot that `robot` names (`dtr.robots`; LIBERO's: 8 numbers and 7 in [-1, 1]). What a
model sees instead, and how its words are put, is the processor's business alone.
Legend: B batch, n images, S pixels, T text tokens, C chunk, A and P numbers of an action and of the state in the environment.
"""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dtr.errors import BadConfig
from dtr.policies.base import Batch, Observation
from dtr.policies.bounds import FloatArray, Statistics, read_statistics
from dtr.policies.image_path import image_path
from dtr.policies.settings import OPTIONAL, written
from dtr.policies.tokenizer import Tokenizer, read_tokenizer
from dtr.robots import DEFAULT

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
TUPLES = ("pixel_mean", "pixel_std")
OLDEST = "openvla_oft"
"""The kind that files name not: it was the only one."""
EXACT = "exact"
"""The image path of pictures that are drawn at the policy's own size."""


def filled(prompt: str, **values: str) -> str:
    """`prompt` with its fields in braces filled. BadConfig for another field, or a brace that is none."""
    try:
        return prompt.format(**values)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        known = ", ".join(f"{{{name}}}" for name in values)
        raise BadConfig(
            f"a prompt may hold {known} and no other brace, got {prompt!r} ({error!r}): correct it, or write a brace of the text twice."
        ) from error


@dataclass(frozen=True)
class Processor(ABC):
    """`actions_bounds` (A,), `proprio_bounds` (P,) what numbers are normalised by; `image_size` S; `chunk` C; `action_dim` A;
    `image_path` how a drawn picture becomes one of S x S pixels (`dtr.policies.image_path`); `robot` what state and actions mean
    (`dtr.robots`)."""

    kind: ClassVar[str]
    tokenizer: Tokenizer
    actions_bounds: Statistics
    proprio_bounds: Statistics
    image_size: int
    chunk: int
    action_dim: int
    image_path: str = dataclasses.field(default=EXACT, kw_only=True, metadata={OPTIONAL: True})
    robot: str = dataclasses.field(default=DEFAULT, kw_only=True, metadata={OPTIONAL: True})

    def inputs(self, observations: Sequence[Observation]) -> Batch:
        """Raw observations to model inputs (see `batch`)."""
        return self.batch(*stacked(observations))

    @abstractmethod
    def batch(self, images: NDArray[np.uint8] | Tensor, state: ArrayLike, instructions: Sequence[str]) -> Batch:
        """(B, n, H, W, 3) uint8, H = W = S where the image path is exact, (B, P), B texts -> what the policy's class calls a batch,
        without actions."""

    @abstractmethod
    def targets(self, actions: ArrayLike) -> Tensor:
        """(..., A) actions of the environment -> (..., action dimension of the model) float32."""

    @abstractmethod
    def actions(self, normalised: Tensor) -> FloatArray:
        """(B, C, action dimension of the model) -> (B, C, A) float64 actions of the environment, within its robot's limit."""

    @abstractmethod
    def text_length(self, instruction: str) -> int:
        """Text tokens of one request."""

    def gripper_rule(self) -> str:
        """What is done to a predicted gripper: `threshold` (which side of the middle), `raw` or `sign`."""
        return "threshold"

    def pictures(self, slots: int) -> int:
        """Pictures of one request to a model of `slots` images."""
        return slots

    @classmethod
    @abstractmethod
    def example(cls, config: Any, text_tokens: int) -> Batch:
        """The shapes of one sample without padding for a policy of this configuration, with so many text tokens."""

    def fits(self, config: Any) -> None:
        """BadConfig unless its numbers are those of a policy with this configuration, as far as the class can tell."""
        return

    def fixed(self, instructions: Sequence[str]) -> Self:
        """The same with one text length for all of these instructions, so that a batch has one shape."""
        return self

    @classmethod
    @abstractmethod
    def vocabulary(cls, options: Mapping[str, Any]) -> str:
        """Words that prompts hold beside the instruction, under these options of a configuration."""

    @classmethod
    @abstractmethod
    def newborn(cls, config: Any, tokenizer: Tokenizer, bounds: tuple[Statistics, Statistics], options: Mapping[str, Any]) -> Self:
        """The processor of a policy with this configuration, trained here from nothing; `bounds` of actions and proprioception.

        TypeError when an option is none of the class's fields.
        """

    def scaled(self, images: NDArray[np.uint8] | Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """x = u * scale + shift for pictures u behind the image path: (B, n, H, W, 3) uint8, (k, 3, 1, 1) twice -> (B, n, k, 3, S, S)
        float32. BadConfig for another size where the path is exact."""
        S = self.image_size
        u = torch.as_tensor(images if self.image_path == EXACT else image_path(self.image_path)(np.asarray(images), S))
        if self.image_path == EXACT and (u.dtype != torch.uint8 or u.dim() != 5 or u.shape[2:] != (S, S, 3)):
            raise BadConfig(
                f"images must be uint8 (B, n, {S}, {S}, 3), got {u.dtype} {tuple(u.shape)}: render them at the policy's image size."
            )
        return torch.addcmul(shift, u.permute(0, 1, 4, 2, 3).unsqueeze(2).to(torch.float32), scale)

    def to_dict(self) -> dict[str, Any]:
        """JSON values; OpenVLA-OFT's name no kind, as its oldest files do."""
        values = written(self)
        values |= {} if self.kind == OLDEST else {"kind": self.kind}
        for name in ("tokenizer", "actions_bounds", "proprio_bounds"):
            values[name] = values[name].to_dict()
        return values | {name: list(values[name]) for name in TUPLES if name in values}

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> Self:
        """What `to_dict` described; KeyError or TypeError when a field is missing or unknown."""
        bounds = {name: read_statistics(values[name]) for name in ("actions_bounds", "proprio_bounds")}
        tuples = {name: tuple(values[name]) for name in TUPLES if name in values}
        return cls(**{**values, **bounds, **tuples, "tokenizer": read_tokenizer(values["tokenizer"])})


def stacked(observations: Sequence[Observation]) -> tuple[NDArray[np.uint8], NDArray[np.float32], list[str]]:
    """Images (B, n, H, W, 3), state (B, P), and B texts."""
    images, state = np.stack([o.images for o in observations]), np.stack([o.state for o in observations])
    return images, state, [o.instruction for o in observations]


@functools.cache
def affine(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Scale and shift (k, 3, 1, 1) with x = u * scale + shift = (u / 255 - mean) / std, for 3 k numbers each."""
    m, s = (torch.tensor(values, dtype=torch.float64).view(-1, 3, 1, 1) for values in (mean, std))
    return (1 / (255 * s)).float(), (-m / s).float()


def pad_ids(rows: Sequence[Sequence[int]], length: int, pad: int) -> tuple[Tensor, Tensor]:
    """Token ids (B, T) int64 padded on the right to `length`, 0 = the longest, and the mask (B, T) bool. BadConfig when one is too long."""
    longest = max(len(row) for row in rows)
    if length and longest > length:
        raise BadConfig(f"an instruction needs {longest} tokens but text_tokens is {length}: raise it in the configuration.")
    ids = torch.full((len(rows), length or longest), pad, dtype=torch.int64)
    for k, row in enumerate(rows):
        ids[k, : len(row)] = torch.tensor(row)
    lengths = torch.tensor([len(row) for row in rows])
    return ids, torch.arange(ids.shape[1]) < lengths[:, None]


def read_processor(values: Mapping[str, Any]) -> Processor:
    """The processor that `to_dict` described, of the class named by `kind`. BadConfig when a field is missing or unknown."""
    from dtr.policies.registry import processor_class

    speaker = processor_class(str(values.get("kind", OLDEST)))
    try:
        return speaker.of_dict({key: value for key, value in values.items() if key != "kind"})
    except (KeyError, TypeError) as error:
        raise BadConfig(f"the processor does not read ({error}): write the policy file again.") from error
