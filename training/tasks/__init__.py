"""What can be trained. A task is a model and how to feed, judge and count it.

base.py      the protocol: Task, Shard, Scores, and reading options from the manifest
text.py      byte-level GPT
digits.py    small images that stay at home
loading.py   built-in tasks by name, and your own from FILE.py:Class (see docs/tasks.md)
"""

from __future__ import annotations

from training.tasks.base import Batch, Generates, Scores, Shard, Task, read_options
from training.tasks.loading import load_task, read_code

__all__ = ["Batch", "Generates", "Scores", "Shard", "Task", "load_task", "read_code", "read_options"]
