"""Sums over ranks equal sums over the whole, gradients included; rows come in the order of ranks."""

import pytest
import torch

from tests.vita_model.ranks import run_ranks
from vita_data.errors import VitaDataError
from vita_model.distributed import all_rows, all_sum, highest, joined_ranks, mean_row, previous_rows


def global_mean(sizes: list[int]):
    with joined_ranks() as ranks:
        weight = torch.tensor([2.0, 3.0], requires_grad=True)
        rows = torch.arange(10.0).reshape(5, 2)
        mine = rows[sum(sizes[: ranks.rank]) : sum(sizes[: ranks.rank + 1])]
        values = (mine * weight).sum(dim=1).square()
        loss = all_sum(values.sum()) / all_sum(torch.tensor(float(len(mine))))
        loss.backward()
        grad = all_sum(weight.grad) / ranks.world_size
        return float(loss), grad.tolist(), all_rows(mine).tolist(), highest(ranks.rank, ranks.device) == 1


def test_two_ranks_have_the_loss_gradient_and_rows_of_one() -> None:
    (alone,) = run_ranks(global_mean, 1, [5])
    first, second = run_ranks(global_mean, 2, [2, 3])

    assert first == second
    assert first[:3] == alone[:3]
    assert (alone[3], first[3]) == (False, True)


def neighbours_and_mean(num_rows: int) -> tuple[list, list, list]:
    """Give what stands for each of this rank's rows, and the mean."""
    with joined_ranks() as ranks:
        size = num_rows // ranks.world_size
        rows = (torch.arange(2.0 * num_rows).reshape(num_rows, 2) ** 2)[ranks.rank * size : (ranks.rank + 1) * size]
        return previous_rows(rows).tolist(), previous_rows(rows > 4).tolist(), mean_row(rows).tolist()


@pytest.mark.parametrize("num_rows", [2, 4])
def test_rows_of_two_ranks_have_the_neighbours_and_the_mean_that_they_have_on_one(num_rows: int) -> None:
    alone, (first, second) = neighbours_and_mean(num_rows), run_ranks(neighbours_and_mean, 2, num_rows)

    assert alone[0] == [
        [float((2 * row % (2 * num_rows) + at) ** 2) for at in (0, 1)] for row in range(-1, num_rows - 1)
    ]
    for found in (0, 1):
        assert first[found] + second[found] == alone[found]
    assert first[2] == second[2] == alone[2]


def left_alone() -> str:
    """Have the second rank end while the first waits for it; give what the first one says."""
    try:
        with joined_ranks() as ranks:
            if ranks.rank == 1:
                return "ended"
            all_sum(torch.ones(1))
    except VitaDataError as fault:
        return str(fault)
    return "nothing"


def test_a_rank_that_another_one_leaves_says_so_in_one_line() -> None:
    said, _ = run_ranks(left_alone, 2)
    assert said.startswith("rank 0 lost another rank; see its error: ")
    assert "\n" not in said
