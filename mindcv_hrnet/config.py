"""The public name of the recipe parser, `mindcv_hrnet.config.parse_config`; it lives in `recipe/config.py`."""

from mindcv_hrnet.recipe.config import Config, parse_config

__all__ = ["Config", "parse_config"]
