"""Optimizers, each under every schedule, and the learning rates of schedules."""

from __future__ import annotations

import numpy as np
import pytest

from cifar.config.registry import OPTIMIZERS, SCHEDULES


class TestBuilders:
    """Choices that are cheap to build, from their own YAML."""

    @pytest.mark.parametrize("schedule", SCHEDULES.names())
    @pytest.mark.parametrize("optimizer", OPTIMIZERS.names())
    def test_every_optimizer_steps_under_every_schedule(self, compose, optimizer, schedule):
        import keras

        settings = compose(f"optimizer={optimizer}", f"schedule={schedule}", "optimizer.clip_norm=1.0", "epochs=2")
        chosen = settings.optimizer.build(schedule=settings.schedule.build(steps_per_epoch=3, epochs=2), head=[])
        weight = keras.Variable(np.ones(3, "float32"))
        for _ in range(6):
            chosen.apply([keras.ops.convert_to_tensor([3.0, 0.0, -3.0])], [weight])
        down, same, up = weight.numpy()
        assert down < 1 < up
        decay = settings.optimizer.weight_decay
        assert same == 1 if not decay else 0.99 < same < 1

    @pytest.mark.parametrize("optimizer", OPTIMIZERS.names())
    def test_weight_decay_shrinks_weights(self, compose, optimizer):
        import keras

        settings = compose(f"optimizer={optimizer}", "optimizer.weight_decay=0.1", "optimizer.lr=0.1")
        chosen = settings.optimizer.build(schedule=lambda lr: lr, head=[])
        weight = keras.Variable(np.ones(1, "float32"))
        chosen.apply([keras.ops.zeros(1)], [weight])
        assert weight.numpy() == pytest.approx(0.99)

    def test_clip_norm_bounds_the_global_norm(self, compose):
        import keras

        settings = compose("optimizer=sgd", "optimizer.lr=1", "optimizer.clip_norm=5", "optimizer.momentum=0")
        chosen = settings.optimizer.build(schedule=lambda lr: lr, head=[])
        weights = [keras.Variable(np.zeros(1, "float32")) for _ in range(2)]
        chosen.apply([keras.ops.full((1,), 30.0), keras.ops.full((1,), 40.0)], weights)
        assert [float(weight.numpy()[0]) for weight in weights] == pytest.approx([-3, -4])


class TestSchedules:
    """Learning rates over a training of `EPOCHS` epochs of `STEPS` steps."""

    STEPS, EPOCHS = 10, 8

    def rates(self, compose, *overrides, lr=0.5):
        settings = compose(*overrides).schedule
        schedule = settings.build(steps_per_epoch=self.STEPS, epochs=self.EPOCHS)(lr)
        return np.array([float(schedule(step)) for step in range(self.STEPS * self.EPOCHS + 1)])

    def test_constant_leaves_the_rate_to_callbacks(self, compose):
        assert compose("schedule=constant").schedule.build()(0.5) == 0.5

    @pytest.mark.parametrize("final", [0.0, 0.1])
    def test_cosine_warms_up_linearly_and_falls_to_its_end(self, compose, final):
        rates = self.rates(compose, "schedule=cosine", "schedule.warmup_epochs=2", f"schedule.final={final}")
        warmup = 2 * self.STEPS
        assert rates[: warmup + 1] == pytest.approx(np.linspace(0, 0.5, warmup + 1))
        assert (np.diff(rates[warmup:]) < 0).all()
        half = warmup + (len(rates) - 1 - warmup) // 2
        assert rates[half] == pytest.approx(0.5 * (1 + final) / 2)
        assert rates[-1] == pytest.approx(0.5 * final, abs=1e-7)

    def test_cosine_without_warm_up_begins_at_the_peak(self, compose):
        assert self.rates(compose, "schedule=cosine", "schedule.warmup_epochs=0")[0] == 0.5

    def test_step_falls_after_each_milestone(self, compose):
        rates = self.rates(compose, "schedule=multistep", "schedule.milestones=[0.5,0.75]", "schedule.factor=0.1")
        assert sorted(set(rates.round(6))) == pytest.approx([0.005, 0.05, 0.5])
        assert (np.diff(rates) <= 0).all()
        assert list(np.flatnonzero(np.diff(rates))) == [40, 60]

    def test_exponential_falls_by_its_factor_each_epoch(self, compose):
        rates = self.rates(compose, "schedule=exponential", "schedule.decay_rate=0.5")
        assert rates[:: self.STEPS] == pytest.approx(0.5 * 0.5 ** np.arange(self.EPOCHS + 1))

    def test_lr_range_rises_by_the_same_factor_in_each_step(self, compose):
        rates = self.rates(compose, "schedule=lr_range", "schedule.initial=0.01", "schedule.final=100")
        assert rates == pytest.approx(np.geomspace(0.005, 50, len(rates)))

    def test_onecycle_rises_to_the_peak_and_falls_to_its_end(self, compose):
        rates = self.rates(compose, "schedule=onecycle", "schedule.warmup_fraction=0.25", "schedule.initial=0.1",
                           "schedule.final=0.01")  # fmt: skip
        peak = rates.argmax()
        assert peak == 0.25 * self.STEPS * self.EPOCHS
        assert (np.diff(rates[: peak + 1]) > 0).all()
        assert (np.diff(rates[peak:]) < 0).all()
        assert [rates[0], rates[peak], rates[-1]] == pytest.approx([0.05, 0.5, 0.005])
