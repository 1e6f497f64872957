"""Machines that name one profile give the same bits: whatever changes bits changes the name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional

from validation import profile
from validation.profile import MAX_LENGTH, device_profile, precision, probe


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    """torch's own, put back afterwards."""
    threads, products = torch.get_num_threads(), torch.get_float32_matmul_precision()
    convolutions = torch.backends.cudnn.allow_tf32
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.set_float32_matmul_precision(products)


def test_another_process_on_this_machine_has_the_same_name() -> None:
    script = (
        "import torch; torch.set_num_threads(1); "
        "from validation.profile import device_profile; print(device_profile('cpu'))"
    )
    run = subprocess.run([sys.executable, "-P", "-c", script], stdout=subprocess.PIPE, check=True, text=True)
    assert run.stdout.strip() == device_profile("cpu")


def test_the_name_fits_a_commitment_however_long_the_processors_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "processor", lambda: "a very  long name " * 10)
    name = device_profile("cpu")
    assert len(name) == MAX_LENGTH
    assert name.split()[:2] == ["cpu/fp32", "x1"]
    assert probe() in name


def test_threads_and_precision_are_in_the_name() -> None:
    names = {device_profile("cpu")}
    with torch.autocast("cpu", torch.bfloat16):
        names.add(device_profile("cpu"))
    torch.set_float32_matmul_precision("medium")
    names.add(device_profile("cpu"))
    torch.set_num_threads(2)
    names.add(device_profile("cpu"))
    assert {name.split()[0] for name in names} == {"cpu/fp32", "cpu/bfloat16", "cpu/fp32-medium"}
    assert len(names) == 4


def test_rounding_of_a_gpus_products_is_in_its_name() -> None:
    """The settings can be made and read without a GPU."""
    found = []
    for products in (False, True):
        for convolutions in (False, True):
            torch.backends.cuda.matmul.allow_tf32 = products
            torch.backends.cudnn.allow_tf32 = convolutions
            found.append(precision("cuda"))
    assert found == ["fp32", "tf32-convolutions", "tf32-products", "tf32"]


def test_one_other_bit_is_another_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = probe()
    assert before == probe()
    gelu = functional.gelu

    def other(x: torch.Tensor) -> torch.Tensor:
        y = gelu(x)
        y[3, 5] = torch.nextafter(y[3, 5], torch.tensor(9.0))
        return y

    monkeypatch.setattr(functional, "gelu", other)
    assert probe() != before


@pytest.mark.parametrize("variable", ["MKL_CBWR", "ATEN_CPU_CAPABILITY"])
def test_what_the_environment_changes_is_seen_in_bits_or_not_at_all(variable: str) -> None:
    """Whichever way this build of torch goes: other bits never come with the same name."""
    value = {"MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "default"}[variable]
    script = (
        "import torch; torch.set_num_threads(1); "
        "from validation.profile import device_profile; x = torch.linspace(-1, 1, 20_000).view(100, 200); "
        "print(device_profile('cpu')); print((x @ x.T).softmax(1).numpy().tobytes().hex()[:100_000])"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-P", "-c", script],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
            env={key: item for key, item in os.environ.items() if key != variable} | more,
        ).stdout.splitlines()
        for more in ({}, {variable: value})
    ]
    (name, bits), (other_name, other_bits) = runs
    assert name != other_name or bits == other_bits
