#!/bin/sh
# What of the lessons works on this machine, and what to do where it does not: for a class, the week before.
#
# It needs nothing but a POSIX shell, changes nothing, and needs no root. Exit status 0: all lessons work; 1: some do, or
# need something (it says what); 2: only the pages in a browser.
here=$(dirname "$0")
status=0
plain=0

say() { printf '%-7s %-22s %s\n' "$1" "$2" "$3"; }
lacks() { say lacks "$1" "$2"; [ "$status" -gt 1 ] || status=1; }
have() { command -v "$1" >/dev/null 2>&1; }

system=$(uname -s)
release=$(uname -r)
case $system in
Linux)
    case $release in
    *[Mm]icrosoft*) say ok system "Linux $release, WSL: as any Linux where unshare works (below); WSL 1 has no namespaces" ;;
    *) say ok system "Linux $release" ;;
    esac
    ;;
Darwin)
    lacks system "macOS refuses self-connects (EINVAL): a virtual machine with Linux, or the pages in a browser"
    plain=1
    ;;
*)
    lacks system "$system: the lessons are for Linux: a virtual machine, or the pages in a browser"
    plain=1
    ;;
esac

if [ "$plain" -eq 0 ]; then
    if python=$("$here/../tools/find-python" 2>/dev/null); then
        say ok python "$("$python" --version 2>&1)"
    else
        lacks python "3.11 or newer with venv (package python3-venv; Ubuntu 22.04: docs/lessons/README.md)"
    fi
    if [ -x "$here/../.venv/bin/selfconn-analyze" ]; then
        say ok selfconn "set up in .venv"
    elif have selfconn-analyze; then
        say ok selfconn "installed"
    else
        lacks selfconn "not set up: make demo"
    fi
    if ! have unshare; then
        lacks 'private network' "unshare is missing (package util-linux)"
    elif unshare --map-root-user --net true 2>/dev/null; then
        say ok 'private network' "everybody may make one"
    else
        why=''
        for setting in kernel/apparmor_restrict_unprivileged_userns kernel/unprivileged_userns_clone user/max_user_namespaces; do
            [ ! -r "/proc/sys/$setting" ] || why="$why $(echo "$setting" | tr / .)=$(cat "/proc/sys/$setting")"
        done
        lacks 'private network' "not for everybody here ($(echo $why)): sudo unshare --net env PATH=\"\$PATH\" bash"
    fi
    for pair in bash:bash ip:iproute2 ss:iproute2; do
        if have "${pair%:*}"; then say ok "${pair%:*}" "lessons 1 to 9"; else lacks "${pair%:*}" "package ${pair#*:}"; fi
    done
    for three in tshark:tshark:2,3,4,7 tcpdump:tcpdump:7 sudo:sudo:4b redis-server:redis-server:6 \
        redis-cli:redis-tools:6 nutcracker:nutcracker:6; do
        program=${three%%:*}
        rest=${three#*:}
        if have "$program" || [ -x "/usr/sbin/$program" ]; then
            say ok "$program" "lesson ${rest#*:}"
        else
            lacks "$program" "package ${rest%:*}, for lesson ${rest#*:} only"
        fi
    done
    series=${release%%[!0-9.]*}
    major=${series%%.*}
    minor=${series#*.}
    minor=${minor%%.*}
    if [ "$major" -gt 6 ] || { [ "$major" -eq 6 ] && [ "$minor" -ge 11 ]; }; then
        say ok kernel "6.11 or later: its third segment has D-SACK, as in the lessons"
    else
        say note kernel "before 6.11: its third segment may be a plain ACK (lesson 4b says why); that is a lesson, too"
    fi
    if [ "$major" -lt 6 ] || { [ "$major" -eq 6 ] && [ "$minor" -lt 8 ]; }; then
        say note kernel "before 6.8: the odd port of lesson 3 (IP_LOCAL_PORT_RANGE) may not be hit"
    fi
fi
say ok browser "every page in pcaps/ (*.html) opens from here, without Linux and without selfconn"
[ "$plain" -eq 0 ] || status=2
exit "$status"
