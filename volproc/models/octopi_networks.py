"""The networks of Octopi: MONAI's, with the arguments that Octopi's builders give them.

The parameters carry the names of the ``model`` block of ``model_config.yaml``. What is missing
there has Octopi's value; where Octopi has none, a value that strict loading of the weights would
find to be wrong, and nowhere a guess that would go unseen (strides, for one).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from math import prod
from typing import Any

from torch import nn

from volproc.core.errors import ModelError
from volproc.core.types import ZYX
from volproc.models.monai_import import import_monai
from volproc.models.monai_networks import NumbersOnCpu, build_monai
from volproc.models.networks import register

Sizes = Sequence[int | Sequence[int]]
"""One number a level, or three of them (z, y, x)."""

Layer = str | Sequence[Any]
"""Name of a layer of MONAI, alone or with its arguments."""

NAMES = {
    "Unet": "octopi-unet",
    "AttentionUnet": "octopi-attentionunet",
    "DynUNet": "octopi-dynunet",
    "SegResNet": "octopi-segresnet",
    "SwinUNETR": "octopi-swinunetr",
    "MedNeXt": "octopi-mednext",
}
"""Octopi's word for an architecture → the name under which it is registered."""


def _strides(params: Mapping[str, Any]) -> ZYX[int]:
    used = params["strides"][: len(params["channels"]) - 1] if "channels" in params else ()
    z, y, x = (prod(s) for s in zip(*map(_triple, used or params["strides"]), strict=True))
    return z, y, x


def _halvings(num: int) -> ZYX[int]:
    return (2**num,) * 3


@register(NAMES["Unet"], multiple=_strides)
def octopi_unet(
    *,
    channels: Sequence[int],
    strides: Sizes,
    num_res_units: int = 1,
    dropout: float = 0.0,
    in_channels: int = 1,
    num_classes: int = 2,
) -> nn.Module:
    """MONAI's residual U-Net: PReLU, instance norm without weights, transposed convolutions.

    Parameters
    ----------
    channels, strides : sequence of int
        Widths of the levels, and the strides between them.
    num_res_units : int
        Convolutions of a residual unit; 0 for plain ones.
    dropout : float
        Probability, in [0, 1].
    in_channels, num_classes : int
        Channels in and out.
    """
    return build_monai(
        "UNet",
        spatial_dims=3,
        in_channels=in_channels,
        out_channels=num_classes,
        channels=tuple(channels),
        strides=_tuples(strides),
        kernel_size=3,
        up_kernel_size=3,
        num_res_units=num_res_units,
        act="PRELU",
        norm="INSTANCE",
        dropout=dropout,
        bias=True,
        adn_ordering="NDA",
    )


@register(NAMES["AttentionUnet"], multiple=_strides)
def octopi_attention_unet(
    *,
    channels: Sequence[int],
    strides: Sizes,
    dropout: float = 0.0,
    in_channels: int = 1,
    num_classes: int = 2,
) -> nn.Module:
    """MONAI's attention U-Net, with batch norm, of Octopi up to 1.4.

    Parameters
    ----------
    channels, strides : sequence of int
        Widths of the levels, and the strides between them.
    dropout : float
        Probability, in [0, 1].
    in_channels, num_classes : int
        Channels in and out.
    """
    return build_monai(
        "AttentionUnet",
        spatial_dims=3,
        in_channels=in_channels,
        out_channels=num_classes,
        channels=tuple(channels),
        strides=_tuples(strides),
        kernel_size=3,
        up_kernel_size=3,
        dropout=dropout,
    )


@register(NAMES["DynUNet"], multiple=_strides)
def octopi_dynunet(
    *,
    kernel_size: Sizes,
    strides: Sizes,
    upsample_kernel_size: Sizes,
    filters: Sequence[int] | None = None,
    dropout: float | None = None,
    norm_name: Layer = ("INSTANCE", {"affine": True}),
    act_name: Layer = ("leakyrelu", {"inplace": True, "negative_slope": 0.01}),
    deep_supervision: bool = False,
    deep_supr_num: int = 1,
    res_block: bool = True,
    in_channels: int = 1,
    num_classes: int = 2,
) -> nn.Module:
    """MONAI's reimplementation of nnU-Net's network.

    Parameters
    ----------
    kernel_size, strides : sequence
        Of each stage; the first stride is 1.
    upsample_kernel_size : sequence
        Of the way up; what `strides` says after its first.
    filters : sequence of int or None
        Widths of the stages; by default 32, 64, … up to 320.
    dropout : float or None
        Probability.
    norm_name, act_name : str or sequence
        Layers by MONAI's names, with their arguments.
    deep_supervision : bool
        Whether there are heads at coarser levels, which give something in training only.
    deep_supr_num : int
        How many.
    res_block : bool
        Residual or plain blocks.
    in_channels, num_classes : int
        Channels in and out.

    Raises
    ------
    ModelError
        If the strides would not give back the size of the patch.
    """
    down = [_triple(stride) for stride in strides]
    if set(down[0]) != {1} or down[1:] != [_triple(size) for size in upsample_kernel_size]:
        msg = (
            f"a DynUNet with strides {strides} and upsample_kernel_size {upsample_kernel_size} "
            "does not give back the size of its patch. The first stride is 1, and "
            "upsample_kernel_size repeats the others."
        )
        raise ModelError(msg)
    return build_monai(
        "DynUNet",
        spatial_dims=3,
        in_channels=in_channels,
        out_channels=num_classes,
        kernel_size=_tuples(kernel_size),
        strides=_tuples(strides),
        upsample_kernel_size=_tuples(upsample_kernel_size),
        filters=filters,
        dropout=dropout,
        norm_name=norm_name,
        act_name=act_name,
        deep_supervision=deep_supervision,
        deep_supr_num=deep_supr_num,
        res_block=res_block,
        trans_bias=False,
    )


def _segresnet_multiple(params: Mapping[str, Any]) -> ZYX[int]:
    num_levels = len(params.get("blocks_down", (1, 2, 2, 4)))
    if not (resolution := params.get("resolution")):
        return _halvings(num_levels - 1)
    module = import_monai("monai.networks.nets.segresnet_ds")
    scales = module.scales_for_resolution(tuple(resolution), n_stages=num_levels)[: num_levels - 1]
    z, y, x = (int(prod(scale)) for scale in zip(*scales, strict=True))
    return z, y, x


@register(NAMES["SegResNet"], multiple=_segresnet_multiple)
def octopi_segresnet(
    *,
    init_filters: int,
    blocks_down: Sequence[int] = (1, 2, 2, 4),
    blocks_up: Sequence[int] | None = None,
    dsdepth: int = 1,
    act: Layer = "prelu",
    norm: Layer = "instance",
    upsample_mode: str = "deconv",
    resolution: Sequence[float] | None = None,
    in_channels: int = 1,
    num_classes: int = 2,
) -> nn.Module:
    """MONAI's SegResNetDS.

    Parameters
    ----------
    init_filters : int
        Width of the first level; every further one has twice as many.
    blocks_down, blocks_up : sequence of int
        Residual blocks of each level; one a level up by default.
    dsdepth : int
        Heads at coarser levels, which give something in training only; 1 for none.
    act, norm : str or sequence
        Layers by MONAI's names.
    upsample_mode : {"deconv", "nontrainable", "pixelshuffle"}
        How levels are brought to the next size.
    resolution : sequence of float or None
        Voxel size (z, y, x), where the kernels are to follow it.
    in_channels, num_classes : int
        Channels in and out.
    """
    return build_monai(
        "SegResNetDS",
        spatial_dims=3,
        init_filters=init_filters,
        in_channels=in_channels,
        out_channels=num_classes,
        act=act,
        norm=norm,
        blocks_down=tuple(blocks_down),
        blocks_up=None if blocks_up is None else tuple(blocks_up),
        dsdepth=dsdepth,
        upsample_mode=upsample_mode,
        resolution=None if resolution is None else tuple(resolution),
    )


@register(NAMES["SwinUNETR"], multiple=lambda params: _halvings(5))
def octopi_swinunetr(
    *,
    feature_size: int,
    depths: Sequence[int] = (2, 2, 2, 2),
    num_heads: Sequence[int] = (3, 6, 12, 24),
    window_size: int = 7,
    drop_rate: float = 0.0,
    attn_drop_rate: float = 0.0,
    dropout_path_rate: float = 0.0,
    use_checkpoint: bool = False,
    in_channels: int = 1,
    num_classes: int = 2,
) -> nn.Module:
    """MONAI's Swin transformer with a convolutional way up.

    Parameters
    ----------
    feature_size : int
        Width of the first level, a multiple of 12.
    depths, num_heads : sequence of int
        Blocks and heads of each of the four stages.
    window_size : int
        Side of the windows within which voxels attend to each other.
    drop_rate, attn_drop_rate, dropout_path_rate : float
        Probabilities.
    use_checkpoint : bool
        Whether training computes activations twice to save memory.
    in_channels, num_classes : int
        Channels in and out.

    Raises
    ------
    ModelError
        If einops is not installed, which MONAI would only say in the midst of a run.
    """
    if find_spec("einops") is None:
        msg = "a SwinUNETR needs the package einops, which is missing here. pip install einops."
        raise ModelError(msg)
    with NumbersOnCpu():
        return build_monai(
            "SwinUNETR",
            spatial_dims=3,
            in_channels=in_channels,
            out_channels=num_classes,
            patch_size=2,
            feature_size=feature_size,
            depths=tuple(depths),
            num_heads=tuple(num_heads),
            window_size=window_size,
            qkv_bias=True,
            mlp_ratio=4.0,
            norm_name="instance",
            drop_rate=drop_rate,
            attn_drop_rate=attn_drop_rate,
            dropout_path_rate=dropout_path_rate,
            normalize=True,
            patch_norm=False,
            use_checkpoint=use_checkpoint,
            downsample="merging",
            use_v2=False,
        )


@register(NAMES["MedNeXt"], multiple=lambda params: _halvings(len(params["blocks_down"])))
def octopi_mednext(
    *,
    init_filters: int,
    blocks_down: Sequence[int],
    blocks_up: Sequence[int],
    blocks_bottleneck: int = 2,
    encoder_expansion_ratio: int | Sequence[int] = 2,
    decoder_expansion_ratio: int | Sequence[int] = 2,
    bottleneck_expansion_ratio: int = 2,
    kernel_size: int = 3,
    norm_type: str = "group",
    global_resp_norm: bool = False,
    in_channels: int = 1,
    num_classes: int = 2,
) -> nn.Module:
    """MONAI's MedNeXt with residual connections, of Octopi up to 1.4.

    Parameters
    ----------
    init_filters : int
        Width of the first level; every further one has twice as many.
    blocks_down, blocks_up, blocks_bottleneck : sequence of int, int
        Blocks of each level, and at the bottom.
    encoder_expansion_ratio, decoder_expansion_ratio, bottleneck_expansion_ratio : int
        How many times wider a block is inside.
    kernel_size : int
        Side of the kernels.
    norm_type : {"group", "layer"}
        Normalisation.
    global_resp_norm : bool
        Whether responses are normalised over the whole patch.
    in_channels, num_classes : int
        Channels in and out.
    """
    return build_monai(
        "MedNeXt",
        spatial_dims=3,
        init_filters=init_filters,
        in_channels=in_channels,
        out_channels=num_classes,
        encoder_expansion_ratio=encoder_expansion_ratio,
        decoder_expansion_ratio=decoder_expansion_ratio,
        bottleneck_expansion_ratio=bottleneck_expansion_ratio,
        kernel_size=kernel_size,
        deep_supervision=False,
        use_residual_connection=True,
        blocks_down=tuple(blocks_down),
        blocks_bottleneck=blocks_bottleneck,
        blocks_up=tuple(blocks_up),
        norm_type=norm_type,
        global_resp_norm=global_resp_norm,
    )


def _triple(size: int | Sequence[int]) -> tuple[int, ...]:
    return (size,) * 3 if isinstance(size, int) else tuple(size)


def _tuples(sizes: Sizes) -> tuple[int | tuple[int, ...], ...]:
    return tuple(size if isinstance(size, int) else tuple(size) for size in sizes)
