"""The catalogue of backbones."""

from __future__ import annotations

from torch import nn

from blocks.backbones.bisenet import Bisenet
from blocks.backbones.bisenetv2 import Bilateral
from blocks.backbones.df import Df1, Df2
from blocks.backbones.dfanet import Dfanet
from blocks.backbones.gun import Gun
from blocks.backbones.icnet import Icnet
from blocks.backbones.mit import MixTransformer
from blocks.backbones.mscan import MultiScaleAttention
from blocks.backbones.psa_hrnet import PolarizedHRNet
from blocks.backbones.stdc import Stdc1, Stdc2
from blocks.backbones.timm import Timm

BACKBONES: dict[str, type[nn.Module]] = {
    "timm": Timm,
    "psa_hrnet": PolarizedHRNet,
    "stdc1": Stdc1,
    "stdc2": Stdc2,
    "mit": MixTransformer,
    "mscan": MultiScaleAttention,
    "bisenetv2": Bilateral,
    "bisenet": Bisenet,
    "icnet": Icnet,
    "gun": Gun,
    "df1": Df1,
    "df2": Df2,
    "dfanet": Dfanet,
}
