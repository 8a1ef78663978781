"""From a backbone's maps back to the size of the image: what tasks stand on that answer for each pixel."""

from __future__ import annotations

from cifar.nn import blocks
from cifar.nn.blocks import convolution_block, depthwise, normalized, rescaled
from cifar.runtime.lazy import keras

WIDEST = 256
"""Channels of a decoder at most."""
RATES, RATED_FOR = (6, 12, 18), 33
"""How far apart the taps of DeepLab's atrous convolutions are, on maps of this many pixels."""
FINEST = 128
"""Pixels of a side on which DeepLab's decoder works at most: about a quarter of the images that it is trained on."""


def unet(backbone: keras.Model, width: int, dropout: float) -> keras.KerasTensor:
    """The way up of a U-Net (Ronneberger et al. 2015, arXiv:1505.04597), whose way down is the backbone.

    The deepest map, after `dropout`, is enlarged and laid beside the next finer one, and both are convolved twice; so
    on up to the image itself, unless the backbone's finest map has its size. Returns (n, height, width, `width`), and
    has twice as many channels at each halving. Pixels are repeated, and then convolved, where the paper convolves them
    transposed (Odena et al. 2016, doi:10.23915/distill.00003).
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

    Atrous spatial pyramid pooling of the deepest map, `dropout`, then two convolutions beside the finest map that has
    at most 128 pixels a side. All have the channels that a U-Net of this `width` has at the depth of the deepest map:
    the paper's 256 for 16 at a sixteenth of the image. Returns (n, height, width, channels), enlarged bilinearly.
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
    """The backbone's feature maps, each with how often it is halved, the finest first."""
    return sorted(((int(name[1:]), features) for name, features in backbone.output.items()), key=lambda pair: pair[0])


def _channels(width: int, level: int) -> int:
    return min(width * 2**level, WIDEST)


def _pooled(x: keras.KerasTensor, channels: int) -> keras.KerasTensor:
    """Atrous spatial pyramid pooling: each place with what lies around it, near and far, and with the whole image.

    The rates are as large beside the map as the paper's are beside its own; on the smallest maps, fewer remain.
    """
    rates = {max(1, round(rate * min(x.shape[1:3]) / RATED_FOR)) for rate in RATES}
    whole = convolution_block(keras.layers.GlobalAveragePooling2D(keepdims=True)(x), channels, 1)
    parts = [convolution_block(x, channels, 1), *(_separable(x, channels, rate) for rate in sorted(rates)),
             keras.layers.UpSampling2D(x.shape[1:3])(whole)]  # fmt: skip
    return convolution_block(keras.layers.Concatenate()(parts), channels, 1)


def _separable(x: keras.KerasTensor, channels: int, rate: int = 1) -> keras.KerasTensor:
    """A 3×3 convolution of each channel, its taps `rate` pixels apart, and one of all channels at each place."""
    return convolution_block(normalized(depthwise(x, 3, dilation_rate=rate), "relu"), channels, 1)


def _repeated(x: keras.KerasTensor, size: tuple[int, int]) -> keras.KerasTensor:
    """`x` of `size` (height, width) by repetition of its pixels, where it came by halving one of that size."""
    factors = tuple(max(1, round(new / old)) for new, old in zip(size, x.shape[1:3], strict=True))
    if tuple(-(-new // factor) for new, factor in zip(size, factors, strict=True)) != x.shape[1:3]:
        return _interpolated(x, size)
    x = keras.layers.UpSampling2D(factors)(x)
    surplus = tuple((0, old - new) for new, old in zip(size, x.shape[1:3], strict=True))
    return keras.layers.Cropping2D(surplus)(x) if any(after for _, after in surplus) else x


def _interpolated(x: keras.KerasTensor, size: tuple[int, int]) -> keras.KerasTensor:
    """`x` of `size` (height, width), bilinearly."""
    if x.shape[1:3] == size:
        return x
    # TensorFlow's kernel for CPUs takes three times as long in bfloat16, of which it makes float32 itself.
    return keras.ops.image.resize(keras.ops.cast(x, "float32"), size)
