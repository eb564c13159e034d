#!/bin/sh
# netjail at work on a real program: docs/demo.sh [NETJAIL]
#
# A web server on loopback plays the outside world, so that this needs no network.
set -eu
exec 2>&1 # one stream: what the program says, then what netjail says

netjail=${1:-netjail}
case $netjail in */*) netjail=$(cd "$(dirname "$netjail")" && pwd)/${netjail##*/} ;; esac
PATH=$(dirname "$netjail"):$PATH
folder=$(mktemp -d)
trap 'kill "$server" 2>/dev/null; rm -rf "$folder"' EXIT
cd "$folder"
echo 'hello from outside the jail' >page

# Port 0: the kernel picks a free one, and the server's first line says which.
: >server.log
python3 -u -m http.server 0 --bind 127.0.0.1 >server.log 2>&1 &
server=$!
port=
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
	port=$(sed -n 's/.* port \([0-9]*\).*/\1/p' server.log)
	[ -z "$port" ] || break
	sleep 0.25
done
[ -n "$port" ] || { cat server.log >&2; exit 1; }

url=http://127.0.0.1:$port/page
if command -v curl >/dev/null; then
	fetch="curl -sS $url"
else
	fetch="python3 -c 'import urllib.request as r; print(r.urlopen(\"$url\").read().decode(), end=\"\")'"
fi

bold= plain=
if [ -t 1 ]; then
	bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi

title() {
	printf '\n%s# %s%s\n' "$bold" "$1" "$plain"
}

run() {
	printf '$ %s\n' "$*"
	status=0
	eval "$*" || status=$?
	[ $status -eq 0 ] || printf '(exit status %s)\n' $status
	[ $status -ne 125 ] || exit 1 # netjail itself failed
}

title 'Nothing is allowed: the program is refused, and told so by the kernel.'
run "netjail trace --events run.jsonl -- sh -c '$(printf %s "$fetch" | sed "s/'/'\\\\''/g")'"
title 'The line after "fix:" lets it through.'
run "netjail trace --allow 127.0.0.1:$port -- $fetch"
title 'An audit refuses nothing and records everything.'
run "netjail audit --events audit.jsonl -- $fetch"
title 'The journal: one line of JSON an event, as it happened.'
run 'head -n 3 run.jsonl'
