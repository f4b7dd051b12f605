"""Committed messages to multiparts for subscribers: joined where they agree, cut to size.

    [name NUL] [header] ([columns]) [batch]

    header   {v 1, first, count, epoch, at, start?, content_type?, type?, key?}

Law: a multipart's batch has at most FANOUT_BYTES, or is one message.  No message is looked into but
where a batch is too large.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgpack

from broker.limits import BATCH_COUNT_MAX, FANOUT_BYTES
from broker.model.published import Published
from broker.protocol.batches import array_header, element_offsets, header_bytes

VERSION = 1
#: The longest array header that a batch begins with.
_ARRAY_BYTES_MAX = 5
_pack = msgpack.Packer().pack


def join(runs: list[Published]) -> Iterator[Published]:
    """``runs`` of one channel in their order; those that agree become one."""
    waiting: list[Published] = []
    size = count = 0
    for run in runs:
        if waiting and (
            size + len(run.batch) > FANOUT_BYTES
            or count + run.count > BATCH_COUNT_MAX
            or not _agree(waiting[-1], run)
        ):
            yield _joined(waiting, count)
            waiting, size, count = [], 0, 0
        waiting.append(run)
        size += len(run.batch)
        count += run.count
    if waiting:
        yield _joined(waiting, count)


def _agree(before: Published, run: Published) -> bool:
    return (
        before.first + before.count == run.first
        and not before.columns
        and not run.columns
        and (before.epoch, before.at, before.content_type, before.type, before.key, before.start)
        == (run.epoch, run.at, run.content_type, run.type, run.key, run.start)
    )


def _joined(runs: list[Published], count: int) -> Published:
    if len(runs) == 1:
        return runs[0]
    elements = [run.batch[header_bytes(run.batch) :] for run in runs]
    return replace(runs[0], count=count, batch=b"".join((array_header(count), *elements)))


def encode(topic: bytes, run: Published) -> Iterator[list[bytes]]:
    """The multiparts of one run, in order."""
    if len(run.batch) > FANOUT_BYTES and run.count > 1:
        for part in _cut(run):
            yield _frames(topic, part)
    else:
        yield _frames(topic, run)


def _frames(topic: bytes, run: Published) -> list[bytes]:
    header: dict[str, Any] = {
        "v": VERSION,
        "first": run.first,
        "count": run.count,
        "epoch": run.epoch,
        "at": run.at,
    }
    if run.start is not None:
        header["start"] = run.start
    if run.content_type is not None:
        header["content_type"] = run.content_type
    if run.type is not None:
        header["type"] = run.type
    if run.key is not None:
        header["key"] = run.key
    if run.columns:
        return [topic, _pack(header), run.columns, run.batch]
    return [topic, _pack(header), run.batch]


def _cut(run: Published) -> Iterator[Published]:
    offsets = element_offsets(run.batch, run.count)
    columns = msgpack.unpackb(run.columns) if run.columns else {}
    index = 0
    while index < run.count:
        room = offsets[index] + FANOUT_BYTES - _ARRAY_BYTES_MAX
        end = max(index + 1, bisect_right(offsets, room) - 1)
        elements = run.batch[offsets[index] : offsets[end]]
        part = {name: values[index:end] for name, values in columns.items()}
        yield replace(
            run,
            first=run.first + index,
            count=end - index,
            batch=array_header(end - index) + elements,
            columns=_pack(part) if part else b"",
        )
        index = end
