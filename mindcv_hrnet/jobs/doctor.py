"""The doctor job: one page that says whether this machine can run a recipe. It is what to paste into a bug report."""

import json
import os
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial

import mindcv_hrnet
from mindcv_hrnet.errors import ConfigError, RunError
from mindcv_hrnet.jobs.probes import accelerators, capacity, meeting, software
from mindcv_hrnet.jobs.probes.accelerators import usable_devices
from mindcv_hrnet.jobs.probes.finding import GREEN, RED, YELLOW, Finding, quietly
from mindcv_hrnet.recipe.config import Config, parse_config
from mindcv_hrnet.recipe.schema import Parser
from mindcv_hrnet.runtime.distributed import launcher_of
from mindcv_hrnet.runtime.files import absolute

COLOURS = {GREEN: "\033[32m", YELLOW: "\033[33m", RED: "\033[31m"}


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        "mindcv-hrnet doctor",
        description="Say on one page whether this machine can run a recipe: software, devices, ranks, memory, reading "
        "speed, disk. Nothing is trained. Exit code 5 where something is red.",
    )
    parser.add_argument(
        "-c", "--config", default="", metavar="RECIPE", help="recipe to judge by (default: the defaults)"
    )
    parser.add_argument("--data_dir", default="", metavar="FOLDER", help="data set whose reading is measured, 5 s")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    return parser


def parse(argv: Sequence[str]) -> Namespace:
    """Options of a command line; `config` is the recipe. Raises ConfigError."""
    options = build_parser().parse_args(argv)
    launcher, _, size = launcher_of(os.environ)
    if size > 1:
        raise ConfigError(f"doctor starts ranks of its own: run it without {launcher}")
    arguments = (["-c", options.config] if options.config else []) + (
        ["--data_dir", absolute(options.data_dir)] if options.data_dir else []
    )
    config = parse_config(arguments, "mindcv-hrnet doctor")
    # as the other jobs, which see the folder that the user stands in
    options.config = config.override(
        data_dir=absolute(config.data.data_dir), ckpt_save_dir=absolute(config.train.ckpt_save_dir)
    )
    options.recipe = config.model.model
    return options


def run(options: Namespace) -> None:
    """Print the page. Raises RunError where a line is red."""
    findings = examine(options.config)
    print(as_json(findings, options) if options.json else as_page(findings, colours=os.isatty(1)), flush=True)
    bad = [finding.what for finding in findings if finding.level == RED]
    if bad:
        raise RunError(f"this machine cannot run the recipe as it is: {', '.join(bad)}")


def examine(config: Config) -> list[Finding]:
    """Every finding about this machine and the recipe, in the order of the page."""
    wanted = config.system.device_target
    device, devices = usable_devices(wanted)
    questions: list[Callable[[], Finding | list[Finding]]] = [
        software.python,
        software.packages,
        software.kernels,
        partial(accelerators.accelerator, "Ascend", wanted),
        partial(accelerators.accelerator, "GPU", wanted),
        partial(what_runs, device, devices, wanted),
        meeting.mpi,
        meeting.two_ranks,
        partial(capacity.cores, config, devices),
        partial(capacity.memory, config, device, devices),
        partial(capacity.device_memory, config),
        partial(capacity.reading, config, device, devices),
        partial(capacity.disk, config),
        capacity.cache,
    ]
    findings: list[Finding] = []
    for question in questions:
        findings.extend(quietly(question))
    return findings


def what_runs(device: str, devices: int, wanted: str) -> Finding:
    """The device that a job of this recipe gets here."""
    if device == "CPU" and wanted != "CPU":
        text = f"device_target {wanted}: a job on this machine trains on the CPU, if at all"
        return Finding(YELLOW, "device", text, "fine for trials; name it with --device_target CPU")
    return Finding(GREEN, "device", f"device_target {wanted}: {devices} x {device}")


def as_page(findings: Sequence[Finding], colours: bool) -> str:
    """A line per finding, its remedy below it."""
    width = max(len(finding.what) for finding in findings)
    lines = [f"mindcv-hrnet {mindcv_hrnet.__version__}"]
    for finding in findings:
        label = f"{finding.level:6}"
        label = f"{COLOURS[finding.level]}{label}\033[0m" if colours else label
        lines.append(f"{label}  {finding.what:{width}}  {finding.detail}")
        if finding.mend:
            lines.append(f"{'':6}  {'':{width}}  -> {finding.mend}")
    return "\n".join(lines)


def as_json(findings: Sequence[Finding], options: Namespace) -> str:
    """{"version", "model", "findings": [{"level", "what", "detail", "mend"}]}."""
    page = {"version": mindcv_hrnet.__version__, "model": options.recipe, "findings": [vars(each) for each in findings]}
    return json.dumps(page, indent=2)
