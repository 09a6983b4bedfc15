"""The parts of an HRNet that finetuning treats apart, by the names of their parameters."""

STAGES = ("stem", "stage1", "stage2", "stage3", "stage4")
"""From the image upwards. A transition belongs to the stage that it leads to."""

HEAD = "head"
"""What is above the stages: widening, downsampling, final layer and classifier."""

_PARTS = {
    **{"conv1": "stem", "bn1": "stem", "conv2": "stem", "bn2": "stem"},
    **{"layer1": "stage1", "transition1": "stage2", "stage2": "stage2"},
    **{"transition2": "stage3", "stage3": "stage3", "transition3": "stage4", "stage4": "stage4"},
}

FREEZABLE = (*STAGES, "backbone", "bn")
"""`backbone`: stem and all stages. `bn`: every batch normalisation."""


def part_of(name: str) -> str:
    """The part that a parameter, by MindCV's name, belongs to."""
    return _PARTS.get(name.split(".")[0], HEAD)
