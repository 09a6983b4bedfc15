"""Compiled graphs, kept from one start to the next.

MindSpore can write the graphs that it compiles into a folder and read them back instead of compiling. It numbers them
in the order of compilation, compares nothing but source files, writes in place, and settles on one folder per process.
So here one file holds the graphs of one job with their names, and its own name is a hash of all that shapes them;
MindSpore works on a private copy. No graph is taken for another, processes on one cache folder do not meet, and a file
is whole or absent. Whatever goes wrong with it costs one notice and a compilation.
"""

import hashlib
import itertools
import json
import logging
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from mindcv_hrnet.runtime.cache import CACHE_VARIABLE, cache_folder
from mindcv_hrnet.runtime.devices import CANN_TELLS
from mindcv_hrnet.runtime.files import reason_of
from mindcv_hrnet.runtime.locks import exclusive_lock, is_locked
from mindcv_hrnet.runtime.protobuf import read_fields

logger = logging.getLogger(__name__)

ENABLE, FOLDER = "MS_COMPILER_CACHE_ENABLE", "MS_COMPILER_CACHE_PATH"
LARGEST_TOTAL = 500_000_000  # bytes of compiled graphs in the cache folder
FORGOTTEN_S = 3600
_PREFIX, _LIST = "compiled-", "graphs.json"
# Private copies lie where temporary files do; a living process holds the lock in its own
_SCRATCH, _LOCK = "mindcv_hrnet-graphs-", ".lock"
_PACKAGE = Path(__file__).resolve().parents[1]
# Jobs of this process; MindSpore's folder and its numbers belong to the first one
_jobs = itertools.count()


class CompileCache:
    """The compiled graphs of one job, in `file`; None keeps none, and MindSpore compiles. See `open_compile_cache`."""

    def __init__(self, file: Path | None = None, scratch: Path = Path(), first_rank: bool = True):
        self.file, self.scratch = file, scratch
        self._notice = logger.warning if first_rank else logger.debug
        self._done: list[str] = []
        self._known = self._unpack(file) if file else []

    @contextmanager
    def compiling(self, graph: str) -> Iterator[None]:
        """Stand around the call that compiles the graph of this name; around later calls it does nothing."""
        position = len(self._done)
        if not self.file or graph in self._done:
            yield
            return
        known = position < len(self._known)
        if known and self._known[position] != graph:
            self.file = None  # not the order of the last time: MindSpore's numbers would mean other graphs
            yield
            return
        if known:
            logger.info("%s: compiled by an earlier start", graph)
        self._done.append(graph)
        before = self._contents()
        os.environ[ENABLE] = "1"
        try:
            yield
        except Exception:
            if known:  # should the file be the cause, the next start compiles
                with suppress(OSError):
                    self.file.unlink(missing_ok=True)
            raise
        finally:
            del os.environ[ENABLE]
        # where MindSpore could not write its graph, there is none to keep; it says so in its own log alone
        written = [path for path, _ in self._contents().items() - before.items() if path.suffix == ".mindir"]
        if not all(map(is_whole, written)):
            self.tell(no_room("a graph was cut off"))
            self.file = None
        elif written:
            self._keep(self.file)

    def _contents(self) -> dict[Path, tuple[int, int]]:
        found = ((path, path.stat()) for path in self.scratch.rglob("*") if path.name != _LOCK)
        return {path: (status.st_size, status.st_mtime_ns) for path, status in found}

    def _unpack(self, file: Path) -> list[str]:
        """Copy what the file holds to where MindSpore looks; returns the names of the graphs in their order."""
        try:
            if file.exists() and not file.is_file():
                raise OSError("no ordinary file")  # a pipe would be waited for
            with zipfile.ZipFile(file) as stored:
                names = json.loads(stored.read(_LIST))
                if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                    raise ValueError(f"{_LIST} is no list of names")
                damaged = stored.testzip()
                if damaged:
                    raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
                stored.extractall(self.scratch, [name for name in stored.namelist() if name != _LIST])
        except (FileNotFoundError, NotADirectoryError):
            return []
        except Exception as error:  # damage makes zipfile and its decoders raise what they please
            self.tell(f"{file}: cannot be used ({reason_of(error)}); compiling instead")
            return []
        with suppress(OSError):
            os.utime(file)
        return names

    def _keep(self, file: Path) -> None:
        """Write the file anew, with the graphs of this start; the longest unused ones make room."""
        temporary = file.with_name(f".{file.stem}.{os.getpid()}{file.suffix}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as stored:
                for path in sorted(self._contents()):
                    stored.write(path, path.relative_to(self.scratch))
                stored.writestr(_LIST, json.dumps(self._done + self._known[len(self._done) :]))
            os.replace(temporary, file)
            make_room(file)
        except OSError as error:
            self.tell(
                f"{file}: cannot be written ({reason_of(error)}), the next start will compile again; "
                f"set {CACHE_VARIABLE} to another folder, or pass --compile_cache False"
            )
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def tell(self, notice: str) -> None:
        """Warn, on the first rank and once."""
        self._notice(notice)
        self._notice = logger.debug  # one is enough


@contextmanager
def open_compile_cache(parts: Mapping[str, Any], *, wanted: bool, first_rank: bool) -> Iterator[CompileCache]:
    """The graphs that jobs with equal `parts`, code, MindSpore and settings have compiled; `first_rank` gives notice.

    Keeps none for a process's second job, where MindSpore's own cache was set, and where MindSpore dumps its graphs.
    """
    import mindspore as ms

    # MindSpore hashes the sources that its entry script imports, and fails where there is no script. Our hash has them
    ms.graph.api.entry_script_path = __file__
    if not wanted or next(_jobs) or ENABLE in os.environ or "MS_DEV_SAVE_GRAPHS" in os.environ:
        yield CompileCache()
        return
    file = cache_folder() / f"{_PREFIX}{key_of(parts, ms)}.zip"
    with ExitStack() as stack:
        try:
            scratch = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix=_SCRATCH, ignore_cleanup_errors=True))
            )
            stack.enter_context(exclusive_lock(scratch / _LOCK, required=False))
        except OSError as error:
            without = CompileCache(first_rank=first_rank)
            without.tell(no_room(reason_of(error)))
            yield without
            return
        sweep(scratch.parent)
        os.environ[FOLDER] = str(scratch)
        yield CompileCache(file, scratch, first_rank)


def no_room(reason: str) -> str:
    """The notice that nothing is kept for want of a private copy."""
    return f"{tempfile.gettempdir()}: no room for compiled graphs ({reason}); compiling without a cache"


def is_whole(graph: Path) -> bool:
    """Whether a file holds a message to its end: a full disk leaves the beginning of a graph, or nothing."""
    data = graph.read_bytes()
    with suppress(ValueError):
        return bool(list(read_fields(lambda at, count: data[at : at + count], 0, len(data), len(data))))
    return False


def sweep(folder: Path) -> None:
    """Remove private copies below `folder` whose process was killed an hour ago or more: nobody holds their lock."""
    for scratch in folder.glob(f"{_SCRATCH}*"):
        with suppress(OSError):  # another process sweeps too, or another user owns it
            if time.time() - scratch.stat().st_mtime > FORGOTTEN_S and not is_locked(scratch / _LOCK):
                shutil.rmtree(scratch)


def key_of(parts: Mapping[str, Any], framework: Any) -> str:
    """Hash of `parts`, this package's sources, versions and builds of MindSpore and CANN, and settings of compilers."""
    build = Path(framework.__file__).with_name(".commit_id")
    cann = Path(os.environ.get("ASCEND_HOME_PATH", "/nonexistent"), CANN_TELLS)
    settings = {name: text for name, text in os.environ.items() if name.startswith(("MS_DEV_", "MS_ENABLE_"))}
    framework_parts = framework.__version__, _text_of(build), _text_of(cann), settings
    digest = hashlib.sha256(json.dumps([parts, framework_parts], sort_keys=True).encode())
    for source in sorted(_PACKAGE.rglob("*.py")):
        digest.update(f"\0{source.relative_to(_PACKAGE)}\0".encode() + source.read_bytes())
    return digest.hexdigest()[:32]


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def make_room(newest: Path, largest_total: int = LARGEST_TOTAL) -> None:
    """Delete the compiled graphs beside `newest` that were unused for longest, until the others fit."""
    found = []
    for path in newest.parent.glob(f"*{_PREFIX}*.zip"):  # with those that a killed process left unfinished
        with suppress(FileNotFoundError):  # another process makes room too
            found.append((path != newest, -path.stat().st_mtime_ns, path.stat().st_size, path))
    total = 0
    for _, _, size, path in sorted(found):
        total += size
        if total > largest_total and path != newest:
            with suppress(OSError):  # that of another user
                path.unlink(missing_ok=True)
