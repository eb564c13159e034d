"""
What the journal's lines hold: plain structs, made of what happened.

See ``lines`` for what there is, ``make`` for how it comes about and ``back`` for what it
means: a record as the attempt and the verdict that it tells of. Importing this
imports msgspec: leave it where nothing is written.
"""

from netjail.records.back import (
    Replayed,
    attempt_of,
    chain_of,
    endpoint_of,
    process_of,
    verdict_of,
)
from netjail.records.lines import (
    AttemptRecord,
    Dest,
    EndRecord,
    ListenRecord,
    Proc,
    ProcessRecord,
    Record,
    ResultRecord,
    RuleRecord,
    Seen,
    StartRecord,
    UseRecord,
    decode,
    encode,
)
from netjail.records.make import (
    answer_record,
    arguments,
    attempt_record,
    dest,
    end_record,
    listen_record,
    now,
    proc,
    process_record,
    proto,
    repeat,
    result_record,
    rule_record,
    stamp,
    start_record,
    use_record,
)
from netjail.records.seen import seen_record
from netjail.records.text import error_name, plain

__all__ = [
    "AttemptRecord",
    "Dest",
    "EndRecord",
    "ListenRecord",
    "Proc",
    "ProcessRecord",
    "Record",
    "Replayed",
    "ResultRecord",
    "RuleRecord",
    "Seen",
    "StartRecord",
    "UseRecord",
    "answer_record",
    "arguments",
    "attempt_of",
    "attempt_record",
    "chain_of",
    "decode",
    "dest",
    "encode",
    "end_record",
    "endpoint_of",
    "error_name",
    "listen_record",
    "now",
    "plain",
    "proc",
    "process_of",
    "process_record",
    "proto",
    "repeat",
    "result_record",
    "rule_record",
    "seen_record",
    "stamp",
    "start_record",
    "use_record",
    "verdict_of",
]
