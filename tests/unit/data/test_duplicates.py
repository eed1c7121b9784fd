"""Hashes of rows, by which rows that are in two parts are counted."""

import pytest
import torch

from lightmodels.data.duplicates import row_hashes


@pytest.mark.parametrize("columns", [1, 2, 3, 7])
def test_hashes_differ_where_rows_do(columns):
    x = torch.randint(3, (3000, columns), generator=torch.Generator().manual_seed(0))
    y = torch.arange(3000) % 2
    different = len({*zip(*x.T.tolist(), y.tolist(), strict=True)})
    for tensors in ([x.float(), y], [x.byte().reshape(3000, columns, 1), y], [x, y.float()[:, None]]):
        assert len(set(row_hashes(tensors).tolist())) == different
