"""Image encoder of all image networks: a backbone and two small decoders, for keypoint heat maps and for masks with dense maps.

Input: RGB crops of 256 x 256, minus the ImageNet mean, divided by its standard deviation. Maps are listed from coarse (8 x 8)
to fine (64 x 64). Published: a ResNet. Source: IntagHand (CVPR 2022), image encoder; used unchanged by Im2Hands (CVPR 2023).
EfficientNet-Lite2 is our alternative: fewer operations than ResNet-18, and its weights have seen photographs (see
`networks.photograph_weights`). Source: Tan and Le, EfficientNet (ICML 2019); Lite: without squeeze-excitation, with ReLU6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
import torchvision
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import resnet

DECODER_CHANNELS = 128
"""Of the two decoders' maps; NARROW has fewer."""
HEAT_MAPS = 42
"""21 keypoints of the left hand, then 21 of the right."""
MASK_CHANNELS, DENSE_CHANNELS = 2, 6
NARROW = "resnet10_narrow"
NARROW_WIDTH, NARROW_DECODER_CHANNELS = 32, 32
LITE = "efficientnet_lite2"
LITE_MODEL, LITE_DECODER_CHANNELS = "tf_efficientnet_lite2", 64
"""timm's name; without `tf_` it has another padding, and takes the weights all the same."""
HALVED = "efficientnet_lite2_half"
"""The same, which sees the image at half the resolution: a quarter of the work, and maps twice enlarged."""
DEPTHS = (NARROW, LITE, HALVED, "resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


@dataclass(frozen=True)
class ImageFeatures:
    """What the encoder sees in a batch of crops; every list runs from 8 x 8 to 64 x 64.

    heat_maps: raw keypoint heat maps.  masks, dense_maps: raw, at 64 x 64.
    backbone: its maps.  of_heat_maps, of_dense_maps: 128-channel maps inside the two decoders.
    """

    heat_maps: Float[Tensor, "batch 42 64 64"]
    masks: Float[Tensor, "batch 2 64 64"]
    dense_maps: Float[Tensor, "batch 6 64 64"]
    backbone: list[Float[Tensor, "batch channels height width"]]
    of_heat_maps: list[Float[Tensor, "batch decoder_channels height width"]]
    of_dense_maps: list[Float[Tensor, "batch decoder_channels height width"]]

    def enlarged(self) -> ImageFeatures:
        """Twice the size: features of images of half the resolution in place of those of whole ones."""

        def larger(maps: Tensor) -> Tensor:
            return F.interpolate(maps, scale_factor=2, mode="bilinear")

        single = (larger(maps) for maps in (self.heat_maps, self.masks, self.dense_maps))
        lists = ([larger(maps) for maps in each] for each in (self.backbone, self.of_heat_maps, self.of_dense_maps))
        return ImageFeatures(*single, *lists)


class MapDecoder(nn.Module):
    """Four stages from the coarsest backbone map (8 x 8) to 64 x 64, and a last map of `outputs` channels.

    The published order is convolution, ReLU, batch norm; upsampling is bilinear with aligned corners.
    finer: channels of the backbone's finer maps, coarse to fine, which are added to the maps of the stages; published: none.
    Where something is can then be read off them and need not be kept in 8 x 8 cells.
    """

    def __init__(self, inputs: int, outputs: int, channels: int = DECODER_CHANNELS, finer: Sequence[int] = ()) -> None:
        super().__init__()
        self.finer = nn.ModuleList(nn.Conv2d(width, channels, 1, bias=False) for width in finer)
        self.stages = nn.ModuleList([_stage(nn.Conv2d(inputs, channels, 1, bias=False))])
        for _ in range(3):
            self.stages.append(_stage(nn.Conv2d(channels, channels, 3, padding=1, bias=False)))
        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.last = nn.Conv2d(channels, outputs, 1)

    def forward(self, backbone: Sequence[Float[Tensor, "batch channels side side"]]) -> tuple[Tensor, list[Tensor]]:
        """The last map and the maps of all stages. backbone: its maps, coarse to fine."""
        maps = [self.stages[0](backbone[0])]
        for level, stage in enumerate(self.stages[1:]):
            enlarged = self.upsample(maps[-1])
            maps.append(stage(enlarged + self.finer[level](backbone[level + 1]) if self.finer else enlarged))
        return self.last(maps[-1]), maps


class NarrowResNet(resnet.ResNet):
    """A ResNet of one block per level with half of ResNet-18's channels: a fifth of its encoder's work on a CPU."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self._norm_layer, self.groups, self.base_width, self.dilation = nn.BatchNorm2d, 1, 64, 1
        self.inplanes = NARROW_WIDTH
        self.conv1 = nn.Conv2d(3, NARROW_WIDTH, 7, stride=2, padding=3, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(NARROW_WIDTH), nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        for level in range(4):
            layer = self._make_layer(resnet.BasicBlock, NARROW_WIDTH << level, 1, stride=1 if level == 0 else 2)
            setattr(self, f"layer{level + 1}", layer)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(NARROW_WIDTH << 3, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class LiteBackbone(nn.Module):
    """EfficientNet-Lite2 without its classifier; weights are random until they are loaded."""

    def __init__(self) -> None:
        super().__init__()
        import timm  # takes seconds, and only this encoder needs it

        self.frozen: list[nn.Module] = []
        self.body = timm.create_model(LITE_MODEL, pretrained=False, features_only=True, out_indices=(1, 2, 3, 4))
        self.channels: list[int] = self.body.feature_info.channels()[::-1]
        """Of the maps, coarse to fine."""

    def forward(self, images: Float[Tensor, "batch 3 side side"]) -> list[Float[Tensor, "batch channels h w"]]:
        """Maps, coarse to fine."""
        return self.body(images)[::-1]

    def freeze(self, blocks: int) -> None:
        """Keeps the weights and statistics of the stem and of the first of its seven blocks as they are, in training too."""
        if blocks:
            self.frozen = [self.body.conv_stem, self.body.bn1, *self.body.blocks[:blocks]]
        for part in self.frozen:
            part.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> LiteBackbone:
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self


class ImageEncoder(nn.Module):
    """A backbone with the two decoders; weights are random until they are loaded.

    depth: published is resnet50; the narrow and the lite ones are ours, for work without a GPU.  `resnet.fc` is never used; it
    is kept because published files contain it.
    """

    def __init__(self, depth: str = "resnet50") -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"unknown image encoder {depth!r}; choose one of {', '.join(DEPTHS)}")
        self.is_lite, self.halves = depth in (LITE, HALVED), depth == HALVED
        ours = LITE_DECODER_CHANNELS if self.is_lite else NARROW_DECODER_CHANNELS
        self.decoder_channels = ours if self.is_lite or depth == NARROW else DECODER_CHANNELS
        if self.is_lite:
            self.lite = LiteBackbone()
            self.channels = self.lite.channels
        else:
            narrow = depth == NARROW
            self.resnet: resnet.ResNet = NarrowResNet() if narrow else getattr(torchvision.models, depth)(weights=None)
            self.channels = [self.resnet.fc.in_features // 2**level for level in range(4)]
            """Channels of the backbone maps, coarse to fine."""
        coarsest, finer = self.channels[0], self.channels[1:] if self.is_lite else ()
        self.heat_map_decoder = MapDecoder(coarsest, HEAT_MAPS, self.decoder_channels, finer)
        self.dense_map_decoder = MapDecoder(coarsest, MASK_CHANNELS + DENSE_CHANNELS, self.decoder_channels, finer)

    def forward(self, images: Float[Tensor, "batch 3 256 256"]) -> ImageFeatures:
        return self.seen(F.avg_pool2d(images, 2)).enlarged() if self.halves else self.seen(images)

    def seen(self, images: Float[Tensor, "batch 3 side side"]) -> ImageFeatures:
        """Maps of images of any size, in proportion to it."""
        if images.device.type == "cpu":
            images = images.contiguous(memory_format=torch.channels_last)  # a quarter less time for a training step
        backbone = self._backbone(images)
        heat_maps, of_heat_maps = self.heat_map_decoder(backbone)
        masks_and_dense, of_dense_maps = self.dense_map_decoder(backbone)
        masks, dense_maps = masks_and_dense.split([MASK_CHANNELS, DENSE_CHANNELS], dim=1)
        return ImageFeatures(heat_maps, masks, dense_maps, backbone, of_heat_maps, of_dense_maps)

    def _backbone(self, images: Tensor) -> list[Tensor]:
        if self.is_lite:
            return self.lite(images)
        net = self.resnet
        features = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        maps = []
        for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
            features = layer(features)
            maps.append(features)
        return maps[::-1]


def _stage(convolution: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.ReLU(), nn.BatchNorm2d(convolution.out_channels))


def normalise(images: Float[Tensor, "batch 256 256 3"]) -> Float[Tensor, "batch 3 256 256"]:
    """uint8 RGB crops as the encoder takes them: scaled to 0..1, ImageNet mean and standard deviation."""
    mean = images.new_tensor([0.485, 0.456, 0.406], dtype=torch.float32)
    deviation = images.new_tensor([0.229, 0.224, 0.225], dtype=torch.float32)
    return ((images.float() / 255 - mean) / deviation).movedim(-1, 1)
