"""An error that no exception can carry to the main thread, because that thread waits inside the framework.

In sink mode the device fetches batches from a queue that MindSpore fills on a thread of its own. Where that thread ends
with an error, the device goes on waiting: MindSpore gives up after 900 s, the other ranks after HCCL_EXEC_TIMEOUT.
"""

import logging
import os
import threading
import traceback
from collections.abc import Callable

from mindcv_hrnet.errors import UserError
from mindcv_hrnet.runtime.distributed import leave_job

logger = logging.getLogger(__name__)

SECONDS = 60.0
DEFECT = 1


class Deadline:
    """Ends this process, and with it the job, `seconds` after `start(error)`, unless `cancel` was called by then.

    The error is logged the moment it happens, by the rank that has it. Within the time the device may still use up the
    batches that are queued, finish a checkpoint, or raise the error itself. A launcher ends the other ranks.
    """

    def __init__(self, seconds: float = SECONDS, leave: Callable[[int], object] = os._exit):
        self.seconds, self.leave = seconds, leave
        self._timer: threading.Timer | None = None

    def start(self, error: Exception) -> None:
        """Safe on any thread; a second error changes nothing."""
        if self._timer is not None:
            return
        logger.error("%s; the run ends within %g s", error, self.seconds)
        self._timer = threading.Timer(self.seconds, self._end, (error,))
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        """The error has reached the main thread after all."""
        if self._timer is not None:
            self._timer.cancel()

    def _end(self, error: Exception) -> None:
        if isinstance(error, UserError):
            code, message = error.exit_code, f"error: {error}"
        else:
            code, message = DEFECT, "".join(traceback.format_exception(error)).rstrip()
        leave_job(code, message)
        self.leave(code)
