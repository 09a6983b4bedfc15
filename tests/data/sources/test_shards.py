import logging
import os
import subprocess
import time

import pytest
from packing import assert_as_the_folder, images_of, pack

from mindcv_hrnet.data.sources import index_cache
from mindcv_hrnet.data.sources.open_split import class_names_of, open_split
from mindcv_hrnet.data.sources.shards import Shards
from mindcv_hrnet.data.sources.tars import TAR
from mindcv_hrnet.errors import DataError


@pytest.mark.parametrize("layout", ["tar per class", "folders in tars", "webdataset"])
def test_shards_give_the_images_of_the_folder(layout, folder, sections, tmp_path):
    root, shards = folder({"a": 9, "b": 8}), tmp_path / "shards" / "train"
    if layout == "tar per class":
        for name in "ab":
            pack(shards / f"{name}.tar", images_of(root / name))
    elif layout == "folders in tars":
        everything = [(f"{name}/{file}", data) for name in "ab" for file, data in images_of(root / name)]
        pack(shards / "000.tar", everything[:5])
        pack(shards / "001.tar", everything[5:])
    else:
        pairs = [
            (f"{name}{file[:-4]}{suffix}", content)
            for number, name in enumerate("ab")
            for file, data in images_of(root / name)
            for suffix, content in ((".cls", str(number).encode()), (".jpg", data), (".json", b"{}"))
        ]
        pack(shards / "000.tar", pairs)
        (shards / "classes.txt").write_text("a\nb\n")
    assert_as_the_folder(tmp_path / "shards", root, sections)


@pytest.mark.parametrize(
    "members, message",
    [
        ([("a.txt", b"1")], "no image in any of its 1 tar files"),
        (
            [("x.jpg", b"1"), ("x.cls", b"3")],
            r"x.jpg has class number 3, which needs a line in .*classes.txt; write one",
        ),
        ([("x.jpg", b"1"), ("x.cls", b"cat")], "000.tar: x.cls holds 'cat', not a class number; write a number"),
        ([("x.jpg", b"1"), ("x.cls", b"")], "000.tar: x.cls holds '', not a class number; write a number from 0 on$"),
        ([("x.jpg", b"1"), ("x.cls", b"0"), ("x.b.cls", b"0")], "holds x.b.cls and another .cls of the key x; keep"),
        ([("x.jpg", b"1")], r"only one class \('000'\)"),
        (
            [("a/x.jpg", b"1"), ("a/x.l.png", b"1"), ("a/x.cls", b"0")],
            r"^[^ ]*000.tar: holds a/x.jpg and a/x.l.png; one image per key \(up to the first dot\)$",
        ),
        ([("a/x.jpg", b"1"), ("./a/x.jpg", b"1")], "^[^ ]*000.tar: holds a/x.jpg twice; keep one$"),
    ],
)
def test_unusable_shards(members, message, tmp_path):
    pack(tmp_path / "000.tar", members)
    with pytest.raises(DataError, match=message):
        Shards(tmp_path, TAR)


@pytest.mark.parametrize("second", ["000.tar", "001.tar"])
@pytest.mark.parametrize("numbered, message", [(0, "no .*have one;"), (1, "a .*have none;")])
def test_images_with_and_without_a_number(second, numbered, message, tmp_path):
    (tmp_path / "classes.txt").write_text("cat\nox\n")
    members = [[("x.jpg", b"1")], [("y.jpg", b"1")]]
    members[numbered] += [(f"{'xy'[numbered]}.CLS", b"0")]
    if second == "000.tar":
        members = [members[0] + members[1], []]
    for number, held in enumerate(members):
        pack(tmp_path / f"{number:03d}.tar", held)
    with pytest.raises(DataError, match=f"{second}: y.jpg has .*{message} give one to every image of the split"):
        Shards(tmp_path, TAR)


def test_a_key_ends_at_the_first_dot(tmp_path):
    pairs = [("s0.left.jpg", b"1"), ("s0.CLS", b"1\n"), ("b/s0.jpg", b"2"), ("b/s0.cls", b" 0")]
    pack(tmp_path / "000.tar", pairs)
    (tmp_path / "classes.txt").write_bytes("\ufeffcat \r\n ox\r\n".encode())
    source = Shards(tmp_path, TAR)
    assert source.class_names == ("cat", "ox") and source.labels.tolist() == [1, 0]


def test_images_that_differ_in_their_suffix(tmp_path):
    pack(tmp_path / "000.tar", [("a/x.jpg", b"1"), ("a/x.png", b"2"), ("b/x.1.png", b"3"), ("b/x.2.png", b"4")])
    source = Shards(tmp_path, TAR)
    assert [source.read(i) for i in range(4)] == [b"1", b"2", b"3", b"4"] and source.labels.tolist() == [0, 0, 1, 1]


def test_a_tar_of_the_current_folder(folder, tmp_path):
    root, out = folder({"a": 2, "b": 1}, name="plain"), tmp_path / "train"
    out.mkdir()
    for name in "ab":
        subprocess.run(["tar", "cf", out / f"{name}.tar", "-C", root / name, "."], check=True)
    source = Shards(out, TAR)
    assert source.class_names == ("a", "b") and source.labels.tolist() == [0, 0, 1]


def test_links_have_the_content_of_their_target(tmp_path):
    root = tmp_path / "plain"
    for name in "ab":
        (root / name).mkdir(parents=True)
    (root / "a" / "x.jpg").write_bytes(b"1" * 600)
    (root / "b" / "hard.jpg").hardlink_to(root / "a" / "x.jpg")
    (root / "b" / "soft.jpg").symlink_to("../a/x.jpg")
    (root / "b" / "softer.jpg").symlink_to("soft.jpg")
    subprocess.run(["tar", "cf", tmp_path / "000.tar", "-C", root, "a", "b"], check=True)
    source = Shards(tmp_path, TAR)
    assert [source.read(i) for i in range(4)] == [b"1" * 600] * 4 and source.labels.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("target", ["/nowhere/x.jpg", "soft.jpg", "../gone.jpg"])
def test_a_link_to_nothing(target, tmp_path):
    (tmp_path / "soft.jpg").symlink_to(target)
    subprocess.run(["tar", "cf", tmp_path / "000.tar", "-C", tmp_path, "soft.jpg"], check=True)
    with pytest.raises(DataError, match=f"000.tar: soft.jpg is a link to {target}, no file in the tar; pack with tar"):
        Shards(tmp_path, TAR)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data, at: data[:at],
        lambda data, at: data[: at + 100],
        lambda data, at: data[:at] + bytes(512) + data[at + 512 :],
        lambda data, at: data[: at + 148] + b"garbage!" + data[at + 156 :],
    ],
    ids=["cut before a header", "cut in a header", "a header of zeros", "a damaged header"],
)
def test_a_tar_that_ends_at_a_header(damage, tmp_path):
    data = pack(tmp_path / "000.tar", [(f"{name}/x.jpg", b"1" * 600) for name in "abc"]).read_bytes()
    (tmp_path / "000.tar").write_bytes(damage(data, 2 * 1536))
    with pytest.raises(DataError, match=r"000.tar: ends early or is damaged at byte 3072; copy or download it again$"):
        Shards(tmp_path, TAR)
    (tmp_path / "000.tar").write_bytes(data[: 3 * 1536 + 512])  # one block of zeros will do
    assert len(Shards(tmp_path, TAR)) == 3


def test_a_tar_cut_inside_an_image(tmp_path):
    data = pack(tmp_path / "000.tar", [(f"{name}/x.jpg", b"1" * 600) for name in "abc"]).read_bytes()
    (tmp_path / "000.tar").write_bytes(data[:4000])
    with pytest.raises(DataError, match=r"000.tar: ends early or is damaged at byte 4608; copy or download it again$"):
        Shards(tmp_path, TAR)


def test_a_damaged_tar_is_named(tmp_path):
    (tmp_path / "000.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(DataError, match=r"000.tar: cannot be read \(.*\); is it a complete tar file\?"):
        Shards(tmp_path, TAR)


def test_a_tar_cut_short_after_the_start(tmp_path):
    pack(tmp_path / "000.tar", [("a/x.jpg", b"1" * 5000), ("b/x.jpg", b"2" * 5000)])
    source = Shards(tmp_path, TAR)
    (tmp_path / "000.tar").write_bytes((tmp_path / "000.tar").read_bytes()[:7000])
    assert source.read(0) == b"1" * 5000
    with pytest.raises(OSError, match="the tar file ends 4"):
        source.read(1)


def test_tars_have_the_order_of_class_folders(tmp_path):
    for name in ("a", "a b", "a-b"):  # with the suffix the first one would come last
        pack(tmp_path / f"{name}.tar", [("x.jpg", name.encode())])
    source = Shards(tmp_path, TAR)
    assert [source.read(i) for i in range(3)] == [b"a", b"a b", b"a-b"] and source.labels.tolist() == [0, 1, 2]


def test_two_classes_of_one_name(tmp_path):
    pack(tmp_path / "000.tar", [("x.jpg", b"1"), ("x.cls", b"0")])
    (tmp_path / "classes.txt").write_text("crane\nox\ncrane\n")
    with pytest.raises(
        DataError, match=r"classes.txt: 'crane' stands there twice; every class needs a name of its own"
    ):
        Shards(tmp_path, TAR)


def test_two_kinds_of_shards(tmp_path):
    pack(tmp_path / "000.tar", [("a/x.jpg", b"1")])
    (tmp_path / "x.mindrecord").write_bytes(b"")
    with pytest.raises(DataError, match="holds tar files and MindRecord files; keep one kind, or images count twice"):
        open_split(str(tmp_path), "")


@pytest.mark.parametrize("name", ["000.tar", "x.mindrecord"])
def test_shards_beside_class_folders(name, folder, tmp_path):
    (folder({"a": 1, "b": 1}) / name).write_bytes(b"")
    with pytest.raises(
        DataError, match=r"train: holds (tar|MindRecord) files and a folder 'a' \(and 1 more\); keep the"
    ):
        open_split(str(tmp_path), "train")
    with pytest.raises(DataError, match="holds"):
        class_names_of(str(tmp_path), "train")


# --- listed once -----------------------------------------------------------------------------------------------------


@pytest.fixture
def remembered(tmp_path, monkeypatch):
    """Two old tars worth remembering, and what has been listed."""
    monkeypatch.setenv("MINDCV_HRNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(index_cache, "WORTH_CACHING", 1)
    listed, kind = [], TAR._replace(members=lambda tar: (listed.append(os.path.basename(tar)), TAR.members(tar))[1])
    for name in "ab":
        settle(pack(tmp_path / "train" / f"{name}.tar", [(f"{i}.jpg", f"{name}{i}".encode()) for i in range(3)]))
    return tmp_path / "train", kind, listed


def settle(path):
    os.utime(path, (time.time() - 60,) * 2)


def content(root, kind):
    source = Shards(root, kind)
    return [source.read(i).decode() for i in range(len(source))], source.labels.tolist(), source.class_names


EXPECTED = (["a0", "a1", "a2", "b0", "b1", "b2"], [0, 0, 0, 1, 1, 1], ("a", "b"))


def test_the_second_start_reads_no_header(remembered, caplog):
    root, kind, listed = remembered
    with caplog.at_level(logging.INFO):
        assert content(root, kind) == content(root, kind) == EXPECTED
    assert listed == ["a.tar", "b.tar"]
    assert caplog.messages == [
        f"{root}: 6 images listed; kept in {index_cache.cache_file(str(root))} for the next start"
    ]
    assert Shards(root, kind, ("0", "a", "b")).labels.tolist() == [1, 1, 1, 2, 2, 2] and len(listed) == 2


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda root: settle(pack(root / "b.tar", [("0.jpg", b"other")])), ["a0", "a1", "a2", "other"]),
        (lambda root: settle(pack(root / "c.tar", [("0.jpg", b"c0")])), [*EXPECTED[0], "c0"]),
        (lambda root: (root / "b.tar").rename(root / "d.tar"), EXPECTED[0]),
        (lambda root: (root / "classes.txt").write_text("x\ny\n"), EXPECTED[0]),
        (lambda root: os.utime(root / "a.tar", (1, 1)), EXPECTED[0]),
    ],
    ids=["written again", "added", "renamed", "classes named", "touched"],
)
def test_changed_shards_are_listed_again(change, expected, remembered):
    root, kind, listed = remembered
    content(root, kind)
    change(root)
    listed.clear()
    assert content(root, kind)[0] == expected
    assert len(listed) == len(list(root.glob("*.tar")))


def test_a_folder_that_turns_into_shards(remembered, folder):
    root, kind, _ = remembered
    assert content(root, kind) == EXPECTED
    for tar in root.glob("*.tar"):
        tar.unlink()
    folder({"x": 1, "y": 2})
    assert open_split(str(root), "").class_names == ("x", "y")


def test_the_progress_of_a_long_listing(remembered, monkeypatch, caplog):
    root, kind, _ = remembered
    monkeypatch.setattr(index_cache, "PROGRESS_EVERY_S", 0.0)
    with caplog.at_level(logging.INFO):
        content(root, kind)
    assert caplog.messages[:2] == [f"{root}: {n} of 2 tar files listed, {3 * n} images" for n in (1, 2)]
