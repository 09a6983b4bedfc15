"""Tars made of bytes, and the assertion that shards are what a folder is."""

import io
import tarfile

from streams import stream

from mindcv_hrnet.data.loader import EvalLoader
from mindcv_hrnet.data.sources.folder import ImageFolder
from mindcv_hrnet.data.sources.open_split import class_names_of, open_split
from mindcv_hrnet.data.sources.shards import Shards


def pack(path, members):
    """A tar of (name, bytes)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def images_of(root):
    return [(path.name, path.read_bytes()) for path in sorted(root.glob("*.jpg"))]


def assert_as_the_folder(data_dir, root, sections):
    """The shards in `data_dir/train` are what the folder `root` is: 17 images of the classes a and b."""
    plain, packed = ImageFolder(root), open_split(str(data_dir), "train")
    assert isinstance(packed, Shards) and class_names_of(str(data_dir), "train") == ("a", "b")
    assert packed.class_names == plain.class_names and packed.labels.tolist() == plain.labels.tolist()
    assert [packed.read(i) for i in range(17)] == [plain.read(i) for i in range(17)]
    one = stream(plain, sections)
    assert stream(packed, sections) == one and stream(packed, sections, size=2) == one
    loader = EvalLoader(packed, *sections(batch_size=4))
    assert sum(batch.valid.sum() for batch in loader) == 17
    loader.close()
