#!/bin/bash
# boot.sh DIRECTORY KERNEL... [-- COMMAND...]
#
# Runs this checkout on other Linux kernels, with nothing but packages of the distribution (Debian 12; root is not needed
# but for apt). DIRECTORY is scratch space and keeps what was downloaded. A KERNEL is
#   um:5.10  um:6.1          user-mode-linux of bullseye (5.10.46) and bookworm: a kernel as a process, at full speed, but without
#                            tracepoints. It does not start on processors with AMX ("ptrace set fp regs failed"), and those of
#                            trixie and forky want a newer libc.
#   vm:PACKAGE               a kernel package in QEMU (TCG), e.g. vm:linux-image-5.10.0-30-cloud-amd64-unsigned
#   newest:REGEX oldest:REGEX  the same, the package by the version in its name: packages vanish. One that is absent is said
#   s390x:REGEX                the newest of Debian's for IBM's mainframes, which are big-endian, with what machine.sh unpacks
# COMMAND runs in the guest as root, by sh, in /out; what it leaves there comes back to DIRECTORY/KERNEL/. The default is
# guest.py, whose answers table.py turns into a table. VENV is the environment with selfconn (default .venv).
#
# The guest has no disk: all that Python and VENV need goes into one initramfs, so no module of the kernel is needed but
# tcp_diag (and veth for the tests). What comes out goes through a second serial line (QEMU) or a file (UML), as a tar archive.
#
# needs: qemu-system-x86 busybox-static iproute2 cpio kmod xz-utils zstd bc (UML needs all but the first; s390x needs
# qemu-system-misc, qemu-user-static and gcc-s390x-linux-gnu, too)
set -eu
dir=$(realpath "$1"); shift; kernels=(); while [ $# -gt 0 ] && [ "$1" != -- ]; do kernels+=("$1"); shift; done; [ $# -gt 0 ] && shift
venv=$(realpath "${VENV-.venv}"); python=$(readlink -f "$venv/bin/python"); top=$(realpath "$(dirname "$0")/../..")
if [ -n "$(find "$top"/analysis/engine -name '*.so' -print -quit)" ] && [ -n "$(find "$top"/analysis/engine \( -name '*.py' -o -name '*.pxd' \) -newer "$(ls -t "$top"/analysis/engine/*.so | tail -n 1)" -print -quit)" ]; then
    echo "boot.sh: the compiled engine is older than its source: it would be another one that is measured. Compile it anew (rm analysis/engine/*.so runs it interpreted)" >&2; exit 2
fi
mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial" "$dir/debs" "$dir/k"

# -- packages of other suites, from the mirror that apt is set up for, by lists of our own: the host's apt is not touched.
#    Ubuntu's, too: its first kernels stay in the archive. Its keyring is a package of Debian.
deb() { # deb DIRECTORY PACKAGE[=VERSION or /SUITE]...: fetch and unpack
    local to=$1 one; shift
    for one in "$@"; do
        local at; at=$(mktemp -d "$dir/debs/XXXXXX"); (cd "$at" && APT_CONFIG=${conf-$dir/apt/apt.conf} apt-get -qq download "$one"); dpkg -x "$at"/*.deb "$to"; rm -r "$at"
    done
}
if [ ! -e "$dir/apt/ready" ]; then
    key=/usr/share/keyrings/debian-archive-keyring.gpg mirror=$(sed -nE 's#^(URIs: *|deb (\[[^]]*\] )?)(https?://[^ ]*)/debian/?( .*)?$#\3#p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1)
    cat >"$dir/apt/apt.conf" <<END
Dir::Etc::sourcelist "$dir/apt/sources.list"; Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "$dir/apt/lists"; Dir::Cache "$dir/apt/cache"; Acquire::Languages "none"; APT::Sandbox::User "root";
END
    for suite in bullseye bookworm bookworm-backports trixie trixie-backports; do echo "deb [signed-by=$key] $mirror/debian $suite main"; done >"$dir/apt/sources.list"
    for suite in bullseye-security bookworm-security; do echo "deb [signed-by=$key] $mirror/debian-security $suite main"; done >>"$dir/apt/sources.list"
    APT_CONFIG=$dir/apt/apt.conf apt-get -qq update; deb "$dir/ubuntu" ubuntu-keyring
    for suite in bionic focal focal-updates jammy jammy-updates noble noble-updates; do echo "deb [signed-by=$dir/ubuntu/usr/share/keyrings/ubuntu-archive-keyring.gpg] ${UBUNTU-http://archive.ubuntu.com}/ubuntu $suite main"; done >>"$dir/apt/sources.list"
    APT_CONFIG=$dir/apt/apt.conf apt-get -qq update || echo "no kernels of Ubuntu"; touch "$dir/apt/ready"
fi

# -- the guest's files
skeleton() { # skeleton ROOT BUSYBOX: what every guest has
    local r=$1; mkdir -p "$r"/{bin,sbin,proc,sys,dev,mnt,tmp,run,out,etc,root,lib64,modules,home/tester}; chmod 1777 "$r/tmp"; chown 1000:1000 "$r/home/tester" 2>/dev/null || true
    cp "$2" "$r/bin/busybox"; for one in sh mount su tar sleep poweroff insmod cat hostname stty timeout date uname mkdir chmod sysctl telnet unshare dmesg env; do ln -sf busybox "$r/bin/$one"; done
    printf 'root:x:0:0::/root:/bin/sh\ntester:x:1000:1000::/home/tester:/bin/sh\n' >"$r/etc/passwd"; printf 'root:x:0:\ntester:x:1000:\n' >"$r/etc/group"
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$r/etc/hosts"
    cat >"$r/init" <<'END'
#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev; mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts; mount -t tracefs tracefs /sys/kernel/tracing
for m in $(cat /modules/order); do insmod "/modules/$m"; done
ip link set lo up; hostname kernels; export HOME=/root LANG=C.UTF-8 TERM=dumb PYTHONDONTWRITEBYTECODE=1; cd /out
sh /command >/out/log 2>&1 </dev/null; echo $? >/out/status; cat /out/log
if [ -e /dev/vport0p1 ]; then tar c -C /out . >/dev/vport0p1
elif mount -t hostfs -o "$(cat /result)" none /run 2>/dev/null; then tar cf /run/out.tar -C /out .
else stty -F /dev/ttyS1 raw; tar c -C /out . >/dev/ttyS1; fi
poweroff -f
END
    chmod +x "$r/init"
}
foreign() { # foreign ROOT: another architecture's Python, and this checkout, as machine.sh has them
    local r=$1 m=$top/.cache/machines/s390x; PYTHON=$venv/bin/python "$top/tools/machine.sh" s390x prepare; conf=$m/apt/apt.conf deb "$dir/s390x" busybox-static
    rm -rf "$r"; mkdir -p "$r$top" "$r$venv/bin"; cp -a "$m/root/." "$r"; rm -rf "$r"/usr/{include,share,lib/s390x-linux-gnu/*.a}; cp -a "$m/work/." "$r$top"; cp "$m"/compiled/*.so "$r$top/analysis/engine/" || true
    ln -sf /usr/bin/python3.11 "$r$venv/bin/python"; skeleton "$r" "$dir/s390x/bin/busybox"
}
# the closure of python3 and the environment
initramfs() { # initramfs ROOT
    local r=$1; skeleton "$r" /bin/busybox
    local lib; lib=$("$python" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
    { find "$lib" \( -name test -o -name idlelib -o -name site-packages -o -name __pycache__ -o -name lib2to3 -o -name ensurepip -o -name 'config-*' -o -name tkinter \) -prune -o -type f -print
      for one in jinja2 markupsafe scapy tabulate tqdm pytest _pytest pytest_timeout.py py.py _hypothesis_globals.py typing_extensions.py pygments pluggy iniconfig packaging hypothesis attr attrs sortedcontainers; do find -L "$venv"/lib/python3*/site-packages/$one \( -name __pycache__ -o -name tests \) -prune -o -type f -print; done
      find "$venv/pyvenv.cfg" "$top/analysis" "$top/capture" "$top/tools" "$top/pyproject.toml" "$top"/pcaps/*.py "$top"/tests/*.py "$top"/tests/conversations -name __pycache__ -prune -o -type f -print
      echo "$python"; command -v ip; } | sort -u >"$r.files"
    grep -E '\.so(\.|$)' "$r.files" | { cat; echo "$python"; command -v ip; } | xargs ldd 2>/dev/null | grep -o '/[^ ]*' | grep -v ':$' | sort -u | xargs -n1 readlink -f >"$r.libs" || true
    sort -u "$r.files" | grep -v -F "$venv/bin/python" | cpio -pdm --quiet -L "$r" 2>/dev/null || true
    sed 's|^|/|; s|^//|/|' "$r.files" | grep -F "$venv/bin/" | cpio -pdmu --quiet "$r" 2>/dev/null || true
    { ldd "$python"; ldd "$(command -v ip)"; } | grep -o '/[^ ]*' | sort -u | while read -r so; do mkdir -p "$r$(dirname "$so")"; cp -L "$so" "$r$so"; done
    grep -E '\.so(\.|$)' "$r.files" | xargs ldd 2>/dev/null | grep -o '=> /[^ ]*' | cut -c4- | sort -u | while read -r so; do [ -e "$r$so" ] || { mkdir -p "$r$(dirname "$so")"; cp -L "$so" "$r$so"; }; done
    mkdir -p "$r$venv/bin"; ln -sf "$python" "$r$venv/bin/python"; ln -sf python "$r$venv/bin/python3"
}
based() { # based NAME: its files as an archive, made once a run: this checkout may have changed since the last
    local r=$dir/$1; [ ! -e "$r.made.$$" ] || return 0; rm -rf "$r" "$r".*
    if [ "$1" = base-s390x ]; then foreign "$r"; else initramfs "$r"; fi
    (cd "$r" && find . | cpio -o -H newc --quiet -R 0:0) >"$r.cpio"; touch "$r.made.$$"
}

named() { # named newest|oldest REGEX: the package
    APT_CONFIG=${conf-$dir/apt/apt.conf} apt-cache search --names-only "^linux-image-$2\$" | awk '{print $1}' | sort -V | if [ "$1" = newest ]; then tail -n 1; else head -n 1; fi
}

for kernel in "${kernels[@]}"; do
    base=base; unset conf; case $kernel in
        s390x:*) base=base-s390x; based $base; conf=$top/.cache/machines/s390x/apt/apt.conf; asked=$kernel; kernel=s390x:$(named newest "${kernel#*:}"); [ "$kernel" != s390x: ] || { echo "$asked: no such package any more"; continue; };;
        newest:*|oldest:*) asked=$kernel; kernel=vm:$(named "${kernel%%:*}" "${kernel#*:}"); [ "$kernel" != vm: ] || { echo "$asked: no such package any more"; continue; };;
    esac
    based $base; name=${kernel#*:} out=$dir/${kernel//:/-}; k=$dir/k/$name; rm -rf "$out"; mkdir -p "$out"; add=$(mktemp -d "$dir/add.XXXXXX"); chmod 755 "$add"; mkdir "$add/modules"
    if [ ! -d "$k" ]; then
        case $kernel in
            um:5.10) deb "$k" user-mode-linux/bullseye;; um:6.1) deb "$k" user-mode-linux/bookworm;;
            vm:linux-image-*|s390x:linux-image-*)  # in one package, or in two or three (Debian from 6.19 on; Ubuntu)
                deb "$k" "$name"; v=${name#linux-image-} v=${v#unsigned-}
                [ -n "$(find "$k" -name 'vmlinuz*')" ] || deb "$k" "linux-binary-$v"
                [ -n "$(find "$k" -name 'tcp_diag.ko*')" ] || deb "$k" "linux-modules-$v" || true;;
        esac
    fi
    modules=$(ls -d "$k"/usr/lib/modules/* "$k"/lib/modules/* "$k"/usr/lib/uml/modules/* 2>/dev/null | head -1)
    if [ -d "$modules/kernel" ]; then
        v=$(basename "$modules"); mkdir -p "$k/tree/lib/modules"; ln -sfn "$modules" "$k/tree/lib/modules/$v"; [ -e "$modules/modules.dep" ] || depmod -b "$k/tree" "$v" 2>/dev/null
        for m in ipv6 inet_diag tcp_diag veth $([ $base = base ] || echo virtio_console); do modprobe -d "$k/tree" -S "$v" --show-depends $m 2>/dev/null || true; done | awk '/^insmod/{print $2}' | awk '!s[$0]++' | while read -r ko; do
            cp "$ko" "$add/modules/"; b=$(basename "$ko"); case $b in *.xz) xz -d "$add/modules/$b"; b=${b%.xz};; *.zst) zstd -qd --rm "$add/modules/$b"; b=${b%.zst};; esac; echo "$b"; done >"$add/modules/order"
    fi
    if [ $# -gt 0 ]; then printf '%s\n' "$*" >"$add/command"; else printf 'export PYTHONPATH=%s; %s/bin/python %s/tools/kernels/guest.py\n' "$top" "$venv" "$top" >"$add/command"; fi
    echo "$out" >"$add/result"; { cat "$dir/$base.cpio"; (cd "$add" && find . | cpio -o -H newc --quiet -R 0:0); } >"$out/initramfs"
    started=$(date +%s.%N)
    case $kernel in
        s390x:*) timeout -s KILL "${LIMIT-600}" qemu-system-s390x -accel tcg,thread=multi -cpu max -smp 1 -m 1200 -nodefaults -no-user-config -display none -no-reboot \
                  -serial stdio -device virtio-serial-ccw -chardev "file,id=out,path=$out/out.tar" -device virtserialport,chardev=out -kernel "$(find -L "$k" -name 'vmlinuz*' | head -1)" -initrd "$out/initramfs" -append "panic=-1 quiet ${APPEND-}" </dev/null >"$out/console" 2>&1 || true;;
        um:*) timeout -s KILL "${LIMIT-600}" "$k/usr/bin/linux.uml" mem=1200M umid="selfconn$$" uml_dir="$dir" initrd="$out/initramfs" con=null con0=fd:0,fd:1 quiet </dev/null >"$out/console" 2>&1 || true;;
        vm:*) timeout -s KILL "${LIMIT-600}" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 1 -m 1200 -nodefaults -no-user-config -display none -no-reboot \
                  -serial stdio -serial "file:$out/out.tar" -kernel "$(find -L "$k" -name 'vmlinuz*' | head -1)" -initrd "$out/initramfs" -append "console=ttyS0 quiet panic=-1 no_timer_check ${APPEND-}" </dev/null >"$out/console" 2>&1 || true;;
    esac
    rm -rf "$out/initramfs" "$add"; tar xf "$out/out.tar" -C "$out" 2>/dev/null || true; rm -f "$out/out.tar"
    printf '%-55s %s in %.0f s\n' "$kernel" "$([ -e "$out/status" ] && echo "status $(cat "$out/status")" || echo "no result, see $out/console")" "$(echo "$(date +%s.%N) - $started" | bc)"
done
