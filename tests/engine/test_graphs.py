"""Which recipes share compiled graphs."""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from mindcv_hrnet.engine import graphs
from mindcv_hrnet.engine.graphs import DATA_KEYS, DATA_SECTIONS, SHAPES_OF_DATA, graph_cache
from mindcv_hrnet.engine.optimizers import TABLE_LENGTH
from mindcv_hrnet.recipe.config import SECTIONS, option_names, parse_config
from mindcv_hrnet.runtime import compiled
from mindcv_hrnet.runtime.distributed import Cluster


@pytest.fixture
def file(monkeypatch):
    def find(*arguments, job="train", cluster=None, **sizes):
        monkeypatch.setattr(compiled, "_jobs", itertools.count())
        with graph_cache(
            parse_config(list(arguments)), cluster or Cluster(), job, **{"updates": 10, **sizes}
        ) as graphs:
            return graphs.file

    return find


def test_the_names_exist():
    assert set(DATA_SECTIONS) <= set(SECTIONS)
    assert set(DATA_KEYS) | set(SHAPES_OF_DATA) <= set(option_names())


@pytest.mark.parametrize(
    "arguments",
    [
        *(("--lr", "0.5"), ("--min_lr", "1e-7"), ("--scheduler", "constant"), ("--warmup_epochs", "1")),
        *(("--data_dir", "other"), ("--num_parallel_workers", "1"), ("--epoch_size", "91"), ("--ckpt_save_dir", "b")),
        *(("--ckpt_path", "c.ckpt"), ("--val_while_train", "True"), ("--log_interval", "1")),
    ],
)
def test_data_shares_a_graph(file, arguments):
    assert file(*arguments) == file()


def test_what_shapes_a_graph_does_not(file):
    changes: list[dict[str, Any]] = [
        {},
        *({"arguments": arguments} for arguments in (("--model", "hrnet_w48"), ("--batch_size", "2"))),
        *({"arguments": arguments} for arguments in (("--opt", "lion"), ("--seed", "1"), ("--amp_level", "O2"))),
        *({"arguments": arguments} for arguments in (("--weight_decay", "0.5"), ("--label_smoothing", "0.3"))),
        *({"arguments": arguments} for arguments in (("--mean", "1,2,3"), ("--num_classes", "7"), ("--ema", "True"))),
        *({"cluster": cluster} for cluster in (Cluster(size=2), Cluster(rank=1, size=2), Cluster(device="Ascend"))),
        {"cluster": Cluster(size=2, launcher="mpirun")},
        *({"job": "validate"}, {"updates": TABLE_LENGTH + 1}, {"piece": 5}, {"piece": 10}),
    ]
    files = [file(*change.pop("arguments", ()), **change) for change in changes]
    assert None not in files and len(set(files)) == len(changes)


def test_runs_of_many_lengths_share_a_graph(file):
    assert file(updates=1) == file(updates=10) == file(updates=TABLE_LENGTH)


@pytest.mark.parametrize("arguments", [("--compile_cache", "False"), ("--mode", "1")])
def test_none_is_kept_where_none_is_wanted(file, arguments):
    assert file(*arguments) is None


def test_chips_of_two_products_share_none(file, monkeypatch):
    found = []
    for name in ("ascend910", "ascend910b"):
        chip = SimpleNamespace(get_ascend_soc_version=lambda name=name: name)
        monkeypatch.setattr(graphs, "MSContext", SimpleNamespace(get_instance=lambda chip=chip: chip))
        found.append(file(cluster=Cluster(device="Ascend")))
    assert found[0] != found[1]
