"""Policies that denoise a chunk of actions beside a vision-language model: pi0.5, GigaBrain-0, LingBot-VLA.

    first stream    h_0 = [image 1] ... [image n] [text], each token sees every valid token; positions count valid tokens only
    second stream   [tokens of x_t], each sees the valid first stream and its own blocks (`suffix`), positions go on counting
    v(x_t, t)       the second stream behind its final norm, mapped to actions                    (joint.py, flow.py)

Batch: `pixel_values` (B, n, 3, S, S), `image_mask` (B, n) bool, False for a camera that is not there (all True where absent);
`input_ids` (B, T) padded on the right, `attention_mask` (B, T) bool; what the policy's class names beside; for losses `actions`
(B, C, A) normalised and, if they should not be drawn from torch's global generator, `noise` (B K, C, A) and `time` (B K,), the K draws
of a sample one behind the other; for `act` `noise` (B, C, A), or `noise_seed` (B,) int64 to draw it from (seed 0 where neither is given).
Legend: B batch, n image slots, P tokens of an image, T text tokens, N = n P + T, M tokens of the second stream, D width of the first,
E of the second, C chunk, A action dimension, K draws of noise and time a sample.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dtr.errors import BadConfig
from dtr.policies.base import Batch, Mark, Policy, unmarked
from dtr.policies.decoder import Rotation, rotation
from dtr.policies.flow import euler, seeded_noise
from dtr.policies.flow_config import FlowPolicyConfig
from dtr.policies.initial import fan_in_std, generator, truncated_normal
from dtr.policies.joint import KeysValues, Stream, settle, visible
from dtr.policies.joint_config import StreamConfig
from dtr.policies.norms import Norm
from dtr.policies.stack import Stack, linear_layers


@dataclass(frozen=True)
class Memory:
    """What the second stream needs of the first: `past` keys and values by layer, its own rotation, and its mask (B, 1, M, N + M)."""

    past: Mapping[int, KeysValues]
    by: Rotation
    mask: Tensor

    def repeated(self, K: int) -> Memory:
        """Every sample K times, for as many second streams that read it; without a copy where K is 1."""
        if K == 1:
            return self
        past = {i: (k.repeat_interleave(K, dim=0), v.repeat_interleave(K, dim=0)) for i, (k, v) in self.past.items()}
        cos, sin = (t.repeat_interleave(K, dim=0) for t in self.by)
        return Memory(past, (cos, sin), self.mask.repeat_interleave(K, dim=0))


class FlowPolicy(Policy):
    """What the three share; a class adds `vision`, the projections, and the methods below that are abstract."""

    processor_kind = "flow"
    draws_noise = True
    language: Stream
    action: Stream
    _config: FlowPolicyConfig

    def __init__(self, config: FlowPolicyConfig, condition: int) -> None:
        super().__init__(config)
        shapes = config.shapes()
        self.language = Stream(config.language, shapes["language"], read_by=shapes["action"].attending, vocab=config.vocab)
        self.action = Stream(config.action, shapes["action"], condition=condition)

    @staticmethod
    @abstractmethod
    def times(steps: int) -> list[float]:
        """The times of n sampling steps: `flow.accumulated_times` or `flow.spaced_times`."""

    @staticmethod
    @abstractmethod
    def draw_times(B: int, device: torch.device) -> Tensor:
        """The times of training: `flow.beta_times` or `flow.ratio_times`."""

    @abstractmethod
    def vision_stack(self) -> Stack:
        """The blocks of the vision tower."""

    @abstractmethod
    def image_tokens(self, pixel_values: Tensor) -> Tensor:
        """(B, n, 3, S, S) -> (B, n P, D)."""

    @abstractmethod
    def enter(self, batch: Batch, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The second stream's tokens (B, M, E) at x_t (B, C, A), t (B,), and the condition of its norms."""

    @abstractmethod
    def leave(self, batch: Batch, h: Tensor) -> Tensor:
        """The second stream behind its final norm (B, M, E) -> velocity (B, C, A)."""

    @abstractmethod
    def error(self, batch: Batch, apart: Tensor) -> Tensor:
        """Velocity less target (B, C, A) -> loss of each sample (B,)."""

    def stacks(self) -> dict[str, Stack]:
        """The vision tower and both streams."""
        return {"vision": self.vision_stack(), "language": self.language.stack, "action": self.action.stack}

    def drop(self, blocks: Mapping[str, Iterable[int]], granularity: str = "block") -> None:
        """Delete blocks or a part of them, and the keys and values that nothing reads any more."""
        super().drop(blocks, granularity)
        settle(self.language, self.action)

    def linears(self, granularity: str, stack: str) -> dict[str, list[nn.Linear]]:
        """As for every policy; with an attention goes its source, unless the other stream reads it."""
        found = super().linears(granularity, stack)
        stream = {"language": self.language, "action": self.action}.get(stack)
        if stream is not None and granularity != "mlp":
            read = self.action.stack.having("attention") if stream is self.language else ()
            for i, (name, layers) in zip(stream.stack.having(granularity), found.items(), strict=True):
                if str(i) in stream.sources and i not in read:
                    found[name] = [*layers, *linear_layers(stream.sources[str(i)])]
        return found

    def valid(self, stack: str, batch: Batch, tokens: int) -> Tensor | None:
        """Not: padding of the text, and cameras that are not there."""
        if stack == "vision":
            return self.present(batch).repeat_interleave(tokens // self._config.images, dim=1)
        return self.valid_tokens(batch, tokens) if stack == "language" else None

    def present(self, batch: Batch) -> Tensor:
        """Which cameras are there: (B, n) bool."""
        ids, mask = batch["input_ids"], batch.get("image_mask")
        everywhere = torch.ones(ids.shape[0], self._config.images, dtype=torch.bool, device=ids.device)
        return everywhere if mask is None else mask.bool()

    def valid_tokens(self, batch: Batch, tokens: int) -> Tensor:
        """Which of the N tokens of the first stream are valid: (B, N) bool."""
        text = batch["attention_mask"].bool()
        return torch.cat([self.present(batch).repeat_interleave((tokens - text.shape[1]) // self._config.images, dim=1), text], dim=1)

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The first stream's h_0 (B, N, D) and which of its tokens are valid (B, N)."""
        if (given := batch["pixel_values"].shape[1]) != (slots := self._config.images):
            raise BadConfig(
                f"{self.name} sees {slots} images a request and was given {given}: give it all of them, or let the processor say `slots: "
                f"{slots}` and `cameras: {given}`, which masks the others."
            )
        visual = self.image_tokens(batch["pixel_values"])
        h = torch.cat([visual, self.language.embed(batch["input_ids"]) * self._config.text_scale], dim=1)
        return h, self.valid_tokens(batch, h.shape[1])

    def rotation(self, positions: Tensor, stream: StreamConfig, h: Tensor) -> Rotation:
        """RoPE of positions (B, T), in h's type: (B, 1, T, K) each, the same for all heads."""
        return rotation(positions.unsqueeze(1), stream.head_dim, stream.rope_base, h.dtype)

    def read(self, h: Tensor, valid: Tensor) -> tuple[Tensor, Memory]:
        """Run the first stream once: h_0 (B, N, D), valid (B, N) -> its end (B, N, D) and what the second stream needs of it."""
        c, (B, N) = self._config, valid.shape
        end, past = self.language(h, self.rotation(valid.cumsum(1) - 1, c.language, h), valid[:, None, None, :])
        own = visible(c.suffix, h.device)
        M = own.shape[0]
        mask = torch.cat([valid[:, None, :].expand(B, M, N), own.expand(B, M, M)], dim=2).unsqueeze(1)
        positions = valid.sum(1, keepdim=True) + torch.arange(M, device=h.device)
        return end, Memory(past, self.rotation(positions, c.action, h), mask)

    def velocity(self, batch: Batch, memory: Memory, x: Tensor, t: Tensor) -> Tensor:
        """v(x_t, t): (B, C, A), (B,) -> (B, C, A) float32; only between the two is anything of the weights' type, as upstream."""
        h, condition = self.enter(batch, x.to(memory.by[0].dtype), t)
        h, _ = self.action(h, memory.by, memory.mask, condition, memory.past)
        return self.leave(batch, self.action.finish(h, condition)).float()

    def path(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Noise e and time t of a training batch, given or drawn: (B K, C, A), (B K,)."""
        actions = batch["actions"].repeat_interleave(self.draws, dim=0)
        noise, time = batch.get("noise"), batch.get("time")
        noise = torch.randn_like(actions) if noise is None else noise
        return noise, self.draw_times(noise.shape[0], actions.device) if time is None else time

    def against(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The velocity at points of the straight path, and the same less the path's own: (B K, C, A) each.

        The first stream, which neither noise nor time reaches, is run once for all K.
        """
        noise, t = self.path(batch)
        K = noise.shape[0] // batch["actions"].shape[0]
        _, memory = self.read(*self.embed(batch))
        batch = repeated(batch, K)
        actions, mixed = batch["actions"], t[:, None, None]
        v = self.velocity(batch, memory.repeated(K), mixed * noise + (1 - mixed) * actions, t)
        return v, v - (noise - actions)

    def losses(self, batch: Batch) -> Tensor:
        """(B,) how far the velocity is from the path's own, on average over the K draws."""
        B = batch["actions"].shape[0]
        _, apart = self.against(batch)
        return self.error(repeated(batch, apart.shape[0] // B), apart).unflatten(0, (B, -1)).mean(dim=1)

    def first_noise(self, batch: Batch) -> Tensor:
        """Where sampling begins: (B, C, A)."""
        ids, c = batch["input_ids"], self._config
        if "noise" in batch:
            return batch["noise"]
        seeds = batch.get("noise_seed", torch.zeros(ids.shape[0], dtype=torch.long, device="cpu"))
        return seeded_noise(seeds, c.chunk, c.action_dim, ids.device)

    def sample(self, batch: Batch, mark: Mark = unmarked) -> list[tuple[float, Tensor, Tensor]]:
        """Every Euler step as (t, velocity, x behind it)."""
        h, valid = self.embed(batch)
        mark("vision")
        _, memory = self.read(h, valid)
        mark("language")
        times = self.times(self._config.flow.steps)
        path = euler(lambda x, t: self.velocity(batch, memory, x, t), self.first_noise(batch), times)
        mark("action")
        return path

    def forward(self, batch: Batch, mark: Mark = unmarked) -> Tensor:
        """(B, C, A) normalised actions, differentiable."""
        return self.sample(batch, mark)[-1][2]

    @torch.no_grad()
    def act(self, batch: Batch, mark: Mark = unmarked) -> Tensor:
        """(B, C, A) normalised actions."""
        y: Tensor = self(batch, mark)
        return y

    def reset_parameters(self, seed: int) -> None:
        """See `dtr.policies.initial`; norms begin neutral."""
        depths = {name: stack.depth for name, stack in self.stacks().items()}
        with torch.no_grad():
            for name, p in self.named_parameters():
                leaf = name.split(".")[-2]
                if p.dim() == 1 or name.endswith("bias"):
                    p.fill_(1.0 if "norm" in leaf and name.endswith("weight") else 0.0)
                elif name.endswith(("embedding.weight", "position")):
                    truncated_normal(p, 0.02, generator(seed, name))
                else:
                    residual = depths[name.split(".")[0]] if ".blocks." in name and leaf in ("proj", "fc2", "o", "down") else None
                    rows = p[0].T if p.dim() == 3 else p  # one matrix (in, out) for every robot
                    truncated_normal(p, fan_in_std(rows, residual), generator(seed, name))
            for module in self.modules():
                if isinstance(module, Norm):
                    module.neutral()


def repeated(batch: Batch, K: int) -> Batch:
    """Every sample K times, but for the pictures, which the first stream has read by then, and for noise and time."""
    return {name: t.repeat_interleave(K, dim=0) for name, t in batch.items() if name not in ("pixel_values", "noise", "time")}
