#!/bin/sh
# redis-server and its load in one jail: redis.sh PORT REQUESTS
# prints the nanoseconds that a request took.
port=$1 requests=$2 tries=0
redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no >/dev/null 2>&1 &
server=$!
trap 'kill $server; wait $server' EXIT
until redis-cli -p "$port" ping >/dev/null 2>&1; do
	tries=$((tries + 1))
	[ $tries -lt 100 ] || { echo "redis-server does not answer" >&2; exit 1; }
	sleep 0.05
done
redis-benchmark -p "$port" -n "$requests" -c 20 -t set,get --csv |
	awk -F'"' 'NR > 1 && $4 > 0 { sum += 1e9 / $4; tests++ }
		END { if (!tests) exit 1; printf "%.1f\n", sum / tests }'
