"""Decoders from a backbone's feature maps to the resolution of the image: U-Net and DeepLabv3+."""

from __future__ import annotations

from cifar.nn import blocks
from cifar.nn.blocks import convolution_block, depthwise, normalized, rescaled
from cifar.runtime.lazy import keras

WIDEST = 256
"""Maximum number of channels of a decoder."""
RATES, RATED_FOR = (6, 12, 18), 33
"""Dilation rates of DeepLab's atrous convolutions, for feature maps of this many pixels a side."""
FINEST = 128
"""Maximum side in pixels of the feature map that DeepLab's decoder refines: a quarter of the paper's image size."""


def unet(backbone: keras.Model, width: int, dropout: float) -> keras.KerasTensor:
    """The decoder of a U-Net (Ronneberger et al. 2015, arXiv:1505.04597), with the backbone as its encoder.

    The deepest map, after `dropout`, is upsampled, concatenated with the next finer one and convolved twice, and so on
    up to the image itself, unless the backbone's finest map has its size. Returns (n, height, width, `width`); the
    number of channels doubles at each halving. Upsampling repeats pixels instead of the paper's transposed
    convolutions (Odena et al. 2016, doi:10.23915/distill.00003).
    """
    *finer, (_, x) = _maps(backbone)
    if (finer[0][1] if finer else x).shape[1:3] != backbone.input.shape[1:3]:
        finer = [(0, rescaled(backbone.input)), *finer]
    x = blocks.dropout(dropout)(x)
    for level, skip in reversed(finer):
        x = keras.layers.Concatenate()([_repeated(x, skip.shape[1:3]), skip])
        for _ in range(2):
            x = convolution_block(x, _channels(width, level))
    return x


def deeplab(backbone: keras.Model, width: int, dropout: float) -> keras.KerasTensor:
    """The decoder of DeepLabv3+ (Chen et al. 2018, arXiv:1802.02611), with separable convolutions throughout.

    Atrous spatial pyramid pooling of the deepest map, `dropout`, then concatenation with the finest map of at most 128
    pixels a side and two convolutions. The number of channels is that of a U-Net of this `width` at the deepest map:
    the paper's 256 for width 16 and stride 16. Returns (n, height, width, channels), upsampled bilinearly.
    """
    maps = _maps(backbone)
    level, deepest = maps[-1]
    channels = _channels(width, level)
    x = blocks.dropout(dropout)(_pooled(deepest, channels))
    fine = next(map for _, map in maps if max(map.shape[1:3]) <= FINEST or map is deepest)
    if fine is not deepest:
        few = convolution_block(fine, max(1, channels * 48 // 256), 1)
        x = keras.layers.Concatenate()([_interpolated(x, fine.shape[1:3]), few])
    for _ in range(2):
        x = _separable(x, channels)
    return _interpolated(x, backbone.input.shape[1:3])


def _maps(backbone: keras.Model) -> list[tuple[int, keras.KerasTensor]]:
    """Return the backbone's feature maps with their levels, finest first; level n has stride 2ⁿ."""
    return sorted(((int(name[1:]), features) for name, features in backbone.output.items()), key=lambda pair: pair[0])


def _channels(width: int, level: int) -> int:
    return min(width * 2**level, WIDEST)


def _pooled(x: keras.KerasTensor, channels: int) -> keras.KerasTensor:
    """Atrous spatial pyramid pooling: convolutions of several dilation rates and global average pooling.

    The rates are scaled to the size of the map; on the smallest maps, equal rates are merged.
    """
    rates = {max(1, round(rate * min(x.shape[1:3]) / RATED_FOR)) for rate in RATES}
    whole = convolution_block(keras.layers.GlobalAveragePooling2D(keepdims=True)(x), channels, 1)
    parts = [convolution_block(x, channels, 1), *(_separable(x, channels, rate) for rate in sorted(rates)),
             keras.layers.UpSampling2D(x.shape[1:3])(whole)]  # fmt: skip
    return convolution_block(keras.layers.Concatenate()(parts), channels, 1)


def _separable(x: keras.KerasTensor, channels: int, rate: int = 1) -> keras.KerasTensor:
    """Separable convolution: 3×3 depthwise with dilation `rate`, then 1×1."""
    return convolution_block(normalized(depthwise(x, 3, dilation_rate=rate), "relu"), channels, 1)


def _repeated(x: keras.KerasTensor, size: tuple[int, int]) -> keras.KerasTensor:
    """Upsample `x` to `size` (height, width) by repeating pixels, if `x` results from halving that size."""
    factors = tuple(max(1, round(new / old)) for new, old in zip(size, x.shape[1:3], strict=True))
    if tuple(-(-new // factor) for new, factor in zip(size, factors, strict=True)) != x.shape[1:3]:
        return _interpolated(x, size)
    x = keras.layers.UpSampling2D(factors)(x)
    surplus = tuple((0, old - new) for new, old in zip(size, x.shape[1:3], strict=True))
    return keras.layers.Cropping2D(surplus)(x) if any(after for _, after in surplus) else x


def _interpolated(x: keras.KerasTensor, size: tuple[int, int]) -> keras.KerasTensor:
    """Resize `x` to `size` (height, width) bilinearly."""
    if x.shape[1:3] == size:
        return x
    # TensorFlow's CPU kernel is three times slower in bfloat16, and its result is float32 anyway.
    return keras.ops.image.resize(keras.ops.cast(x, "float32"), size)
