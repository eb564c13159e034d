#!/bin/sh
# nginx and wrk in one jail: nginx.sh PORT FOLDER
# prints the nanoseconds that a request took.
port=$1 folder=$2/nginx-$1 tries=0
mkdir "$folder"
cat >"$folder/nginx.conf" <<END
daemon off; worker_processes 1; pid nginx.pid; error_log error.log;
events { worker_connections 256; }
http {
	access_log off; client_body_temp_path body; proxy_temp_path proxy;
	fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	server { listen 127.0.0.1:$port; location / { return 200 "ok"; } }
}
END
nginx -p "$folder/" -e error.log -c nginx.conf &
server=$!
trap 'kill $server; wait $server; rm -r "$folder"' EXIT
until [ -s "$folder/nginx.pid" ]; do # written after listen(2)
	tries=$((tries + 1))
	[ $tries -lt 100 ] || { cat "$folder/error.log" >&2; exit 1; }
	sleep 0.05
done
wrk -t1 -c16 -d2s "http://127.0.0.1:$port/" |
	awk '/Requests\/sec/ { rate = $2 } /Non-2xx|Socket errors/ { bad = 1 }
		END { if (bad || !rate) exit 1; printf "%.1f\n", 1e9 / rate }'
