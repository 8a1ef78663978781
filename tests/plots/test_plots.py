"""What the pictures show, asked of the figures, and that each can be written as a PNG."""

import io
import math

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from cifar import plots
from cifar.metrics import calibration
from cifar.plots import fonts

RANDOM = np.random.default_rng(0)
THREE = ("cat", "dog", "ship")


@pytest.fixture(autouse=True)
def nothing_global_changes():
    before = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == []


def drawn(figure):
    """The figure, after it was written as a PNG whose size is as promised."""
    assert isinstance(figure, Figure)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    assert Image.open(png).width == plots.WIDTH * plots.DPI
    return figure


def texts(ax):
    return [text.get_text() for text in ax.texts]


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def pictures(n, size=8, channels=3):
    return RANDOM.integers(0, 256, (n, size, size, channels), dtype=np.uint8)


def names(k):
    return [f"class {i}" for i in range(k)]


# Confusion matrix


def test_confusion_matrix_shows_counts_and_rates_and_names_the_worst_mistake():
    figure = drawn(plots.confusion_matrix(np.array([[8, 2, 0], [5, 14, 1], [0, 0, 0]]), THREE))
    (ax,) = figure.axes
    assert sorted(filter(None, texts(ax))) == ["1\n5 %", "14\n70 %", "2\n20 %", "5\n25 %", "8\n80 %"]
    assert ticks(ax.xaxis) == ticks(ax.yaxis) == list(THREE)
    assert ax.get_ylabel() == "true class" and ax.get_xlabel().startswith("predicted class (images, ")
    title = figure.get_suptitle().replace("\n", " ")
    assert title == "73.3 % correct; most frequent mistake: dog predicted as cat, 5 times"


@pytest.mark.parametrize(
    ("mistakes", "end"),
    [
        ([(0, 1, 1)], "; most frequent mistake: cat predicted as dog, once"),
        ([(0, 1, 2), (2, 1, 2)], "; the most frequent mistakes are 2 pairs of classes, 2 times each"),
    ],
)
def test_title_names_no_mistake_of_equally_frequent_ones(mistakes, end):
    matrix = np.diag([5, 5, 5])
    for label, predicted, count in mistakes:
        matrix[label, predicted] = count
    assert plots.confusion_matrix(matrix, THREE).get_suptitle().replace("\n", " ").endswith(end)


def test_true_classes_are_rows():
    ax = drawn(plots.confusion_matrix(np.array([[0, 7], [0, 0]]), ("a", "b"))).axes[0]
    seven = next(text for text in ax.texts if text.get_text().startswith("7"))
    assert seven.get_position() == (1.5, 0.5)  # the middle of the cell
    assert ax.yaxis_inverted()


def test_mistakes_have_their_own_color_scale():
    ax = drawn(plots.confusion_matrix(np.array([[900, 3], [0, 900]]), ("a", "b"))).axes[0]
    right, mistakes = (mesh.get_facecolors().reshape(2, 2, 4)[..., :3] for mesh in ax.collections)
    np.testing.assert_allclose(mistakes[0, 1], matplotlib.colors.to_rgb("#D55E00"))  # the greatest mistake
    np.testing.assert_allclose(mistakes[1, 0], 1)
    np.testing.assert_allclose(right[1, 1], matplotlib.colors.to_rgb("#56B4E9"))


@pytest.mark.parametrize(("k", "axes", "labels"), [(1, 1, 1), (2, 1, 2), (15, 1, 15), (100, 3, 34)])
def test_confusion_matrix_of_any_size(k, axes, labels):
    figure = drawn(plots.confusion_matrix(RANDOM.integers(1, 50, (k, k)), names(k)))
    assert len(figure.axes) == axes  # many classes have a list of mistakes and a color bar in place of numbers
    assert len(figure.axes[0].texts) == (k * k if k <= 15 else 0)
    assert len(ticks(figure.axes[0].xaxis)) == labels


def test_of_many_classes_the_most_frequent_mistakes_are_listed():
    matrix = np.diag(np.full(20, 40))
    matrix[3, 7], matrix[5, 1] = 10, 2
    listed = drawn(plots.confusion_matrix(matrix, names(20))).axes[1]
    assert texts(listed) == [" class 3 → class 7:  10, 20 %", " class 5 → class 1:  2, 5 %"]


@pytest.mark.parametrize("matrix", [np.zeros((2, 2), int), np.diag([3, 4])])
def test_confusion_matrix_without_mistakes(matrix):
    assert "mistake" not in drawn(plots.confusion_matrix(matrix, ("a", "b"))).get_suptitle()


@pytest.mark.parametrize("k", [2, 16])
def test_nothing_is_cropped(k):
    long_names = [f"a long class name {i}" for i in range(k)]
    figure = drawn(plots.confusion_matrix(RANDOM.integers(1, 50, (k, k)), long_names))
    box = figure.get_tightbbox()
    assert box.x0 >= 0 and box.y0 >= 0
    assert box.x1 <= figure.get_figwidth() and box.y1 <= figure.get_figheight()


def test_long_names_are_cut_in_the_middle_and_dollars_are_no_mathematics():
    counts = drawn(plots.confusion_matrix(np.eye(2, dtype=int), ("American Staffordshire terrier 7", "$x^$"))).axes[0]
    assert ticks(counts.yaxis) == ["American St…e terrier 7", r"\$x^\$"]


def test_characters_that_no_font_has_are_escaped(recwarn, monkeypatch):
    monkeypatch.setattr(fonts, "families", lambda: ("DejaVu Sans",))
    ax = drawn(plots.confusion_matrix(np.eye(2, dtype=int), ("图像", "été"))).axes[0]
    assert ticks(ax.yaxis) == [r"\u56fe\u50cf", "été"]
    assert not recwarn.list


def test_small_print_is_at_the_foot_and_legends_stay_clear_of_it():
    figure = plots.finish(plots.overlaid_curves({"A": [history(3)]}), "run 0123abcd · digits")
    drawn(figure)
    foot, legend = figure.texts[-1].get_window_extent(), figure.legends[0].get_window_extent()
    axis = figure.axes[0].xaxis.label.get_window_extent()
    assert figure.texts[-1].get_text() == "run 0123abcd · digits"
    assert 0 < foot.y0 < foot.y1 <= legend.y0 < legend.y1 <= axis.y0


def test_legend_of_long_names_and_titles_of_rows_stay_within_the_picture():
    names = [f"Chlorophyllum vergleichende Strassenbahn {number}" for number in range(12)]
    precision = np.linspace(1, 0, 101)[:, None] * np.linspace(0.5, 1, 12)
    figure = plots.precision_recall(precision, names)
    drawn(figure)
    assert figure.legends[0].get_window_extent().x1 <= figure.bbox.x1
    masks = np.zeros((2, 64, 64), np.uint8)
    titles = [f"test/{name}/a_long_name.png\nmean IoU 0.123" for name in names[:2]]
    sheet = plots.mask_sheet(np.zeros((2, 64, 64, 3), np.uint8), masks, masks, names, titles, "Masks")
    drawn(sheet)
    (heading,) = (text for text in sheet.axes[0].findobj(Text) if "mean IoU" in text.get_text())
    assert heading.get_window_extent().x1 <= sheet.axes[1].bbox.x0


def test_a_percent_sign_stays_with_its_number():
    confidence = np.full(100, 0.9)
    title = plots.reliability_diagram(confidence, np.arange(100) < 75).get_suptitle()
    assert not any(line.startswith("%") for line in title.split("\n"))


# Learning curves


def history(epochs):
    falling = np.linspace(2, 0.1, epochs)
    return {
        "train/loss": falling,
        "val/loss": falling + 0.1,
        "train/accuracy": 1 - falling / 2,
        "val/accuracy": 0.9 - falling / 2,
        "lr": np.full(epochs, 0.1),
        "images_per_second": np.full(epochs, 3e3),
    }


@pytest.mark.parametrize("epochs", [1, 2, 300])
def test_learning_curves_of_any_length(epochs):
    figure = drawn(plots.learning_curves(history(epochs), epochs))
    loss, accuracy, lr = figure.axes
    assert figure.get_suptitle() == f"Best epoch: {epochs} of {epochs}"
    assert list(loss.lines[0].get_xdata()) == list(range(1, epochs + 1))
    assert loss.get_title("left").startswith("loss: val ") and accuracy.get_title("left").startswith("accuracy: val ")
    assert lr.get_title("left") == "learning rate: 0.1 at the best epoch"
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["train", "val", "best epoch"]


def test_one_value_far_above_does_not_flatten_the_curve():
    values = [*np.linspace(2, 0.1, 20), 900.0]
    loss = drawn(plots.learning_curves({"val/loss": values, "train/loss": values[:3]}, 3)).axes[0]
    assert loss.get_ylim()[1] < 2.2
    assert loss.get_title("left").endswith("\n1 value above the panel, up to 900")


def test_further_metrics_get_their_panel_after_loss_and_accuracy():
    figure = drawn(plots.learning_curves({"val/top5": [0.5, 0.7], "train/top5": [0.4, 0.6], **history(2)}))
    assert [ax.get_title("left") for ax in figure.axes] == ["loss", "accuracy", "top5", "learning rate"]


def test_the_value_at_the_best_epoch_is_stated_and_marked():
    loss = drawn(plots.learning_curves({"val/loss": [3.0, 1.25, 2.0]}, 2)).axes[0]
    assert loss.get_title("left") == "loss: val 1.25 at the best epoch"
    assert [line.get_xydata().tolist() for line in loss.lines if len(line.get_xdata()) == 1] == [[[2.0, 1.25]]]


@pytest.mark.parametrize(
    ("lr", "scale"),
    [
        ([0.1, 0.05], "linear"),
        ([0.1, 0.001], "log"),
        ([0.0, 0.1, 0.001], "log"),
        ([0.0, 0.0], "linear"),
        ([math.nan, 0.1], "linear"),
    ],
)
def test_a_learning_rate_that_spans_decades_is_logarithmic(lr, scale):
    assert drawn(plots.learning_curves({"lr": lr})).axes[0].get_yscale() == scale


@pytest.mark.parametrize(
    "series",
    [
        {},
        {"train/loss": []},
        {"train/loss": [1.0, 0.5]},
        {"train/loss": [math.nan], "val/loss": [math.nan]},
        {"train/loss": [1.0, math.nan, 0.5], "val/loss": [math.inf, 2.0, math.nan]},
        {"train/loss": [1, 2], "val/loss": [1]},
    ],
)
def test_missing_and_undefined_values(series):
    drawn(plots.learning_curves(series, 2))


# Per-class bars


def report(f1):
    rows = {
        f"class {i}": {"precision": value, "recall": value, "f1-score": value, "support": 10}
        for i, value in enumerate(f1)
    }
    return {**rows, "accuracy": 0.5, "macro avg": {"precision": 0, "recall": 0, "f1-score": 0, "support": 0}}


def test_classes_are_sorted_by_f1_around_their_average():
    figure = drawn(plots.per_class_bars(report([0.5, 0.9, 0.1]), names(3)))
    ax = figure.axes[0]
    assert ticks(ax.yaxis) == ["class 1", "class 0", "class 2"] and ax.yaxis_inverted()
    assert [bar.get_width() for bar in ax.patches] == [0.9, 0.5, 0.1]
    assert ax.lines[0].get_xdata()[0] == pytest.approx(0.5)
    assert texts(ax)[:2] == ["0.900", "10 images"]
    legend = {text.get_text() for text in ax.get_legend().get_texts()}
    assert legend == {"F1", "precision", "recall", "macro average of F1"}
    assert figure.get_suptitle() == "Macro F1 0.500; best: class 1, worst: class 2"


@pytest.mark.parametrize(
    ("scores", "end"),
    [
        ([1.0, 1.0, 0.5, 1.0], "; best: 3 classes with 1.000, worst: class 2"),
        ([0.9, 0.4001, 0.4], "; best: class 0, worst: 2 classes with 0.400"),
        ([1.0, 1.0], ""),
    ],
)
def test_title_names_no_winner_of_equals(scores, end):
    figure = plots.per_class_bars(report(scores), names(len(scores)))
    assert figure.get_suptitle() == f"Macro F1 {np.mean(scores):.3f}{end}"


@pytest.mark.parametrize(("k", "bars"), [(1, 1), (2, 2), (40, 40), (100, 40)])
def test_of_many_classes_the_best_and_the_worst_are_shown(k, bars):
    figure = drawn(plots.per_class_bars(report(np.linspace(0, 1, k)), names(k)))
    ax = figure.axes[0]
    assert len(ax.patches) == bars
    assert (f"20 best and 20 worst of {k} classes" in figure.get_suptitle().replace("\n", " ")) == (k > 40)
    assert ticks(ax.yaxis)[0] == f"class {k - 1}" and ticks(ax.yaxis)[-1] == "class 0"


# Calibration


def test_calibration_error_equals_a_hand_computation():
    confidence, correct = np.array([0.1, 0.6, 0.8, 1.0]), np.array([False, True, False, True])
    bins = calibration.calibration_bins(confidence, correct, 2)
    assert bins.images.tolist() == [1, 3]
    np.testing.assert_allclose(bins.accuracy, [0, 2 / 3])
    np.testing.assert_allclose(bins.confidence, [0.1, 0.8])
    error = calibration.expected_calibration_error(confidence, correct, 2)
    assert error == pytest.approx((0.1 + 3 * (0.8 - 2 / 3)) / 4)


def test_bins_are_closed_on_the_right_and_may_be_empty():
    count, accuracy, _ = calibration.calibration_bins(np.array([0.0, 0.25, 0.5, 1.0]), np.ones(4, bool), 4)
    assert count.tolist() == [2, 1, 0, 1]
    assert np.isnan(accuracy).tolist() == [False, False, True, False]


def test_calibration_error_of_extremes():
    assert calibration.expected_calibration_error(np.ones(5), np.ones(5, bool)) == 0
    assert calibration.expected_calibration_error(np.ones(5), np.zeros(5, bool)) == 1
    assert math.isnan(calibration.expected_calibration_error(np.array([]), np.array([], bool)))
    assert math.isnan(calibration.expected_calibration_error(np.array([math.nan, 0.5]), np.ones(2, bool)))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=50),
    st.integers(1, 20),
    st.randoms(use_true_random=False),
)
def test_calibration_error_is_a_fraction_whatever_the_order(pairs, bins, random):
    def error(pairs):
        confidence, correct = map(np.array, zip(*pairs, strict=True))
        return calibration.expected_calibration_error(confidence, correct, bins)

    assert 0 <= error(pairs) <= 1 + 1e-12
    assert error(random.sample(pairs, len(pairs))) == pytest.approx(error(pairs))


@pytest.mark.parametrize("n", [1, 500])
def test_reliability_diagram_states_the_calibration_error(n):
    confidence = RANDOM.uniform(0.3, 1, n).astype(np.float32)
    correct = RANDOM.random(n) < 0.6
    figure = drawn(plots.reliability_diagram(confidence, correct))
    error = calibration.expected_calibration_error(confidence, correct)
    assert figure.get_suptitle().startswith(f"Expected calibration error {100 * error:.1f} %")
    upper, lower = figure.axes
    assert sum(bar.get_height() for bar in lower.patches) == pytest.approx(100)
    assert "perfect calibration" in [text.get_text() for text in upper.get_legend().get_texts()]


def test_reliability_change_states_both_calibration_errors():
    before, after = RANDOM.uniform(0.8, 1, 500), RANDOM.uniform(0.4, 0.8, 500)
    correct = RANDOM.random(500) < 0.6
    figure = drawn(plots.reliability_change(before, after, correct, 2.5))
    errors = [100 * calibration.expected_calibration_error(confidence, correct) for confidence in (before, after)]
    assert figure.get_suptitle().replace("\n", " ") == (
        f"Temperature 2.500: expected calibration error {errors[0]:.1f} %, calibrated {errors[1]:.1f} %"
    )
    assert [ax.get_title().partition(":")[0] for ax in figure.axes[:2]] == ["before", "calibrated"]


# Images


def test_the_most_confident_mistakes_come_first():
    labels, predicted = np.array([0, 1, 2, 0]), np.array([1, 1, 0, 2])
    confidence = np.array([0.6, 0.99, 0.971, 0.8])
    images = pictures(4)
    figure = drawn(plots.confident_mistakes(images, labels, predicted, confidence, THREE, count=2))
    shown = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in shown] == ["ship\n→ cat\n97.1 %", "cat\n→ ship\n80.0 %"]
    np.testing.assert_array_equal(shown[0].images[0].get_array(), images[2])
    assert figure.get_suptitle() == "The 2 most confident of 3 mistakes in 4 images: true → predicted"


@pytest.mark.parametrize(("size", "channels", "wrong"), [(8, 1, 1), (8, 3, 30), (32, 3, 0)])
def test_mistakes_of_any_number(size, channels, wrong):
    labels = np.zeros(40, int)
    predicted = (np.arange(40) < wrong).astype(int)
    figure = drawn(plots.confident_mistakes(pictures(40, size, channels), labels, predicted, np.full(40, 0.9), THREE))
    assert sum(bool(ax.images) for ax in figure.axes) == min(wrong, 25)
    title = {0: "No mistakes in 40 images", 30: "The 25 most confident of 30"}.get(wrong, f"All {wrong} mistakes")
    assert figure.get_suptitle().startswith(title)


def test_image_sheet_without_titles_and_of_oblong_images():
    figure = drawn(plots.image_sheet(RANDOM.integers(0, 256, (7, 4, 8, 1), dtype=np.uint8), columns=4))
    assert [len(ax.images) for ax in figure.axes] == [1] * 7 + [0]


@pytest.mark.parametrize("channels", [1, 3])
def test_augmented_sheet_has_a_row_for_each_original(channels):
    originals = pictures(2, 8, channels)
    augmented = pictures(6, 8, channels).reshape(2, 3, 8, 8, channels)
    ax = drawn(plots.augmented_sheet(originals, augmented)).axes[0]
    shown = np.asarray(ax.images[0].get_array()).reshape(18, 38, channels)
    np.testing.assert_array_equal(shown[9:17, :8], originals[1])
    np.testing.assert_array_equal(shown[:8, 11:19], augmented[0, 0])
    np.testing.assert_array_equal(shown[9:17, 29:37], augmented[1, 2])
    assert (shown[:, 8:11] == 255).all()  # what separates the originals
    assert texts(ax) == ["original", "augmented"]


# Comparison


def test_range_test_marks_the_lowest_average_and_the_suggested_rate():
    rates, losses = list(np.geomspace(1e-4, 10, 60)), [*np.linspace(2, 1, 40), *np.linspace(1, 9, 20)]
    figure = drawn(plots.lr_range(rates, losses, losses, 39, rates[39] / 10))
    (ax,) = figure.axes
    assert ax.get_xscale() == "log"
    assert [line.get_xdata()[0] for line in ax.lines[2:]] == pytest.approx([rates[39], rates[39] / 10])
    assert figure.get_suptitle() == f"Loss lowest at the learning rate {rates[39]:.2g}, suggested: {rates[39] / 10:.2g}"
    assert ax.get_ylim()[1] < 3


def test_curves_of_several_settings_are_overlaid_and_the_first_is_in_front():
    figure = drawn(plots.overlaid_curves({"A  one": [history(3), history(5)], "B  other": [history(4)]}))
    loss, accuracy = figure.axes
    assert (loss.get_title("left"), accuracy.get_title("left")) == ("loss", "accuracy")
    thick = [line for line in loss.lines if line.get_linewidth() > 2]
    assert [len(line.get_xdata()) for line in thick] == [3, 4]
    mean = (history(3)["val/loss"] + history(5)["val/loss"][:3]) / 2
    np.testing.assert_allclose(thick[0].get_ydata(), mean)
    assert thick[0].get_zorder() > thick[1].get_zorder()
    assert sum(line.get_linestyle() == ":" for line in loss.lines) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["A  one", "B  other"]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"A": [{}]},
        {"A": [{"val/loss": []}]},
        {"A": [{"val/loss": [math.nan]}]},
        {str(k): [{"val/loss": [k, 1.0]}] for k in range(30)},
    ],
)
def test_curves_of_any_number_of_settings(settings):
    drawn(plots.overlaid_curves(settings))


def test_accuracy_of_classes_names_the_most_different_one():
    figure = drawn(plots.class_accuracies(np.array([[0.5, 0.9, 0.1], [0.6, 0.7, 0.1]]), THREE, ["A", "B"]))
    ax = figure.axes[0]
    assert figure.get_suptitle() == "Most different on dog: 0.700 to 0.900"
    assert ticks(ax.yaxis) == ["dog", "cat", "ship"] and ax.yaxis_inverted()
    dots = [collection.get_offsets().tolist() for collection in ax.collections[1:]]
    assert dots == [[[0.9, 0], [0.5, 1], [0.1, 2]], [[0.7, 0], [0.6, 1], [0.1, 2]]]


@pytest.mark.parametrize(("groups", "k"), [(1, 1), (2, 40), (30, 100)])
def test_of_many_classes_the_most_different_are_shown(groups, k):
    figure = drawn(plots.class_accuracies(RANDOM.random((groups, k)), names(k), [str(g) for g in range(groups)]))
    assert len(ticks(figure.axes[0].yaxis)) == min(k, 40)
    assert ("40 most different of 100 classes" in figure.get_suptitle().replace("\n", " ")) == (k > 40)


def test_svg_is_the_same_each_time_and_needs_no_font():
    first, second = (plots.svg(plots.overlaid_curves({"A 名": [history(3)]})) for _ in range(2))
    assert first == second
    assert first.startswith(b"<?xml") and b"<text" not in first


# Detection


def test_precision_recall_has_a_curve_for_each_class_with_objects_and_their_mean():
    recall = np.linspace(0, 1, 101)
    precision = np.stack([1 - recall, np.full(101, -1.0), (recall <= 0.5).astype(float)], axis=1)
    figure = drawn(plots.precision_recall(precision, THREE))
    (ax,) = figure.axes
    assert figure.get_suptitle() == "Mean average precision 0.502 at IoU 0.5; best: ship, worst: cat"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["mean of 2 classes  0.502", "ship  0.505", "cat  0.500"]
    mean = next(line for line in ax.lines if line.get_label().startswith("mean"))
    np.testing.assert_allclose(mean.get_ydata(), precision[:, [0, 2]].mean(axis=1))


@pytest.mark.parametrize("k", [1, 80])
def test_precision_recall_of_any_number_of_classes(k):
    figure = drawn(plots.precision_recall(RANDOM.random((101, k)), names(k)))
    assert len(figure.axes[0].lines) == k + 1
    assert len(figure.legends[0].get_texts()) == min(k, 10) + 1


def test_detections_are_drawn_below_objects():
    there, found = pictures(2)
    figure = drawn(plots.found_and_true({"best": [(there, found, "quality 0.50")], "worst": []}, "Mean quality 0.5"))
    above, below = figure.axes[:2]
    np.testing.assert_array_equal(above.images[0].get_array(), there)
    np.testing.assert_array_equal(below.images[0].get_array(), found)
    assert above.get_title(loc="left") == "best: objects"
    assert below.get_title(loc="left") == "detections, quality 0.50"
