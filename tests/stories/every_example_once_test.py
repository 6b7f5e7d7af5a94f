"""What the steps of a run are given, by its real input path, while its workers come and go."""

import collections
import itertools
import json

import pytest

from tests.inputs import tiny
from tests.processes.gang import gang
from tests.processes.id_recorder import IdRecorder
from tests.tiers import GANG

pytestmark = [pytest.mark.integration, GANG]

NUM_EXAMPLES, BATCH_SIZE, NUM_STEPS = 90, 16, 30
STEPS_PER_EPOCH = NUM_EXAMPLES // BATCH_SIZE


def given(arguments, workdir, *attempts):
    """The ids of every step, sorted, of a run by so many workers up to such a step each."""
    recorder = IdRecorder(workdir.parent / f"{workdir.name}.ids")
    for attempt, (num_workers, num_steps) in enumerate(attempts):
        words = [*arguments, f"--num_steps={num_steps}", f"--workdir={workdir}"]
        logs = workdir.parent / f"{workdir.name}-{attempt}"
        prepare = dict.fromkeys(range(num_workers), recorder)
        with gang(num_workers, words, logs, prepare=prepare) as workers:
            for worker in workers:
                assert worker.end() == 0, worker.errors
    steps: dict[int, list[str]] = collections.defaultdict(list)
    for line in recorder.path.read_text().splitlines():
        step, ids = json.loads(line)
        steps[step] += ids
    return {step: sorted(ids) for step, ids in steps.items()}


def test_one_then_four_then_two_workers_take_each_example_once(tmp_path):
    arguments = [
        f"--dataset={tiny.write_folder(tmp_path / 'folder', train=30, validation=3)}",
        f"--backbone={tiny.write_backbone(tmp_path / 'backbone')}",
        "--nofreeze_backbone",
        f"--global_batch_size={BATCH_SIZE}",
        "--num_logical_shards=4",
        "--export_formats=",
        "--noreport",
        "--nolog_images",
    ]
    changing = (1, 7), (4, 18), (2, NUM_STEPS)  # in the middle of epochs
    ours = given(arguments, tmp_path / "changing", *changing)
    assert list(map(len, (ours[step] for step in range(NUM_STEPS)))) == [BATCH_SIZE] * NUM_STEPS
    epochs = [
        [*itertools.chain(*(ours[step] for step in range(first, first + STEPS_PER_EPOCH)))]
        for first in range(0, NUM_STEPS, STEPS_PER_EPOCH)
    ]
    left_out = []
    every = set(itertools.chain(*epochs))
    assert len(every) == NUM_EXAMPLES
    for epoch in epochs:
        assert len(epoch) == len(set(epoch)) == STEPS_PER_EPOCH * BATCH_SIZE
        left_out.append(frozenset(every - set(epoch)))
    assert len(set(left_out)) == len(epochs)  # another remainder each
    assert ours == given(arguments, tmp_path / "one", (1, NUM_STEPS))
