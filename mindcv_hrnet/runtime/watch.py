"""Which rank of a job hangs, judged from what each has told of itself and when.

Times are seconds of this process's monotonic clock. Every rank takes the same steps, and most of them wait for all: a
rank that is stuck holds up the others, which are one step further.
"""

from dataclasses import dataclass
from typing import NamedTuple

# A launcher ends the job within this time when a rank has ended; what starts ranks without one does not
GRACE_S = 15.0
# A rank that lives and holds up the others: reading, writing or computing may take long
STUCK_S = 1800.0
# Where this process itself was stopped for longer than this, it cannot judge what the others did meanwhile
OWN_GAP_S = 3.0
# While graphs compile, other threads get no turn: on CPU for 35 s were seen, on accelerators it is not known
PATIENT_TIMES = 5
PATIENT_S = 3600.0
NAMED = 4


class Place(NamedTuple):
    """Where a rank is: steps that are done, batches of the validation after them, whether it is in the next step."""

    step: int = 0
    batch: int = 0
    inside: bool = False
    patient: bool = False
    """Whether it may be silent for long."""

    @property
    def order(self) -> tuple[int, int, bool]:
        """What grows while a rank gets on."""
        return (self.step, self.batch, self.inside)

    def __str__(self) -> str:
        if self.inside:
            return f"in step {self.step + 1}"
        if self.batch:
            return f"in the validation, after its batch {self.batch}"
        return f"between the steps {self.step} and {self.step + 1}" if self.step else "in front of the first step"


@dataclass
class Peer:
    """A rank as another one sees it."""

    rank: int
    host: str
    pid: int
    heard: float
    moved: float
    place: Place
    lost: float | None = None
    why: str = ""

    def __str__(self) -> str:
        return f"rank {self.rank} (process {self.pid} on {self.host})"


class Watch:
    """Some ranks, and after how many seconds of silence from one, or from one that compiles, the job has to end."""

    def __init__(self, limit_s: float, now: float, patient_s: float = PATIENT_S):
        self.limit_s, self.patient_s = limit_s, patient_s
        self.peers: dict[int, Peer] = {}
        self._looked = now
        self._told: object = None

    def add(self, rank: int, host: str, pid: int, now: float) -> None:
        """From now on this rank is watched."""
        self.peers[rank] = Peer(rank, host, pid, heard=now, moved=now, place=Place())

    def hear(self, rank: int, place: Place, now: float) -> None:
        """A rank has told where it is."""
        peer = self.peers[rank]
        if place.order != peer.place.order:
            peer.moved = now
        peer.heard, peer.place = now, place

    def lose(self, rank: int, why: str, now: float) -> None:
        """The connection to a rank is gone, and it has not said that it leaves."""
        if rank in self.peers and self.peers[rank].lost is None:
            self.peers[rank].lost, self.peers[rank].why = now, why

    def forget(self, rank: int) -> None:
        """A rank has left in order."""
        self.peers.pop(rank, None)

    def look(self, now: float) -> str:
        """Ranks that live no more, as far as anyone can tell; empty while all do. Call it often."""
        gap, self._looked = now - self._looked, now
        if gap > min(OWN_GAP_S, self.limit_s / 2):
            for peer in self.peers.values():
                peer.heard += gap
                peer.moved += gap
        gone = [peer for peer in self.peers.values() if peer.lost is not None and now - peer.lost > GRACE_S]
        if gone:
            return f"{_names(gone)} has ended without a word ({gone[0].why}), last {gone[0].place}"
        silent = [peer for peer in self.peers.values() if peer.lost is None and now - peer.heard > self._limit(peer)]
        if silent:
            return (
                f"{_names(silent)} has given no sign of life for {self._limit(silent[0]):g} s, last {silent[0].place}: "
                "stopped, stuck, or cut off from the network"
            )
        return ""

    def stuck(self, now: float) -> tuple[str, bool]:
        """Which ranks hold up the others, and whether it is time to end; empty while anything moves."""
        seconds = min((now - peer.moved for peer in self.peers.values()), default=0.0)
        first = min((peer.place.order for peer in self.peers.values()), default=None)
        behind = [peer for peer in self.peers.values() if peer.place.order == first]
        if any(now - peer.heard > self.limit_s / 2 for peer in behind):
            return "", False  # `look` judges silence
        if seconds < self.limit_s or len(behind) == len(self.peers):
            return "", False
        return f"{_names(behind)} holds up the others for {seconds:.0f} s, {behind[0].place}", seconds >= STUCK_S

    def news(self, now: float) -> str:
        """What `stuck` says, once for each place."""
        text, _ = self.stuck(now)
        places = [peer.place.order for peer in self.peers.values()] if text else None
        if places == self._told:
            return ""
        self._told = places
        return text

    def _limit(self, peer: Peer) -> float:
        return max(self.limit_s, self.patient_s) if peer.place.patient else self.limit_s


def _names(peers: list[Peer]) -> str:
    more = f" and {len(peers) - NAMED} more" if len(peers) > NAMED else ""
    return ", ".join(map(str, peers[:NAMED])) + more
