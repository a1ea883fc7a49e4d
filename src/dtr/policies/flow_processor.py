"""The numbers and words of the flow-matching policies: pi0.5, GigaBrain-0, LingBot-VLA.

    images   x = (u / 255 - mean) / std, one tower             state    n = normalised (`bounds.py`), e = 1e-6, not clipped
    actions  the same, then zeros up to the model's dimensions

Where the state goes differs, and a policy file says it (`state`):
    text    256 bins of n as integers in the prompt: "Task: ..., State: 12 200 ...;\\nAction: "      pi0.5, GigaBrain-0
    token   n, padded with zeros to `state_dim`, as an input of its own                             LingBot-VLA
    none    nowhere: the prompt is the instruction alone                                            openpi's `pi05_libero`
What else upstream does differently, each a field that a file holds only where it is set:
    end            text that is encoded apart and put behind the prompt: openpi's "\\n" of prompts without a state
    lower          the instruction in lower case                                                   GigaBrain-0
    lower_edge     a number between two bins belongs to the lower one (torch.bucketize), not to the upper (np.digitize)     GigaBrain-0
    state_numbers  numbers that the prompt says, zeros behind the state's own: lerobot pads the state before it writes it
    slots          images that the model sees; there are `cameras`, the others are `missing` everywhere and masked
    gripper        raw: as predicted; sign: -1 or +1                                               LingBot-VLA

A request's noise is seeded by what it shows, so an episode's actions depend neither on its neighbours nor on when it is played.
Sources: openpi `src/openpi/models/tokenizer.py`, `transforms.py`; lerobot 0.4.4 `processor_pi05.py`; giga-models
`giga_brain_0_utils.py`; lingbot-vla `data/vla_data/transform.py`. Legend: `dtr.policies.processor`; D the
model's action dimension.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dtr.errors import BadConfig, unknown
from dtr.policies.base import Batch, Observation
from dtr.policies.bounds import FloatArray, Statistics
from dtr.policies.processor import HALF, Processor, affine, filled, pad_ids, stacked
from dtr.policies.settings import optional
from dtr.policies.tokenizer import Tokenizer
from dtr.robots import robot

EPSILON = 1e-6
BINS = 256
STATES = ("text", "token", "none")
GRIPPERS = ("raw", "sign")
PROMPT = "Task: {instruction}, State: {state};\nAction: "


@dataclass(frozen=True)
class FlowProcessor(Processor):
    """`padded_dim` D; `text_tokens` T; `embodiment`: index of the robot for a policy that knows several, -1 for one that does not; `bos`
    -1: none; the fields behind `pixel_std`: see the module's text."""

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
    end: str = optional("")
    lower: bool = optional(False)
    lower_edge: bool = optional(False)
    state_numbers: int = optional(0)
    slots: int = optional(0)
    cameras: int = optional(0)
    missing: float = optional(-1.0)
    gripper: str = optional("raw")

    def __post_init__(self) -> None:
        for what, value, known in (("place of the state", self.state, STATES), ("gripper", self.gripper, GRIPPERS)):
            if value not in known:
                raise unknown(what, value, known)
        robot(self.robot)
        filled(self.prompt, instruction="", state="")
        if self.padded_dim < self.action_dim:
            raise BadConfig(
                f"the environment takes {self.action_dim} action numbers, the model has {self.padded_dim}: give it as many (action_dim)."
            )
        if self.state == "token" and self.state_dim < (numbers := len(self.proprio_bounds.mask)):
            raise BadConfig(f"the state has {numbers} numbers, but the model's token of it {self.state_dim}: give it as many (state_dim).")

    def inputs(self, observations: Sequence[Observation]) -> Batch:
        """As `batch`, and noise_seed (B,): training draws its noise elsewhere."""
        images, state, texts = stacked(observations)
        return self.batch(images, state, texts) | {"noise_seed": seeds(images, state)}

    def fits(self, config: Any) -> None:
        """The widths of actions and state, and which robot it is."""
        if self.padded_dim != config.action_dim:
            raise BadConfig(f"the model has {config.action_dim} action numbers, the processor pads to {self.padded_dim}: make them equal.")
        if self.state == "token" and self.state_dim != (numbers := getattr(config, "state_dim", 0)):
            raise BadConfig(f"the model's token of the state has {numbers} numbers, the processor's {self.state_dim}: make them equal.")
        robots = getattr(config, "embodiments", 0)
        if robots and not 0 <= self.embodiment < robots:
            raise BadConfig(
                f"this policy has action layers for {robots} robots, got embodiment {self.embodiment}: "
                f"say processor.embodiment, 0 to {robots - 1}."
            )
        if not robots and self.embodiment != -1:
            raise BadConfig(f"this policy knows one robot only, got processor.embodiment {self.embodiment}: leave it away.")

    def batch(self, images: NDArray[np.uint8] | Tensor, state: ArrayLike, instructions: Sequence[str]) -> Batch:
        """-> pixel_values (B, n, 3, S, S), input_ids and attention_mask (B, T); `state` (B, state_dim) where it is a token,
        `embodiment` (B,) where there are several, `image_mask` (B, n) where there are more slots than cameras."""
        normalised = self.proprio_bounds.normalise(state, clip=False, epsilon=EPSILON)
        rows = [self._row(text, numbers) for text, numbers in zip(instructions, normalised, strict=True)]
        ids, mask = pad_ids(rows, self.text_tokens, self.pad)
        pixels = self.scaled(images, *affine(self.pixel_mean, self.pixel_std)).squeeze(2)
        batch = {"pixel_values": pixels, "input_ids": ids, "attention_mask": mask}
        if self.slots:
            batch |= self._in_slots(pixels)
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

    def fixed(self, instructions: Sequence[str]) -> Self:
        """Padded to more than T where one of these instructions needs it (padding is masked: actions stay what they are); else itself."""
        highest = np.ones(len(self.proprio_bounds.mask))  # bin 255: no number of the state has more digits
        longest = max(len(self._row(text, highest)) for text in instructions)
        return self if longest <= self.text_tokens else dataclasses.replace(self, text_tokens=longest)

    def pictures(self, slots: int) -> int:
        """As many as there are cameras, where some slots have none."""
        return self.cameras or slots

    def _in_slots(self, pixels: Tensor) -> Batch:
        """(B, n, 3, S, S) -> pixel_values of every slot, and image_mask: which of them show something."""
        B, n = pixels.shape[:2]
        if n != self.cameras:
            raise BadConfig(f"this policy was given {n} pictures a request and sees {self.cameras} cameras: give it all of them.")
        empty = pixels.new_full((B, self.slots - n, *pixels.shape[2:]), self.missing)
        present = (torch.arange(self.slots) < n).expand(B, -1)
        return {"pixel_values": torch.cat([pixels, empty], dim=1), "image_mask": present.clone()}

    def _row(self, instruction: str, numbers: FloatArray) -> list[int]:
        """[BOS] prompt [end]; numbers (P,) normalised."""
        cleaned = instruction.strip().replace("_", " ").replace("\n", " ")
        cleaned = cleaned.lower() if self.lower else cleaned
        said = binned(np.pad(numbers, (0, max(0, self.state_numbers - len(numbers)))), self.lower_edge)
        ids = self.tokenizer.encode(filled(self.prompt, instruction=cleaned, state=said))
        return [*([self.bos] if self.bos >= 0 else []), *ids, *(self.tokenizer.encode(self.end) if self.end else [])]

    def gripper_rule(self) -> str:
        """`raw` or `sign`."""
        return self.gripper

    def targets(self, actions: ArrayLike) -> Tensor:
        """(..., A) -> (..., D) float32; the gripper is the environment's -1 or +1, normalised as its mask says."""
        return padded(self.actions_bounds.normalise(actions, clip=False, epsilon=EPSILON), self.padded_dim)

    def actions(self, normalised: Tensor) -> FloatArray:
        """(B, C, D) -> (B, C, A): the first A dimensions, restored; nothing is done to the gripper unless `gripper` says so."""
        numbers = normalised[..., : self.action_dim].detach().cpu().numpy()
        a, limit = self.actions_bounds.restore(numbers, epsilon=EPSILON), robot(self.robot).limit
        a = a if limit is None else np.clip(a, -limit, limit)
        if self.gripper == "sign":
            a[..., -1] = np.sign(a[..., -1])
        return a

    @classmethod
    def vocabulary(cls, options: Mapping[str, Any]) -> str:
        """The prompt's own words, and every bin where the state is text."""
        bins = " ".join(map(str, range(-1, BINS))) if options.get("state", "text") == "text" else ""
        return filled(str(options.get("prompt", PROMPT)), instruction="", state=bins)

    @classmethod
    def newborn(cls, config: Any, tokenizer: Tokenizer, bounds: tuple[Statistics, Statistics], options: Mapping[str, Any]) -> Self:
        """For this environment's actions; the model's own dimensions from its configuration."""
        actions, proprio = bounds
        fields = {"pad": 0, "bos": 1, "padded_dim": config.action_dim, "text_tokens": config.max_text, **options}
        made = cls(tokenizer, actions, proprio, config.picture[-1], config.chunk, len(actions.mask), **fields)
        made.fits(config)
        return made


def binned(numbers: FloatArray, lower_edge: bool = False) -> str:
    """Each number of [-1, 1] as the integer of its bin, 0 to 255 (-1 below): openpi's PaligemmaTokenizer."""
    return " ".join(str(k) for k in (np.digitize(numbers, np.linspace(-1, 1, BINS + 1)[:-1], right=lower_edge) - 1).tolist())


def padded(values: FloatArray, width: int) -> Tensor:
    """(..., A) -> (..., width) float32, zeros behind."""
    extra = [(0, 0)] * (values.ndim - 1) + [(0, width - values.shape[-1])]
    return torch.from_numpy(np.pad(values, extra)).float()


def seeds(images: NDArray[np.uint8] | Tensor, state: ArrayLike) -> Tensor:
    """A seed for the noise of every request, from its pictures and its state: (B,) int64."""
    pictures, numbers = np.asarray(images), np.asarray(state, dtype=np.float32)
    digests = (hashlib.sha256(p.tobytes() + n.tobytes()).digest() for p, n in zip(pictures, numbers, strict=True))
    return torch.tensor([int.from_bytes(d[:7], "little") for d in digests])
