"""Feature shards that are read from files on demand."""

import pytest

from tests.processes.commands import script

FILES = """
import resource, sys
import numpy as np
import tensorflow as tf
from trainer.data.feature_store import FeatureShard, FeatureStore
from trainer.data.feature_shards import FeatureShards
shards = FeatureShards(FeatureStore(sys.argv[1], 200), [1] * 200, 3, False)
for number in range(200):
    row = np.full([1, 3], number, np.float32)
    shards.write(number, FeatureShard(row, np.zeros(1, np.int64), {}))
resource.setrlimit(resource.RLIMIT_NOFILE, (100, int(sys.argv[2])))
table = shards.table(1)
print(table.rows(tf.range(200, dtype=tf.int64)).numpy().sum())
"""


@pytest.mark.integration
@pytest.mark.parametrize("limit", [400, 120])
def test_more_parts_than_files_that_a_shell_lets_be_open(limit, tmp_path):
    process = script(FILES, tmp_path / "200-abc", limit)
    if limit > 200:
        assert process.stdout == f"{3 * 199 * 200 / 2}\n", process.stderr
    else:
        last = process.stderr.splitlines()[-1]
        assert last.startswith(
            f"trainer.process.errors.UserError: {tmp_path}/200-abc/part-00000-of-00200."
        )
        assert "200 such files are open at once (Too many open files)" in last
