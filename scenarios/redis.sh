#!/bin/bash
# The story with the programs that it happened to: Redis, a proxy in front of it (twemproxy, Debian's nutcracker), and
# the Redis dies. Run it under capture, in a network namespace with few ephemeral ports:
#
#   selfconn-capture --private --range 50000-50031 --then wait -- scenarios/redis.sh
set -eu
PATH=$PATH:/usr/sbin:/sbin
server=50000
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/nutcracker.yml" <<END
pool:
  listen: $work/proxy # a Unix socket: the clients use up no ports
  redis: true
  preconnect: true
  server_retry_timeout: 100
  servers:
    - 127.0.0.1:$server:1
END

start_redis() { redis-server --port $server --bind 127.0.0.1 --dir "$work" --save '' --appendonly no; }
ask() { timeout 5 redis-cli -s "$work/proxy" "$@" 2>&1 || true; }
alive() { # or there is no point in waiting
    sleep 0.05
    kill -0 "$1" || { cat "$work"/*.log; exit 1; }
}
connected_to_itself() { # one line of the kernel's with both ends the same, ESTABLISHED (01)
    local end
    end=$(printf '0100007F:%04X' $server)
    grep -q " $end $end 01 " /proc/net/tcp
}

start_redis >"$work/redis.log" &
redis=$!
# Whoever dials a port that is not served yet can connect to himself: so the log is asked, and not the port.
until grep -qs 'Ready to accept connections' "$work/redis.log"; do alive $redis; done
nutcracker --conf-file="$work/nutcracker.yml" --output="$work/nutcracker.log" --stats-port=22222 &
until [ "$(ask set a 1)" = OK ]; do alive $!; done
echo "a client asks the proxy:         get a -> $(ask get a)"

redis-cli -p $server shutdown nosave
wait $redis || true
echo "Redis is shut down:              get a -> $(ask get a)"

requests=1
until connected_to_itself; do
    [ $requests -lt 5000 ] || { echo "$requests requests, and nothing happened"; exit 1; }
    ask get a >/dev/null
    requests=$((requests + 1))
done
echo "after $requests requests:"
if command -v ss >/dev/null; then ss --tcp --numeric --processes --no-header "sport = :$server" | tr -s ' '; fi
echo "a client gets its request back:  get a -> $(ask get a | tr '\n' ' ')"
echo "and Redis cannot start:          $(start_redis 2>&1 | grep -o 'bind: .*' | head -n 1)"
