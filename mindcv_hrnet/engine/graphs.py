"""Which recipes compile to the same graphs, so that one start can use what another has compiled."""

from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from typing import Any

from mindspore._c_expression import MSContext
from mindspore.train import Callback

from mindcv_hrnet.engine.optimizers import table_length
from mindcv_hrnet.recipe.config import Config
from mindcv_hrnet.runtime.compiled import CompileCache, open_compile_cache
from mindcv_hrnet.runtime.distributed import Cluster

# Sections and keys that reach a graph as data or not at all. What is not named here shapes it
DATA_SECTIONS = ("data", "scheduler")
SHAPES_OF_DATA = ("batch_size",)
DATA_KEYS = (
    *("distribute", "device_target", "val_while_train", "val_interval", "log_interval", "log_format", "tensorboard"),
    *("compile_cache", "rank_timeout", "tracker"),
    *("pretrained", "pretrained_url", "ckpt_path"),
    *("epoch_size", "ckpt_save_dir", "ckpt_save_interval", "ckpt_save_policy", "keep_checkpoint_max", "resume_opt"),
    *("resume_override", "ckpt_save_steps", "ckpt_save_minutes", "nan_patience"),
    *("file_name", "predictions", "per_class", "class_map", "real_labels"),
)


def graph_cache(
    config: Config, cluster: Cluster, job: str, *, updates: int = 0, piece: int | None = None
) -> AbstractContextManager[CompileCache]:
    """The compiled graphs of `job` on this recipe and this rank.

    updates: of the whole run. piece: steps that the device runs in a row, where it does.
    """
    recipe = {
        key: value
        for section, values in asdict(config).items()
        for key, value in values.items()
        if key in SHAPES_OF_DATA or (section not in DATA_SECTIONS and key not in DATA_KEYS)
    }
    parts = {"job": job, "recipe": recipe, "rates": table_length(updates), "piece": piece}
    ranks = {"rank": cluster.rank, "size": cluster.size, "launcher": cluster.launcher}  # which decides how they add up
    # as MindSpore itself asks; "" on other devices
    chip = MSContext.get_instance().get_ascend_soc_version()
    return open_compile_cache(
        {**parts, **ranks, "device": cluster.device, "chip": chip},
        wanted=config.system.compile_cache and config.system.mode == 0,
        first_rank=cluster.is_main,
    )


class KeepGraph(Callback):
    """The first step compiles: it takes the graph of an earlier start where there is one, or keeps its own."""

    def __init__(self, graphs: CompileCache, window: ExitStack):
        super().__init__()
        self.graphs, self.window = graphs, window  # the caller's `window` closes also when the step fails

    def on_train_step_begin(self, run_context: Any) -> None:
        """Open the window in which the first step compiles."""
        self.window.enter_context(self.graphs.compiling("graph to train"))

    def on_train_step_end(self, run_context: Any) -> None:
        """Close it; later steps have none."""
        self.window.close()
