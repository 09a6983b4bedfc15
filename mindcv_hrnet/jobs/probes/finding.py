"""One line of the doctor's page."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

GREEN, YELLOW, RED = "green", "yellow", "red"


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, and how to mend it. Yellow works, but slower or elsewhere; red does not."""

    level: str
    what: str
    detail: str
    mend: str = ""


def quietly(ask: Callable[[], Finding | list[Finding]]) -> list[Finding]:
    """The answers to a question, whose own failure is a finding and not the end of the page."""
    try:
        answer = ask()
        return answer if isinstance(answer, list) else [answer]
    except Exception as error:
        logging.getLogger(__name__).debug("a probe failed", exc_info=True)
        text = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return [Finding(RED, "doctor", f"a question failed: {text}", "report it with this page")]
