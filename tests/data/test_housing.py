"""California housing is read from the original table, packed or not, and nothing else is accepted."""

import gzip
from dataclasses import replace

import pytest
import torch
from helpers.tiny_files import accepted, sha256, tar_gz, write, write_housing
from sklearn.preprocessing import StandardScaler

from datamodules.housing import COLUMNS, FORMULAS, HousingDataModule, derive_features, parse_table
from lightmodels.utils.data_error import DataError

TGZ, DATA, MEMBER = "cal_housing/cal_housing.tgz", "cal_housing/cal_housing.data", "CaliforniaHousing/cal_housing.data"
ROW = b"-122.23,37.88,41,880,129,322,126,8.3252,452600\n"


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A data module on a tiny archive."""
    write_housing(tmp_path)
    monkeypatch.setattr(HousingDataModule, "files", accepted(HousingDataModule.files, tmp_path))
    return HousingDataModule(str(tmp_path), seed=3)


def test_features_by_hand():
    table = parse_table(ROW, "file")
    assert table.tolist() == [[-122.23, 37.88, 41.0, 880.0, 129.0, 322.0, 126.0, 8.3252, 452600.0]]
    features = derive_features(table, COLUMNS, list(FORMULAS.values()))
    assert features[0].tolist() == [8.3252, 41.0, 880 / 126, 129 / 126, 322.0, 322 / 126, 37.88, -122.23]


def test_the_splits_share_no_row_and_are_the_seeds(tiny, tmp_path):
    splits = tiny.splits
    assert [len(x) for x, _ in splits] == [128, 32, 40]
    for x, y in splits:
        assert (x.dtype, y.dtype, x.shape[1:], y.shape[1:]) == (torch.float32, torch.float32, (8,), (1,))
    assert len(torch.cat([x for x, _ in splits]).unique(dim=0)) == 200
    again, other = HousingDataModule(str(tmp_path), seed=3).splits, HousingDataModule(str(tmp_path), seed=4).splits
    assert torch.equal(again.test[0], splits.test[0])
    assert not torch.equal(other.test[0], splits.test[0])
    assert len({*tiny.train_rows.tolist(), *tiny.val_rows.tolist()}) == 160


def test_the_moments_are_those_of_the_training_rows(tiny):
    scaler = StandardScaler().fit(tiny.splits.train[0].double().numpy())
    sizes = tiny.sizes
    assert sizes.pop("feature_mean") == pytest.approx(scaler.mean_.tolist(), rel=1e-12)
    assert sizes.pop("feature_std") == pytest.approx(scaler.scale_.tolist(), rel=1e-12)
    assert sizes == {"num_features": 8, "num_classes": 0, "target_scale": 100_000.0}


def test_the_table_may_lie_beside_the_archive_unpacked(tiny, tmp_path):
    (tmp_path / TGZ).unlink()
    write(tmp_path, DATA, write_housing(tmp_path / "other"))
    packed = HousingDataModule(str(tmp_path / "other"), seed=3)
    assert torch.equal(HousingDataModule(str(tmp_path), seed=3).splits.test[0], packed.splits.test[0])


GOOD = ROW * 20


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tar_gz({MEMBER: GOOD})[:-30], "is a damaged gzip file"),
        (gzip.compress(b"no archive" * 100), "is a damaged archive"),
        (
            gzip.compress(gzip.decompress(tar_gz({"a": GOOD, MEMBER: GOOD}))[:1300]),
            "is a damaged archive|does not hold",
        ),
        (tar_gz({"../cal_housing.data": GOOD}), f"does not hold {MEMBER}"),
        (tar_gz({MEMBER: GOOD + ROW}), "has the wrong content"),
        (tar_gz({MEMBER: b""}), "is empty"),
    ],
    ids=["cut", "no archive", "cut member", "other path", "other rows", "empty"],
)
def test_damaged_archives_are_refused(tmp_path, monkeypatch, content, reason):
    write(tmp_path, TGZ, content)
    (file,) = HousingDataModule.files.values()
    monkeypatch.setattr(HousingDataModule, "files", {"a": replace(file, hashes=(sha256(GOOD),))})
    with pytest.raises(DataError, match=reason) as raised:
        HousingDataModule(str(tmp_path)).setup()
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["cal_housing.tgz"]  # nothing was unpacked


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"1,2,3\n", "has 3 columns, expected 9"),
        (ROW + b"1,2,3,4,x,6,7,8,9\n", "is not a table of numbers"),
        (ROW.replace(b",126,", b",0,"), "without households"),
        (ROW.replace(b",126,", b",nan,"), "not finite"),
    ],
)
def test_other_tables_are_refused(content, reason):
    with pytest.raises(DataError, match=f"^file .*{reason}"):
        parse_table(content, "file")


@pytest.mark.real_data
def test_the_original_has_scikit_learns_means(data_dir):
    data = HousingDataModule(data_dir)
    data.setup()
    x, y = (torch.cat(parts).double() for parts in zip(*data.splits, strict=True))
    assert x.shape == (20_640, 8)
    means = [3.870671, 28.639486, 5.429000, 1.096675, 1425.476744, 3.070655, 35.631861, -119.569704]
    assert x.mean(0).tolist() == pytest.approx(means, rel=1e-6)
    assert y.mean().item() / 100_000 == pytest.approx(2.068558, rel=1e-6)
