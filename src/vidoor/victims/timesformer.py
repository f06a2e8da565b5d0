"""TimeSformer: attention along time, then in space. The layers are Hugging Face's.

Bertasius et al., "Is Space-Time Attention All You Need for Video Understanding?", ICML 2021. At the
defaults this is the base model with divided attention, with the parameter names and shapes of
``facebook/timesformer-base-finetuned-k400``.

Departures: clips of any size go in; the learnt positions are those of ``frames`` and ``size``, and
are taken from the nearest ones where a clip has other sizes. Fresh weights are not all random: from
random ones a small network learns the axis along which things move and not the direction, see
``_begin``.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vidoor.registry import register
from vidoor.victims import _tokens
from vidoor.victims._download import Source
from vidoor.victims.weights import Checkpoints, Presets, Pretrained

SHARPNESS = 2.0
"""How much fresh temporal heads prefer their frame."""


class _First(nn.Module):
    """The class token: the first of B×N×D."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0]


@torch.no_grad()
def _begin(model: Any, config: "TimeSformer") -> None:
    """Fresh weights that see the order of frames from the start.

    The first numbers of a token begin as its time alone, the others as its place and patch, and
    each temporal head attends by time to one frame: the next, the one before, the one after the
    next, and so on. (Attention is easier to learn from such beginnings: Trockman and Kolter,
    "Mimetic Initialization of Self-Attention Layers", ICML 2023.) All of it is trained.
    """
    width, rows = config.width, config.width // config.heads
    time = min(rows, width // 4)
    embeddings = model.embeddings
    embeddings.time_embeddings.zero_()[..., :time] = _tokens.positions(config.frames, width)[
        ..., :time
    ]
    place = embeddings.position_embeddings
    place.zero_()[..., time:] = _tokens.positions(place.shape[1], width - time)
    embeddings.patch_embeddings.projection.weight[:time] = 0
    for layer in model.encoder.layer:
        attention = layer.temporal_attention
        query, key, value = attention.attention.qkv.weight.view(3, width, width)
        for head in range(config.heads):
            offset = (head // 2 + 1) * (-1) ** head
            looking, seen = _tokens.looking(offset, time, width)
            at = slice(head * rows, head * rows + time)
            for weight, mine in ((query, looking), (key, seen)):
                weight[head * rows : (head + 1) * rows] = 0
                weight[at] = SHARPNESS * mine
        nn.init.orthogonal_(value)
        nn.init.orthogonal_(attention.output.dense.weight)
        nn.init.eye_(layer.temporal_dense.weight)


class TimeSformerNetwork(nn.Module):
    """Patches, ``depth`` layers of attention along time and then in space, linear head."""

    def __init__(self, config: "TimeSformer", classes: int) -> None:
        super().__init__()
        # Not before it is needed: importing it takes seconds.
        from transformers import TimesformerConfig, TimesformerForVideoClassification

        settings = TimesformerConfig(
            image_size=config.size,
            patch_size=config.patch,
            num_frames=config.frames,
            hidden_size=config.width,
            num_hidden_layers=config.depth,
            num_attention_heads=config.heads,
            intermediate_size=4 * config.width,
            initializer_range=_tokens.spread(config.width),
        )
        settings.num_labels = classes
        model = TimesformerForVideoClassification(settings)
        self.patch = config.patch
        self.timesformer = model.timesformer
        _begin(self.timesformer, config)
        self.pool = _First()
        self.classifier = model.classifier

    def forward(self, x: Tensor) -> Tensor:
        """Logits B×classes of a normalised batch B×3×T×H×W."""
        _tokens.fits(x, 2 * self.patch, 1)
        # The layers fold the row of tokens back into T×h×w by these two.
        settings = self.timesformer.config
        settings.num_frames, settings.image_size = x.shape[2], x.shape[4]
        tokens = self.timesformer(pixel_values=x.transpose(1, 2)).last_hidden_state
        out: Tensor = self.classifier(self.pool(tokens))
        return out


@register("victim", "timesformer")
@dataclass(frozen=True, kw_only=True)
class TimeSformer(Pretrained):
    """TimeSformer, scalable from the published base model to one that two CPU cores can train."""

    width: int = 768
    """Size of a token, a multiple of ``heads``. 768 is the published size."""

    depth: int = 12
    """Layers; each attends along time, then in space."""

    heads: int = 12
    """Attention heads of each layer."""

    patch: int = 16
    """Side of a patch in pixels."""

    frames: int = 8
    """Frames that there are learnt positions for."""

    size: int = 224
    """Height and width of the clips that there are learnt positions for."""

    mean = (0.45, 0.45, 0.45)
    std = (0.225, 0.225, 0.225)

    head = "classifier"
    penultimate = "pool"
    presets: ClassVar[Presets] = {
        "paper": {},
        "small": {"width": 32, "depth": 2, "heads": 4, "patch": 4, "size": 32},
    }
    checkpoints: ClassVar[Checkpoints] = {
        f"kinetics{classes}": Source(
            f"https://huggingface.co/facebook/timesformer-base-finetuned-k{classes}/resolve/main/"
            "pytorch_model.bin"
        )
        for classes in (400, 600)
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        _tokens.check(self.width, self.depth, self.heads, self.patch)
        if self.frames < 1 or self.size < 2 * self.patch:
            raise ValueError(
                f"need frames >= 1 and size of two patches or more, not {self.frames} and "
                f"{self.size} with patches of {self.patch}"
            )

    @property
    def stages(self) -> tuple[str, ...]:
        """Paths of the layers."""
        return tuple(f"timesformer.encoder.layer.{n}" for n in range(self.depth))

    def build(self, classes: int) -> nn.Module:
        """A freshly initialised network with ``classes`` outputs."""
        return TimeSformerNetwork(self, classes)
