"""
The policy document as types: what a file may say, key by key.

To add a key, write its field here, with its description: the reader, the messages and
the JSON Schema follow. What the key does is in ``sheets``.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

# What the schema alone says: the readers know better words for a complaint. A "choice" is
# filled in by ``schema``, from the tables of words, errnos and presets.
_SOME: dict[str, object] = {"minLength": 1}
_RULE: dict[str, object] = {"minLength": 1, "choice": "word"}
_ERRNO: dict[str, object] = {"choice": "errno"}
_POLICY: dict[str, object] = {"choice": "preset"}
_PROGRAM: dict[str, object] = {"pattern": r"^(/|\*\*/)"}
_PATH: dict[str, object] = {"pattern": "^(/|$)"}
_INET: dict[str, object] = {"pattern": r"^(\d+\.\d+\.\d+\.\d+|\[[0-9A-Fa-f:.]+\]):\d+$"}
_WHERE = "[tcp://|udp://|icmp://]TARGET[:PORTS] [!EXCEPTION ...], or unix:PATH, or unix:@NAME"
RuleText = Annotated[
    str,
    Meta(
        extra_json_schema=_RULE,
        description=f"A rule: {_WHERE}.",
        examples=["example.org:443", "private !10.1.2.3", "*.example.org", "unix:/run/app.sock"],
    ),
]
_Many = RuleText | list[RuleText]
_Text = Annotated[str, Meta(extra_json_schema=_SOME)]
_Globs = _Text | list[_Text]
_Program = Annotated[str, Meta(extra_json_schema=_PROGRAM)]
_Programs = _Program | list[_Program]
_Errno = Annotated[
    str,
    Meta(
        extra_json_schema=_ERRNO,
        examples=["ECONNREFUSED", "EPERM", "ENETUNREACH"],
    ),
]


class RuleTable(msgspec.Struct, forbid_unknown_fields=True, rename="kebab"):
    """A rule with its terms: who has to call, why it is there, how long it holds."""

    allow: Annotated[_Many, Meta(description="What is let through; or else deny.")] | UnsetType = (
        UNSET
    )
    deny: Annotated[_Many, Meta(description="What is refused; or else allow.")] | UnsetType = UNSET
    name: Annotated[str, Meta(description="What reports call the rule.")] = ""
    exe: (
        Annotated[
            _Programs,
            Meta(
                description="Only calls of these programs: absolute paths, or globs that begin "
                "with / or **/. A * stops at /, ** does not. Of a script it is the interpreter.",
                examples=["/usr/bin/curl", "**/node"],
            ),
        ]
        | UnsetType
    ) = UNSET
    argv: (
        Annotated[
            _Globs,
            Meta(
                description="Only calls of programs with such a word on their command line; "
                "a * matches everything.",
                examples=["*/manage.py"],
            ),
        ]
        | UnsetType
    ) = UNSET
    parent: (
        Annotated[
            _Programs,
            Meta(
                description="Only calls of programs that one of these started, at whatever "
                "distance; globs as in exe.",
                examples=["/usr/bin/make"],
            ),
        ]
        | UnsetType
    ) = UNSET
    reason: Annotated[
        str, Meta(description="Why the rule is there; shown with each of its verdicts.")
    ] = ""
    until: (
        Annotated[
            datetime.date,
            Meta(
                description="The last day on which the rule holds, in UTC. Later it is not used, "
                "which is a warning, and an error where CI is set.",
                examples=["2030-12-31"],
            ),
        ]
        | UnsetType
    ) = UNSET
    errno: (
        Annotated[_Errno, Meta(description="What a call that this rule denies gets.")] | UnsetType
    ) = UNSET
    redirect: (
        Annotated[
            str,
            Meta(
                extra_json_schema=_INET,
                description="Where a call that this rule allows goes instead: ADDRESS:PORT.",
                examples=["127.0.0.1:8080", "[::1]:8080"],
            ),
        ]
        | UnsetType
    ) = UNSET


class TestTable(msgspec.Struct, forbid_unknown_fields=True, rename="kebab"):
    """What this policy has to say of a destination; netjail check asks."""

    dest: Annotated[
        str,
        Meta(
            extra_json_schema=_SOME,
            description="HOST:PORT, an address and a port, or unix:PATH.",
            examples=["pypi.org:443", "169.254.169.254:80", "unix:/run/docker.sock"],
        ),
    ]
    expect: Annotated[Literal["allow", "deny"], Meta(description="The verdict that is due.")]
    exe: Annotated[
        str,
        Meta(
            extra_json_schema=_PATH,
            description="The program that calls: an absolute path.",
            examples=["/usr/bin/curl"],
        ),
    ] = ""
    proto: (
        Annotated[Literal["tcp", "udp", "icmp", "unix"], Meta(description="tcp unless given.")]
        | UnsetType
    ) = UNSET
    name: Annotated[str, Meta(description="What the findings call the test.")] = ""


class Document(msgspec.Struct, forbid_unknown_fields=True, rename="kebab"):
    """A policy of netjail: netjail.toml, or tool.netjail of a pyproject.toml."""

    extends: Annotated[
        list[Annotated[str, Meta(extra_json_schema=_POLICY)]],
        Meta(
            description="Policies that this one adds to: names of presets, or files beside it.",
            examples=[["pypi", "./base.toml"]],
        ),
    ] = []
    default: (
        Annotated[
            Literal["allow", "deny"],
            Meta(description="What happens where no rule matches; deny unless given."),
        ]
        | UnsetType
    ) = UNSET
    mode: (
        Annotated[
            Literal["enforce", "audit"],
            Meta(
                description="audit refuses nothing and records what would be refused; only a file "
                "named by --policy can say so. enforce unless given."
            ),
        ]
        | UnsetType
    ) = UNSET
    errno: (
        Annotated[_Errno, Meta(description="What a denied call gets; ECONNREFUSED unless given.")]
        | UnsetType
    ) = UNSET
    allow: Annotated[list[RuleText], Meta(description="What is let through.")] = []
    deny: Annotated[list[RuleText], Meta(description="What is refused; it beats allow.")] = []
    bind: (
        Annotated[
            list[_Text],
            Meta(
                description="Listeners that other machines may reach: an address, a port, or any.",
                examples=[[":8080"]],
            ),
        ]
        | UnsetType
    ) = UNSET
    unix: Annotated[
        list[_Text],
        Meta(
            description="Unix sockets outside the jail that may be reached: globs of paths, "
            "or of abstract names after an @.",
            examples=[["/run/app.sock", "@app"]],
        ),
    ] = []
    dns_refusal: (
        Annotated[
            Literal["nxdomain", "refused"],
            Meta(description="How a look-up is refused; nxdomain unless given."),
        ]
        | UnsetType
    ) = UNSET
    rule: Annotated[list[RuleTable], Meta(description="Rules with terms.")] = []
    test: Annotated[list[TestTable], Meta(description="What the policy has to say.")] = []
