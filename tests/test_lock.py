"""Records in, rules out: what is learned, what is locked, what is said to have changed."""

from __future__ import annotations

import json
import subprocess
import tomllib
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jail import needs
from scene import CURL, attempt, inet

from netjail import records
from netjail.endpoints import Netlink, Question, Unix
from netjail.errors import NetjailError, RuleError
from netjail.lock import changes, files, learned, wants
from netjail.lock.cover import allows, cover
from netjail.lock.files import Line, Lock
from netjail.lock.judge import locked
from netjail.lock.wants import Wants
from netjail.model import Decision, Operation, Pending, Protocol, Reason, Verdict
from netjail.policy import Policy, Rules
from netjail.policy.facts import Known
from netjail.policy.words import WORDS
from netjail.records.lines import Seen

DENY = Rules(default=Decision.DENY)
TCP, UDP, ICMP = Protocol.TCP, Protocol.UDP, Protocol.ICMP
SERVER = inet("192.0.2.53", 53)


def wanted(
    endpoint,
    *protocols,
    reason=Reason.DEFAULT,
    decision=Decision.DENY,
    names=(),
    seen=None,
    audit=True,
    program="curl",
    **verdict,
):
    """The record of an attempt that an audit saw."""
    name = names[0] if names else ""
    looked_up = isinstance(endpoint, Question)
    operation = Operation.RESOLVE if looked_up else Operation.CONNECT
    if isinstance(endpoint, Unix):
        protocols = (Protocol.UNIX,)
        seen = seen or Seen(raw_path="" if endpoint.abstract else endpoint.path.hex())
    of = attempt(endpoint, *(protocols or ((UDP,) if looked_up else ())), operation=operation)
    error = 111 if decision is Decision.DENY else 0
    record = records.attempt_record(
        of,
        Verdict(decision, reason, error=error, name=name, **verdict),
        records.proc(CURL, of.tid, (program, "sh"), False),
        id=1,
        audit=audit,
        assurance="vault",
        known=Known(tuple(names), (), "asked") if names else None,
    )
    return msgspec.structs.replace(record, seen=seen or Seen(names=tuple(names)))


def asked(name, kind="A", **fields):
    """The record of a look-up."""
    fields.setdefault("fix", f"--allow {name}")
    return wanted(Question(name, kind, SERVER), names=(name,), **fields)


def listening(ip, port, scope="open", program="nginx"):
    who = records.proc(CURL, 1, (program,), False)
    return records.listen_record(inet(ip, port), TCP, who, scope=scope)


def collect(*some):
    found = Wants()
    for record in some:
        found.take(record)
    return found


def rules(*some, given=DENY):
    """The rules of the policy that is learned of *some*."""
    found = collect(*some)
    text = learned.write(found, cover(found, given), range(32768, 61000))
    return tomllib.loads(text)["allow"]


WEB = [inet("198.51.100.80", 443)]


@pytest.mark.parametrize(
    ("some", "expected"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([wanted(inet("192.0.2.1", 443))], ["192.0.2.1:443"], id="an-address"),
        pytest.param([wanted(inet("2001:db8::1", 443))], ["[2001:db8::1]:443"], id="of-ipv6"),
        pytest.param(
            [asked("a.test"), wanted(WEB[0], names=("a.test",))],
            ["a.test:443"],
            id="a-name-rather-than-its-address",
        ),
        pytest.param(
            [wanted(inet("192.0.2.1", port)) for port in (443, 80, 443)],
            ["192.0.2.1:80,443"],
            id="a-line-a-host",
        ),
        pytest.param([wanted(inet("192.0.2.1", 53), UDP)], ["udp://192.0.2.1:53"], id="udp"),
        pytest.param(
            [wanted(WEB[0]), wanted(WEB[0], UDP), wanted(inet("198.51.100.80", 53), UDP)],
            ["198.51.100.80:443", "udp://198.51.100.80:53"],
            id="a-plain-rule-is-for-udp-as-well",
        ),
        pytest.param([wanted(inet("192.0.2.1", 0), ICMP)], ["icmp://192.0.2.1"], id="ping"),
        pytest.param([wanted(inet("192.0.2.1", 0), UDP)], ["udp://192.0.2.1"], id="port-0"),
        pytest.param(
            [wanted(inet("192.0.2.1", 7), TCP, UDP, ICMP)],
            ["192.0.2.1:7", "icmp://192.0.2.1"],
            id="whatever-the-socket-is",
        ),
        pytest.param([wanted(Unix(b"/run/x"))], ["unix:/run/x"], id="unix"),
        pytest.param([wanted(Unix(b"x", True))], ["unix:@x"], id="abstract"),
        pytest.param(
            [wanted(Unix(b"/a !b "))], ["unix:/a[ ]!b[ ]"], id="blanks-that-mean-something"
        ),
        pytest.param(
            [wanted(Unix(b"/var/run/x*"), seen=Seen(path="/run/x*"))],
            ["unix:/run/x[*]"],
            id="what-a-path-leads-to",
        ),
        pytest.param(
            [asked("a.test"), asked("b.test"), wanted(WEB[0], names=("b.test", "a.test"))],
            ["a.test:443", "b.test:443"],
            id="two-names-of-one-address",
        ),
        pytest.param([asked("a.test")], ["icmp://a.test"], id="looked-up-alone"),
        pytest.param(
            [
                asked("a.test"),
                asked("b.test"),
                wanted(WEB[0], TCP, ICMP, names=("b.test", "a.test")),
            ],
            ["a.test:443", "icmp://a.test", "b.test:443", "icmp://b.test"],
            id="two-names-of-what-could-be-a-ping",
        ),
        pytest.param(
            [asked("any"), asked("privat"), wanted(WEB[0], names=("any",))],
            ["any.:443", "icmp://privat."],
            id="a-host-that-is-called-like-a-word",
        ),
        pytest.param(
            [asked("a.test", fix="--allow a.test:443")], ["a.test:443"], id="its-port-is-guessed"
        ),
        pytest.param(
            [
                asked("a.test"),
                asked("a.test.corp.test", seen=Seen(search=("corp.test",))),
                wanted(WEB[0], names=("a.test",)),
            ],
            ["a.test:443"],
            id="the-search-list-needs-nothing",
        ),
        pytest.param(
            [
                wanted(WEB[0]),
                asked(
                    "80.100.51.198.in-addr.arpa",
                    "PTR",
                    seen=Seen(names=("80.100.51.198.in-addr.arpa",)),
                ),
            ],
            ["198.51.100.80:443"],
            id="nor-an-allowed-address-backwards",
        ),
        pytest.param(
            [asked("db.test"), wanted(inet("10.1.2.3", 5432), names=("db.test",))],
            ["db.test:5432", "10.1.2.3:5432"],
            id="a-name-that-turns-inwards-needs-both",
        ),
        pytest.param(
            [
                wanted(
                    inet("10.1.2.3", 5432),
                    names=("db.test",),
                    seen=Seen(names=("db.test",), trusted=("db.test",)),
                )
            ],
            ["db.test:5432"],
            id="unless-it-is-trusted",
        ),
        pytest.param(
            [wanted(inet("64:ff9b::a00:1", 80))],
            ["10.0.0.1:80", "[64:ff9b::a00:1]:80"],
            id="what-an-address-embeds",
        ),
        pytest.param(
            [
                wanted(inet("127.0.0.1", 8080), reason=Reason.SELF, decision=Decision.ALLOW),
                wanted(Unix(b"/run/nscd/socket"), reason=Reason.NAME_SERVICE),
                wanted(Unix(b"/var/run/nscd/socket"), reason=Reason.NO_LISTENER),
                wanted(inet("127.0.0.1", 5432), reason=Reason.NO_LISTENER),
                wanted(inet("127.0.0.1", 45000), reason=Reason.NO_LISTENER),
            ],
            [],
            id="what-needs-no-rule",
        ),
        pytest.param(
            [
                wanted(inet("127.0.0.1", 5432), reason=Reason.NO_LISTENER),
                wanted(inet("127.0.0.1", 5432), reason=Reason.FOREIGN),
            ],
            ["127.0.0.1:5432"],
            id="tried-before-somebody-listened",
        ),
    ],
)
def test_what_is_learned(some, expected):
    assert rules(*some) == expected
    # In whatever order it came up.
    assert rules(*reversed(some)) == expected


def test_what_is_given_needs_no_line():
    some = [asked("a.test"), wanted(WEB[0], names=("a.test",))]
    given = msgspec.structs.replace(DENY, allow=("*.test",))
    assert rules(asked("b.test"), given=given) == []
    assert rules(*some, given=DENY) == ["a.test:443"]


def test_a_learned_policy_is_commented():
    found = collect(
        records.start_record(
            ("make", "\n[x]"), audit=True, policy={}, host={}, assurance="", show=True
        ),
        wanted(inet("192.0.2.1", 443), program="cu\nrl = ["),
        wanted(inet("192.0.2.1", 443), program="wget"),
        wanted(inet("127.0.0.1", 5432), reason=Reason.NO_LISTENER),
        wanted(Netlink(7, 0), Protocol.NETLINK, reason=Reason.STRUCTURE),
        asked("a\\.test", fix=""),
        listening("0.0.0.0", 8080),
        listening("192.0.2.9", 8081),
        listening("::", 9000, program="node"),
        listening("0.0.0.0", 40000, program="java"),
        listening("127.0.0.1", 8082, "machine"),
    )
    text = learned.write(found, cover(found, DENY), range(32768, 61000))
    assert tomllib.loads(text) == {
        "allow": ["192.0.2.1:443"],
        "bind": ["192.0.2.9:8081", ":8080", ":9000"],
    }
    assert '"192.0.2.1:443",  # 2 calls: cu\\nrl = [' in text
    assert '#   "tcp://127.0.0.1:5432",  nobody listened there: curl' in text
    assert "#   java listened on a port of the moment" in text
    assert "#   connect by curl: 1 call, refused whatever the rules say" in text
    assert "#   look-up of a\\.test: no rule can say it: curl" in text
    assert all(line.isprintable() for line in text.splitlines())


NAMES = st.one_of(
    st.from_regex(r"[a-z]{1,8}(\.[a-z]{2,5}){0,2}", fullmatch=True),
    st.sampled_from([*set(WORDS) - {"localhost"}, "privat"]),
)
PLACES = st.one_of(
    st.builds(inet, st.ip_addresses().map(str), st.integers(0, 65535)),
    st.builds(Unix, st.binary(max_size=40).map(lambda raw: b"/" + raw.replace(b"\0", b""))),
    st.builds(Unix, st.binary(min_size=1, max_size=40), st.just(True)),
)
SOME = st.lists(
    st.one_of(
        NAMES.map(asked),
        st.builds(
            lambda place, names, protocols: wanted(
                place, *protocols, names=() if isinstance(place, Unix) else names
            ),
            PLACES,
            st.lists(NAMES, max_size=2),
            st.sets(st.sampled_from([TCP, UDP, ICMP]), min_size=1),
        ),
    ),
    max_size=12,
)


@given(SOME)
def test_under_what_was_learned_nothing_is_denied(some):
    found = collect(*some)
    covered = cover(found, DENY)
    text = learned.write(found, covered, range(0))
    policy = Policy.load(Rules(allow=tuple(tomllib.loads(text)["allow"])))
    denied = [want for want in found if not allows(policy, want)]
    assert (denied, covered.left) == ([], {})


def test_too_many_destinations_are_an_error(monkeypatch):
    monkeypatch.setattr(wants, "ROOM", 3)
    found = Wants()
    with pytest.raises(NetjailError, match="too many to list"):
        for port in range(1, 9):
            found.take(wanted(inet("192.0.2.1", port)))


def test_udp_and_tcp_of_one_port_are_one_line():
    found = cover(
        collect(
            wanted(inet("127.0.0.1", 80), UDP, reason=Reason.NO_LISTENER, program="getaddrinfo"),
            wanted(inet("127.0.0.1", 80), reason=Reason.FOREIGN),
            wanted(inet("127.0.0.1", 81), UDP, reason=Reason.FOREIGN),
            wanted(inet("127.0.0.1", 82), reason=Reason.FOREIGN),
            wanted(WEB[0], names=("a.test",)),
        ),
        DENY,
    )
    lines = [str(files.line(*one)) for one in sorted(found.targets.items())]
    assert lines == [
        '    "a.test:443",  # curl',  # a name gets a second address on some day
        '    "127.0.0.1:80",  # curl',
        '    "udp://127.0.0.1:81",  # curl',
        '    "tcp://127.0.0.1:82",  # curl',
    ]


# ---- the lock's file ----


def lock_of(*lines):
    return Lock(tuple(Line(rule, "curl") for rule in lines))


def test_a_lock_is_written_read_and_is_a_policy(tmp_path):
    path = tmp_path / "netjail.lock"
    lines = ["tcp://b.test:443", "tcp://a.test:443", "unix:/run/x\\", "udp://192.0.2.1:53"]
    lines += ["tcp://[2001:db8::1]:443", "icmp://192.0.2.1", "tcp://a.test:80"]
    lock = Lock().changed([Line(rule, "curl") for rule in lines])
    path.write_text(lock.text)
    read = files.read(str(path))
    assert read.text == lock.text
    assert [line.rule for line in read.lines] == [
        "tcp://a.test:80",
        "tcp://a.test:443",
        "tcp://b.test:443",
        "icmp://192.0.2.1",
        "udp://192.0.2.1:53",
        "tcp://[2001:db8::1]:443",
        "unix:/run/x\\",
    ]
    assert {line.program for line in read.lines} == {"curl"}
    assert read.lines[0].number == 4
    policy = Policy.load(Rules(files=(str(path),)))
    assert policy.engines[0].paths.allow[0].layer == f"{path}:10"


def test_what_stays_is_left_as_it_is():
    text = lock_of("tcp://b.test:443").text.replace(
        "    ", '    # ours\n    "tcp://a.test:443" ,   #by hand\n\n  '
    )
    lock = files.parse(text + "# the end\n", "x.lock")
    assert lock.text == text + "# the end\n"
    after = lock.changed([Line("tcp://c.test:443", "wget")], [lock.lines[1]])
    removed = text.replace('\n  "tcp://b.test:443",  # curl\n', "")
    assert (
        after.text == removed.replace("]\n", '    "tcp://c.test:443",  # wget\n]\n') + "# the end\n"
    )


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        pytest.param("", "1:1", "this is no lock", id="empty"),
        pytest.param("allow = []\n", "1:1", "this is no lock", id="a-policy"),
        pytest.param("# netjail.lock 2\nallow = [\n]\n", "1:1", "version 2", id="newer"),
        pytest.param("# netjail.lock 1\n", "1:1", "expected 'allow", id="no-list"),
        pytest.param("# netjail.lock 1\ndeny = [\n]\n", "2:1", "expected", id="another-key"),
        pytest.param("# netjail.lock 1\nallow = [\n", "2:1", "expected", id="no-end"),
        pytest.param(
            '# netjail.lock 1\nallow = [\n  "x:1"\n]\n', "3:3", "no destination", id="no-comma"
        ),
        pytest.param(
            '# netjail.lock 1\nallow = [\n"x:1", "y:1",\n]\n', "3:1", "no destination", id="two"
        ),
        pytest.param(
            '# netjail.lock 1\nallow = [\n"\\q",\n]\n', "3:1", "not a string", id="an-escape"
        ),
        pytest.param(
            '# netjail.lock 1\nallow = [\n"x:1",\n"x:1",\n]\n', "4:1", "line 3", id="twice"
        ),
        pytest.param(
            "# netjail.lock 1\nallow = [\n]\ndeny = []\n", "4:1", "unexpected", id="behind-it"
        ),
        pytest.param(
            '# netjail.lock 1\nallow = [\n<<<<<<< HEAD\n"x:1",\n=======\n"y:1",\n>>>>>>> b\n]\n',
            "3:1",
            "merge conflict",
            id="a-conflict",
        ),
    ],
)
def test_a_lock_that_was_edited_badly_is_named_with_its_place(text, place, message):
    with pytest.raises(RuleError, match=message) as caught:
        files.parse(text, "netjail.lock")
    assert str(caught.value).startswith(f"netjail.lock:{place}: ")
    assert caught.value.hint


def test_a_rule_that_does_not_parse_is_named_with_its_place(tmp_path):
    path = tmp_path / "netjail.lock"
    path.write_text(lock_of("tcp://a.test:443", "tcp://b.test:99999").text)
    with pytest.raises(NetjailError) as caught:
        locked(Rules(), files.read(str(path)), str(path))
    assert f"{path}:5:" in str(caught.value)


def test_a_lock_that_is_not_there_says_how_to_make_one(tmp_path):
    with pytest.raises(RuleError) as caught:
        files.read(str(tmp_path / "netjail.lock"))
    assert "netjail lock -- COMMAND" in caught.value.hint


# ---- held to a lock ----


class There:
    """Facts: a server of somebody else's."""

    def __getattr__(self, name):
        return lambda *_: {"owner": records.back.Owner.REMOTE, "known": Known()}.get(name, ())


@pytest.fixture
def lock_file(tmp_path):
    path = tmp_path / "netjail.lock"
    path.write_text(lock_of("tcp://192.0.2.1:443", "tcp://192.0.2.2:443").text)
    return str(path)


@pytest.mark.parametrize(
    ("given", "to", "decision", "layer"),
    [
        pytest.param({}, "192.0.2.1", "allow", "{lock}:4", id="it-is-in-the-lock"),
        pytest.param({}, "192.0.2.3", "deny", "{lock}", id="it-is-not"),
        pytest.param({"deny": ("192.0.2.1",)}, "192.0.2.1", "deny", "--deny", id="a-denial-wins"),
        pytest.param({"deny": ("192.0.2.1",)}, "192.0.2.2", "allow", "{lock}:5", id="of-its-own"),
        pytest.param({"allow": ("192.0.2.3",)}, "192.0.2.3", "allow", "--allow", id="beside-it"),
        pytest.param({"allow": ("192.0.2.3",)}, "192.0.2.1", "allow", "{lock}:4", id="or-in-it"),
        pytest.param({"files": ("{policy}",)}, "192.0.2.1", "allow", "{lock}:4", id="both-allow"),
        pytest.param({"files": ("{policy}",)}, "192.0.2.2", "deny", "", id="the-policy-does-not"),
        pytest.param({"files": ("{policy}",)}, "192.0.2.4", "deny", "{lock}", id="the-lock-not"),
        pytest.param({"files": ("{policy}",)}, "192.0.2.9", "deny", "{lock}", id="neither-is-new"),
    ],
)
def test_both_must_allow(lock_file, tmp_path, given, to, decision, layer):
    policy_file = tmp_path / "policy.toml"
    policy_file.write_text('allow = ["192.0.2.1", "192.0.2.4"]\n')
    filled = {
        key: tuple(text.format(policy=policy_file) for text in texts)
        for key, texts in given.items()
    }
    policy = locked(Rules(**filled), files.read(lock_file), lock_file)
    verdict = policy.decide(attempt(inet(to, 443)), There())
    assert (verdict.decision.value, verdict.layer) == (decision, layer.format(lock=lock_file))
    if layer == "{lock}":
        assert verdict.why.endswith(f"it is not in {lock_file}")


@pytest.mark.parametrize(
    ("late", "to", "layer"),
    [
        pytest.param("mine.test", "192.0.2.9", None, id="mine"),
        pytest.param("bad.test", "192.0.2.9", None, id="what-mine-denies"),
        pytest.param("lock.test", "192.0.2.9", None, id="the-lock"),
        pytest.param("", "192.0.2.9", "{lock}", id="none"),
        pytest.param("lock.test", "192.0.2.1", "{mine}:2", id="what-cannot-change-it"),
    ],
)
def test_names_are_waited_for(tmp_path, late, to, layer):
    """Which of the two policies had its names first changes nothing."""
    mine, lock = str(tmp_path / "mine.toml"), str(tmp_path / "netjail.lock")
    Path(mine).write_text('allow = ["mine.test"]\ndeny = ["bad.test"]\n')
    Path(lock).write_text(lock_of("tcp://lock.test:443").text)
    policy = locked(Rules(files=(mine,)), files.read(lock), lock)
    facts, led = There(), {"bad.test": frozenset({ip_address("192.0.2.1")})}
    facts.addresses = lambda name: None if name == late else led.get(name, frozenset())
    verdict = policy.decide(attempt(inet(to, 443)), facts)
    if layer is None:
        assert verdict == Pending(frozenset({late}))
    else:
        layer = layer.format(lock=lock, mine=mine)
        assert (verdict.decision, verdict.layer) == (Decision.DENY, layer)
    assert policy.by_name


# ---- what changed ----


def test_comparing():
    before = [changes.Entry("a", "pip"), changes.Entry("b", "pip"), changes.Entry("c", "pip")]
    after = [changes.Entry("a", "pip", "allow"), changes.Entry("b", "uv"), changes.Entry("d")]
    found = changes.compare(before, after, ("x", "y"))
    assert [entry.rule for entry in found.added] == ["d"]
    assert [entry.rule for entry in found.removed] == ["c"]
    assert found.changed == (changes.Change("b", "program", "pip", "uv"),)
    assert not changes.compare(before, before, ("x", "y"))


def test_a_journal_is_a_list_of_destinations():
    # Of an audit without rules: it does not say whose a listener is.
    lax = {"decision": Decision.ALLOW}
    found = changes.observed(
        [
            listening("127.0.0.1", 8080, "machine"),
            wanted(inet("127.0.0.1", 8080), **lax),
            asked("a.test", **lax),
            wanted(WEB[0], names=("a.test",), **lax),
            wanted(WEB[0], names=("a.test",)),
            wanted(Unix(b"/run/x"), **lax, program="psql"),
        ]
    )
    assert found == [
        changes.Entry("a.test:443", "curl", "allow+deny"),
        changes.Entry("unix:/run/x", "psql", "allow"),
    ]


@pytest.mark.parametrize(
    ("name", "tool"),
    [
        pytest.param("netjail.lock", ["git", "apply"], id="git"),
        pytest.param("sub/x.lock", ["git", "apply"], id="git-below"),
        pytest.param("netjail.lock", ["patch", "-p1", "-s", "-i"], id="patch"),
    ],
)
def test_a_patch_makes_the_new_lock(tmp_path, name, tool):
    needs(tool[0])
    lock = msgspec.structs.replace(lock_of("tcp://a.test:443", "tcp://m.test:443"), name=name)
    new = [Line("tcp://b.test:443", "wget"), Line("unix:/run/x", "psql")]
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(lock.text)
    (tmp_path / "change").write_text(changes.patch(lock, new))
    subprocess.run([*tool, "change"], cwd=tmp_path, check=True)
    assert (tmp_path / name).read_text() == lock.changed(new).text
    assert files.parse((tmp_path / name).read_text(), name).rules == {
        "tcp://a.test:443",
        "tcp://b.test:443",
        "tcp://m.test:443",
        "unix:/run/x",
    }


def test_diff_as_json():
    found = changes.compare([], [changes.Entry("tcp://a.test:1", "curl")], ("a", "b"))
    assert json.loads(msgspec.json.encode(found)) == {
        "schema": "netjail/diff/1",
        "before": "a",
        "after": "b",
        "added": [{"rule": "tcp://a.test:1", "program": "curl", "verdict": ""}],
        "removed": [],
        "changed": [],
    }
