"""The built-in tasks, and code of one's own that is refused in one clear line where it must be."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dhtnode.errors import ConfigError, Exit
from dhtnode.manifest import Option, TaskSection
from training.data import builtin_text, pack_arrays
from training.tasks import Generates, Scores, Task, load_task
from training.tasks.digits import Digits, public_split
from training.tasks.text import GPT, Text, TextOptions

TINY: dict[str, Option] = {"dim": 16, "layers": 1, "heads": 2, "context": 8, "eval_windows": 4}


@pytest.mark.parametrize("kind", ["text", "digits"])
def test_built_in_tasks_load_by_name(kind: str, tmp_path: Path) -> None:
    assert isinstance(load_task(TaskSection(kind=kind), tmp_path), Task)


@pytest.mark.parametrize(
    ("kind", "options", "line"),
    [
        ("text", {"depth": 3}, "unknown key `depth`; this task knows: dim, layers, heads"),
        ("text", {"dim": "big"}, "Expected `int`, got `str` - at `task.options.dim`"),
        ("text", {"dim": 12.5}, "Expected `int`, got `float` - at `task.options.dim`"),
        ("text", {"layers": 0}, "Expected `int` >= 1 - at `task.options.layers`"),
        ("text", {"dim": 100, "heads": 8}, "dim 100 is no multiple of 2 x task.options.heads 8"),
        ("digits", {"hidden": True}, "Expected `int`, got `bool` - at `task.options.hidden`"),
        ("pictures", {}, "task.kind `pictures` is unknown; use text, digits or FILE.py:Class"),
        ("task.py", {}, "task.kind `task.py` is unknown"),
        ("task.txt:Task", {}, "task.kind `task.txt:Task` is unknown"),
        ("../task.py:Task", {}, "task.kind `../task.py:Task` is unknown"),
        ("/usr/lib/antigravity.py:Task", {}, "without a folder"),
    ],
)
def test_what_the_manifest_may_not_say(
    kind: str, options: dict[str, Option], line: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_task(TaskSection(kind=kind, options=options), tmp_path)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == Exit.MANIFEST


def test_the_default_gpt_has_the_size_that_its_docs_say() -> None:
    model = GPT(TextOptions())
    assert sum(parameter.numel() for parameter in model.parameters()) == 853_120


def test_a_text_batch_is_windows_of_the_training_part() -> None:
    task = Text(TINY)
    text = bytes(range(100))
    shard = task.shard(text, 0.2)
    assert shard.examples == 80 - 8
    (tokens,) = task.batch(shard, np.array([0, 71]))
    assert tokens.tolist() == [list(range(9)), list(range(71, 80))]
    assert bytes(shard.held_out) == text[80:]


def test_nobody_sees_the_future() -> None:
    """The causal mask, and with it positions: changing a byte changes no earlier prediction."""
    model = Text(TINY).model().eval()
    tokens = torch.arange(8)[None]
    changed = tokens.clone()
    changed[0, 5] = 200
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    assert torch.equal(before[0, :5], after[0, :5])
    assert not torch.equal(before[0, 5:], after[0, 5:])


def test_positions_matter() -> None:
    model = Text(TINY).model().eval()
    with torch.no_grad():
        one, other = model(torch.tensor([[1, 2, 3]])), model(torch.tensor([[2, 1, 3]]))
    assert not torch.allclose(one[0, 2], other[0, 2], atol=1e-4)


def test_an_untrained_model_knows_nothing_and_evaluation_repeats() -> None:
    task = Text(TINY)
    model = task.model().eval()
    shard = task.shard(builtin_text(), 0.1)
    with torch.inference_mode():
        scores = task.evaluate(model, shard)
        assert scores == task.evaluate(model, shard)
    assert abs(scores.loss - math.log(256)) < 0.5
    assert scores.accuracy is None


def test_evaluation_is_the_mean_over_evenly_spaced_windows() -> None:
    task = Text({**TINY, "eval_windows": 20})
    model = task.model().eval()
    shard = task.shard(builtin_text()[:4_000], 0.1)
    starts = [window * (400 - 9) // 19 for window in range(20)]
    with torch.inference_mode():
        tokens = torch.tensor([shard.held_out[start : start + 9].tolist() for start in starts])
        assert task.evaluate(model, shard).loss == pytest.approx(float(task.loss(model, (tokens,))))


def test_the_shortest_text_that_works() -> None:
    task = Text(TINY)
    shard = task.shard(bytes(18), 0.5)
    assert shard.examples == 1
    with torch.inference_mode():
        assert task.evaluate(task.model(), shard).loss > 0
    with pytest.raises(ConfigError, match="8 bytes to train on and 9 held out; each needs 9") as caught:
        task.shard(bytes(17), 0.55)
    assert caught.value.exit_code == Exit.DATA


def test_a_sample_continues_its_prompt_and_repeats() -> None:
    task = Text(TINY)
    assert isinstance(task, Generates)
    model = task.model().eval()
    with torch.inference_mode():
        text = task.sample(model, "Once ", 20)
        assert text == task.sample(model, "Once ", 20)
    assert text.startswith("Once ")
    assert len(text) > len("Once ")


def test_digits_are_judged_by_images_that_nobody_trains_on() -> None:
    (x, y), (x_test, y_test) = public_split()
    assert len(y) + len(y_test) == 1_797
    assert len(np.unique(y_test)) == 10
    task = Digits({})
    shard = task.shard(pack_arrays(x[:50], y[:50]), 0.5)
    assert shard.examples == 50
    images, labels = task.batch(shard, np.array([3, 3, 49]))
    np.testing.assert_array_equal(labels, y[[3, 3, 49]])
    np.testing.assert_array_equal(images, x[[3, 3, 49]].astype(np.float32) / 16)
    with torch.inference_mode():
        scores = task.evaluate(task.model(), shard)
    assert abs(scores.loss - math.log(10)) < 0.3
    assert scores.accuracy is not None
    assert 0 <= scores.accuracy < 0.4
    assert len(shard.held_out[1]) == len(x_test) == 359


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.ones((3, 63)), np.ones(3, int)),
        (np.full((3, 64), 17.0), np.ones(3, int)),
        (np.full((3, 64), np.nan), np.ones(3, int)),
        (np.ones((3, 64)), np.full(3, 10)),
        (np.ones((3, 64)), np.full(3, -1)),
        (np.ones((3, 64)), np.ones(3)),
        (np.full((3, 64), "a"), np.ones(3, int)),
    ],
)
def test_digits_refuse_other_data(x: np.ndarray, y: np.ndarray) -> None:
    with pytest.raises(ConfigError, match=r"digits needs x of shape \(N, 64\) from 0 to 16") as caught:
        Digits({}).shard(pack_arrays(x, y), 0.1)
    assert caught.value.exit_code == Exit.DATA


OWN = """
from __future__ import annotations
from dataclasses import dataclass
import torch
from training.tasks import Scores, Shard

@dataclass(frozen=True)
class Pair:  # dataclasses look their module up
    a: int

class Own:
    unit = "samples"
    units_per_example = 1
    def __init__(self, options):
        self.width = options.get("width", 2)
        if self.width > 9: raise RuntimeError("too wide")
    def model(self): return torch.nn.Linear(self.width, 1)
    def shard(self, content, held_out): return Shard(content, content, len(content))
    def batch(self, shard, indices): return (torch.ones(len(indices), self.width),)
    def loss(self, model, batch): return model(batch[0]).square().mean()
    def evaluate(self, model, shard): return Scores(1.0)

class Half:
    unit = "samples"
    def __init__(self, options): pass
    def model(self): return None

number = 3
"""


def own(folder: Path, code: str = OWN, name: str = "Own", options: dict[str, Option] | None = None) -> Task:
    (folder / "own.py").write_text(code)
    digest = hashlib.sha256(code.encode()).hexdigest()
    section = TaskSection(kind=f"own.py:{name}", code_digest=digest, options=options or {})
    return load_task(section, folder)


def test_a_task_of_ones_own(tmp_path: Path) -> None:
    task = own(tmp_path, options={"width": 5})
    model = task.model()
    assert isinstance(model, nn.Linear)
    assert model.in_features == 5
    assert task.evaluate(model, task.shard(b"abc", 0.1)) == Scores(1.0)


@pytest.mark.parametrize(
    ("code", "name", "options", "line"),
    [
        ("import no_such_module\n", "Own", {}, "own.py:1 does not run: ModuleNotFoundError: No module"),
        ("x = 1\ny = (\n", "Own", {}, "own.py:2 does not run: SyntaxError: '(' was never closed"),
        ("def f():\n    return 1 / 0\nf()\n", "Own", {}, "own.py:2 does not run: ZeroDivisionError"),
        (OWN, "Other", {}, "own.py has no class Other; correct task.kind"),
        (OWN, "number", {}, "own.py has no class number"),
        (OWN, "Own", {"width": 10}, "does not run: RuntimeError: too wide"),
        (OWN, "Half", {}, "lacks units_per_example, shard, batch, loss, evaluate; see docs/tasks.md"),
    ],
)
def test_own_code_that_does_not_work_says_where(
    code: str, name: str, options: dict[str, Option], line: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        own(tmp_path, code, name, options)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == Exit.MANIFEST


def test_changed_code_never_runs(tmp_path: Path) -> None:
    own(tmp_path)
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n" + OWN)
    digest = hashlib.sha256(OWN.encode()).hexdigest()
    for expected in (digest, None):
        with pytest.raises(ConfigError, match=r"own\.py is not the code that the swarm was made with"):
            load_task(TaskSection(kind="own.py:Own", code_digest=expected), tmp_path)
    assert not (tmp_path / "ran").exists()


def test_missing_code_is_named(tmp_path: Path) -> None:
    section = TaskSection(kind="gone.py:Own", code_digest="0" * 64)
    with pytest.raises(ConfigError, match=r"gone\.py: No such file or directory; put it beside swarm\.toml"):
        load_task(section, tmp_path)
