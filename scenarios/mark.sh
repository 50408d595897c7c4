#!/bin/sh
# Mark the exercise of docs/teaching.md: for each name on standard input, a line each, the capture FOLDER/NAME.pcapng, the
# name in small letters with - between its words; or FOLDER/PORT.pcapng. Prints port, points of 4, name, what is missing.
#
#     scenarios/mark.sh FOLDER <names.txt
#
# ANALYZE is the command to use (selfconn-analyze).
set -u
folder=${1:?a folder with captures}

port_of() { echo $((32768 + 2 * ($(printf %s "$1" | cksum | cut -d ' ' -f 1) % 14116))); }
file_of() { # what is no ASCII stays as it is
    printf '%s.pcapng\n' "$(printf %s "$1" | LC_ALL=C tr 'A-Z' 'a-z' | LC_ALL=C tr -s '\000-\054\056-\057\072-\140\173-\177' -)"
}

asks() { "${ANALYZE:-selfconn-analyze}" -q --port "$port" "$@" -- "$file" >/dev/null 2>&1; }
point() { # WHAT EXPECTATION...: one point if it holds
    what=$1
    shift
    if asks "$@"; then points=$((points + 1)); else missing="$missing, $what"; fi
}

cr=$(printf '\r')
while IFS= read -r name || [ -n "$name" ]; do
    name=${name%"$cr"} # a list from Windows
    [ -n "$name" ] || continue
    port=$(port_of "$name") by_name=$(file_of "$name") points=0 missing=''
    file=$folder/$by_name
    [ -r "$file" ] || file=$folder/$port.pcapng
    if [ -r "$file" ]; then
        point 'one self-connect' --expect 'self-connect=1'
        point 'a refused attempt' --expect 'refused>=1'
        point 'the open' --only self-connect --expect-states 'CLOSED>SYN-SENT>SYN-RECEIVED>ESTABLISHED'
        point 'the close' --only self-connect --expect-states 'ESTABLISHED>FIN-WAIT-1>CLOSING>TIME-WAIT'
        missing=${missing#, }
    else
        missing="a capture $by_name or $port.pcapng"
    fi
    printf '%s  %s of 4  %s%s\n' "$port" "$points" "$name" "${missing:+: without $missing}"
done
