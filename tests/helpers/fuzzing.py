"""What the fuzz test throws at the package, and how it watches what comes of it."""

import resource
import signal
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mindcv_hrnet.errors import UserError

MOST_SECONDS, MOST_BYTES = 10, 1 << 30
ODD_BYTES = [
    b"",
    b"\0",
    b"\xff",
    b"\0" * 8,
    b"\xff" * 8,
    b"\x7f\xff\xff\xff",
    b"\xff\xda",
    b"[" * 50,
    b"(" * 50,
    b"\x80\x04",
]
ODD_NUMBERS = [0, 1, -1, 2**31 - 1, 2**31, -(2**63), 2**63, 2**64, 10**11, 10**400, 0.5, -0.0, 1e308]
ODD_TEXTS = [
    *(
        "",
        " ",
        "\n",
        "a\nb",
        "\0",
        "\udc80",
        "\ud800",
        "~nosuchuser/x",
        "../../x",
        "/etc/passwd",
        "None",
        "true",
        "x" * 300,
    ),
    *("nan", "inf", "-inf", "1e999", "0x_", "%s", "{0}", "é" * 200, "\u2028", "é", "-", "--", "[", "[1, [2]]", "1 2 3"),
]


class TooSlow(BaseException):
    """Not an Exception, which a reader of damaged files may well catch."""


def _ring(signal_number, frame):
    raise TooSlow


@contextmanager
def little_memory():
    """Whoever asks for more than a gigabyte gets a MemoryError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MOST_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def run_cases(cases, strategy, check, accepted=UserError):
    """Counter of what became of `cases` cases: "result", or the kind of error. Anything else is raised.

    check: a function of the case; what it raises must be one of `accepted`, on one line. The same cases in every run.
    """
    counts: Counter[str] = Counter()

    @settings(
        max_examples=cases,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(strategy)
    def one(case):
        signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
        try:
            check(case)
            counts["result"] += 1
        except accepted as error:
            text = str(error)
            assert text.strip() and len(text.splitlines()) == 1, repr(text)
            assert "MemoryError" not in text, text
            text.encode()
            counts[type(error).__name__] += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    before = signal.signal(signal.SIGALRM, _ring)
    try:
        with little_memory():
            one()
    finally:
        signal.signal(signal.SIGALRM, before)
    return counts


# --- cases ---------------------------------------------------------------------------------------------------------

places = st.floats(0, 1, exclude_max=True)
changes = st.lists(
    st.one_of(
        st.tuples(st.just("set"), places, st.binary(min_size=1, max_size=1)),
        st.tuples(st.just("flip"), places, st.integers(0, 7)),
        st.tuples(st.just("over"), places, st.one_of(st.sampled_from(ODD_BYTES), st.binary(max_size=8))),
        st.tuples(st.just("into"), places, st.one_of(st.sampled_from(ODD_BYTES), st.binary(max_size=8))),
        st.tuples(st.just("cut"), places, st.none()),
        st.tuples(st.just("drop"), places, st.integers(1, 64)),
        st.tuples(st.just("again"), places, st.integers(1, 64)),
    ),
    min_size=1,
    max_size=5,
)


def changed(data, steps):
    """`data` after the `changes`."""
    for kind, place, what in steps:
        at = int(place * len(data))
        if kind == "set":
            data = data[:at] + what + data[at + 1 :]
        elif kind == "flip" and data:
            data = data[:at] + bytes([data[at] ^ 1 << what]) + data[at + 1 :]
        elif kind == "over":
            data = data[:at] + what + data[at + len(what) :]
        elif kind == "into":
            data = data[:at] + what + data[at:]
        elif kind == "cut":
            data = data[:at]
        elif kind == "drop":
            data = data[:at] + data[at + what :]
        elif kind == "again":
            data = data[:at] + data[at : at + what] * 20 + data[at + what :]
    return data


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(ODD_NUMBERS),
    st.sampled_from(ODD_TEXTS),
    st.integers(),
    st.floats(),
    st.text(),
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def replaced(content, place, value):
    """JSON content with one of its parts, chosen by `place`, replaced by `value`."""
    parts = []

    def walk(part):
        for key in list(part) if isinstance(part, dict) else range(len(part)):
            parts.append((part, key))
            if isinstance(part[key], (dict, list)):
                walk(part[key])

    walk(content)
    part, key = parts[int(place * len(parts))]
    part[key] = value
    return content
