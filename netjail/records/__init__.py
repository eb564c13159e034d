"""
What the journal's lines hold: plain structs, made of what happened.

See ``lines`` for what there is and ``make`` for how it comes about. Importing this
imports msgspec: leave it where nothing is written.
"""

from netjail.records.lines import (
    AttemptRecord,
    Dest,
    EndRecord,
    ListenRecord,
    Proc,
    ProcessRecord,
    Record,
    ResultRecord,
    StartRecord,
    decode,
    encode,
)
from netjail.records.make import (
    answer_record,
    arguments,
    attempt_record,
    dest,
    end_record,
    error_name,
    listen_record,
    now,
    plain,
    proc,
    process_record,
    proto,
    repeat,
    result_record,
    start_record,
)

__all__ = [
    "AttemptRecord",
    "Dest",
    "EndRecord",
    "ListenRecord",
    "Proc",
    "ProcessRecord",
    "Record",
    "ResultRecord",
    "StartRecord",
    "answer_record",
    "arguments",
    "attempt_record",
    "decode",
    "dest",
    "encode",
    "end_record",
    "error_name",
    "listen_record",
    "now",
    "plain",
    "proc",
    "process_record",
    "proto",
    "repeat",
    "result_record",
    "start_record",
]
