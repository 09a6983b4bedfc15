"""The serve job: a model file behind HTTP until SIGTERM."""

import importlib.util
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import get_type_hints

from mindcv_hrnet.errors import CheckpointError, ConfigError
from mindcv_hrnet.recipe.schema import Parser
from mindcv_hrnet.runtime.files import absolute
from mindcv_hrnet.serving.settings import KEY_VARIABLE, Settings, option_name

NEEDED = ("fastapi", "fastapi_offline", "multipart", "prometheus_client", "uvicorn")


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        "mindcv-hrnet serve",
        description="Serve a model file over HTTP: Open Inference Protocol v2, POST /classify, a page at /, "
        "/metrics, /docs. SIGHUP or a new file replaces the model, SIGTERM ends when all requests in hand are "
        f"answered. Where {KEY_VARIABLE} is set, clients must send it.",
    )
    parser.add_argument("model", metavar="MODEL", help=".onnx or .mindir file that export.py wrote")
    kinds = get_type_hints(Settings)
    for option in fields(Settings)[1:]:
        text = option.metadata["help"] + (f" (default {option.default})" if option.default != "" else "")
        parser.add_argument(option_name(option.name), type=kinds[option.name], default=option.default, help=text)
    return parser


def parse(argv: Sequence[str]) -> Settings:
    """Settings of a command line. Raises ConfigError."""
    settings = Settings(**vars(build_parser().parse_args(argv)))
    return replace(settings, model=absolute(settings.model))


def run(settings: Settings) -> None:
    """Serve `settings.model`. Raises UserError for a missing file, a taken port, a model that cannot be loaded."""
    for package in NEEDED:
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"serve needs the package {package!r}; pip install 'mindcv-hrnet[serve]'")
    if not Path(settings.model).is_file():
        raise CheckpointError(f"{settings.model}: no such file; pass a .onnx or .mindir file that export.py wrote")
    from mindcv_hrnet.serving.supervisor import Supervisor

    Supervisor(settings).run()
