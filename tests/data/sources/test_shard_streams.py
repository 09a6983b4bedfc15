"""Tars and MindRecord files give the batches of the folder, for any number of workers and of ranks."""

import pytest
from mindspore.mindrecord import FileWriter
from packing import images_of, pack
from streams import RECIPE, digest, union_over_ranks

from mindcv_hrnet.data.loader import TrainLoader
from mindcv_hrnet.data.sources.folder import ImageFolder
from mindcv_hrnet.data.sources.open_split import open_split
from mindcv_hrnet.data.sources.shards import Shards


@pytest.fixture(params=["tar", "mindrecord"])
def sources(request, folder, tmp_path):
    """(folder, the same images in shards)."""
    root, shards = folder({"a": 9, "b": 8}), tmp_path / "shards" / "train"
    shards.mkdir(parents=True)
    for label, name in enumerate("ab"):
        if request.param == "tar":
            pack(shards / f"{name}.tar", images_of(root / name))
        else:
            writer = FileWriter(str(shards / f"{name}.mindrecord"))
            writer.add_schema({"image": {"type": "bytes"}, "label": {"type": "int32"}})
            writer.write_raw_data([{"image": data, "label": label} for _, data in images_of(root / name)])
            writer.commit()
    (shards / "classes.txt").write_text("a\nb\n")
    packed = open_split(str(tmp_path / "shards"), "train")
    assert isinstance(packed, Shards)
    return ImageFolder(root), packed


def test_workers_change_nothing(sources, sections, cores):
    def batches(source, workers):
        loader = TrainLoader(source, *sections(num_parallel_workers=workers, **RECIPE), seed=5)
        try:
            return [digest(batch) for epoch in range(2) for batch in loader.batches(epoch)]
        finally:
            loader.close()

    plain, packed = sources
    one = batches(plain, 1)
    assert len(set(one)) == 8 and all(batches(packed, workers) == one for workers in (1, 2, 5))


def test_ranks_change_nothing(sources, sections):
    plain, packed = sources
    one = union_over_ranks(plain, sections, 1, **RECIPE)
    assert len(one) == 16 and all(union_over_ranks(packed, sections, size, **RECIPE) == one for size in (1, 2, 4, 8))
