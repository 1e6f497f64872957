"""A local round follows from shared state alone: anybody can do it again and get the same bits."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import nn

from dhtnode.errors import ConfigError
from dhtnode.identity import Identity
from dhtnode.manifest import FORMAT, DataSection, InnerSection, Manifest, OuterSection, TaskSection, Terms
from training.codec import Vector
from training.data import batch_indices, builtin_text, describe
from training.inner import LocalWork, Trainer
from training.outer import DivergedError
from training.state import State
from training.tasks.text import Text

torch.set_num_threads(1)  # the models are tiny, and tests run side by side

TEXT = builtin_text()[:20_000]
CREATOR = Identity.from_seed(bytes(32))
OPTIONS: dict[str, Any] = {"dim": 16, "layers": 1, "heads": 2, "context": 8}
PLAIN = InnerSection(
    steps=((0, 4),), optimizer="SGD", options={"lr": 0.5}, clip_norm=0.0, warmup_steps=0, final_lr=1.0
)


class Dropping(Text):
    """A model that draws random numbers while it trains."""

    def model(self) -> nn.Module:  # type: ignore[override]
        return nn.Sequential(super().model(), nn.Dropout(0.3))


def manifest(inner: InnerSection = PLAIN, mode: str = "shared", momentum: float = 0.0) -> Manifest:
    data = describe(TEXT, 0.1) if mode == "shared" else DataSection(mode="private")
    terms = Terms(
        format=FORMAT,
        name="test",
        creator=CREATOR.peer_id,
        task=TaskSection(kind="text", options=OPTIONS),
        data=data,
        inner=inner,
        outer=OuterSection(lr=1.0, momentum=momentum),
    )
    return Manifest.create(terms, CREATOR)


def run(trainer: Trainer, peer: str = "a", state: State | None = None, **how: Any) -> LocalWork:
    return trainer.run(state or trainer.genesis(), Text(OPTIONS).shard(TEXT, 0.1), peer, **how)


@pytest.mark.parametrize("task", [Text(OPTIONS), Dropping(OPTIONS)])
def test_work_repeats_to_the_bit_whatever_happened_in_between(task: Text) -> None:
    swarm = manifest(InnerSection(steps=((0, 3),)))
    trainer = Trainer(swarm, task)
    first = run(trainer)
    torch.manual_seed(5)
    other = run(trainer, "b")
    again = run(trainer)
    assert first.update_U.tobytes() == again.update_U.tobytes()
    assert first.loss == again.loss
    assert first.update_U.tobytes() == run(Trainer(swarm, task)).update_U.tobytes()
    assert first.update_U.tobytes() != other.update_U.tobytes()


def test_it_leaves_torchs_generator_alone() -> None:
    trainer = Trainer(manifest(), Dropping(OPTIONS))
    before = torch.random.get_rng_state()
    run(trainer)
    assert torch.equal(before, torch.random.get_rng_state())


def test_another_round_trains_on_other_data() -> None:
    trainer = Trainer(manifest(), Text(OPTIONS))
    genesis = trainer.genesis()
    later = State(genesis.swarm_id, 1, genesis.shape, genesis.values_S)
    assert run(trainer).update_U.tobytes() != run(trainer, state=later).update_U.tobytes()


def gradient_of_first_step(swarm: Manifest, state: State, peer: str) -> Vector:
    """By hand, without the trainer's loop."""
    task = Text(OPTIONS)
    shard = task.shard(TEXT, 0.1)
    model = Trainer(swarm, task).model(state)
    batch = task.batch(shard, batch_indices(swarm.swarm_id, state.round_no, peer, 0, 8, shard.examples))
    torch.autograd.backward(task.loss(model, batch))
    named = dict(model.named_parameters())
    gradients = [gradient for name in sorted(named) if (gradient := named[name].grad) is not None]
    return np.concatenate([gradient.flatten().numpy() for gradient in gradients])


def test_one_step_of_sgd_is_the_gradient() -> None:
    """The sign and the scale of a pseudo-gradient, and that batches are the derived ones."""
    swarm = manifest()
    trainer = Trainer(swarm, Text(OPTIONS))
    expected_P = 0.5 * gradient_of_first_step(swarm, trainer.genesis(), "peer")
    np.testing.assert_allclose(run(trainer, "peer", max_steps=1).update_U, expected_P, rtol=1e-3, atol=1e-6)


def test_a_slow_node_does_the_first_steps_of_a_fast_one() -> None:
    trainer = Trainer(manifest(), Text(OPTIONS))
    seen: list[tuple[int, float]] = []
    fast = run(trainer, on_step=lambda step, loss: seen.append((step, loss)))
    assert [step for step, _ in seen] == [1, 2, 3, 4]
    assert fast.loss == pytest.approx(sum(loss for _, loss in seen) / 4)
    asked = count()
    slow = run(trainer, should_stop=lambda: next(asked) >= 2)
    assert (fast.steps, slow.steps) == (4, 2)
    assert (fast.units, slow.units) == (4 * 8 * 8, 2 * 8 * 8)
    assert (fast.weight, slow.weight) == (fast.units, slow.units)
    assert slow.update_U.tobytes() == run(trainer, max_steps=2).update_U.tobytes()
    assert slow.loss == pytest.approx(sum(loss for _, loss in seen[:2]) / 2)


def test_no_step_weighs_nothing() -> None:
    for mode in ("shared", "private"):
        work = run(Trainer(manifest(mode=mode), Text(OPTIONS)), should_stop=lambda: True)
        assert (work.steps, work.units, work.weight, work.loss) == (0, 0, 0, None)
        assert not work.update_U.any()


def test_private_work_weighs_the_size_of_its_shard() -> None:
    trainer = Trainer(manifest(mode="private"), Text(OPTIONS))
    assert run(trainer).weight == run(trainer, max_steps=1).weight == 18_000 - 8


def test_gradients_are_clipped() -> None:
    free = Trainer(manifest(), Text(OPTIONS))
    bound = Trainer(manifest(replace(PLAIN, clip_norm=0.01)), Text(OPTIONS))
    assert np.linalg.norm(run(free, max_steps=1).update_U) > 0.05
    assert np.linalg.norm(run(bound, max_steps=1).update_U) == pytest.approx(0.01 * 0.5, rel=1e-3)


def test_the_learning_rate_follows_the_run_not_the_round() -> None:
    """Warm-up goes on across rounds: with 4 steps a round, round 1 begins with the fifth of ten."""
    swarm = manifest(replace(PLAIN, warmup_steps=10))
    trainer = Trainer(swarm, Text(OPTIONS))
    genesis = trainer.genesis()
    later = State(genesis.swarm_id, 1, genesis.shape, genesis.values_S)
    for state, share in ((genesis, 0.1), (later, 0.5)):
        expected_P = share * 0.5 * gradient_of_first_step(swarm, state, "a")
        np.testing.assert_allclose(
            run(trainer, state=state, max_steps=1).update_U, expected_P, rtol=1e-3, atol=1e-6
        )


def test_divergence_is_an_error_of_its_own() -> None:
    inner = replace(PLAIN, options={"lr": 1e30})
    with pytest.raises(DivergedError, match=r"lower inner\.options\.lr"):
        run(Trainer(manifest(inner), Text(OPTIONS)))
    with pytest.raises(DivergedError, match="not finite after 1 steps"):
        run(Trainer(manifest(inner), Text(OPTIONS)), max_steps=1)


def test_averaged_moments_are_part_of_state_and_update() -> None:
    inner = InnerSection(steps=((0, 3),), moments="averaged")
    trainer = Trainer(manifest(inner, momentum=0.9), Text(OPTIONS))
    params = trainer.shape.params
    work = run(trainer)
    assert trainer.shape.elems == 4 * params
    assert trainer.genesis().moments.size == 2 * params
    assert work.update_U.size == trainer.shape.update_elems == 3 * params
    assert (work.update_U[2 * params :] >= 0).all()


def test_bad_optimizer_options_show_before_any_round() -> None:
    with pytest.raises(ConfigError, match="unknown key `speed` for AdamW"):
        Trainer(manifest(InnerSection(options={"lr": 0.1, "speed": 3})), Text(OPTIONS))


def test_evaluation_uses_the_shared_weights() -> None:
    task = Text(OPTIONS)
    trainer = Trainer(manifest(), task)
    shard = task.shard(TEXT, 0.1)
    before = trainer.evaluate(trainer.genesis(), shard)
    run(trainer)
    assert trainer.evaluate(trainer.genesis(), shard) == before
