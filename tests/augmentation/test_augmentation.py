"""What each transform draws, that the matrices compose, and that one resampling puts pixels where they say."""

from typing import get_args

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from cifar.augmentation import Augmentation, Batch, Geometric, Mixing, Photometric, compose, transforms_of
from cifar.augmentation.resampling import resample
from cifar.config.registry import AUGMENTATIONS
from cifar.config.settings import FillMode
from cifar.runtime.errors import InputError
from helpers.augmentations import YAML, blended, build, moments, noise

FILL_MODES = get_args(FillMode)
OFF = {
    "flip": {"horizontal": False, "vertical": False},
    "rotation": {"degrees": 0},
    "shift": {"width": 0, "height": 0},
    "crop": {"padding": 0},
    "zoom": {"amount": 0},
    "random_resized_crop": {"min_area": 1},
    "shear": {"degrees": 0},
    "brightness": {"amount": 0},
    "contrast": {"amount": 0},
    "cutout": {"size": 0},
    "random_erasing": {"probability": 0},
    "cutmix": {"probability": 0},
}
ALWAYS_ON = {"alternating_flip", "trivial_augment", "mixup"}
# Few, as XLA compiles the resampling for each.
SHAPES = [(6, 8, 8, 3), (6, 9, 14, 1), (6, 32, 32, 3)]
PAD_MODES = {"nearest": "edge", "reflect": "symmetric", "wrap": "wrap", "constant": "constant"}
SCIPY_MODES = {"nearest": "nearest", "reflect": "reflect", "wrap": "grid-wrap", "constant": "grid-constant"}

seeds = st.integers(0, 2**32 - 1)


def augmented(images, transforms, moment=(0, 0, 0), fill_mode="nearest"):
    """`images` as the first of their split, after `transforms`, in the batch of a moment: (seed, epoch, step)."""
    return blended(images, transforms, moment, fill_mode)[0]


def drawn(name, count=4000, shape=(10, 20, 1), moment=(0, 0, 0), **setting):
    return compose(build(name, **{name: setting}), Batch(*moment, np.arange(count)), shape).numpy().astype(float)


def assert_uniform(values, low, high):
    assert low <= values.min() and values.max() <= high
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-3


def test_every_yaml_is_a_transform_and_every_transform_has_one():
    assert sorted(YAML) == sorted([*AUGMENTATIONS.names(), "none"])
    assert YAML["none"] == {}
    assert sorted({*OFF, *ALWAYS_ON}) == AUGMENTATIONS.names()


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_every_transform(name):
    assert list(YAML[name]) == [name]
    transforms = build(name)
    assert (
        transforms_of(Geometric, transforms)
        or transforms_of(Photometric, transforms)
        or transforms_of(Mixing, transforms)
    )
    for shape in SHAPES:
        images = noise(shape)
        first = augmented(images, transforms, (1, 2, 3)).numpy()
        assert first.dtype == np.uint8 and first.shape == shape
        np.testing.assert_array_equal(first, augmented(images, transforms, (1, 2, 3)))
        assert (first != augmented(images, transforms, (1, 3, 3)).numpy()).any()


@pytest.mark.parametrize("name", OFF)
def test_every_transform_draws_by_seed_epoch_and_step_and_can_be_off(name):
    transforms, off = build(name), build(name, **{name: OFF[name]})
    for images in map(noise, SHAPES):
        moments = [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4), (1, 3, 2)]
        assert len({augmented(images, transforms, moment).numpy().tobytes() for moment in moments}) == len(moments)
        np.testing.assert_array_equal(augmented(images, off, (1, 2, 3), "constant"), images)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("rotation", "degrees", -1),
        ("rotation", "degrees", 181),
        ("rotation", "degrees", "three"),
        ("shift", "width", 1.5),
        ("zoom", "amount", 1),
        ("shear", "degrees", 90),
        ("crop", "padding", 0.5),
        ("brightness", "amount", 2),
        ("contrast", "amount", -0.1),
        ("flip", "horizontal", "perhaps"),
        ("cutout", "size", 2),
        ("cutout", "fill", 256),
        ("random_erasing", "probability", -1),
        ("random_erasing", "min_aspect", 0),
        ("mixup", "alpha", 0),
        ("cutmix", "alpha", "x"),
    ],
)
def test_a_setting_out_of_range(name, key, value):
    with pytest.raises(InputError, match=rf"^augmentation\.{key}={value}: "):
        build(name, **{name: {key: value}})


def test_random_erasing_needs_an_area_that_is_not_more_than_the_most():
    with pytest.raises(InputError, match=r"^augmentation\.random_erasing\.min_area=0\.5: should be at most "):
        build("random_erasing", random_erasing={"min_area": 0.5})


def test_no_transform_changes_nothing():
    images = tf.constant(noise(SHAPES[0]))
    assert augmented(images, {}, (1, 2, 3)) is images


@settings(deadline=None, max_examples=20)
@given(moments, st.permutations(["flip", "rotation", "shift", "zoom", "shear", "crop"]), st.integers(1, 6))
def test_the_composed_matrix_is_the_product_of_what_each_transform_draws_alone(moment, order, length):
    names = order[:length]
    product = np.eye(3)
    for name in names:
        product = product @ drawn(name, count=5, moment=moment)
    together = compose(build(*names, "brightness"), Batch(*moment, np.arange(5)), (10, 20, 1))
    np.testing.assert_allclose(together, product, atol=1e-4)


def test_the_first_listed_transform_acts_first():
    images, moment = noise((1, 9, 9, 1)), (0, 0, 0)
    turned = {"rotation": Geometric(lambda draw: tf.constant([[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]]))}
    moved = {"shift": Geometric(lambda draw: tf.constant([[[1.0, 0, 3], [0, 1, 0], [0, 0, 1]]]))}
    expected = augmented(augmented(images, turned, moment, "constant"), moved, moment, "constant")
    np.testing.assert_array_equal(augmented(images, turned | moved, moment, "constant"), expected)


@settings(deadline=None, max_examples=20)
@given(moments)
def test_another_transform_leaves_the_numbers_of_the_first(moment):
    images = noise(SHAPES[0])
    alone = augmented(images, build("brightness"), moment)
    idle = ["flip", "zoom", "contrast"]
    beside = augmented(images, build(*idle, "brightness", **{name: OFF[name] for name in idle}), moment)
    np.testing.assert_array_equal(beside, alone)


def test_transforms_draw_independently():
    angle, slant, moved = drawn("rotation")[:, 1, 0], drawn("shear")[:, 0, 1], drawn("shift")[:, 0, 2]
    assert np.abs(np.corrcoef([angle, slant, moved]) - np.eye(3)).max() < 0.05


@settings(deadline=None, max_examples=20)
@given(moments, st.sampled_from(FILL_MODES))
def test_images_are_resampled_once(moment, fill_mode):
    images, transforms = noise(SHAPES[0]), build("rotation", "zoom", "shift", "shear")
    once = resample(images, compose(transforms, Batch(*moment, np.arange(6)), (8, 8, 3)), fill_mode)
    np.testing.assert_array_equal(augmented(images, transforms, moment, fill_mode), np.rint(once))


@settings(deadline=None, max_examples=60)
@given(seeds, st.sampled_from(SHAPES), st.sampled_from(FILL_MODES))
def test_flips_and_whole_pixel_shifts_are_exact(seed, shape, fill_mode):
    random, images = np.random.default_rng(seed), noise(shape, seed)
    right, down = random.integers(-20, 21, (2, len(images)))
    mirror, turn = random.choice([-1, 1], (2, len(images)))
    matrix = np.zeros((len(images), 3, 3), np.float32)
    matrix[:, 0, 0], matrix[:, 0, 2], matrix[:, 1, 1], matrix[:, 1, 2], matrix[:, 2, 2] = mirror, right, turn, down, 1
    result = resample(images, matrix, fill_mode).numpy()
    for image, x, y, horizontal, vertical, moved in zip(images, right, down, mirror, turn, result, strict=True):
        padded = np.pad(image, [(20, 20), (20, 20), (0, 0)], PAD_MODES[fill_mode])
        expected = padded[20 + y : 20 + y + shape[1], 20 + x : 20 + x + shape[2]][::vertical, ::horizontal]
        np.testing.assert_array_equal(moved, expected)


@settings(deadline=None, max_examples=40)
@given(seeds, st.sampled_from(SHAPES), st.sampled_from(FILL_MODES))
def test_resampling_agrees_with_scipy(seed, shape, fill_mode):
    random, images = np.random.default_rng(seed), noise(shape, seed)
    matrix = np.tile(np.eye(3, dtype=np.float32), (len(images), 1, 1))
    matrix[:, :2, :2] += random.uniform(-0.7, 0.7, (len(images), 2, 2))
    matrix[:, :2, 2] = random.uniform(-10, 10, (len(images), 2))
    result = resample(images, matrix, fill_mode).numpy()
    center = (np.array(shape[1:3]) - 1) / 2
    for image, affine, moved in zip(images.astype(float), matrix.astype(float), result, strict=True):
        linear, offset = affine[1::-1, 1::-1], affine[1::-1, 2]
        for channel in range(shape[3]):
            expected = ndimage.affine_transform(
                image[..., channel], linear, center + offset - linear @ center, order=1, mode=SCIPY_MODES[fill_mode]
            )
            np.testing.assert_allclose(moved[..., channel], expected, atol=0.05)


def test_rotation_turns_against_the_clock_about_the_center():
    matrix = drawn("rotation", count=20, degrees=180)
    angle = np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0])
    images = np.zeros((20, 41, 41, 1), np.uint8)
    images[:, 19:22, 34:37] = 255
    turned = resample(images, matrix.astype(np.float32), "constant").numpy()[..., 0]
    y, x = np.mgrid[:41, :41] - 20
    weight = turned.sum(axis=(1, 2))
    np.testing.assert_allclose((turned * x).sum(axis=(1, 2)) / weight, 15 * np.cos(angle), atol=0.1)
    np.testing.assert_allclose((turned * -y).sum(axis=(1, 2)) / weight, 15 * np.sin(angle), atol=0.1)


def test_rotation_is_uniform():
    matrix = drawn("rotation", degrees=30)
    assert_uniform(np.degrees(np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0])), -30, 30)
    np.testing.assert_allclose(matrix @ matrix.swapaxes(1, 2), np.tile(np.eye(3), (4000, 1, 1)), atol=1e-6)


def test_shift_is_a_uniform_share_of_each_side():
    matrix = drawn("shift", width=0.2, height=0.3)
    assert_uniform(matrix[:, 0, 2], -4, 4)
    assert_uniform(matrix[:, 1, 2], -3, 3)
    assert abs(np.corrcoef(matrix[:, 0, 2], matrix[:, 1, 2])[0, 1]) < 0.05


def test_zoom_is_uniform_and_keeps_proportions():
    matrix = drawn("zoom", amount=0.25)
    assert_uniform(1 / matrix[:, 0, 0], 0.75, 1.25)
    np.testing.assert_array_equal(matrix[:, 0, 0], matrix[:, 1, 1])


def test_a_random_resized_crop_is_a_part_of_the_image():
    matrix = drawn("random_resized_crop", min_area=0.1, max_area=0.9)
    wide, tall, (dx, dy) = matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, :2, 2].T
    assert_uniform(wide * tall, 0.1, 0.9)
    aspect = np.log(wide / tall)
    assert np.abs(aspect).max() <= -np.log(0.75) + 1e-6 and max(wide.max(), tall.max()) <= 1 + 1e-6
    assert_uniform(aspect[wide * tall < 0.7], np.log(0.75), -np.log(0.75))
    assert_uniform(dx / (20 * (1 - wide) / 2), -1, 1)
    assert (np.abs(dy) <= 10 * (1 - tall) / 2 + 1e-5).all()
    with pytest.raises(
        InputError, match=r"random_resized_crop\.min_area=0\.9: should be at most max_area, which is 0\.5"
    ):
        build("random_resized_crop", random_resized_crop={"min_area": 0.9, "max_area": 0.5})


@pytest.mark.parametrize("factor", [1, 2, 4, 6])
def test_larger_images_are_averaged(factor):
    """A pixel of the result is the mean of those of the larger image that it covers."""
    images = noise((3, 8 * factor, 12 * factor, 3))
    found = resample(images, np.tile(np.eye(3, dtype=np.float32), (3, 1, 1)), "nearest", (8, 12)).numpy()
    expected = images.reshape(3, 8, factor, 12, factor, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(found, expected, atol=1e-3 if factor != 6 else 9)


def test_a_crop_of_larger_images_has_their_pixels():
    """Cut out at the scale of the larger image, the part is that image's to the bit."""
    images = noise((1, 16, 24, 3))
    matrix = np.diag([0.5, 0.5, 1]).astype(np.float32)[None]
    matrix[0, :2, 2] = 1.5, -1  # pixels of the result, of which the larger image has two each
    found = Augmentation({"part": Geometric(lambda rng: tf.constant(matrix))}).apply(
        images, {"boxes": np.array([[[2, 1, 9, 5]]], np.float32), "classes": np.array([[3]])},
        dict, Batch(0, 0, 0, np.arange(1)), shape=(8, 12, 3),
    )  # fmt: skip
    np.testing.assert_array_equal(found[0], images[:, 2:10, 9:21])
    np.testing.assert_allclose(found[1]["boxes"], [[[0, 0, 9, 8]]])


def test_shear_is_uniform():
    assert_uniform(np.degrees(np.arctan(drawn("shear", degrees=20)[:, 0, 1])), -20, 20)


def test_crop_takes_every_whole_shift_alike():
    moved = drawn("crop", padding=2)[:, :2, 2]
    cells, counts = np.unique(moved, axis=0, return_counts=True)
    assert set(map(tuple, cells)) == {(x, y) for x in range(-2, 3) for y in range(-2, 3)}
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize(("horizontal", "vertical"), [(True, False), (False, True), (True, True)])
def test_flip_mirrors_half_of_the_images(horizontal, vertical):
    matrix = drawn("flip", horizontal=horizontal, vertical=vertical)
    for axis, wanted in enumerate((horizontal, vertical)):
        assert set(matrix[:, axis, axis]) == ({-1, 1} if wanted else {1})
        assert not wanted or abs(matrix[:, axis, axis].mean()) < 0.05


@settings(deadline=None, max_examples=20)
@given(moments, st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=8), st.integers(0, 2**16))
def test_an_alternating_flip_shows_each_image_both_ways_in_two_epochs(moment, index, step):
    (seed, epoch, _), transforms = moment, build("alternating_flip")

    def mirrored(*position):
        return compose(transforms, Batch(seed, *position, np.array(index)), (8, 8, 3)).numpy()[:, 0, 0] < 0

    first = mirrored(*moment[1:])
    np.testing.assert_array_equal(mirrored(epoch, step), first)
    np.testing.assert_array_equal(mirrored(epoch + 1, step), ~first)
    np.testing.assert_array_equal(mirrored(epoch + 2, step), first)
    alone = [compose(transforms, Batch(*moment, np.array([image])), (8, 8, 3)).numpy()[0, 0, 0] < 0 for image in index]
    np.testing.assert_array_equal(first, alone)


def test_an_alternating_flip_begins_with_either_side_at_random():
    first = [drawn("alternating_flip", count=20_000, moment=(seed, 0, 0))[:, 0, 0] for seed in (0, 1, 2**31 - 1)]
    correlation = np.corrcoef([*first, *(first[0][np.r_[lag:20_000, :lag]] for lag in (1, 2, 10))])
    assert np.abs(np.mean(first, axis=1)).max() < 0.03
    assert np.abs(correlation - np.eye(6)).max() < 0.03


@settings(deadline=None, max_examples=20)
@given(moments, st.floats(0, 1))
def test_brightness_adds_one_value_to_an_image(moment, amount):
    images = noise((50, 8, 8, 3))
    result = augmented(images, build("brightness", brightness={"amount": amount}), moment).numpy()
    for before, after in zip(images.astype(int), result.astype(int), strict=True):
        inside = (after > 0) & (after < 255)
        added = (after - before)[inside] if inside.any() else np.zeros(1)
        assert np.ptp(added) <= 1 and abs(added).max() <= 255 * amount + 0.5
        assert np.abs(np.clip(before + added.mean(), 0, 255) - after).max() <= 1 or not inside.any()


@settings(deadline=None, max_examples=20)
@given(moments, st.floats(0, 1))
def test_contrast_stretches_about_the_mean(moment, amount):
    images = noise((50, 8, 8, 3)) // 2 + 64
    result = augmented(images, build("contrast", contrast={"amount": amount}), moment).numpy().astype(float)
    spread = result.std(axis=(1, 2, 3)) / images.std(axis=(1, 2, 3))
    assert spread.min() >= 1 - amount - 0.02 and spread.max() <= 1 + amount + 0.02
    np.testing.assert_allclose(result.mean(axis=(1, 2, 3)), images.mean(axis=(1, 2, 3)), atol=0.5)
    plain = np.full((50, 8, 8, 3), 77, np.uint8)
    np.testing.assert_array_equal(augmented(plain, build("contrast"), moment), plain)


def test_photometric_ranges_are_uniform():
    gray = np.full((4000, 1, 1, 1), 128, np.uint8)
    added = augmented(gray, build("brightness", brightness={"amount": 0.4})).numpy() - 128.0
    assert added.min() >= -102 and added.max() <= 102 and abs(added.std() - 204 / 12**0.5) < 2
    pair = np.tile(np.array([28, 228], np.uint8).reshape(1, 1, 2, 1), (4000, 1, 1, 1))
    factor = np.ptp(augmented(pair, build("contrast")).numpy().astype(float), axis=2) / 200
    assert factor.min() >= 0.8 and factor.max() <= 1.2 and abs(factor.std() - 0.4 / 12**0.5) < 0.005


@settings(deadline=None, max_examples=20)
@given(moments, st.floats(0, 1), st.sampled_from([(8, 8), (9, 14)]))
def test_cutout_covers_a_square_that_the_edge_cuts_off(moment, size, shape):
    result = augmented(np.full((50, *shape, 1), 10, np.uint8), build("cutout", cutout={"size": size}), moment).numpy()
    assert set(np.unique(result)) <= {10, 127}
    side = round(size * min(shape))
    for covered in result[..., 0] == 127:
        rows, columns = covered.any(axis=1), covered.any(axis=0)
        np.testing.assert_array_equal(covered, np.outer(rows, columns))
        for line in (rows, columns):
            assert line.sum() == side or (-(-side // 2) <= line.sum() < side and (line[0] or line[-1])) or side < 2


@settings(deadline=None, max_examples=20)
@given(moments, st.floats(0.05, 1), st.floats(0, 1), st.floats(0.1, 1))
def test_random_erasing_covers_a_share_of_an_image(moment, least, part, aspect):
    given = {"probability": 1, "min_area": least, "max_area": least + (1 - least) * part, "min_aspect": aspect}
    before = np.full((50, 24, 24, 4), 0, np.uint8)
    after = augmented(before, build("random_erasing", random_erasing=given), moment).numpy()
    for erased in (after != before).any(axis=3):
        rows, columns = np.flatnonzero(erased.any(axis=1)), np.flatnonzero(erased.any(axis=0))
        tall, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
        low, high = (tall - 0.5) * (wide - 0.5) / 576, (tall + 0.5) * (wide + 0.5) / 576
        assert low <= given["max_area"] + 1e-5 and high >= given["min_area"] - 1e-5
        assert (tall + 0.5) / (wide - 0.5) >= aspect - 1e-5 and (wide + 0.5) / (tall - 0.5) >= aspect - 1e-5


def test_random_erasing_puts_noise_in_half_of_the_images():
    settings = {"min_area": 1, "max_area": 1}
    after = augmented(np.zeros((400, 16, 16, 3), np.uint8), build("random_erasing", random_erasing=settings)).numpy()
    erased = after.any(axis=(1, 2, 3))
    assert abs(erased.mean() - 0.5) < 0.1
    assert stats.chisquare(np.bincount(after[erased].ravel(), minlength=256)).pvalue > 1e-3
