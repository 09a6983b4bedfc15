"""All files of a split looked at before anything is computed: what is plainly no image is named, all at once.

Their first and last bytes are read, and nothing is decoded; damage in between shows when an image is needed.
"""

import logging
import os
from concurrent.futures import ThreadPoolExecutor

from mindcv_hrnet.data.decode import UnreadableImage, check_outline
from mindcv_hrnet.data.prefetch import usable_workers
from mindcv_hrnet.data.sources.folder import ImageFolder
from mindcv_hrnet.data.sources.source import Source
from mindcv_hrnet.errors import DataError
from mindcv_hrnet.runtime.files import open_regular, reason_of

logger = logging.getLogger(__name__)

START_BYTES, END_BYTES = 1 << 14, 1 << 10
MOST_NAMED = 20


def check_files(source: Source, workers: int) -> None:
    """Raise DataError where files of an image folder cannot be images. Other kinds of sources are left alone.

    The log has all of them, the error names up to `MOST_NAMED`.
    """
    if not isinstance(source, ImageFolder):
        return
    with ThreadPoolExecutor(usable_workers(workers), thread_name_prefix="outlines") as pool:
        found = [problem for problem in pool.map(lambda index: _problem(source, index), range(len(source))) if problem]
    if not found:
        return
    for problem in found:
        logger.warning("%s", problem)
    more = f"; and {len(found) - MOST_NAMED} more, which the log names" if len(found) > MOST_NAMED else ""
    raise DataError(
        f"{source.root}: {len(found)} of {len(source)} files cannot be used, and validation needs every image; replace "
        f"or remove them: {'; '.join(found[:MOST_NAMED])}{more}"
    )


def _problem(source: ImageFolder, index: int) -> str:
    """Path and reason; empty where the file looks like an image."""
    path = source.path(index)
    try:
        with open_regular(path) as file:
            start = file.read(START_BYTES)
            file.seek(max(0, os.fstat(file.fileno()).st_size - END_BYTES))
            end = file.read(END_BYTES)
        try:
            check_outline(start, end)
        except UnreadableImage:
            whole = source.read(index)  # its header may be longer, or its end further inside
            check_outline(whole, whole)
    except UnreadableImage as error:
        return f"{path}: {error}"
    except OSError as error:
        return f"{path}: it cannot be read ({reason_of(error)})"
    return ""
