"""The report job: one HTML file about one run, or about several of one model side by side."""

import logging
import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mindcv_hrnet.errors import ConfigError, DataError, RunError
from mindcv_hrnet.recipe.config import Config
from mindcv_hrnet.recipe.keys import DEVICES
from mindcv_hrnet.recipe.schema import Parser, convert_value
from mindcv_hrnet.runtime.files import absolute, reason_of, write_text

if TYPE_CHECKING:
    from mindcv_hrnet.report.findings import Findings
    from mindcv_hrnet.report.run_files import RunRecord

logger = logging.getLogger(__name__)

PAGE = "report.html"


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        "mindcv-hrnet report",
        description="Write one HTML file about a run: curves, classes, confusions, calibration, mistakes, speed, "
        "recipe. The run's best weights are evaluated on its validation split for it.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folder; several of one model are compared")
    parser.add_argument(
        "--out", default="", metavar="FILE.html", help=f"file to write (default: {PAGE} in the first run folder)"
    )
    parser.add_argument("--data_dir", default="", metavar="DIR", help="where the data set is, if it has moved")
    parser.add_argument(
        "--predictions",
        nargs="+",
        default=[],
        metavar="FILE.csv",
        help="what 'validate --predictions' has written for each run, instead of an evaluation",
    )
    parser.add_argument(
        "--evaluate",
        default="True",
        metavar="True/False",
        help="False: read nothing but the run folder; the page says what it lacks (default True)",
    )
    parser.add_argument(
        "--reference", default="", metavar="NAME", help="shipped recipe to compare with (default: the nearest one)"
    )
    parser.add_argument("--device_target", default="auto", choices=DEVICES, help="device to evaluate on (default auto)")
    return parser


def parse(argv: Sequence[str]) -> Namespace:
    """Options of a command line. Raises ConfigError."""
    options = build_parser().parse_args(argv)
    try:
        options.evaluate = convert_value(options.evaluate, bool)
    except ValueError:
        raise ConfigError(
            f"command line: evaluate: '{options.evaluate}' is not accepted; must be True or False"
        ) from None
    if options.predictions and len(options.predictions) != len(options.runs):
        given, wanted = len(options.predictions), len(options.runs)
        raise ConfigError(f"command line: predictions: {given} files for {wanted} runs; pass one for each")
    options.runs = [absolute(folder) for folder in options.runs]
    options.predictions = [absolute(file) for file in options.predictions]
    options.out, options.data_dir = absolute(options.out), absolute(options.data_dir)
    return options


def run(options: Namespace) -> None:
    """Write the page. Raises UserError, before anything is computed where that is possible."""
    from mindcv_hrnet.report.differences import shipped_recipe
    from mindcv_hrnet.report.page import write_page
    from mindcv_hrnet.report.run_files import read_runs

    runs = read_runs(options.runs)
    out = Path(options.out) if options.out else runs[0].folder / PAGE
    check_writable(out)
    references = [shipped_recipe(each.config, options.reference) for each in runs]
    findings = _findings(runs, options)
    text = write_page(runs, findings, references)
    write_text(out, text)
    print(f"{out}: {len(text.encode()) / 1e6:.1f} MB; open it in a browser")


def check_writable(out: Path) -> None:
    """RunError where the page could not be written, which is better known before than after an evaluation."""
    if out.is_dir():
        raise RunError(f"{out}: is a folder; name the file to write, such as {out / PAGE}")
    try:
        if not out.parent.is_dir():
            raise FileNotFoundError(0, "no such folder")
        with open(out.parent / f".{out.name}.{os.getpid()}", "xb") as file:
            os.unlink(file.name)
    except OSError as error:
        raise RunError(f"{out}: cannot be written ({reason_of(error)}); choose another --out") from None


def _findings(runs: "list[RunRecord]", options: Namespace) -> "list[Findings]":
    from mindcv_hrnet.report import findings

    configs = [_to_evaluate(each, options) for each in runs]
    if options.predictions:
        return [
            findings.from_file(each, config, Path(file))
            for each, config, file in zip(runs, configs, options.predictions, strict=True)
        ]
    if not options.evaluate:
        return [findings.without_images() for _ in runs]
    for each, config in zip(runs, configs, strict=True):
        if not Path(config.data.data_dir).is_dir():
            raise DataError(
                f"{config.data.data_dir}: no such folder, the data set of {each.folder}; pass --data_dir DIR, or "
                "--evaluate False for a report without the parts that need images"
            )
    # only here MindSpore is needed
    from mindcv_hrnet.engine.start import start
    from mindcv_hrnet.jobs.validate import measure

    cluster, found = start(configs[0].system), []
    for each, config in zip(runs, configs, strict=True):
        result, predictions, source = measure(config, cluster, collects=True)
        logger.info("%s: %s", each.name, result)
        assert predictions is not None
        found.append(findings.from_evaluation(each, config, predictions, source, result.loss))
    return found


def _to_evaluate(each: "RunRecord", options: Namespace) -> Config:
    """The run's recipe, to be evaluated on this machine."""
    return each.config.override(
        ckpt_path=str(each.folder),
        pretrained=False,
        pretrained_url="",
        distribute=False,
        device_target=options.device_target,
        data_dir=options.data_dir or each.config.data.data_dir,
        dataset_download=False,
    )
