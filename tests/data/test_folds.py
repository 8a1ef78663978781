"""The validation images: chosen by a seed of their own, and the parts of a cross-validation."""

from __future__ import annotations

import numpy as np
import pytest

from cifar.config.settings import identity
from cifar.data.folds import cut, joined
from cifar.interfaces import Dataset, Split
from cifar.training import checks, experiment

FOLDS = 5


def loaded(compose, *overrides: str) -> Dataset:
    settings = compose("data=digits", *overrides)
    checks.check_settings(settings)
    return experiment.load(settings)


def rows(split: Split) -> list[bytes]:
    return [image.tobytes() for image in split.images]


class TestFolds:
    @pytest.fixture
    def folds(self, compose) -> list[Dataset]:
        return [loaded(compose, f"data.folds={FOLDS}", f"data.fold={fold}") for fold in range(FOLDS)]

    def test_each_training_image_is_in_one_validation_split(self, folds, compose):
        whole = loaded(compose)
        together = sorted(row for fold in folds for row in rows(fold.val))
        assert together == sorted(rows(whole.train) + rows(whole.val))
        for fold in folds:
            assert sorted(rows(fold.train) + rows(fold.val)) == together
        assert {fold.test_fingerprint for fold in folds} == {whole.test_fingerprint}

    def test_parts_and_their_classes_are_of_equal_size(self, folds):
        assert np.ptp([len(fold.val) for fold in folds]) <= 1
        assert np.ptp([np.bincount(fold.val.targets["label"]) for fold in folds], axis=0).max() <= 1

    def test_seed_chooses_the_images(self, folds, compose):
        other = loaded(compose, f"data.folds={FOLDS}", "data.fold=0", "data.val_seed=1")
        assert rows(other.val) != rows(folds[0].val)

    @pytest.mark.parametrize(
        ("overrides", "line"),
        [
            ("data.fold=1", "data.fold=1: needs data.folds, the number of folds"),
            ("data.folds=3", "data.folds=3: accepted for data.fold: 0 to 2; --multirun data.fold=0,1,2 runs all"),
            ("data.folds=3 data.fold=3", "data.fold=3: accepted for data.fold: 0 to 2; --multirun data.fold=0,1,2 "),
            ("data.folds=1 data.fold=0", "data.folds=1: should be greater than or equal to 2"),
            ("data.folds=200 data.fold=0", "data.folds=200: a class has 139 images; accepted: 2 to 139"),
        ],
    )
    def test_mistake_is_one_line(self, mistake, overrides, line):
        assert mistake("data=digits", *overrides.split()).startswith(line)

    def test_images_with_different_numbers_of_objects(self):
        def split(objects: int, count: int, shade: int) -> Split:
            boxes, classes = np.ones((count, objects, 4), np.float32), np.ones((count, objects), np.int64)
            images = np.full((count, 2, 2, 3), shade, np.uint8)
            return Split(images, {"boxes": boxes, "classes": classes, "crowd": classes > 1})

        both = joined(split(1, 2, 7), split(3, 4, 9))
        assert both.targets["boxes"].shape == (6, 3, 4) and both.targets["crowd"].dtype == bool
        assert both.targets["classes"].tolist() == [[1, -1, -1]] * 2 + [[1, 1, 1]] * 4
        parts = [cut(Dataset("scenes", split(1, 2, 7), split(3, 4, 9), both, ("a",)), 3, fold, 0) for fold in range(3)]
        assert [len(part.val) for part in parts] == [2, 2, 2]


class TestSeedOfTheCut:
    @pytest.mark.parametrize("value", ["trail", "-1", "2147483648", "true", "1.5"])
    def test_mistake_is_one_line(self, mistake, value):
        line = mistake("data=digits", f"data.val_seed={value}")
        assert line.startswith(f"data.val_seed={'True' if value == 'true' else value}: should be a ")

    def test_is_the_seed_by_default(self, compose):
        assert loaded(compose, "seed=3").fingerprint == loaded(compose, "seed=1", "data.val_seed=3").fingerprint

    def test_is_another_one_in_each_job(self, compose):
        def seed(name: str, *overrides: str) -> object:
            job = ("tracking.parent=sweep", f"tracking.name='{name}'")
            return compose("data=digits", "data.val_seed=trial", *job, *overrides).data.val_seed

        drawn = [seed("optimizer.lr=1"), seed("optimizer.lr=2"), seed("optimizer.lr=1", "seed=2")]
        assert len({*drawn}) == 3 and all(isinstance(number, int) for number in drawn)
        assert seed("optimizer.lr=1") == drawn[0], "a resumed job has the same"

    def test_is_the_seed_in_a_single_run(self, compose):
        assert loaded(compose, "data.val_seed=trial").fingerprint == loaded(compose).fingerprint

    def test_leaves_the_identity_of_earlier_runs(self, compose):
        settings = compose("data=digits")
        given = {key: value for key, value in settings.data.model_dump().items() if value is not None or key == "limit"}
        earlier = settings.model_copy(update={"data": type(settings.data).of(given, "digits", "data")})
        assert "folds" not in earlier.data.model_dump()
        assert identity(earlier) == identity(settings)
