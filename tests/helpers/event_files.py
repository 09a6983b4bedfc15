"""What TensorBoard would show of a folder of event files. Needs no TensorBoard."""

import struct
from collections import defaultdict

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c


def events_of(path):
    """The events of a file up to a record that is cut off; AssertionError where a checksum is wrong."""
    data, place = path.read_bytes(), 0
    while place + 12 <= len(data):
        head = data[place : place + 8]
        (size,) = struct.unpack("<Q", head)
        body = data[place + 12 : place + 12 + size]
        if place + 16 + size > len(data):
            return
        assert struct.unpack("<I", data[place + 8 : place + 12])[0] == masked_crc32c(head)
        assert struct.unpack("<I", data[place + 12 + size : place + 16 + size])[0] == masked_crc32c(body)
        yield Event.FromString(body)
        place += 16 + size


def shown(folder):
    """{tag: [(step, value)]}; a start of a session drops what there is of its step and all later ones."""
    points: dict[str, list] = defaultdict(list)
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for number, event in enumerate(events_of(path)):
            assert (number == 0) == (event.file_version == "brain.Event:2")
            if event.session_log.status == SessionLog.START:
                for tag in points:
                    points[tag] = [point for point in points[tag] if point[0] < event.step]
            for value in event.summary.value:
                found = value.simple_value if value.HasField("simple_value") else value.SerializeToString()
                points[value.tag].append((event.step, found))
    return dict(points)
