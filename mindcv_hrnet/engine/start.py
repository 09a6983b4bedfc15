"""How every job begins: on the device and among the ranks that the recipe asks for."""

from mindcv_hrnet.recipe.keys import SystemConfig
from mindcv_hrnet.runtime.distributed import Cluster, connect


def start(system: SystemConfig) -> Cluster:
    """Join the job that the recipe's system section describes. Raises ConfigError."""
    return connect(
        device_target=system.device_target,
        mode=system.mode,
        jit_level=system.jit_level,
        seed=system.seed,
        distribute=system.distribute,
    )
