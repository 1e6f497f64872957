"""Try a task in one process: four members, ten rounds, no network.

python docs/examples/rehearse.py FILE.py:Class DATA
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from dhtnode.identity import Identity
from dhtnode.manifest import FORMAT, InnerSection, Manifest, OuterSection, RoundSection, TaskSection, Terms
from training.data import describe, read_file
from training.inner import Trainer
from training.rehearsal import rehearse
from training.tasks import load_task, read_code

file, _, name = sys.argv[1].rpartition(":")
path, content = Path(file), read_file(Path(sys.argv[2]))
creator = Identity.generate()
manifest = Manifest.create(
    Terms(
        format=FORMAT,
        name="rehearsal",
        creator=creator.peer_id,
        task=TaskSection(kind=f"{path.name}:{name}", code_digest=hashlib.sha256(read_code(path)).hexdigest()),
        data=describe(content, held_out=0.2),
        inner=InnerSection(steps=((0, 10),), options={"lr": 0.01}),
        outer=OuterSection(lr=1.0, momentum=0.0),
        round=RoundSection(rounds=10),
    ),
    creator,
)
task = load_task(manifest.terms.task, path.parent)
trainer = Trainer(manifest, task)
shard = task.shard(content, manifest.terms.data.held_out)
for done in rehearse(manifest, trainer, dict.fromkeys(["anna", "ben", "chi", "dina"], shard)):
    scores = trainer.evaluate(done.state, shard)
    accuracy = "" if scores.accuracy is None else f"  accuracy {scores.accuracy:.3f}"
    print(f"round {done.state.round_no:2}  loss {scores.loss:.4f}{accuracy}  {done.state.digest.hex()[:16]}")
