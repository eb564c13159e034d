"""Lists: files as they are published in, the addresses and names that they list out."""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import tracemalloc
from ipaddress import IPv4Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import World, attempt

from netjail.endpoints import Question
from netjail.errors import Place, RuleError
from netjail.model import Attempt, Decision, Operation, Protocol
from netjail.policy import Policy, Rules, lists
from netjail.policy.addresses import AddressSet
from netjail.policy.hosts import Hosts, parents
from netjail.policy.rules import parse
from netjail.policy.targets import Target
from netjail.stops import Descriptor

ALLOW, DENY = Decision.ALLOW, Decision.DENY


def target(text: str) -> Target:
    return parse(text, Place("--allow"), "--allow").target


@pytest.fixture
def written(tmp_path):
    """A list with this text: the word that names it."""

    def write(text: str | bytes, name: str = "list") -> str:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return f"@{path}"

    return write


def names(*exact, below=()):
    return Hosts(frozenset(exact) | frozenset(below), frozenset(below))


def both(*found):
    return names(below=found)


def networks(*texts):
    return AddressSet.of(texts)


@pytest.mark.parametrize(
    ("text", "addresses", "hosts"),
    [
        pytest.param(
            "192.0.2.1\n2001:db8::1\n", ["192.0.2.1", "2001:db8::1"], None, id="addresses"
        ),
        pytest.param(
            "; Spamhaus DROP List 2026/11/22\n192.0.2.0/25 ; SBL256894\n198.51.100.0/24;SBL1\n",
            ["192.0.2.0/25", "198.51.100.0/24"],
            None,
            id="spamhaus-drop",
        ),
        pytest.param(
            "#\n# firehol_level1\n#\n# Maintainer URL : https://example.org/\n\n192.0.2.0/24\n"
            "203.0.113.7\n",
            ["192.0.2.0/24", "203.0.113.7"],
            None,
            id="a-netset",
        ),
        pytest.param(
            "192.0.2.7-192.0.2.9\n2001:db8::1 - 2001:db8::f\n198.51.100.1-198.51.100.1\n",
            [
                "192.0.2.7",
                "192.0.2.8/31",
                "198.51.100.1",
                "2001:db8::1",
                "2001:db8::2/127",
                "2001:db8::4/126",
                "2001:db8::8/125",
            ],
            None,
            id="ranges",
        ),
        pytest.param("192.0.2.77/24\n", ["192.0.2.0/24"], None, id="bits-behind-the-prefix"),
        pytest.param(
            "[2001:db8::]/32\n[2001:db9::1]\n",
            ["2001:db8::/32", "2001:db9::1"],
            None,
            id="brackets",
        ),
        pytest.param(
            "::ffff:192.0.2.0/120\n::ffff:192.0.2.1\n", ["192.0.2.0/24"], None, id="mapped"
        ),
        pytest.param("0.0.0.0\n::\n", ["127.0.0.1", "::1"], None, id="zero-is-the-loopback"),
        pytest.param(
            "192.0.2.1 # seen today\n192.0.2.2#seen\n",
            ["192.0.2.1", "192.0.2.2"],
            None,
            id="comments-behind",
        ),
        pytest.param(
            "# Title: StevenBlack/hosts\n\n127.0.0.1 localhost\n127.0.0.1 localhost.localdomain\n"
            "255.255.255.255 broadcasthost\n::1 ip6-localhost\nfe80::1%lo0 localhost\n"
            "ff02::1 ip6-allnodes\n0.0.0.0 0.0.0.0\n\n# Start\n0.0.0.0 a.example\n"
            "0.0.0.0 b.example #[Tracking]\n127.0.0.1\tc.example\n:: d.example e.example\n",
            [],
            names("a.example", "b.example", "c.example", "d.example", "e.example"),
            id="a-hosts-file",
        ),
        pytest.param(
            "0.0.0.0 allstate.example\n0.0.0.0 local.ads.example\n0.0.0.0 prefix.example\n",
            [],
            names("allstate.example", "local.ads.example", "prefix.example"),
            id="what-only-looks-like-this-machine",
        ),
        pytest.param(
            "# names\na.b\n\n  c_d.e-f.xn--p1ai  # one\na.b\n",
            [],
            names("a.b", "c_d.e-f.xn--p1ai"),
            id="names",
        ),
        pytest.param(
            "\ufeffa.b\r\nC.D.\r\nXn--P1aI.Ru\r\n",
            [],
            names("a.b", "c.d", "xn--p1ai.ru"),
            id="windows",
        ),
        pytest.param("a.b\rc.d\r", [], names("a.b", "c.d"), id="an-old-mac"),
        pytest.param("a.b\nc.d", [], names("a.b", "c.d"), id="no-end-of-line"),
        pytest.param("*.a.b\n*.C.d.\n", [], Hosts(below=frozenset({"a.b", "c.d"})), id="below"),
        pytest.param(".a.b\n.zip\n", [], both("a.b", "zip"), id="squid"),
        pytest.param(
            "[Adblock Plus]\n! Title: OISD\n!\n!----\n||a.b^\n||C.d^\n||zip^\n||192.0.2.1^\n"
            "||*.e.f^\n",
            ["192.0.2.1"],
            Hosts(frozenset({"a.b", "c.d", "zip"}), frozenset({"a.b", "c.d", "zip", "e.f"})),
            id="adblock",
        ),
        pytest.param(
            "# dnsmasq\naddress=/a.b/0.0.0.0\naddress=/c.d/#\nserver=/e.f/\nlocal=/g.h/\n"
            "address=/i.j/k.l/::\n",
            [],
            both("a.b", "c.d", "e.f", "g.h", "i.j", "k.l"),
            id="dnsmasq",
        ),
        pytest.param("münchen.example\n", [], names("xn--mnchen-3ya.example"), id="an-idn"),
        pytest.param(
            "private.\nlocalhost.\n",
            [],
            names("private", "localhost"),
            id="hosts-called-like-words",
        ),
        pytest.param(
            "0.0.0.0 a.b\nc.d\n192.0.2.0/24\n||e.f^\n",
            ["192.0.2.0/24"],
            names("a.b", "c.d", below=["e.f"]),
            id="mixed",
        ),
        pytest.param(
            "a.b # caf\u00e9\n".encode("latin-1"), [], names("a.b"), id="a-comment-in-latin-1"
        ),
        pytest.param(gzip.compress(b"a.b\n192.0.2.1\n"), ["192.0.2.1"], names("a.b"), id="packed"),
    ],
)
def test_kinds(written, text, addresses, hosts):
    assert target(f"{written(text)}:443") == Target(networks(*addresses), hosts)


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        pytest.param("-x.b", "a name is example.org", id="a-mistyped-name"),
        pytest.param("a.b c.d", "a line is an address", id="two-names"),
        pytest.param("192.0.2.1 192.0.2.2", "one address a line", id="two-addresses"),
        pytest.param("1.2.3.4.5", "an address is 192.0.2.1", id="five-numbers"),
        pytest.param("127.1", "an address is 192.0.2.1", id="a-short-address"),
        pytest.param("192.0.2.0/33", "a line is an address", id="a-long-prefix"),
        pytest.param("192.0.2.0/255.255.255.0", "192.0.2.0/24", id="a-mask"),
        pytest.param("192.0.2.9-192.0.2.7", "the lower address first", id="a-reversed-range"),
        pytest.param("192.0.2.9-2001:db8::1", "a range is", id="a-range-across-families"),
        pytest.param("2001:db8::1%eth0", "a line is an address", id="an-interface"),
        pytest.param("a.b:443", "ports go with the rule", id="a-port"),
        pytest.param("192.0.2.1:443", "ports go with the rule", id="an-address-and-port"),
        pytest.param("https://a.b/c", "write the host alone", id="a-url"),
        pytest.param("a.b/c", "a line is an address", id="a-path"),
        pytest.param("a.b !c.a.b", "an exception goes with the rule", id="an-exception"),
        pytest.param("!c.a.b", "an exception goes with the rule", id="an-exception-alone"),
        pytest.param("!192.0.2.1", "an exception goes with the rule", id="an-excepted-address"),
        pytest.param("@@||a.b^", "an exception goes with the rule", id="adblock's-exception"),
        pytest.param("a.b##.ad", "it is about parts of pages", id="a-part-of-a-page"),
        pytest.param("a.b#@#.ad", "it is about parts of pages", id="a-part-left-alone"),
        pytest.param("a.b#?#.ad:has(b)", "it is about parts of pages", id="a-procedure"),
        pytest.param("||a.b^$third-party", "only ||example.org^", id="a-condition"),
        pytest.param("||a.b", "only ||example.org^", id="a-beginning"),
        pytest.param("||a.b/ads/*", "only ||example.org^", id="a-part-of-a-host"),
        pytest.param("|a.b^", "only ||example.org^", id="one-bar"),
        pytest.param("a.b^", "only ||example.org^", id="a-caret-alone"),
        pytest.param("ads*.b.c", "a star stands in front", id="a-star-within"),
        pytest.param("*", "a star stands in front", id="a-star-alone"),
        pytest.param("a.b CNAME .", "it is a zone file", id="rpz"),
        pytest.param('{"cidr":"192.0.2.0/24"}', "it is no text", id="json"),
        pytest.param("server=/a.b/192.0.2.1", "a line is an address", id="a-server-for-a-domain"),
        pytest.param("metadata", "write a rule for the word", id="a-word"),
        pytest.param("localhost", "write a rule for the word", id="another-word"),
        pytest.param("a.b\0", "a line is an address", id="nul"),
        pytest.param("a\x1b[31m.b", "a line is an address", id="an-escape"),
        pytest.param("\u202ea.b", "a line is an address", id="bidirectional"),
        pytest.param("a." * 127 + "b", "a name is", id="a-long-name"),
        pytest.param("a" * 64 + ".b", "a name is", id="a-long-label"),
        pytest.param("\u00e9" * 100_000 + ".b", "", id="a-very-long-word"),
        pytest.param("faß.example", "xn-- form", id="two-spellings"),
    ],
)
def test_mistakes(written, line, hint):
    word = written(f"good.example\n\n  {line}\n")
    with pytest.raises(RuleError) as caught:
        target(word)
    assert str(caught.value).startswith(f"{word[1:]}:3:")
    assert hint in caught.value.hint
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


def test_every_mistake_of_a_list_is_told(written):
    with pytest.raises(RuleError) as caught:
        target(written("a.b\n||c.d\n192.0.2.0/33\ne.f\n-g.h\n"))
    told = str(caught.value).splitlines()
    assert [line.split(":")[1] for line in told] == ["2", "3", "5"]


@pytest.mark.parametrize(
    "part",
    [
        *("!a.", "a.", "a-", "a", "-", ".", "1:", "1.", "*.", "|", "#", "# ", "[", "/a", "é"),
        *("1.2.3.4 ", "address=/", "a-1:", "::", "\t", "0.0.0.0 ", "$", "!", "! ", "@@", "://"),
        "x" * 62 + ".",
    ],
)
def test_a_hostile_line_takes_no_time(written, part):
    """It takes milliseconds; what looks at each pair of its parts takes hours."""
    for ending in ("", " /", "^", " x", "\0"):
        with contextlib.suppress(RuleError):
            target(written(part * (200_000 // len(part)) + ending))


def test_of_very_many_mistakes_the_first_are_told(written):
    with pytest.raises(RuleError) as caught:
        target(written("/ads/*\n" * 5000))
    told = str(caught.value).splitlines()
    assert len(told) == 21
    assert told[-1].endswith("4980 more lines are not understood")


def test_another_encoding(written):
    with pytest.raises(RuleError, match=r"list:2:1: .* is not UTF-8"):
        target(written(b"a.b\n\xff.b\n"))
    with pytest.raises(RuleError, match="is not UTF-8"):
        target(written("a.b\n".encode("utf-16")))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\n# nothing\n", id="comments"),
        pytest.param(b"127.0.0.1 localhost\n", id="this-machine"),
    ],
)
def test_an_empty_list_is_a_mistake(written, text):
    with pytest.raises(RuleError, match="lists nothing"):
        target(written(text))


def test_what_is_no_file_is_not_read(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, reason in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "Is a directory"),
        ("/dev/zero", "no regular file"),
        (pipe, "lists nothing"),  # nobody writes to it
    ):
        with pytest.raises(RuleError, match=f"--allow: '@{path}'.*{reason}"):
            target(f"@{path}")


def test_a_pipe_is_read_for_the_command_line_alone(tmp_path):
    reader, writer = os.pipe()
    os.write(writer, b"a.b\n")
    os.close(writer)
    with pytest.raises(RuleError, match="no regular file"):
        parse(f"@/dev/fd/{reader}", Place(__file__, 1, 1), "netjail.toml:1")
    assert target(f"@/dev/fd/{reader}").hosts == names("a.b")
    os.close(reader)


def test_a_packed_list_has_its_limit(written, monkeypatch):
    monkeypatch.setattr(lists, "_SIZE", 1 << 20)
    with pytest.raises(RuleError, match="more than 1 MiB"):
        target(written(gzip.compress(b"#" * (3 << 20))))
    with pytest.raises(RuleError, match="cannot be read"):
        target(written(gzip.compress(b"a.b\n" * 1000)[:-20]))
    with pytest.raises(RuleError, match="cannot be read"):
        target(written(b"\x1f\x8b and no more of it"))


def test_a_list_lies_beside_the_file_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "names.txt").write_text("a.b\nc.d\n")
    path = tmp_path / "policy" / "netjail.toml"
    path.write_text('allow = ["@names.txt:443"]\n')
    monkeypatch.chdir(tmp_path)
    assert Policy.load(Rules(files=(str(path),))).engines[0].naming.allow.rules
    with pytest.raises(RuleError, match=r"--allow.*'@names.txt' cannot be read"):
        Policy.load(Rules(allow=("@names.txt",)))


def test_a_tilde_is_the_users_home(written, tmp_path, monkeypatch):
    written("a.b\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert target("@~/list:443").hosts == names("a.b")


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """A policy that is found, and the list beside it."""
    path = tmp_path / "netjail.toml"
    path.write_text('allow = ["@names.txt"]\n')
    path.chmod(0o644)
    names = tmp_path / "names.txt"
    names.write_text("a.b\n")
    names.chmod(0o644)
    monkeypatch.chdir(tmp_path)
    return names


def test_a_list_is_as_safe_as_the_policy_that_names_it(beside):
    assert Policy.load(Rules(search=True)).engines[0].naming.allow.rules
    beside.chmod(0o666)
    with pytest.raises(RuleError, match=r"netjail.toml:1:\d+: .*others than its owner can write"):
        Policy.load(Rules(search=True))
    assert Policy.load(Rules(files=("netjail.toml",))), "who names it trusts it"
    assert Policy.load(Rules(allow=("@names.txt",))), "who names it trusts it"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_a_list_of_somebody_else_is_not_read(beside):
    os.chown(beside, 4242, -1)
    with pytest.raises(RuleError, match="belongs to uid 4242"):
        Policy.load(Rules(search=True))


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_a_link_to_a_list_is_who_made_it(beside, tmp_path):
    beside.rename(tmp_path / "mine")
    beside.symlink_to(tmp_path / "mine")
    assert Policy.load(Rules(search=True)).files
    os.chown(beside, 4242, -1, follow_symlinks=False)
    with pytest.raises(RuleError, match="belongs to uid 4242"):
        Policy.load(Rules(search=True))


def test_a_list_is_read_once(written):
    word = written("a.b\n192.0.2.1\n")
    first = target(f"{word}:80")
    assert target(f"{word}:443") is first
    changed = written("a.b\n192.0.2.1\nc.d\n")
    assert target(changed).hosts == names("a.b", "c.d")


def judged(policy: Policy, what: str) -> Decision:
    if ":" in what:
        verdict = policy.decide(attempt(what), World())
    else:
        question = Question(what, "A", None)
        call = Attempt(
            1, 1, "", Operation.RESOLVE, frozenset({Protocol.UDP}), question, Descriptor(0)
        )
        verdict = policy.decide(call, World())
    return verdict.decision


@pytest.mark.parametrize(
    ("allow", "deny", "allowed", "denied"),
    [
        pytest.param(
            ["@{}"],
            [],
            ["192.0.2.1:80", "a.b", "x.e.f"],
            ["198.51.100.1:80", "c.d"],
            id="as-allow",
        ),
        pytest.param(
            ["any"],
            ["@{}"],
            ["198.51.100.1:80", "c.d"],
            ["192.0.2.1:80", "a.b", "x.e.f", "[64:ff9b::192.0.2.1]:80"],
            id="as-deny",
        ),
        pytest.param(["@{}:443"], [], ["192.0.2.1:443", "a.b"], ["192.0.2.1:80"], id="with-ports"),
        pytest.param(["udp://@{}"], [], [], ["192.0.2.1:443"], id="with-a-protocol"),
        pytest.param(
            ["any"],
            ["@{} !192.0.2.1 !a.b"],
            ["192.0.2.1:80", "a.b"],
            ["192.0.2.2:80", "e.f"],
            id="with-exceptions",
        ),
        pytest.param(
            ["any !@{}"], [], ["198.51.100.1:80", "c.d"], ["192.0.2.1:80"], id="as-an-exception"
        ),
        pytest.param(
            ["any"], ["*.f !@{}"], ["x.e.f", "192.0.2.1:80"], ["y.f"], id="as-an-exception-to-names"
        ),
    ],
)
def test_rules_with_a_list(written, allow, deny, allowed, denied):
    word = written("192.0.2.0/24\na.b\n.e.f\n")[1:]
    policy = Policy.load(
        Rules(
            allow=tuple(rule.format(word) for rule in allow),
            deny=tuple(rule.format(word) for rule in deny),
        )
    )
    assert [what for what in allowed if judged(policy, what) is not ALLOW] == []
    assert [what for what in denied if judged(policy, what) is not DENY] == []


def test_addresses_beside_names_are_remembered_like_any(written):
    word = written("192.0.2.0/24\na.b\n")
    policy = Policy.load(Rules(allow=("any",), deny=(word,)))
    verdict = policy.decide(attempt("192.0.2.1:80"), World())
    assert (verdict.decision, verdict.cacheable) == (DENY, True)
    assert policy.decide(attempt("198.51.100.1:80"), World()).cacheable is False


def test_the_way_out_of_a_list_is_an_exception(written):
    word = written("192.0.2.0/24\na.b\n")
    policy = Policy.load(Rules(allow=("any",), deny=(word,)))
    assert policy.decide(attempt("192.0.2.1:80"), World()).fix == f"--deny '{word} !192.0.2.1'"


ENTRY = st.one_of(
    st.integers(0, 2**32 - 1).map(lambda n: str(IPv4Address(n))),
    st.tuples(st.integers(0, 2**32 - 1), st.integers(20, 32)).map(
        lambda pair: str(ip_network((pair[0], pair[1]), strict=False))
    ),
    st.tuples(st.integers(0, 2**128 - 1), st.integers(100, 128)).map(
        lambda pair: str(ip_network((pair[0].to_bytes(16, "big"), pair[1]), strict=False))
    ),
    st.builds(
        "{}{}.{}".format,
        st.sampled_from(["", "*.", "."]),
        st.from_regex(r"[a-z][a-z0-9_]{0,3}(\.[a-c])?", fullmatch=True),
        st.sampled_from(["aa", "bb", "xn--p1ai"]),
    ),
)
SPELLED = st.tuples(
    ENTRY,
    st.sampled_from(["", "  ", "\t"]),
    st.sampled_from(["", " # why", " ; why", "\t#"]),
    st.sampled_from(["\n", "\r\n", "\n\n", "\n# line\n"]),
    st.sampled_from([str, str.upper]),
).map(lambda parts: (parts[0], f"{parts[1]}{parts[4](parts[0])}{parts[2]}{parts[3]}"))


@given(st.lists(SPELLED, min_size=1, max_size=12), st.data())
def test_a_list_means_what_its_entries_mean_one_by_one(tmp_path_factory, spelled, data):
    path = tmp_path_factory.mktemp("lists") / "list"
    path.write_text("".join(text for _, text in spelled), newline="")
    whole = target(f"@{path}")
    single = [target(entry) for entry, _ in spelled]
    exact = {name for each in single if each.hosts for name in each.hosts.exact}
    below = {name for each in single if each.hosts for name in each.hosts.below}
    assert whole.addresses == AddressSet.union(each.addresses for each in single)
    assert (whole.hosts or Hosts()) == Hosts(frozenset(exact), frozenset(below))
    for name in data.draw(st.lists(st.sampled_from(sorted({"aa", *exact, *below})))):
        for asked in (name, f"x.{name}"):
            naive = asked in exact or any(parent in below for parent in parents(asked))
            assert (whole.hosts or Hosts()).matches(asked) == naive


def test_a_long_list_costs_little_a_name(written):
    """No object a name but the name: 16 to 32 bytes of a set's table, and its text."""
    word = written("".join(f"0.0.0.0 host{number}.example\n" for number in range(100_000)))
    tracemalloc.start()
    found = target(word)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.hosts and len(found.hosts.exact) == 100_000
    assert found.hosts.matches("host99999.example")
    assert held < 150 * 100_000
    assert peak < 250 * 100_000


def test_a_list_holds_in_a_jail(trace, native, serve, runner):
    server = serve()
    path = runner.workdir / "list"
    path.write_text(f"; a list\n{server.host}/32 ; SBL1\nads.example\n")
    assert native(fixture="connect_inet", to=server).exit_code == 0
    denying = ("--default", "allow", "--deny", f"@{path}:{server.port}")
    result = trace(*denying, fixture="connect_inet", to=server)
    assert (result.exit_code, server.accepted) == (errno.ECONNREFUSED, 1)
    (attempt,) = result.attempts
    assert attempt.fix == f"--deny '@{path}:{server.port} !{server.host}'"
    allowing = ("--allow", f"@{path}:{server.port}")
    assert trace(*allowing, fixture="connect_inet", to=server).exit_code == 0
    assert server.accepted == 2
