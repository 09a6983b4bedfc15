"""Names of the levels of mixed precision, and of the layers that a cast list may name. Imports no MindSpore."""

AMP_LEVELS = ("O0", "O1", "O2", "O3", "auto")

AMP_LAYERS = {"O1": ("Conv2d", "Dense"), "O2": ("Conv2d", "Dense", "BatchNorm2d")}
"""What an HRNet has of the layers that each level casts by name."""

OTHER_LAYERS = ("Conv1d", "Conv3d", "Conv2dTranspose", "BatchNorm1d", "BatchNorm3d", "LayerNorm", "GroupNorm", "LSTM")
"""What recipes of other networks name, and no HRNet has."""
