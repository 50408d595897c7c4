#!/bin/bash
# machine.sh ARCHITECTURE [prepare | TEST...]
#
# Runs tests of what looks at bytes as a program of another architecture: s390x is big-endian, i386 and armhf have 32 bits.
# Python, pytest and the rest are the distribution's packages for it, unpacked into .cache/machines/, run by QEMU's
# user mode (i386 by the processor itself). The engine is run compiled, where there is a compiler for that
# architecture (gcc-s390x-linux-gnu, gcc-i686-linux-gnu), and interpreted. PYTHON is one with Cython, which writes the C.
#
# needs: qemu-user-static, the compiler and its libc6-dev-*-cross; root is not needed but for apt. 100 MB; the packages come in
# 20 s, the engine is compiled in 1 minute, and the 258 tests take 10 s (i386) to 53 s (s390x, interpreted). On two busy cores
# all of it took 2 minutes (i386) and 4 (s390x).
set -eu
machine=$1; shift
top=$(realpath "$(dirname "$0")/.."); cd "$top"; here=$top/.cache/machines/$machine; root=$here/root; python=${PYTHON-.venv/bin/python}
case $machine in
    s390x) emulator=qemu-s390x-static compiler=s390x-linux-gnu-gcc library=s390x-linux-gnu;;
    armhf) emulator=qemu-arm-static compiler=arm-linux-gnueabihf-gcc library=arm-linux-gnueabihf;;
    i386) emulator= compiler=i686-linux-gnu-gcc library=i386-linux-gnu;;
    *) echo "machine.sh: not $machine; s390x, armhf, i386" >&2; exit 2;;
esac
[ $# -gt 0 ] || set -- tests/test_{wire,verdicts,evidence}.py  # the loads, the layout, the table's steps

# -- the packages, by lists of our own: the host's apt is not touched
if [ ! -e "$here/ready" ]; then
    rm -rf "$here"; mkdir -p "$here"/apt/{lists/partial,cache/archives/partial} "$root"; : >"$here/apt/status"
    key=/usr/share/keyrings/debian-archive-keyring.gpg
    mirror=$(sed -nE 's#^(URIs: *|deb (\[[^]]*\] )?)(https?://[^ ]*)/debian/?( .*)?$#\3#p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1)
    echo "deb [signed-by=$key] $mirror/debian bookworm main" >"$here/apt/sources.list"
    cat >"$here/apt/apt.conf" <<END
APT::Architecture "$machine"; APT::Architectures { "$machine"; }; APT::Sandbox::User "root"; Acquire::Languages "none";
Dir::State::lists "$here/apt/lists"; Dir::State::status "$here/apt/status"; Dir::Cache "$here/apt/cache";
Dir::Etc::sourcelist "$here/apt/sources.list"; Dir::Etc::sourceparts "/dev/null";
END
    export APT_CONFIG=$here/apt/apt.conf
    apt-get -qq update
    apt-get -qq -y --no-install-recommends --download-only install libpython3.11-dev iproute2 python3-{pytest,pytest-timeout,hypothesis,jinja2,scapy,tabulate,tqdm} >/dev/null
    for one in "$here"/apt/cache/archives/*.deb; do dpkg -x "$one" "$root"; done
    rm -rf "$here/apt/cache"; touch "$here/ready"
fi

# -- this checkout, and its engine for that machine
work=$here/work; rm -rf "$work"; mkdir -p "$work"
cp -a --parents $(git ls-files) "$work"
site=$("$python" -c 'import cython, os; print(os.path.dirname(os.path.realpath(cython.__file__)))'); cp -r "$site"/cython.py "$work"; mkdir "$work/Cython"; cp "$site"/Cython/{__init__,Shadow}.py "$work/Cython"
rm -rf "$here/compiled"; mkdir "$here/compiled"
if command -v "$compiler" >/dev/null && "$python" setup.py -q --version >"$here/cython.log" 2>&1; then  # on its way it writes the C
    for source in analysis/engine/*.c; do
        "$compiler" -shared -fPIC -O1 -g0 -w -I "$root/usr/include/python3.11" -I "$root/usr/include" -I "$root/usr/include/$library" -o "$here/compiled/$(basename "${source%.c}").so" "$source"
    done
else
    echo "no $compiler, or no Cython: interpreted alone"
fi

[ "$1" != prepare ] || exit 0  # tools/kernels/boot.sh goes on from here

run() { # as a program of that machine
    (cd "$work" && PYTHONDONTWRITEBYTECODE=1 PYTHONHOME=$root/usr PYTHONPATH=.:$root/usr/lib/python3/dist-packages ${emulator:-env LD_LIBRARY_PATH=$root/lib/$library:$root/usr/lib/$library $(find "$root" -name 'ld-linux*.so*' | head -n 1)} ${emulator:+-L "$root"} "$root/usr/bin/python3.11" "$@")
}
run -c 'import os, sys; print(f"{sys.byteorder}-endian, {sys.maxsize.bit_length() + 1} bits")'
for form in interpreted compiled; do
    if [ $form = compiled ]; then
        [ -n "$(ls "$here/compiled")" ] || continue
        cp "$here/compiled/"*.so "$work/analysis/engine/"
    fi
    echo "The engine $form:"; run -m pytest -q -p no:cacheprovider -o timeout=900 "$@"
done
