"""What several tests share: tars made of bytes, and the stream of images that training gets."""

import hashlib
import io
import tarfile

from mindcv_hrnet.data.loader import EvalLoader, TrainLoader
from mindcv_hrnet.data.sources.shards import Shards
from mindcv_hrnet.data.sources.split import ImageFolder, class_names_of, open_split


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


def stream(source, sections, size=1, **extra):
    batches = []
    for rank in range(size):
        data, augmentation = sections(batch_size=4 // size, auto_augment="randaug-m7-mstd0.5", **extra)
        loader = TrainLoader(source, data, augmentation, seed=5, rank=rank, size=size)
        for epoch in range(2):
            for step, batch in enumerate(loader.batches(epoch)):
                for image, label in zip(batch.images, batch.labels, strict=True):
                    batches.append((epoch, step, hashlib.sha256(image.tobytes()).hexdigest(), int(label)))
        loader.close()
    return sorted(batches)


def batch_of(settings, root, rank, size, epoch, step):
    """Digest of one batch, of a loader made for it alone; for a process of its own."""
    data, augmentation = settings
    loader = TrainLoader(open_split(root, ""), data, augmentation, seed=5, rank=rank, size=size)
    batch = next(loader.batches(epoch, step))
    loader.close()
    return hashlib.sha256(b"".join(part.tobytes() for part in batch)).hexdigest()


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
