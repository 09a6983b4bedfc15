import itertools
import sqlite3
import threading

import numpy as np
import pytest
from mindspore.mindrecord import FileReader, FileWriter
from packing import assert_as_the_folder

from mindcv_hrnet.data.sources.mindrecord import MINDRECORD, record_files, record_members
from mindcv_hrnet.data.sources.open_split import open_split
from mindcv_hrnet.data.sources.shards import Shards
from mindcv_hrnet.errors import DataError

BYTES, NUMBER, TEXT = {"type": "bytes"}, {"type": "int32"}, {"type": "string"}
USUAL = {"data": BYTES, "label": NUMBER}


def write(path, schema, rows, index=(), shards=1, page=1 << 15):
    """MindRecord as a user writes it. `rows`: dicts, or (image, label) pairs for the usual schema."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = FileWriter(str(path), shards)
    writer.set_header_size(1 << 16)
    writer.set_page_size(page)
    writer.add_schema(schema)
    if index:
        writer.add_index(list(index))
    rows = [row if isinstance(row, dict) else {"data": row[0], "label": row[1]} for row in rows]
    for start in range(0, len(rows), 16):
        writer.write_raw_data(rows[start : start + 16])
    writer.commit()
    return path


def blobs(count, longest=20_000):
    draw = np.random.default_rng(0)
    return [draw.bytes(int(length)) for length in draw.integers(1, longest, count)]


def mine(path):
    data = path.read_bytes()
    return [(member.label, data[member.offset :][: member.size]) for member in record_members(str(path))]


def theirs(path, image="data"):
    return [(int(row["label"]), bytes(row[image])) for row in FileReader([str(path)]).get_next()]


VECTOR = {"type": "float32", "shape": [3]}
SEVERAL = {"file_name": TEXT, "mask": BYTES, "image": BYTES, "vector": VECTOR, "label": {"type": "int64"}}


@pytest.mark.parametrize(
    "schema, index, extra",
    [
        (USUAL, (), lambda i: {}),
        (USUAL, ("label",), lambda i: {}),
        ({**USUAL, "file_name": TEXT}, ("label", "file_name"), lambda i: {"file_name": f"épée {i}"}),
        (SEVERAL, (), lambda i: {"file_name": "", "mask": bytes(i), "vector": np.ones(3, np.float32)}),
    ],
    ids=["nothing indexed", "label indexed", "as ImageNetToMR", "several blobs"],
)
def test_rows_are_those_that_mindspore_reads(schema, index, extra, tmp_path):
    image = "image" if "image" in schema else "data"
    rows = [{image: data, "label": i * 777 - 3, **extra(i)} for i, data in enumerate(blobs(60))]
    path = write(tmp_path / "x y é.mindrecord", schema, rows, index)
    assert mine(path) == theirs(path, image) == [(row["label"], row[image]) for row in rows]
    assert path.stat().st_size > (1 << 16) + 10 * (1 << 15)  # the rows lie on many pages


def test_several_files_of_one_writer(tmp_path):
    rows = [(data, i % 5) for i, data in enumerate(blobs(120, 100))]
    write(tmp_path / "x.mindrecord", USUAL, rows, shards=11)
    files = record_files(str(tmp_path))
    assert [path[-2:] for path in files] == [f"{i:02d}" for i in range(11)]
    read = [mine(tmp_path / path) for path in files]
    assert read == [theirs(path) for path in files]
    assert sorted(itertools.chain(*read)) == sorted((label, data) for data, label in rows)
    source = open_split(str(tmp_path), "")
    assert len(source) == 120 and source.class_names == tuple("01234")


def pack(root, out, names):
    """The folder `root` in two MindRecord files, with `classes.txt`."""
    images = [
        (path.read_bytes(), names.index(name)) for name in sorted(names) for path in sorted(root.glob(f"{name}/*"))
    ]
    write(out / "0.mindrecord", USUAL, images[:5])
    write(out / "1.mindrecord", USUAL, images[5:])
    (out / "classes.txt").write_text("\n".join(names))


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_records_give_the_images_of_the_folder(names, folder, sections, tmp_path):
    root = folder({"a": 9, "b": 8})
    pack(root, tmp_path / "records" / "train", names)
    assert_as_the_folder(tmp_path / "records", root, sections)


def test_many_threads_read_at_once(tmp_path):
    images = blobs(200)
    write(tmp_path / "x.mindrecord", USUAL, [(data, i % 2) for i, data in enumerate(images)])
    source, wrong = Shards(tmp_path, MINDRECORD), []

    def read(seed):
        for index in np.random.default_rng(seed).permutation(200).tolist():
            if source.read(index) != images[index]:
                wrong.append(index)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_class_numbers_without_names(tmp_path):
    labels = [10, 2, 2, 0]
    write(tmp_path / "train" / "x.mindrecord", USUAL, [(b"1", label) for label in labels])
    write(tmp_path / "val" / "x.mindrecord", USUAL, [(b"1", 10)])
    train = open_split(str(tmp_path), "train")
    assert train.class_names == ("0", "2", "10") and train.labels.tolist() == [2, 1, 1, 0]
    assert open_split(str(tmp_path), "val", train.class_names).labels.tolist() == [2]
    with pytest.raises(DataError, match=r"val: only one class \('10'\); classification needs two or more"):
        open_split(str(tmp_path), "val")


def test_a_class_that_only_validation_has(tmp_path):
    write(tmp_path / "x.mindrecord", USUAL, [(b"1", 0), (b"1", 7)])
    with pytest.raises(DataError, match="'7' is not among the 2 classes of the training split; prepare both splits"):
        Shards(tmp_path, MINDRECORD, ("0", "1"))


def cut(path):
    path.write_bytes(path.read_bytes()[: (1 << 16) + 100])


def spoil_header(path):
    data = path.read_bytes()
    path.write_bytes(data[:8] + b"\x80" * 500 + data[508:])


def statement(text):
    def run(path):
        with sqlite3.connect(f"{path}.db") as index:
            index.execute(text)
        index.close()

    return run


GOOD = [(b"1" * 300, 0), (b"2" * 300, 1)]


@pytest.mark.parametrize(
    "schema, rows, index, damage, message",
    [
        (USUAL, GOOD, (), lambda p: p.with_name("x.mindrecord.db").unlink(), "x.mindrecord.db: no such file; a Mind"),
        (USUAL, GOOD, (), cut, r"x.mindrecord: ends \d+ bytes early; copy or write it again"),
        (USUAL, GOOD, (), lambda p: p.write_bytes(b""), "x.mindrecord: not a MindRecord file, or an encrypted one;"),
        (USUAL, GOOD, (), spoil_header, "x.mindrecord: not a MindRecord file, or an encrypted one; write it with File"),
        (
            USUAL,
            GOOD,
            (),
            lambda p: p.with_name("x.mindrecord.db").write_bytes(b"no database" * 99),
            r"x.mindrecord.db: cannot be read \(file is not a database\); copy or write both files again",
        ),
        (USUAL, GOOD, (), statement("DROP TABLE INDEXES"), r"cannot be read \(no such table: INDEXES\); copy or"),
        (USUAL, GOOD, (), statement("DELETE FROM INDEXES"), "x.mindrecord.db: is the index of another file, or not a"),
        (USUAL, GOOD, (), statement("UPDATE INDEXES SET label_0 = 'cat'"), "row 0 has the label 'cat'; labels are who"),
        (
            {"data": BYTES, "class": NUMBER},
            [{"data": b"1", "class": 0}],
            (),
            None,
            r"no field 'label' of type int32 or",
        ),
        ({"data": BYTES, "label": TEXT}, [{"data": b"1", "label": "cat"}], (), None, "no field 'label' of type int32 "),
        (
            {"picture": BYTES, "label": NUMBER},
            [{"picture": b"1", "label": 0}],
            (),
            None,
            "x.mindrecord: no field 'image' or 'data' of type bytes; it has label, picture$",
        ),
        (
            {**USUAL, "file_name": TEXT},
            [{"data": b"1", "label": 0, "file_name": "x"}],
            ("file_name",),
            None,
            r"x.mindrecord.db: 'label' is not indexed; write the file with add_index\(\['label'\]\) or none",
        ),
        (
            USUAL,
            GOOD,
            (),
            lambda p: p.with_name("classes.txt").write_text("cat\n"),
            "row 1 has class number 1, which ne",
        ),
    ],
)
def test_unusable_records(schema, rows, index, damage, message, tmp_path):
    path = write(tmp_path / "x.mindrecord", schema, rows, index)
    if damage:
        damage(path)
    with pytest.raises(DataError, match=message) as error:
        Shards(tmp_path, MINDRECORD)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_the_index_of_another_file(tmp_path):
    one = write(tmp_path / "x.mindrecord", USUAL, GOOD)
    write(tmp_path / "y.mindrecord", USUAL, [(b"3" * 310, 0), (b"4" * 300, 1)])
    one.with_name("x.mindrecord.db").write_bytes(one.with_name("y.mindrecord.db").read_bytes())
    with pytest.raises(DataError, match=r"x.mindrecord.db: is the index of another file, or not a whole one; copy or"):
        Shards(tmp_path, MINDRECORD)


def test_a_renamed_pair(tmp_path):
    path = write(tmp_path / "x.mindrecord", USUAL, GOOD)
    for suffix in ("", ".db"):
        (tmp_path / f"x.mindrecord{suffix}").rename(tmp_path / f"y.mindrecord{suffix}")
    assert not path.exists() and Shards(tmp_path, MINDRECORD).read(1) == b"2" * 300


@pytest.mark.parametrize("size", [100, 14_000])
def test_rows_that_were_appended(size, tmp_path):
    rows = [(bytes([i]) * (size + i), i) for i in range(60)]
    path = write(tmp_path / "x.mindrecord", USUAL, rows[:25])
    for start in (25, 40):
        writer = FileWriter.open_for_append(str(path))
        writer.write_raw_data([{"data": data, "label": label} for data, label in rows[start : start + 20]][:15])
        writer.commit()
    assert mine(path) == theirs(path) == [(label, data) for data, label in rows[:55]]


def test_a_record_cut_short_after_the_start(tmp_path):
    path = write(tmp_path / "x.mindrecord", USUAL, GOOD)
    source = Shards(tmp_path, MINDRECORD)
    cut(path)
    with pytest.raises(OSError, match="the MindRecord file ends 208 bytes early"):
        source.read(0)
