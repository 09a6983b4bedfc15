"""From a command line to a job and an exit code.

Exit codes: 0 done, 1 defect of this package (with traceback), 2 recipe or command line, 3 data, 4 checkpoint,
5 the run could not go on, 130, 138 or 143 stopped by SIGINT (Ctrl-C), SIGUSR1 or SIGTERM.
"""

import argparse
import gc
import importlib
import io
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

MISSING = "error: the package '{package}' is missing here; source .venv/bin/activate, or install this package with pip"

try:
    from mindcv_hrnet import __version__
    from mindcv_hrnet.errors import ConfigError, UserError, nearest, one_line
    from mindcv_hrnet.recipe.config import SECTIONS, Config, parse_config, recipe_parser
    from mindcv_hrnet.runtime.cache import keep_meaning
    from mindcv_hrnet.runtime.distributed import launcher_of, leave_job, prepare_environment
    from mindcv_hrnet.runtime.files import absolute
    from mindcv_hrnet.runtime.progress import JsonLine, LinesAboveBars, OneLine
    from mindcv_hrnet.runtime.signals import Stopped, end_with_parent, stop_requests
except ModuleNotFoundError as error:  # a user's shell without the environment
    sys.exit(MISSING.format(package=error.name))

INTERRUPTED = 130
DEFECT = 1


class RecipeJob(NamedTuple):
    """What takes a recipe: where it is, what the help says, and the sections whose keys it reads."""

    module: str
    function: str
    summary: str
    sections: tuple[str, ...]


LOOKS = ("system", "data", "augmentation", "model")
RECIPE_JOBS = {
    "train": RecipeJob(
        "mindcv_hrnet.jobs.train",
        "train",
        "Train a recipe, on one device or on all that a launcher started.",
        tuple(SECTIONS),
    ),
    "validate": RecipeJob(
        "mindcv_hrnet.jobs.validate",
        "validate",
        "Measure a checkpoint on the validation split.",
        (*LOOKS, "validation"),
    ),
    "export": RecipeJob(
        "mindcv_hrnet.jobs.export",
        "export",
        "Write a checkpoint as a deployment file, and check the file.",
        (*LOOKS, "export"),
    ),
    "preview": RecipeJob(
        "mindcv_hrnet.jobs.preview",
        "preview",
        "Draw what the network sees of the first images, step by step.",
        (*LOOKS, "train"),
    ),
}


COMPLETION = "completion"
# What takes no recipe: a module with `build_parser()`, `parse(argv) -> settings` and `run(settings)`, and what the help
# says. The last one works on the parsers of all others.
PLAIN_JOBS = {
    "predict": ("mindcv_hrnet.jobs.predict", "Classify images with an exported file or a run."),
    "serve": ("mindcv_hrnet.jobs.serve", "Answer over HTTP with an exported network."),
    "doctor": ("mindcv_hrnet.jobs.doctor", "Say on one page whether this machine can run a recipe."),
    "convert": ("mindcv_hrnet.jobs.convert", "Convert weights between MindSpore, PyTorch and safetensors files."),
    "verify": ("mindcv_hrnet.jobs.verify", "Check that the files of a run are as they were written."),
    "report": ("mindcv_hrnet.jobs.report", "Write one HTML file about one run, or several side by side."),
    "split": ("mindcv_hrnet.jobs.split", "Divide a folder of class folders into training and validation."),
    "recipes": ("mindcv_hrnet.jobs.recipes", "List the recipes that come with the package."),
    "new": ("mindcv_hrnet.jobs.new", "Begin a recipe of your own."),
    COMPLETION: ("mindcv_hrnet.jobs.completion", "Print what lets your shell complete all this."),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of `mindcv-hrnet COMMAND ...`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return 0 if arguments else ConfigError.exit_code
    if arguments[0] == "--version":
        print(f"mindcv-hrnet {__version__}")
        return 0
    command, *rest = arguments
    if command in RECIPE_JOBS:
        return run_job(command, rest, f"mindcv-hrnet {command}")
    if command == COMPLETION:
        return guarded(lambda: print_completion(rest))
    if command in PLAIN_JOBS:
        return guarded(lambda: run_plain_job(command, rest))
    known = summaries()
    message = f"error: unknown command '{command}'{nearest(command, known)}; see mindcv-hrnet --help"
    print(one_line(message), file=sys.stderr)
    return ConfigError.exit_code


def summaries() -> dict[str, str]:
    """Every command with its one line of help."""
    recipe_jobs = {name: job.summary for name, job in RECIPE_JOBS.items()}
    plain_jobs = {name: summary for name, (_, summary) in PLAIN_JOBS.items()}
    return {**recipe_jobs, **plain_jobs}


def overview() -> str:
    """What `mindcv-hrnet --help` prints."""
    known = summaries()
    width = max(map(len, known))
    lines = [f"  {name:{width}}  {summary}" for name, summary in known.items()]
    return "\n".join(("usage: mindcv-hrnet COMMAND ...; each command has its own --help", "", *lines))


def run_plain_job(command: str, argv: Sequence[str]) -> None:
    """Parse where the user stands, so that paths mean what they mean there, and run in a scratch folder."""
    job = importlib.import_module(PLAIN_JOBS[command][0])
    settings = job.parse(argv)
    with scratch_folder():
        job.run(settings)


def print_completion(argv: Sequence[str]) -> None:
    """Print the script for the shell that the command line names. Raises ConfigError."""
    job = importlib.import_module(PLAIN_JOBS[COMPLETION][0])
    print(job.script(job.build_parser().parse_args(argv).shell, parsers(), summaries(), RECIPE_JOBS))


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of every command."""
    recipe_jobs = {name: recipe_parser(name, job.summary, job.sections) for name, job in RECIPE_JOBS.items()}
    plain_jobs = {name: importlib.import_module(module).build_parser() for name, (module, _) in PLAIN_JOBS.items()}
    return {**recipe_jobs, **plain_jobs}


def run_job(job: str, argv: Sequence[str] | None = None, program: str | None = None) -> int:
    """Parse the recipe and run one job on it; returns the exit code."""
    module, function, description, sections = RECIPE_JOBS[job]

    def work() -> None:
        arguments = sys.argv[1:] if argv is None else argv
        config = with_absolute_paths(parse_config(arguments, program or f"{job}.py", description, sections))
        set_up_logging(config.system.log_format)
        with scratch_folder():
            from mindcv_hrnet.jobs.early import check_early  # a wrong key need not wait for OpenCV

            check_early(job, config)
            with no_garbage():
                imported = importlib.import_module(module)
            getattr(imported, function)(config)

    return guarded(work, listens=True)


@contextmanager
def no_garbage() -> Iterator[None]:
    """Within it objects are made that live to the end, as modules are: no search for garbage visits them, ever.

    MindSpore brings 160,000, and has them searched before each graph that it compiles.
    """
    searches = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if searches:
            gc.enable()


def guarded(work: Callable[[], None], *, listens: bool = False) -> int:
    """Run `work`; a user's error becomes one line and its exit code, never a traceback.

    `listens`: requests to stop are answered as `runtime.signals` says; otherwise they interrupt `work`.
    """
    prepare_environment(os.environ)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
    set_up_logging()
    _, rank, size = launcher_of(os.environ)

    def begin() -> None:
        if size > 1:
            end_with_parent()
        work()

    if threading.current_thread() is not threading.main_thread():
        return _run(begin)
    if not listens:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return _run(begin)
        finally:
            signal.signal(signal.SIGTERM, before)
    stop_requests.listen(speaks=rank <= 0, parent=os.getppid() if size > 1 else 0)
    try:
        return _run(begin)
    finally:
        stop_requests.close()


def _run(work: Callable[[], None]) -> int:
    try:
        work()
        return _leave(0)
    except UserError as error:
        return _leave(error.exit_code, f"error: {error}")
    except ModuleNotFoundError as error:
        return _leave(ConfigError.exit_code, MISSING.format(package=error.name))
    except Stopped as stopped:
        return _leave(stopped.exit_code, stopped.message)
    except KeyboardInterrupt:
        return _leave(INTERRUPTED, "interrupted")
    except Exception:
        return _leave(DEFECT, traceback.format_exc().rstrip(), echo_possible=True)


def _leave(exit_code: int, message: str = "", *, echo_possible: bool = False) -> int:
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    if stop_requests.leaving:  # whatever came of it
        exit_code, message = 128 + stop_requests.signum, ""
    leave_job(exit_code, message, echo_possible=echo_possible)
    return exit_code


@contextmanager
def scratch_folder() -> Iterator[None]:
    """Stand in a temporary folder meanwhile: MindSpore drops files (kernel_meta, rank_0, ...) where it stands."""
    before = Path.cwd()
    if os.environ.get("MS_ROLE") == "MS_SCHED":  # msrun ends it without a chance to clean up
        yield
        return
    with tempfile.TemporaryDirectory(prefix="mindcv_hrnet-", ignore_cleanup_errors=True) as scratch:
        stop_requests.cleanup = partial(shutil.rmtree, scratch, ignore_errors=True)
        keep_meaning(os.environ)
        os.chdir(scratch)
        try:
            yield
        finally:
            os.chdir(before)


def with_absolute_paths(config: Config) -> Config:
    """The recipe with every path made absolute."""

    return config.override(
        data_dir=absolute(config.data.data_dir),
        ckpt_path=absolute(config.model.ckpt_path),
        ckpt_save_dir=absolute(config.train.ckpt_save_dir),
        file_name=absolute(config.export.file_name),
        predictions=absolute(config.validation.predictions),
        class_map=absolute(config.validation.class_map),
        real_labels=absolute(config.validation.real_labels),
    )


def set_up_logging(log_format: str = "text") -> None:
    """Lines or JSON objects on stdout; of the ranks of a job only the first tells what goes well."""
    _, rank, size = launcher_of(os.environ)
    logger = logging.getLogger("mindcv_hrnet")
    logger.setLevel(logging.INFO if rank <= 0 else logging.WARNING)
    handler = LinesAboveBars(sys.stdout)
    text = OneLine("%(message)s" if size == 1 or rank == 0 else f"[rank {rank}] %(message)s")
    handler.setFormatter(JsonLine(max(0, rank)) if log_format == "json" else text)
    logger.handlers[:] = [handler]
    logger.propagate = False
