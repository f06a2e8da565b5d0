"""VideoMAE's classifier: attention over all patches at once. The layers are Hugging Face's.

Tong et al., "VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video
Pre-Training", NeurIPS 2022. At the defaults this is the base model as fine-tuned, with the
parameter names and shapes of ``MCG-NJU/videomae-base-finetuned-kinetics``.

Departures: clips of any size go in, because positions are computed for each. Fresh weights of small
networks are as large as their width asks for.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from vidoor.registry import register
from vidoor.victims import _tokens
from vidoor.victims._download import Source
from vidoor.victims.weights import Aliases, Checkpoints, Presets, Pretrained

TUBELET = 2
"""Frames that make one patch of VideoMAE."""


class VideoMAENetwork(nn.Module):
    """Patches of two frames, ``depth`` layers of attention over all of them, mean, linear head."""

    def __init__(self, config: "VideoMAE", classes: int) -> None:
        super().__init__()
        from transformers import VideoMAEConfig, VideoMAEForVideoClassification

        settings = VideoMAEConfig(
            image_size=2 * config.patch,  # fixes positions, which are computed here
            patch_size=config.patch,
            num_frames=TUBELET,
            tubelet_size=TUBELET,
            hidden_size=config.width,
            num_hidden_layers=config.depth,
            num_attention_heads=config.heads,
            intermediate_size=4 * config.width,
            initializer_range=_tokens.spread(config.width),
        )
        settings.num_labels = classes
        model: Any = VideoMAEForVideoClassification(settings)
        self.patch = config.patch
        self.videomae = model.videomae
        self.fc_norm = model.fc_norm
        self.classifier = model.classifier

    def forward(self, x: Tensor) -> Tensor:
        """Logits B×classes of a normalised batch B×3×T×H×W."""
        _tokens.fits(x, self.patch, TUBELET)
        patches = self.videomae.embeddings.patch_embeddings.projection(x)
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = tokens + _tokens.positions(*tokens.shape[1:]).to(tokens)
        tokens = self.videomae.encoder(tokens).last_hidden_state
        out: Tensor = self.classifier(self.fc_norm(tokens.mean(1)))
        return out


@register("victim", "videomae")
@dataclass(frozen=True, kw_only=True)
class VideoMAE(Pretrained):
    """VideoMAE's classifier, scalable from the published base model to a small one."""

    width: int = 768
    """Size of a token, a multiple of ``heads``. 768 is the published size."""

    depth: int = 12
    """Layers."""

    heads: int = 12
    """Attention heads of each layer."""

    patch: int = 16
    """Side of a patch in pixels; it is two frames long."""

    # ImageNet's statistics, as the published models were trained.
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    head = "classifier"
    penultimate = "fc_norm"
    presets: ClassVar[Presets] = {
        "paper": {},
        "small": {"width": 32, "depth": 2, "heads": 4, "patch": 4},
    }
    checkpoints: ClassVar[Checkpoints] = {
        "kinetics400": Source(
            "https://huggingface.co/MCG-NJU/videomae-base-finetuned-kinetics/resolve/main/"
            "pytorch_model.bin"
        )
    }
    # How the biases are named depends on the version of transformers; checkpoints have the old way.
    aliases: ClassVar[Aliases] = ((r"\.q_bias$", ".query.bias"), (r"\.v_bias$", ".value.bias"))

    def __post_init__(self) -> None:
        super().__post_init__()
        _tokens.check(self.width, self.depth, self.heads, self.patch)

    @property
    def stages(self) -> tuple[str, ...]:
        """Paths of the layers."""
        return tuple(f"videomae.encoder.layer.{n}" for n in range(self.depth))

    def build(self, classes: int) -> nn.Module:
        """A freshly initialised network with ``classes`` outputs."""
        return VideoMAENetwork(self, classes)
