"""TensorBoard: a folder of events for each twin, written without torch or TensorFlow."""

from pathlib import Path
from typing import Any

from bitlens.report.trackers.entries import Logged
from bitlens.results.files.names import sanitise


def log(logged: Logged, folder: Path) -> str:
    """Log everything; where it is. TensorBoard keeps no files: the summary is there as text, and
    says where the page and the tables are. What an earlier call wrote is replaced."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    place = folder / "tensorboard"
    for twin in logged.twins:
        events = [
            (Summary(value=[Summary.Value(tag=one.name, simple_value=one.value)]), one.block or 0)
            for one in twin.scalars
        ]
        _write(place / sanitise(twin.name), events)
    told = "\n\n".join(
        path.read_text(encoding="utf-8") for path in logged.files if path.suffix == ".md"
    )
    where = f"The page and all tables are in {folder.parent.resolve()}.\n\n{told}"
    _write(place / "results", [(_text("summary", where), 0)])
    return f"Logged to TensorBoard: tensorboard --logdir {place}"


def _write(place: Path, events: list[tuple[Any, int]]) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for old in place.glob("events.out.tfevents.*"):
        old.unlink()
    writer = EventFileWriter(str(place))
    for summary, step in events:
        writer.add_event(Event(summary=summary, step=step))
    writer.close()


def _text(tag: str, content: str) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.plugins.text.metadata import create_summary_metadata

    tensor = TensorProto(
        dtype=DT_STRING,
        string_val=[content.encode()],
        tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
    )
    metadata = create_summary_metadata(display_name=tag, description="")
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])
