#!/bin/sh
# The story's own loop: a client that keeps dialling a port where nobody listens.
while true; do
    telnet "${1:-127.0.0.1}" "${2:-50000}"
done
