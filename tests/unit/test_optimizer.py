"""Any optimizer by name; moments that are shared, sent and taken up again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dhtnode.errors import ConfigError, Exit
from dhtnode.manifest import InnerSection, Option, WireSection
from training.codec import decode_all, encode
from training.flatten import Layout
from training.optimizer import lift_roots, load_moments, make_optimizer, moment_names, read_moments


def inner(optimizer: str = "AdamW", moments: str = "averaged", **options: Option) -> InnerSection:
    return InnerSection(optimizer=optimizer, moments=moments, options={"lr": 0.01, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "section",
    [
        inner("AdamW", betas=[0.9, 0.95], weight_decay=0.1, fused=True),
        inner("SGD", momentum=0.9, nesterov=True),
        inner("Adagrad"),
        inner("RAdam"),
        inner("Rprop"),
    ],
)
def test_any_class_of_torch_optim(section: InnerSection) -> None:
    optimizer = make_optimizer(section, nn.Linear(2, 2))
    assert type(optimizer).__name__ == section.optimizer
    assert optimizer.param_groups[0]["lr"] == 0.01
    if "betas" in section.options:
        assert optimizer.param_groups[0]["betas"] == (0.9, 0.95)


@pytest.mark.parametrize(
    ("section", "line"),
    [
        (inner("Adamw"), "inner.optimizer `Adamw` is no class of torch.optim"),
        (inner("lr_scheduler"), "inner.optimizer `lr_scheduler` is no class of torch.optim"),
        (inner("LBFGS"), "inner.optimizer `LBFGS` needs a closure"),
        (inner("SGD", fast=True), "inner.options has an unknown key `fast` for SGD"),
        (inner("SGD", params=1), "inner.options has an unknown key `params` for SGD"),
        (inner("SGD", momentum=-1.0), "inner.options do not suit SGD: Invalid momentum value"),
        (inner("AdamW", betas=0.9), "inner.options do not suit AdamW"),
        (inner("AdamW", lr="fast"), "inner.options do not suit AdamW"),
    ],
)
def test_what_does_not_suit_is_named(section: InnerSection, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_optimizer(section, nn.Linear(2, 2))
    assert line in str(caught.value)
    assert caught.value.exit_code == Exit.MANIFEST


def test_what_is_frozen_is_not_trained() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    assert make_optimizer(inner(), model).param_groups[0]["params"] == [model.weight]


@pytest.mark.parametrize(
    ("section", "names"),
    [
        (inner("AdamW"), ("exp_avg", "exp_avg_sq")),
        (inner("AdamW", moments="reset"), ()),
        (inner("SGD", momentum=0.9), ("momentum_buffer",)),
        (inner("RMSprop"), ("square_avg",)),
    ],
)
def test_which_moments_are_shared(section: InnerSection, names: tuple[str, ...]) -> None:
    assert moment_names(section) == names


@pytest.mark.parametrize("section", [inner("SGD"), inner("Rprop"), inner("AdamW", amsgrad=True)])
def test_moments_that_have_no_mean_are_refused(section: InnerSection) -> None:
    with pytest.raises(ConfigError, match=r"inner\.moments can't be `averaged`"):
        moment_names(section)


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, seeds: range) -> None:
    for seed in seeds:
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(seed))
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize(
    "section", [inner("AdamW"), inner("AdamW", fused=True), inner("SGD", momentum=0.9), inner("RMSprop")]
)
def test_a_run_goes_on_from_moments_as_if_it_had_not_been_cut(section: InnerSection) -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3))
    model[1].bias.requires_grad_(False)
    layout = Layout.of(model)
    start_P = layout.read(model)
    optimizer = make_optimizer(section, model)
    steps(model, optimizer, range(6))
    uncut_P = layout.read(model)

    layout.write(model, start_P)
    optimizer = make_optimizer(section, model)
    steps(model, optimizer, range(3))
    middle_P = layout.read(model)
    names = moment_names(section)
    moments_MP = read_moments(optimizer, model, layout, names)
    assert moments_MP.shape == (len(names) * layout.elems,)
    optimizer = make_optimizer(section, model)
    load_moments(optimizer, model, layout, moments_MP, 3)
    layout.write(model, middle_P)
    steps(model, optimizer, range(3, 6))
    np.testing.assert_allclose(layout.read(model), uncut_P, rtol=1e-5, atol=1e-7)

    layout.write(model, middle_P)  # the control: without moments it is another run
    steps(model, make_optimizer(section, model), range(3, 6))
    assert np.abs(layout.read(model) - uncut_P).max() > 1e-4


@pytest.mark.parametrize("codec", ["int8", "int4"])
def test_no_second_moment_becomes_zero_on_the_wire(codec: str) -> None:
    wire = WireSection(codec=codec)  # type: ignore[arg-type]
    params = 1_000  # no multiple of a block: sections share blocks
    rng = np.random.default_rng(0)
    update_U = rng.standard_normal(3 * params).astype(np.float32)
    update_U[2 * params :] = 10 ** rng.uniform(-6, 0, params)
    plain = decode_all(encode(update_U, wire), 3 * params, wire)
    assert (plain[2 * params :] == 0).any()  # the control
    before = update_U.copy()
    lift_roots(update_U, params, ("exp_avg", "exp_avg_sq"), wire)
    np.testing.assert_array_equal(update_U[: 2 * params], before[: 2 * params])
    assert (update_U >= before).all()
    assert (decode_all(encode(update_U, wire), 3 * params, wire)[2 * params :] > 0).all()


def test_fp32_needs_no_lift() -> None:
    update_U = np.array([1, 1, 1e-9], np.float32)
    lift_roots(update_U, 1, ("exp_avg", "exp_avg_sq"), WireSection(codec="fp32"))
    np.testing.assert_array_equal(update_U, np.array([1, 1, 1e-9], np.float32))
