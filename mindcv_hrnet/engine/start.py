"""How every job begins: on the device and among the ranks that the recipe asks for."""

import mindspore

from mindcv_hrnet.recipe.keys import SystemConfig
from mindcv_hrnet.runtime.distributed import Cluster, connect


def start(system: SystemConfig) -> Cluster:
    """Join the job that the recipe's system section describes. Raises ConfigError."""
    cluster = connect(
        device_target=system.device_target,
        mode=system.mode,
        jit_level=system.jit_level,
        seed=system.seed,
        distribute=system.distribute,
    )
    if system.mode == mindspore.PYNATIVE_MODE and cluster.device == "CPU":
        # MindSpore's threads of this mode wait for each other in loops, on the cores that the kernels need
        mindspore.set_context(pynative_synchronize=True)
    return cluster
