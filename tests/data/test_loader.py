import gc
import logging
import multiprocessing
import os
import threading
import time
from functools import partial

import numpy as np
import pytest
from packing import images_of, pack
from streams import RECIPE, batch_of, digest, union_over_ranks

from mindcv_hrnet.data.loader import EvalLoader, TrainLoader
from mindcv_hrnet.data.prefetch import usable_workers
from mindcv_hrnet.data.sources.folder import ImageFolder
from mindcv_hrnet.errors import DataError

DROPS = (0.2, *[0.5] * 300)


def test_shapes_and_types(folder, sections):
    source = ImageFolder(folder({"a": 5, "b": 5}))
    loader = TrainLoader(source, *sections(**RECIPE), seed=0)
    batch = next(loader.batches(0))
    loader.close()
    assert [(part.shape, part.dtype.name) for part in batch] == [
        ((4, 3, 32, 32), "uint8"),
        ((4,), "int32"),
        ((4, 4), "int32"),
        ((4, 5), "float32"),
        ((4, 1), "uint8"),
    ]
    assert [(p.shape, p.dtype) for p in loader.example()] == [(p.shape, p.dtype) for p in batch]


@pytest.mark.parametrize(
    "extra", [RECIPE, dict(color_jitter=(0.4, 0.4, 0.4, 0.1), vflip=0.5, re_prob=1.0, re_value="random")]
)
def test_the_stream_does_not_depend_on_workers_or_on_where_it_starts(extra, folder, sections, cores):
    source = ImageFolder(folder({"a": 9, "b": 8}))

    def stream(workers):
        loader = TrainLoader(source, *sections(num_parallel_workers=workers, **extra), seed=5, drop_rates=DROPS)
        try:
            return [[digest(batch) for batch in loader.batches(epoch)] for epoch in range(3)]
        finally:
            loader.close()

    one = stream(1)
    assert [len(epoch) for epoch in one] == [4, 4, 4] and len({h for epoch in one for h in epoch}) == 12
    assert stream(2) == one and stream(5) == one

    loader = TrainLoader(source, *sections(**extra), seed=5, drop_rates=DROPS)
    for epoch, step in [(2, 3), (0, 0), (1, 2)]:
        assert [digest(batch) for batch in loader.batches(epoch, step)] == one[epoch][step:]
    loader.close()
    other = TrainLoader(source, *sections(**extra), seed=6)
    assert digest(next(other.batches(0))) != one[0][0]
    other.close()


def test_every_sample_of_every_epoch_drops_its_own_share(folder, sections):
    source = ImageFolder(folder({"a": 9, "b": 8}))
    loader = TrainLoader(source, *sections(color_jitter=None), seed=5, drop_rates=DROPS)
    keep = np.concatenate([batch.keep for epoch in range(2) for batch in loader.batches(epoch)])
    loader.close()
    assert keep.shape == (32, 301) and set(keep.ravel()) == {0, 1}
    assert len({row.tobytes() for row in keep}) == 32
    # of 9,600 draws the share has a standard deviation of 0.005; of 32 one of 0.07
    assert keep[:, 1:].mean() == pytest.approx(0.5, abs=0.02) and keep[:, 0].mean() == pytest.approx(0.8, abs=0.25)


def test_the_union_over_ranks_is_the_same(folder, sections):
    source = ImageFolder(folder({"a": 9, "b": 8}))

    one = union_over_ranks(source, sections, 1, drop_rates=DROPS, **RECIPE)
    assert len(one) == 16
    for size in (2, 4, 8):
        assert union_over_ranks(source, sections, size, drop_rates=DROPS, **RECIPE) == one


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "tars"])
def test_processes_produce_the_stream_of_threads(packed, folder, sections, tmp_path):
    """Ranks are processes; so may be the workers of one's own code, whichever steps each of them prepares."""
    root = folder({"a": 9, "b": 8})
    if packed:
        for name in "ab":
            pack(tmp_path / "tars" / f"{name}.tar", images_of(root / name))
    settings, wanted = sections(**RECIPE), []
    for rank in range(2):
        loader = TrainLoader(ImageFolder(root), *settings, seed=5, rank=rank, size=2)
        wanted += [digest(batch) for epoch in range(2) for batch in loader.batches(epoch)]
        loader.close()
    places = [(rank, 2, epoch, step) for rank in range(2) for epoch in range(2) for step in range(2)]
    job = partial(batch_of, settings, str(tmp_path / "tars" if packed else root))
    for workers in (1, 2, 5):
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            assert pool.starmap(job, places, chunksize=1) == wanted


def test_three_views_of_each_image(folder, sections):
    source = ImageFolder(folder({"a": 6, "b": 6}))
    recipe = dict(auto_augment="randaug-m9-n2", re_prob=1.0)
    batches = []
    for extra in (dict(aug_splits=3, **recipe), dict(color_jitter=None)):
        loader = TrainLoader(source, *sections(**extra), seed=5)
        batches.append(next(loader.batches(0)))
        loader.close()
    views, plain = batches
    assert views.images.shape == (12, 3, 32, 32) and views.labels.tolist() == 3 * plain.labels.tolist()
    first, second, third = np.split(views.images, 3)
    np.testing.assert_array_equal(first, plain.images)
    assert (second != first).any() and (third != first).any() and (third != second).any()
    assert not views.erase[:4].any() and views.erase[4:].any(1).all() and (views.erase[4:8] != views.erase[8:]).any()


def test_mixing_stops_after_an_epoch(folder, sections):
    source = ImageFolder(folder({"a": 4, "b": 4}))
    loader = TrainLoader(source, *sections(mixup=0.5, mixup_off_epoch=2), seed=5)
    mixed = [[bool((batch.mix[:, 4] < 1).all()) for batch in loader.batches(epoch)] for epoch in range(4)]
    loader.close()
    assert mixed == [[True, True], [True, True], [False, False], [False, False]]


def test_repeated_augmentation_shows_an_image_several_times(folder, sections):
    source = ImageFolder(folder({"a": 8, "b": 8}))
    loader = TrainLoader(source, *sections(aug_repeats=2, color_jitter=None), seed=5)
    entries = [loader.sampler.batch(loader.sampler.order(0), step) for step in range(4)]
    loader.close()
    seen = np.concatenate(entries)
    assert (seen[::2] % 16 == seen[1::2] % 16).all() and len(set(seen)) == 16 and len(set(seen % 16)) == 8


def test_validation_in_a_shuffled_order_has_the_same_images(folder, sections):
    source = ImageFolder(folder({"a": 5, "b": 6}))

    def rows(**values):
        loader = EvalLoader(source, *sections(**values))
        seen = [digest(row) for b in loader for row in zip(b.images, b.labels, b.valid, strict=True) if row[2]]
        loader.close()
        return seen

    plain, shuffled = rows(), rows(eval_shuffle=True)
    assert plain != shuffled and sorted(plain) == sorted(shuffled) and len(plain) == 11


def test_jumping_costs_nothing(folder, sections):
    loader = TrainLoader(ImageFolder(folder({"a": 9, "b": 8})), *sections(), seed=5)
    start = time.perf_counter()
    next(loader.batches(10_000, 3))
    loader.close()
    assert time.perf_counter() - start < 1


class AsManyAsImageNet(ImageFolder):
    """A few files that stand for 1,281,167."""

    def __init__(self, root):
        super().__init__(root)
        self._files, self.labels = len(self.labels), np.resize(self.labels, 1_281_167)

    def path(self, index):
        return os.path.join(self.root, self.class_names[self.labels[index]], self._index.name(index % self._files))


def test_jumping_takes_less_than_a_second_at_the_size_of_imagenet(folder, sections):
    loader = TrainLoader(AsManyAsImageNet(folder({"a": 9, "b": 8})), *sections(**RECIPE), seed=5)
    last, took = loader.steps_per_epoch - 1, []
    for epoch, step in [(0, 0), (0, last), (299, 12_345), (299, last), (1_000_000, last - 2), (0, 1)]:
        start = time.perf_counter()
        next(loader.batches(epoch, step))
        took.append(time.perf_counter() - start)
    loader.close()
    # each draws the order of one epoch or two, 0.07 s each; the median, because others may use the cores, too
    assert np.median(took) < 1, took


def test_labels_belong_to_their_images(folder, sections):
    source = ImageFolder(folder({"a": 4, "b": 4, "c": 4}))
    loader = TrainLoader(source, *sections(batch_size=12, color_jitter=None), seed=0)
    batch = next(loader.batches(0))
    loader.close()
    red = batch.images[:, 0].mean(axis=(1, 2))  # write_folder: 60 * label, brighter by 20 in the upper half
    assert (np.abs(red - 60 * batch.labels - 10) <= 12).all()
    assert sorted(batch.labels) == [0] * 4 + [1] * 4 + [2] * 4


def test_grey_images_for_one_channel(folder, sections):
    source = ImageFolder(folder({"a": 4, "b": 4}))
    data, augmentation = sections(mean=(128.0,), std=(60.0,), **RECIPE)
    train = TrainLoader(source, data, augmentation, seed=0, in_channels=1)
    evaluation = EvalLoader(source, data, augmentation, in_channels=1)
    assert next(train.batches(0)).images.shape == (4, 1, 32, 32)
    images = next(iter(evaluation)).images
    assert images.shape == (4, 1, 32, 32) and images.any()
    train.close()
    evaluation.close()


def test_epochs_bounds_the_reading_ahead(folder, sections, monkeypatch):
    source, started = ImageFolder(folder({"a": 4, "b": 4})), []
    loader = TrainLoader(source, *sections(), seed=0, epochs=1)
    start = loader._start
    monkeypatch.setattr(loader, "_start", lambda position: (started.append(position), start(position))[1])
    assert len(list(loader.batches(0))) == 2 and started == [0, 1]
    loader.close()


# --- evaluation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size, size", [(1, 1), (4, 1), (4, 3), (64, 2)])
def test_evaluation_sees_every_image_once(batch_size, size, folder, sections):
    source = ImageFolder(folder({"a": 6, "b": 5}))
    seen = []
    for rank in range(size):
        loader = EvalLoader(source, *sections(batch_size=batch_size), rank=rank, size=size)
        assert len(loader) == -(-11 // (batch_size * size))
        for batch in loader:
            assert batch.images.shape == (batch_size, 3, 32, 32) and batch.valid.dtype == bool
            seen.extend(
                (digest([image]), label)
                for image, label, valid in zip(batch.images, batch.labels, batch.valid, strict=True)
                if valid
            )
        loader.close()
    one = EvalLoader(source, *sections(batch_size=11))
    (whole,) = one
    one.close()
    assert sorted(seen) == sorted(
        (digest([image]), label) for image, label in zip(whole.images, whole.labels, strict=True)
    )
    assert whole.labels.tolist() == [0] * 6 + [1] * 5 and whole.valid.all()


def test_evaluation_again_and_after_breaking_off(folder, sections):
    loader = EvalLoader(ImageFolder(folder({"a": 6, "b": 5})), *sections())
    first = [digest(batch) for batch in loader]
    for _ in loader:
        break
    assert [digest(batch) for batch in loader] == first
    loader.close()


def test_evaluation_stops_at_an_unreadable_file(folder, sections):
    root = folder({"a": 300, "b": 5}, side=8)
    (root / "a" / "123.jpg").write_bytes(b"")
    loader = EvalLoader(ImageFolder(root), *sections())
    with pytest.raises(DataError, match=r"a/123.jpg: the file is empty; validation needs every image"):
        list(loader)
    assert isinstance(loader.error, DataError)
    loader.close()


# --- damaged files -------------------------------------------------------------------------------------------------


def damage(root, *names):
    for name in names:
        path = root / name
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])


def test_a_damaged_file_is_named_once_and_replaced_always_by_the_same(folder, sections, caplog):
    root = folder({"a": 60, "b": 60}, side=16)
    clean = TrainLoader(ImageFolder(root), *sections(shuffle=False, color_jitter=None), seed=0)
    before = [list(clean.batches(epoch)) for epoch in range(2)]
    clean.close()
    damage(root, "a/002.jpg")
    with caplog.at_level(logging.WARNING):
        loader = TrainLoader(ImageFolder(root), *sections(shuffle=False, color_jitter=None), seed=0)
        after = [list(loader.batches(epoch)) for epoch in range(2)]
        loader.close()
        assert (clean.damaged, loader.damaged) == (0, 1)
        again = TrainLoader(ImageFolder(root), *sections(shuffle=False, color_jitter=None), seed=0)
        assert digest(next(again.batches(0))) == digest(after[0][0])
        again.close()
    messages = [record.getMessage() for record in caplog.records if "002.jpg" in record.getMessage()]
    assert len(messages) == 2  # one for each loader
    assert messages[0].endswith("a/002.jpg: it is truncated: its end marker is missing; another image takes its place")
    for epoch in range(2):
        first, *rest = after[epoch]
        assert [digest(batch) for batch in rest] == [digest(batch) for batch in before[epoch][1:]]
        changed = (first.images != before[epoch][0].images).any(axis=(1, 2, 3))
        assert changed.tolist() == [False, False, True, False]
    # the replacement comes with its own label
    red = after[0][0].images[2, 0].mean()
    assert abs(red - 60 * after[0][0].labels[2] - 10) <= 12
    assert after[0][0].labels[2] == after[1][0].labels[2]


def test_more_than_one_percent_of_damaged_files_end_the_run(folder, sections, caplog):
    root = folder({"a": 60, "b": 60}, side=16)
    damage(root, "a/002.jpg", "b/017.jpg")
    loader = TrainLoader(ImageFolder(root), *sections(), seed=0)
    with pytest.raises(
        DataError, match=r"2 of 120 training images cannot be used, more than 1%, among them .*\.jpg; rep"
    ):
        for epoch in range(2):
            list(loader.batches(epoch))
    loader.close()
    assert isinstance(loader.error, DataError)


def test_a_file_that_disappears_counts_as_damaged(folder, sections, caplog):
    root = folder({"a": 60, "b": 60}, side=16)
    source = ImageFolder(root)
    (root / "a" / "001.jpg").unlink()
    loader = TrainLoader(source, *sections(), seed=0)
    list(loader.batches(0))
    loader.close()
    assert "a/001.jpg: it cannot be read (No such file or directory)" in caplog.text


# --- threads -------------------------------------------------------------------------------------------------------


class Broken(ImageFolder):
    def read(self, index):
        raise ZeroDivisionError("a defect, not the user's fault")


def test_a_defect_surfaces_as_itself(folder, sections):
    source = Broken(folder({"a": 9, "b": 8}))
    for loader in (TrainLoader(source, *sections(), seed=0), EvalLoader(source, *sections())):
        with pytest.raises(ZeroDivisionError, match="a defect"):
            next(loader.batches(0) if isinstance(loader, TrainLoader) else iter(loader))
        assert isinstance(loader.error, ZeroDivisionError)
        loader.close()


def test_no_thread_stays(folder, sections):
    source, before = ImageFolder(folder({"a": 9, "b": 8})), threading.active_count()
    loader = TrainLoader(source, *sections(), seed=0)
    next(loader.batches(0))
    assert threading.active_count() > before
    loader.close()
    assert threading.active_count() == before
    assert len(list(loader.batches(0))) == 4  # a closed loader starts again
    loader.close()
    forgotten = TrainLoader(source, *sections(), seed=0)
    next(forgotten.batches(0))
    del forgotten
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    assert threading.active_count() == before


def test_workers_are_clamped_without_a_word(monkeypatch, caplog):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(3), raising=False)
    with caplog.at_level(logging.INFO):
        assert [usable_workers(8), usable_workers(2)] == [3, 2]
    assert caplog.messages == []


def test_the_loader_tells_how_long_it_was_waited_for(folder, sections, monkeypatch):
    loader = TrainLoader(ImageFolder(folder({"a": 2, "b": 2})), *sections(batch_size=2), seed=0)
    take = loader._ahead.take

    def late(*arguments):
        time.sleep(0.05)
        return take(*arguments)

    monkeypatch.setattr(loader._ahead, "take", late)
    list(loader.batches(0))
    assert 0.1 <= loader.waited_s < 2
    loader.close()


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads Linux's /proc")
def test_memory_stays_flat_over_fifty_epochs(folder, sections):
    def resident_mb():
        gc.collect()
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    source = ImageFolder(folder({"a": 25, "b": 25}))
    loader = TrainLoader(source, *sections(batch_size=16, image_resize=96, **RECIPE), seed=0)
    seen = {}
    for epoch in range(50):
        for batch in loader.batches(epoch):
            assert batch.images.nbytes == 16 * 3 * 96 * 96  # a batch kept per epoch would be 20 MB in the end
        seen[epoch] = resident_mb()
    loader.close()
    assert seen[49] - seen[9] < 8, seen
