"""What a policy is: images, state and words in, a chunk of normalised actions out, in blocks that can be gated and dropped."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dtr.errors import PlanMismatch, unknown
from dtr.policies.gate import Gate
from dtr.policies.initial import draw
from dtr.policies.parts import PARTS
from dtr.policies.settings import parse
from dtr.policies.stack import Stack

Batch = dict[str, Tensor]
"""Model inputs by name; each policy's class says which and of what shape."""

Mark = Callable[[str], None]
"""Told the name of each phase of an inference as it ends."""


def unmarked(phase: str) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True)
class Observation:
    """One raw inference request.

    `images` (n_images, H, W, 3) uint8, agent view first, wrist second, upright as the policy expects; `state` (S,) float32: what the
    policy's robot says of itself (`dtr.robots`; LIBERO's arm: 8 numbers); `instruction` in words.
    """

    images: NDArray[np.uint8]
    state: NDArray[np.float32]
    instruction: str


class PolicyConfig(Protocol):
    """What every policy's frozen configuration offers; `dtr.policies.plain_config` is a small one to start from."""

    images: int
    chunk: int
    action_dim: int

    def to_dict(self) -> dict[str, Any]:
        """JSON values; the class's `from_dict` gives the same configuration back."""

    def text_length(self, prompt: int) -> int:
        """Length of `input_ids` for an instruction of `prompt` tokens."""


class Policy(nn.Module, ABC):
    """A vision-language-action model: `stacks`, `losses` and `act`; the rest has defaults (docs/your-own-policy.md).

    Parameters are created uninitialised: `reset_parameters(seed)` draws them, loading a file fills them. There are no buffers: what is
    constant is computed where it is needed.
    """

    name: ClassVar[str]
    processor_kind: ClassVar[str]
    """Which processor speaks its numbers and words (`dtr.policies.registry`)."""
    config_class: ClassVar[type]
    """The dataclass of its configuration, for those that use the default `parse`."""
    vocab_section: ClassVar[str] = ""
    """The part of the configuration that holds `vocab`; empty: the configuration itself."""
    trained_whole: ClassVar[tuple[str, ...]] = ()
    """Top-level modules that low-rank recovery trains in full, as the policy's authors do."""
    draws_noise: ClassVar[bool] = False
    """Whether `losses` draws noise, and so can draw it `draws` times a sample."""
    draws: int = 1

    def __init__(self, config: Any) -> None:
        super().__init__()
        self._config = config

    @abstractmethod
    def stacks(self) -> dict[str, Stack]:
        """Every residual stack by name: `language`, `action`, `vision.<tower>`."""

    @abstractmethod
    def losses(self, batch: Batch) -> Tensor:
        """(B,) training loss of each sample, differentiable."""

    @abstractmethod
    def act(self, batch: Batch, mark: Mark = unmarked) -> Tensor:
        """(B, chunk, action_dim) normalised actions, without gradient. `mark` is told when "vision", "language", "action" are done."""

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Any:
        """The policy's configuration dataclass from JSON values, strictly (BadConfig)."""
        return parse(cls.config_class, config, cls.name)

    @property
    def config(self) -> Any:
        """The configuration as the policy is now: kept blocks and parts and head width follow every drop (a `PolicyConfig`)."""
        return self._config.keeping({name: stack.shape for name, stack in self.stacks().items()})

    def reset_parameters(self, seed: int) -> None:
        """Draw every parameter from `seed` and its own name: the global random state plays no part, nor do other parameters."""
        draw(self, seed)

    def narrow_head(self, units: Sequence[int]) -> None:
        """Keep only these hidden units of the action head. PlanMismatch where there is none to narrow."""
        raise PlanMismatch(f"{self.name} acts through blocks and has no head to narrow to {len(units)} units: drop blocks.")

    def example(self, text_tokens: int) -> Batch:
        """One inference request without padding, on the `meta` device: only its shapes matter."""
        from dtr.policies.registry import processor_class  # which imports this module

        with torch.device("meta"):
            return processor_class(self.processor_kind).example(self._config, text_tokens)

    def gates(self, granularity: str = "block", stacks: Collection[str] | None = None) -> dict[str, Gate]:
        """Every gate by name, dead blocks included: `language.7`, or `language.7.attention` for the granularity `attention` or `mlp`.

        stacks: only of these, by default of all that have such. PlanMismatch for parts of a stack whose blocks have none.
        """
        end, found = "" if granularity == "block" else f".{granularity}", dict[str, Gate]()
        for name, stack in self.stacks().items():
            if name in stacks if stacks is not None else stack.parted or not end:
                self.check_granularity(name, granularity)
                found |= {f"{name}.{i}{end}": gate for i, gate in stack.gates_of(granularity).items()}
        return found

    def linears(self, granularity: str, stack: str) -> dict[str, list[nn.Linear]]:
        """Gate name -> the linear layers that go with this block (or part) of `stack` when it is dropped."""
        end = "" if granularity == "block" else f".{granularity}"
        return {f"{stack}.{i}{end}": layers for i, layers in self.stacks()[stack].linears_of(granularity).items()}

    def valid(self, stack: str, batch: Batch, tokens: int) -> Tensor | None:
        """Which of the `tokens` of each sample in `stack` (over all its images) stand for something: (B, tokens) bool, None: all do."""
        return None

    def check_granularity(self, stack: str, granularity: str) -> None:
        """PlanMismatch when the blocks of this stack have no such part."""
        if granularity != "block" and not self.stacks()[stack].parted:
            raise PlanMismatch(
                f"{self.name} has no {granularity} in its {stack} blocks, which are no transformer blocks: ask for whole blocks of it."
            )

    @property
    def dead(self) -> frozenset[str]:
        """Names of the blocks, and of their parts, that no action depends on."""
        blocks = [f"{name}.{i}" for name, stack in self.stacks().items() for i in stack.dead]
        return frozenset([*blocks, *(f"{block}.{part}" for block in blocks for part in PARTS)])

    def drop(self, blocks: Mapping[str, Iterable[int]], granularity: str = "block") -> None:
        """Delete blocks, or their `attention` or `mlp`, by stack name and original index; a block that lost both is gone.

        UnknownName or PlanMismatch when one of them is not there; then nothing is deleted.
        """
        stacks, going = self.stacks(), {name: tuple(indices) for name, indices in blocks.items()}
        for name, indices in going.items():
            if name not in stacks:
                raise unknown("stack", name, stacks)
            self.check_granularity(name, granularity)
            stacks[name].check(indices, granularity)
        for name, indices in going.items():
            stacks[name].drop(indices, granularity)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def parameter_count(self) -> int:
        """Number of parameters left."""
        return sum(p.numel() for p in self.parameters())
