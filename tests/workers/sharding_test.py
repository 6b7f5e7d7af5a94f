import pytest

from trainer.process.errors import UserError
from trainer.workers import sharding


@pytest.mark.parametrize(
    ("num_shards", "num_workers", "expected"),
    [
        (8, 1, [range(8)]),
        (8, 2, [range(4), range(4, 8)]),
        (8, 4, [range(2), range(2, 4), range(4, 6), range(6, 8)]),
        (3, 3, [range(1), range(1, 2), range(2, 3)]),
    ],
)
def test_shards_are_owned_in_order(num_shards, num_workers, expected):
    owned = [sharding.owned_shards(num_shards, num_workers, i) for i in range(num_workers)]
    assert owned == expected


def test_replicas_are_owned_in_order():
    assert [sharding.owned_replicas(2, index) for index in range(3)] == [
        range(2),
        range(2, 4),
        range(4, 6),
    ]


@pytest.mark.parametrize(
    ("workers", "shards", "batch", "replicas"),
    [(1, 8, 32, 1), (2, 8, 32, 1), (8, 8, 32, 1), (2, 8, 32, 4), (3, 9, 36, 1), (1, 1, 7, 1)],
)
def test_what_divides_is_taken(workers, shards, batch, replicas):
    sharding.check(workers, shards, batch, replicas)


@pytest.mark.parametrize(
    ("workers", "shards", "batch", "replicas", "ways"),
    [
        (3, 8, 32, 1, "use 2 or 4 workers, or --num_logical_shards=9 and --global_batch_size=36"),
        (16, 8, 32, 1, "use 8 workers, or --num_logical_shards=16"),
        (2, 1, 7, 1, "use 1 worker, or --num_logical_shards=2 and --global_batch_size=8"),
        (2, 8, 32, 3, "use --num_logical_shards=6 and --global_batch_size=30"),
        (2, 4, 32, 4, "use 1 worker, or --num_logical_shards=8"),
    ],
)
def test_what_does_not_is_refused_with_what_would(workers, shards, batch, replicas, ways):
    with pytest.raises(UserError) as caught:
        sharding.check(workers, shards, batch, replicas)
    message = str(caught.value)
    assert message.startswith(f"--num_logical_shards={shards} cannot be divided among {workers} ")
    assert message.endswith(f"; {ways}")
    # What the message offers is taken.
    offered = dict(part.split("=") for part in message.split("; ")[1].split() if "=" in part)
    sharding.check(
        workers,
        int(offered["--num_logical_shards"]),
        int(offered.get("--global_batch_size", batch)),
        replicas,
    )
