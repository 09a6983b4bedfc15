import pytest

from mindcv_hrnet.data.loader import EvalLoader, TrainLoader
from mindcv_hrnet.data.sources.folder import ImageFolder
from mindcv_hrnet.data.to_mindspore import as_dataset
from mindcv_hrnet.errors import DataError


def sums(batches):
    return [int(batch[0].sum()) for batch in batches]


@pytest.fixture
def loader(folder, sections):
    loader = TrainLoader(ImageFolder(folder({"a": 9, "b": 8})), *sections(), seed=0)
    yield loader
    loader.close()


def test_each_pass_goes_on_where_the_last_one_ended(loader):
    epochs = [sums(loader.batches(epoch)) for epoch in range(6)]
    dataset = as_dataset(loader, 4)
    assert dataset.get_dataset_size() == 4
    assert dataset.get_col_names() == ["images", "labels", "erase", "mix", "keep"]
    assert dataset.output_shapes() == [[4, 3, 32, 32], [4], [4, 4], [4, 5], [4, 1]]
    iterator = dataset.create_tuple_iterator(num_epochs=3, output_numpy=True)
    assert [sums(iterator) for _ in range(3)] == epochs[1:4]
    assert sums(dataset.create_tuple_iterator(num_epochs=1, output_numpy=True)) == epochs[4]


def test_the_rest_of_a_run(loader):
    rest = as_dataset(loader, first_step=11, steps=9)
    assert rest.get_dataset_size() == 9
    expected = [total for epoch, step in ((2, 3), (3, 0), (4, 0)) for total in sums(loader.batches(epoch, step))]
    assert sums(rest.create_tuple_iterator(num_epochs=1, output_numpy=True)) == expected


def test_each_pass_over_an_evaluation_is_the_same(folder, sections):
    loader = EvalLoader(ImageFolder(folder({"a": 9, "b": 8})), *sections())
    dataset = as_dataset(loader)
    assert dataset.get_col_names() == ["images", "labels", "valid"] and dataset.get_dataset_size() == 5
    iterator = dataset.create_tuple_iterator(num_epochs=2, output_numpy=True)
    assert sums(iterator) == sums(iterator) == sums(loader)
    loader.close()


def test_the_original_error_is_kept(folder, sections):
    root = folder({"a": 9, "b": 8})
    for path in root.glob("*/*.jpg"):
        path.write_bytes(b"")
    loader = TrainLoader(ImageFolder(root), *sections(), seed=0)
    with pytest.raises(RuntimeError):
        list(as_dataset(loader).create_tuple_iterator(num_epochs=1))
    loader.close()
    assert isinstance(loader.error, DataError)
