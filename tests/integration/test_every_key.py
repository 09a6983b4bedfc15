"""Every key of a recipe, set to another value, changes what a run does."""

import json
import shutil
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import observables as see
import pytest
from original_files import write_mnist
from PIL import Image

from mindcv_hrnet.engine.graphs import DATA_KEYS
from mindcv_hrnet.errors import UserError
from mindcv_hrnet.recipe.config import option_names, parse_config

pytestmark = pytest.mark.usefixtures("pynative")

BASE = {
    **{"data_dir": "{place}/data", "dataset": "folder", "batch_size": 4, "num_parallel_workers": 2, "image_resize": 32},
    **{"epoch_size": 2, "warmup_epochs": 0, "ckpt_save_dir": "run", "mode": 1, "device_target": "CPU"},
    **{"color_jitter": None, "opt": "sgd", "lr": 0.05, "model": "hrnet_w18_small"},
}
STARTED = "{place}/started"
# At this loss scale every gradient of a float16 layer overflows
ENDLESS = {"drop_overflow_update": False, "loss_scale": 1e30, "amp_level": "O1"}
# Where the loss can be infinite and the statistics of batch norm stay what they are
HEAD_ONLY = {"freeze": ["backbone"], "epoch_size": 1}
# These are answered with an error, which is what they change: where classes contradict the data, and for what a CPU, or
# this environment, has not
ANSWERED_WITH_AN_ERROR = {"num_classes", "device_target", "amp_dtype", "tracker"}


class Refusal(str):
    """The text of a UserError."""


class Case(NamedTuple):
    """The observable that a key changes, the other value, and what the recipe has besides."""

    observe: object
    value: object
    settings: dict = {}


CASES = {
    # system
    "mode": Case(see.connection, 0),
    "distribute": Case(see.connection, True),
    "device_target": Case(see.connection, "GPU"),
    "val_while_train": Case(see.run, True),
    "val_interval": Case(see.run, 2, {"val_while_train": True}),
    "log_interval": Case(see.run, 1),
    "log_format": Case(see.line_on_stdout, "json"),
    "seed": Case(see.training_batches, 7),
    "jit_level": Case(see.connection, "O1"),
    "compile_cache": Case(see.kept_graphs, False, {"mode": 0}),
    "rank_timeout": Case(see.patience_with_ranks, 60.0),
    # data
    "dataset": Case(see.training_batches, "mnist"),
    "data_dir": Case(see.training_batches, "{place}/other"),
    "train_split": Case(see.training_batches, "more"),
    "val_split": Case(see.validation_batches, "more"),
    "dataset_download": Case(see.fetched, True, {"dataset": "mnist", "data_dir": "fetched"}),
    "num_parallel_workers": Case(see.decoding_threads, 1),
    "shuffle": Case(see.training_batches, False),
    "num_samples": Case(see.training_batches, 5),
    "batch_size": Case(see.training_batches, 3),
    "drop_remainder": Case(see.training_batches, False),
    "eval_shuffle": Case(see.validation_batches, True),
    # augmentation
    "image_resize": Case(see.training_batches, 40),
    "scale": Case(see.training_batches, [0.5, 0.6]),
    "ratio": Case(see.training_batches, [2.0, 3.0]),
    "hflip": Case(see.training_batches, 1.0),
    "vflip": Case(see.training_batches, 1.0),
    "color_jitter": Case(see.training_batches, 0.4),
    "interpolation": Case(see.training_batches, "nearest"),
    "auto_augment": Case(see.training_batches, "randaug-m7-mstd0.5"),
    "aug_splits": Case(see.training_batches, 3, {"auto_augment": "augmix"}),
    "re_prob": Case(see.training_batches, 1.0),
    "re_scale": Case(see.training_batches, [0.4, 0.5], {"re_prob": 1.0}),
    "re_ratio": Case(see.training_batches, [3.0, 3.3], {"re_prob": 1.0}),
    "re_value": Case(see.training_batches, "random", {"re_prob": 1.0}),
    "re_max_attempts": Case(see.training_batches, 1, {"re_prob": 1.0, "re_scale": [0.8, 1.0]}),
    "mean": Case(see.device_batch, [1.0, 2.0, 3.0]),
    "std": Case(see.device_batch, [1.0, 2.0, 3.0]),
    "crop_pct": Case(see.validation_batches, 0.5),
    "mixup": Case(see.device_batch, 0.8),
    "cutmix": Case(see.device_batch, 1.0),
    "cutmix_prob": Case(see.device_batch, 0.0, {"cutmix": 1.0}),
    "mixup_off_epoch": Case(see.training_batches, 1, {"mixup": 0.8}),
    "aug_repeats": Case(see.training_batches, 3),
    # model
    "model": Case(see.network_shapes, "hrnet_w18_small_v2"),
    "num_classes": Case(see.classes, 7),
    "in_channels": Case(see.training_batches, 1),
    "drop_rate": Case(see.steps, 0.5),
    "drop_path_rate": Case(see.steps, 0.5),
    "pretrained": Case(see.starting_weights, True),
    "pretrained_url": Case(see.starting_weights, "http://example.org/2.ckpt", {"pretrained": True}),
    "ckpt_path": Case(see.starting_weights, STARTED),
    "class_names_override": Case(see.classifier, True, {"ckpt_path": STARTED}),
    "amp_level": Case(see.steps, "O1"),
    "val_amp_level": Case(see.validation, "O1", {"ckpt_path": STARTED}),
    "amp_dtype": Case(see.steps, "bf16", {"amp_level": "O2"}),
    "amp_cast_list": Case(see.steps, ["nn.Dense"], {"amp_level": "O1"}),
    # train
    "epoch_size": Case(see.run, 1),
    "dataset_sink_mode": Case(see.run, False),
    "ckpt_save_dir": Case(see.run, "elsewhere"),
    "ckpt_save_interval": Case(see.run, 2),
    "ckpt_save_steps": Case(see.run, 1),
    "ckpt_save_minutes": Case(see.saves_by_the_clock, 3.0),
    # validated are the epochs 3 and 4: the newest three are others than the best three
    "ckpt_save_policy": Case(
        see.run, "top_k", {"val_while_train": True, "val_interval": 3, "epoch_size": 4, "keep_checkpoint_max": 3}
    ),
    "keep_checkpoint_max": Case(see.run, 1),
    "tensorboard": Case(see.run, False),
    "tracker": Case(see.run_without_services, "wandb"),
    "resume_opt": Case(see.run, True, {"ckpt_path": STARTED, "epoch_size": 3}),
    "resume_override": Case(see.run, True, {"ckpt_path": STARTED, "resume_opt": True, "epoch_size": 3, "lr": 0.04}),
    "nan_patience": Case(see.run, 3, {**HEAD_ONLY, "amp_level": "O1", "lr": 1e10}),
    "ema": Case(see.steps, True),
    "ema_decay": Case(see.steps, 0.5, {"ema": True}),
    "freeze": Case(see.steps, ["stem"]),
    "sync_bn": Case(see.steps_of_two_ranks, True),
    "recompute": Case(see.cells_computed_again, True, {"mode": 0}),
    "clip_grad": Case(see.steps, True, {"clip_value": 0.01}),
    "clip_value": Case(see.steps, 0.01, {"clip_grad": True}),
    "gradient_accumulation_steps": Case(see.steps, 2),
    # optimizer
    "opt": Case(see.steps, "adamw"),
    "momentum": Case(see.steps, 0.5),
    "weight_decay": Case(see.steps, 0.1),
    "use_nesterov": Case(see.steps, True),
    "weight_decay_filter": Case(see.steps, "auto", {"weight_decay": 0.1}),
    "eps": Case(see.steps, 0.1, {"opt": "adam"}),
    "layer_decay": Case(see.steps, 0.5),
    "head_lr_factor": Case(see.steps, 3.0),
    # scheduler
    "scheduler": Case(see.schedule, "constant"),
    "lr": Case(see.schedule, 0.01),
    "min_lr": Case(see.schedule, 0.001),
    "warmup_epochs": Case(see.schedule, 1),
    "warmup_factor": Case(see.schedule, 0.5, {"warmup_epochs": 1}),
    "decay_epochs": Case(see.schedule, 2),
    "decay_rate": Case(see.schedule, 0.5, {"scheduler": "exponential_decay"}),
    "multi_step_decay_milestones": Case(see.schedule, [1], {"scheduler": "multi_step_decay"}),
    "lr_epoch_stair": Case(see.schedule, True),
    "num_cycles": Case(see.schedule, 2, {"decay_epochs": 1}),
    "cycle_decay": Case(see.schedule, 0.5, {"decay_epochs": 1, "num_cycles": 2}),
    # loss
    "loss": Case(see.steps, "BCE"),
    "label_smoothing": Case(see.steps, 0.1),
    "aux_factor": Case(see.run, 0.4),
    "reduction": Case(see.steps, "sum"),
    "loss_scale_type": Case(see.steps, "dynamic", ENDLESS),
    "loss_scale": Case(see.steps, 1e30, {"amp_level": "O1", "drop_overflow_update": True}),
    "drop_overflow_update": Case(see.steps, True, ENDLESS),
    # validation
    "predictions": Case(see.validation_and_more, "answers.csv", {"ckpt_path": STARTED}),
    "per_class": Case(see.validation_and_more, True, {"ckpt_path": STARTED}),
    "class_map": Case(see.validation, "{place}/map.json", {"ckpt_path": STARTED}),
    "present_classes": Case(see.validation, True, {"ckpt_path": STARTED, "val_split": "one"}),
    "real_labels": Case(see.validation_and_more, "{place}/real.json", {"ckpt_path": STARTED}),
    # export
    "file_format": Case(see.exported, "ONNX"),
    "file_name": Case(see.exported, "other"),
    "export_batch_size": Case(see.exported, 2),
    "export_dynamic_size": Case(see.exported, True, {"file_format": "ONNX"}),
    "export_input": Case(see.exported, "uint8", {"file_format": "ONNX"}),
    "export_features": Case(see.exported, "incre", {"file_format": "ONNX"}),
}


def test_every_key_is_in_the_walk():
    assert list(CASES) == option_names()


def test_what_changes_a_step_shapes_its_graph():
    """So it must not be among the keys that are data to a compiled graph."""
    shaping = {see.steps, see.steps_of_two_ranks, see.cells_computed_again, see.network_shapes, see.device_batch}
    assert not {key for key, case in CASES.items() if case.observe in shaping} & {*DATA_KEYS}


def write_images(folder, seed, count):
    generator = np.random.default_rng(seed)
    for name in ("ant", "bee", "cat"):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (48, 60, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number + 1:08d}.png")


@pytest.fixture(scope="module")
def observe(tmp_path_factory):
    """A function (observable, settings) -> its value, or the error; what was seen before is remembered."""
    from mindcv_hrnet.data.sources import dataset_download

    place = tmp_path_factory.mktemp("walk")
    # two steps of four and one image more, and two batches of validation
    folders = {"data/train": 3, "data/val": 2, "data/more": 2, "other/train": 3}
    for seed, (folder, count) in enumerate(folders.items()):
        write_images(place / folder, seed, count)
    (place / "data/one").mkdir()
    (place / "data/one/bee").symlink_to(place / "data/val/bee")
    (place / "map.json").write_text('{"ant": "bee", "bee": "ant", "cat": 2}')
    (place / "real.json").write_text("[[0, 1], [2], [1]]")
    write_mnist(place / "data")
    write_mnist(place / "authors", suffix=".gz")

    def read(settings):
        lines = (f"{key}: {json.dumps(value)}".replace("{place}", str(place)) for key, value in settings.items())
        (place / "recipe.yaml").write_text("\n".join(lines))
        return parse_config(["-c", str(place / "recipe.yaml")])

    def look(observable, settings):
        try:
            return observable(read(settings))
        except UserError as error:
            return Refusal(error)

    with pytest.MonkeyPatch.context() as patch:
        # two threads must be different from one also where there is one core
        patch.setattr("os.sched_getaffinity", lambda process: set(range(4)), raising=False)
        patch.setattr(
            dataset_download, "obtain", lambda url, target, _: shutil.copy(place / "authors" / target.name, target)
        )
        published = {"": "hrnet_w18_small-1.ckpt", "http://example.org/2.ckpt": "hrnet_w18_small-2.ckpt"}
        patch.setattr("mindcv_hrnet.engine.load.published_at", lambda model: "")
        patch.setattr("mindcv_hrnet.engine.load.fetch", lambda address: place / "started" / published[address])
        with see.sketched():
            see.train(read({**BASE, "ckpt_save_dir": "{place}/started"}))
        yield SimpleNamespace(look=look, seen={})


@pytest.mark.slow
@pytest.mark.parametrize("key", CASES)
def test_the_key_changes_the_run(key, observe):
    observable, value, settings = CASES[key]
    base = {**BASE, **settings}
    assert base.get(key) != value
    known = (observable, json.dumps(base))
    if known not in observe.seen:
        observe.seen[known] = observe.look(observable, base)
        assert observe.look(observable, base) == observe.seen[known], "it is not the recipe that decides"
    before, after = observe.seen[known], observe.look(observable, {**base, key: value})
    assert isinstance(before, Refusal) == (key in ("dataset_download", "resume_override"))
    assert isinstance(after, Refusal) == (key in ANSWERED_WITH_AN_ERROR), after
    assert after != before


def test_aux_factor_says_that_it_changes_nothing(observe):
    (*before, lines, state), (*after, other_lines, other_state) = (
        observe.look(see.run, {**BASE, "aux_factor": factor}) for factor in (0.0, 0.4)
    )
    assert (before, state) == (after, other_state)
    told = "aux_factor 0.4: HRNet has no auxiliary outputs, it changes nothing"
    assert other_lines.count(told) == 1 and [line for line in other_lines if line != told] == lines
