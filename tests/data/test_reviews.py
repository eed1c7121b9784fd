"""Reviews are read from an archive without unpacking it, and bad archives are named."""

import gzip
import hashlib
import io
import tarfile
import tracemalloc

import numpy as np
import pytest
from helpers.tiny_files import tar_gz

from datamodules import reviews
from datamodules.reviews import content_hash, read_cache, read_reviews, tokenize_reviews, write_cache
from lightmodels.utils.data_error import DataError

TEXTS = {
    "aclImdb/train/pos/0_9.txt": "Good.<br /><br />It's GOOD, and 10/10!",
    "aclImdb/train/neg/0_1.txt": "bad and na\u00efve",
    "aclImdb/test/pos/0_10.txt": "good <BR />film",
    "aclImdb/test/neg/0_3.txt": "Not it's day",
}
MEMBERS = {path: text.encode() for path, text in TEXTS.items()}


def read(members):
    return read_reviews(io.BytesIO(tar_gz(members)))


def message_of(packed):
    with pytest.raises(DataError) as caught:
        read_reviews(io.BytesIO(packed))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_reviews_are_read_and_other_files_skipped():
    others = {"aclImdb/": None, "aclImdb/train/pos/": None, "aclImdb/README": b"\xff", "aclImdb/imdb.vocab": b""}
    unlabelled = {"aclImdb/train/unsup/0_0.txt": b"\xff", "aclImdb/train/unsup/1_0.txt": b""}
    assert read(MEMBERS) == TEXTS
    assert read(others | MEMBERS | unlabelled) == TEXTS
    assert read({f"./{path}": text for path, text in (others | MEMBERS).items()}) == TEXTS


def test_tokens_by_hand():
    found = tokenize_reviews(TEXTS)
    assert found.words == ["10", "and", "good", "bad", "it's", "na", "ve"]  # the first three twice
    rows = np.split(found.tokens, np.cumsum(found.lengths)[:-1])
    assert [row.tolist() for row in rows] == [[1, 7, 5, 9, 10], [1, 6, 8, 6, 5, 4, 4], [1, 2, 8, 2], [1, 6, 2]]
    assert (found.labels.tolist(), found.train_rows) == ([0, 1, 0, 1], 2)


def test_neither_the_order_nor_the_packing_matters():
    backwards = read(dict(reversed(MEMBERS.items())))
    assert content_hash(backwards) == content_hash(TEXTS)
    one, other = tokenize_reviews(backwards), tokenize_reviews(TEXTS)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_content_hash_by_hand():
    lines = b"".join(f"{path}\n{TEXTS[path]}\n".encode() for path in sorted(TEXTS))
    assert content_hash(TEXTS) == hashlib.sha256(lines).hexdigest()


def member(path, kind, target=""):
    info = tarfile.TarInfo(path)
    info.type, info.linkname = kind, target
    return info


PATH = "aclImdb/train/pos/1_7.txt"
BAD_MEMBERS = {
    "traversal": ({"aclImdb/../../passwd": b"x"}, "unexpected path 'aclImdb/../../passwd'"),
    "traversal at the start": ({"../x": b"x"}, "unexpected path '../x'"),
    "traversal of a directory": ({"aclImdb/../..": None}, "unexpected path"),
    "absolute path": ({"/etc/passwd": b"x"}, "unexpected path '/etc/passwd'"),
    "another folder": ({"other/train/pos/1_7.txt": b"x"}, "unexpected path 'other/"),
    "a like name": ({"aclImdb2/x": b"x"}, "unexpected path"),
    "line feed": ({"a\nb": b"x"}, r"unexpected path 'a\nb'"),
    "symbolic link": ({PATH: member(PATH, tarfile.SYMTYPE, "/etc/passwd")}, "not a plain file"),
    "hard link": ({PATH: member(PATH, tarfile.LNKTYPE, "aclImdb/train/pos/0_9.txt")}, "not a plain file"),
    "device": ({PATH: member(PATH, tarfile.CHRTYPE)}, "not a plain file"),
    "no rating": ({"aclImdb/test/neg/5.txt": b"x"}, "not named as a review"),
    "nested": ({"aclImdb/test/neg/1/5_1.txt": b"x"}, "not named as a review"),
    "huge": ({PATH: b"word " * 30_000}, f"{PATH} of 150,000 bytes, more than 100,000"),
    "not UTF-8": ({PATH: b"caf\xe9"}, f"{PATH}, which is not UTF-8 text"),
    "empty": ({PATH: b""}, f"{PATH}, which is empty or has no word"),
    "wordless": ({PATH: b"<br />...\n"}, f"{PATH}, which is empty or has no word"),
}


@pytest.mark.parametrize(("members", "reason"), BAD_MEMBERS.values(), ids=BAD_MEMBERS)
def test_bad_members_are_named(tmp_path, members, reason):
    assert reason in message_of(tar_gz(MEMBERS | members))
    assert list(tmp_path.iterdir()) == []  # nothing is unpacked


def test_a_review_that_is_there_twice_is_named():
    both = gzip.decompress(tar_gz(MEMBERS))[: 512 * 8] + gzip.decompress(tar_gz(MEMBERS))
    assert message_of(gzip.compress(both)).endswith("aclImdb/train/pos/0_9.txt twice")


@pytest.mark.parametrize("folder", reviews.FOLDERS)
def test_a_folder_without_reviews_is_named(folder):
    rest = {path: text for path, text in MEMBERS.items() if not path.startswith(folder)}
    assert message_of(tar_gz(rest)) == f"holds too few reviews (3): none in {folder}"


GOOD = tar_gz(MEMBERS)
TAR = gzip.decompress(GOOD)
BAD_ARCHIVES = {
    "empty file": (b"", "damaged archive"),
    "garbage": (b"<html>", "Not a gzipped file"),
    "no archive": (gzip.compress(b"no archive" * 100), "damaged archive"),
    "cut": (GOOD[: len(GOOD) // 2], "end-of-stream marker"),
    "cut at the end": (GOOD[:-5], "end-of-stream marker"),
    "cut before packing": (gzip.compress(TAR[:700]), "damaged archive (unexpected end of data)"),
    "wrong checksum": (GOOD[:-8] + bytes(4) + GOOD[-4:], "CRC check failed"),
    "trailing garbage": (GOOD + b"more", "Not a gzipped file"),
    "empty archive": (tar_gz({}), "too few reviews (0)"),
}


@pytest.mark.parametrize(("packed", "reason"), BAD_ARCHIVES.values(), ids=BAD_ARCHIVES)
def test_bad_archives_are_named(packed, reason):
    assert reason in message_of(packed)


@pytest.mark.parametrize("position", range(10, len(GOOD), 97))
def test_no_flipped_byte_goes_unnoticed(position):
    flipped = GOOD[:position] + bytes([GOOD[position] ^ 0x55]) + GOOD[position + 1 :]
    message_of(flipped)


def test_a_bomb_does_not_exhaust_the_memory(monkeypatch):
    monkeypatch.setattr(reviews, "MAX_UNPACKED", 2**20)
    bomb = tar_gz(MEMBERS | {"aclImdb/large": bytes(2**25)})
    header = tarfile.TarInfo("aclImdb/x")
    header.pax_headers = {"comment": "x" * 2**25}
    tracemalloc.start()
    for packed in (bomb, gzip.compress(header.tobuf(tarfile.PAX_FORMAT), 1)):
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[1]
        assert message_of(packed) == "unpacks to more than 1,048,576 bytes"
        assert tracemalloc.get_traced_memory()[1] - before < 2**23
    tracemalloc.stop()


def test_a_cache_gives_back_what_was_written(tmp_path):
    path, written = tmp_path / "cache.npz", tokenize_reviews(TEXTS)
    write_cache(path, "abc", written)
    found = read_cache(path, "abc")
    assert all(np.array_equal(a, b) and type(a) is type(b) for a, b in zip(found, written, strict=True))
    assert [getattr(part, "dtype", None) for part in found] == [getattr(part, "dtype", None) for part in written]
    assert [each.name for each in tmp_path.iterdir()] == ["cache.npz"]


def test_a_cache_of_another_archive_or_format_is_not_used(tmp_path, monkeypatch):
    path = tmp_path / "cache.npz"
    write_cache(path, "abc", tokenize_reviews(TEXTS))
    assert read_cache(path, "abd") is None
    monkeypatch.setattr(reviews, "CACHE_FORMAT", 2)
    assert read_cache(path, "abc") is None


def test_a_damaged_cache_is_not_used(tmp_path):
    path, expected = tmp_path / "cache.npz", tokenize_reviews(TEXTS)
    write_cache(path, "abc", expected)
    whole = path.read_bytes()
    for position in range(0, len(whole), 13):
        path.write_bytes(whole[:position])
        assert read_cache(path, "abc") is None, f"cut at {position}"
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        found = read_cache(path, "abc")  # bytes such as a member's date do not matter
        same = found is not None and all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
        assert found is None or same, f"flipped at {position}"


def test_a_cache_with_pickled_data_is_not_read(tmp_path):
    path = tmp_path / "cache.npz"
    np.savez(path, key=np.array([{}], dtype=object))
    assert read_cache(path, "abc") is None
    assert read_cache(tmp_path / "missing", "abc") is None
