#!/bin/sh
# Mark the exercise of docs/teaching.md: for each name on standard input, a line each, the capture FOLDER/NAME.pcapng, the
# name in small letters with - for what is neither a letter nor a digit. Prints port, points of 4, what is missing, name.
#
#     scenarios/mark.sh FOLDER <names.txt
#
# ANALYZE is the command to use (selfconn-analyze).
set -u
folder=${1:?a folder with captures}

port_of() { echo $((32768 + 2 * ($(printf %s "$1" | cksum | cut -d ' ' -f 1) % 14116))); }
file_of() { printf '%s/%s.pcapng\n' "$folder" "$(printf %s "$1" | LC_ALL=C tr 'A-Z' 'a-z' | LC_ALL=C tr -cs 'a-z0-9' -)"; }

asks() { "${ANALYZE:-selfconn-analyze}" -q --port "$port" "$@" -- "$file" >/dev/null 2>&1; }
point() { # WHAT EXPECTATION...: one point if it holds
    what=$1
    shift
    if asks "$@"; then points=$((points + 1)); else missing="$missing, $what"; fi
}

while IFS= read -r name || [ -n "$name" ]; do
    [ -n "$name" ] || continue
    port=$(port_of "$name") file=$(file_of "$name") points=0 missing=''
    if [ -r "$file" ]; then
        point 'one self-connect' --expect 'self-connect=1'
        point 'a refused attempt' --expect 'refused>=1'
        point 'the open' --only self-connect --expect-states 'CLOSED>SYN-SENT>SYN-RECEIVED>ESTABLISHED'
        point 'the close' --only self-connect --expect-states 'ESTABLISHED>FIN-WAIT-1>CLOSING>TIME-WAIT'
        missing=${missing#, }
    else
        missing="no capture $(basename "$file")"
    fi
    printf '%s  %s of 4  %-20s %s\n' "$port" "$points" "${missing:--}" "$name"
done
