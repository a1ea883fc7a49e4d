"""Every dimension of OpenVLA-OFT, for the 7 B model and for narrow ones of the same class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dtr.errors import BadConfig
from dtr.policies.decoder import LanguageConfig
from dtr.policies.head import HeadConfig
from dtr.policies.settings import check_sizes, parse, plain
from dtr.policies.vit import TowerConfig


@dataclass(frozen=True)
class OpenVLAOFTConfig:
    """The whole model.

    `image_size`, `patch_size` in pixels; `images` cameras; `dino`, `siglip` the two towers of one image; `projector` hidden widths
    between the fused features F and the language width D, () = (4 F, D); `proprio_dim` numbers of state, `proprio_hidden` 0 = D;
    `chunk` steps of `action_dim` numbers; `unused` also carries what the released weights hold but no action depends on (tower
    norms, attention pool, lm_head), so that an imported checkpoint can be exported whole.
    """

    image_size: int
    patch_size: int
    dino: TowerConfig
    siglip: TowerConfig
    language: LanguageConfig
    action: HeadConfig
    images: int = 2
    projector: tuple[int, ...] = ()
    proprio_dim: int = 8
    proprio_hidden: int = 0
    chunk: int = 8
    action_dim: int = 7
    unused: bool = False

    def __post_init__(self) -> None:
        check_sizes(self, "openvla_oft", ("image_size", "patch_size", "images", "proprio_dim", "chunk", "action_dim"))
        if self.image_size % self.patch_size:
            raise BadConfig(f"image_size must be a multiple of patch_size, got {self.image_size} and {self.patch_size}: change one.")
        object.__setattr__(self, "projector", tuple(self.projector) or (4 * self.features, self.language.width))
        object.__setattr__(self, "proprio_hidden", self.proprio_hidden or self.language.width)

    @property
    def features(self) -> int:
        """F, the channels of both towers together."""
        return self.dino.width + self.siglip.width

    @property
    def patches(self) -> int:
        """Patches of one image."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def visual_tokens(self) -> int:
        """Tokens between BOS and the prompt: the patches of all images and one for proprioception."""
        return self.images * self.patches + 1

    @property
    def action_tokens(self) -> int:
        """Placeholders of one chunk."""
        return self.chunk * self.action_dim

    def text_length(self, prompt: int) -> int:
        """Length of `input_ids` for a prompt of so many tokens: BOS, the empty token and stop stand around it and the chunk."""
        return prompt + self.action_tokens + 3

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return plain(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OpenVLAOFTConfig:
        """The configuration of JSON values; BadConfig names the field that is wrong."""
        return parse(cls, values, "openvla_oft")


FULL_SIZE = OpenVLAOFTConfig(
    image_size=224,
    patch_size=14,
    dino=TowerConfig(depth=24, width=1024, heads=16, mlp=4096, class_token=True, registers=4, layer_scale=1e-5),
    siglip=TowerConfig(depth=27, width=1152, heads=16, mlp=4304),
    language=LanguageConfig(depth=32, width=4096, heads=32, mlp=11008, vocab=32064),
    action=HeadConfig(depth=2, hidden=4096),
    unused=True,
)
"""The released model: DINOv2-L with registers, SigLIP-So400m, Llama-2-7B (facts: openvla-oft `213c5ff`)."""
