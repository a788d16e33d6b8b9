#!/usr/bin/env bash
# Builds a QEMU of our own, which fumehood then takes before the one of the path: Debian's source, with nothing in it but what a
# machine of fumehood's has, tuned by a guest that runs, and with a few changes (scripts/qemu/*.patch). It starts in less than half the
# time, keeps less memory, and translates faster where there is no KVM; see docs/decisions/0027. Some five minutes on two cores; run
# again, it looks for a newer source. --remove takes it away: Debian's is used again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/packages.sh

recipe=$PWD/scripts/qemu
cache=${FUMEHOOD_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/fumehood}
place=$cache/x86_64/qemu
program=bin/qemu-system-x86_64

case "${1:-}" in
  "") ;;
  --remove) rm -f "$place/current"; say "from the server's next start on Debian's QEMU is used"; exit ;;
  *) die "usage: scripts/qemu.sh [--remove]" ;;
esac

step "installing what is missing" install gcc libc6-dev dpkg-dev python3-venv ninja-build pkg-config flex bison \
  libglib2.0-dev libseccomp-dev libfdt-dev zlib1g-dev busybox-static
kernel=$({ find "$cache/x86_64/kernels/" -name vmlinux 2>/dev/null || true; } | sort | tail -n 1)
[ -n "$kernel" ] || die "there is no guest kernel yet, and the build runs one: fumehood setup (or ./quickstart.sh) fetches it"

work=$(mktemp -d "${TMPDIR:-/var/tmp}/fumehood-qemu-XXXXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
room "$work" 2 "the build"

# logged COMMAND...: what it says is shown if it fails.
logged() {
  "$@" > "$work/log" 2>&1 </dev/null || { tail -n 40 "$work/log" >&2; return 1; }
}

# As crates/image/src/debian.rs does: the mirrors that apt uses, in folders of our own, whatever Debian the host is.
sources() {
  local keyring suite site
  for keyring in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do [ ! -e "$keyring" ] || break; done
  for suite in trixie trixie-updates trixie-security; do
    site=$(apt-get indextargets --format '$(LABEL) $(SITE)' 'Created-By: Packages' |
      awk -v label="$([ "$suite" = trixie-security ] && echo Debian-Security || echo Debian)" '$1 == label { print $2; exit }')
    [ -z "$site" ] || echo "deb-src [signed-by=$keyring] $site $suite main"
  done
}
mkdir -p "$work"/apt/{lists,cache/archives}/partial
touch "$work/apt/status"
sources > "$work/apt/sources.list"
[ -s "$work/apt/sources.list" ] || die "the host's apt has no mirror of Debian; add one to its sources"
apt_of_ours() {
  local program=$1; shift
  "$program" -q -o Dir::State="$work/apt" -o Dir::State::status="$work/apt/status" -o Dir::State::lists="$work/apt/lists" \
    -o Dir::Cache="$work/apt/cache" -o Dir::Etc::sourcelist="$work/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o APT::Update::Error-Mode=any -o APT::Sandbox::User=root -o Acquire::Retries=3 "$@"
}
step "looking for Debian's newest source" logged apt_of_ours apt-get update
version=$(apt_of_ours apt-cache showsrc qemu | sed -n 's/^Version: //p' | sort -V | tail -n 1)
[ -n "$version" ] || die "Debian's archive has no source of QEMU"

# One folder for each, since a server that runs goes on with the one that it has found.
key=$({ gcc --version; echo "$version"; cat "$recipe"/* scripts/qemu.sh; } | sha256sum | cut -c 1-16)
use() {
  ln -sfn "$key" "$place/next"
  mv -T "$place/next" "$place/current"
  say "$("$place/current/$program" --version | head -n 1): $place/current/$program"
  say "it is used from the server's next start on; \`fumehood setup\` makes the templates for it now"
}
if [ -x "$place/$key/$program" ]; then
  use
  exit
fi

# What a step is made of is chained: a failure inside of one does not end the script by itself.
patched() {
  local patch
  for patch in "$recipe"/*.patch; do
    logged patch -d "$work/source" -p1 --no-backup-if-mismatch -i "$patch" || return 1
  done
}
fetch() {
  (cd "$work" && logged apt_of_ours apt-get source --download-only "qemu=$version") &&
    logged dpkg-source --no-check -x "$work"/qemu_*.dsc "$work/source" && patched &&
    cp "$recipe/devices.mak" "$work/source/configs/devices/x86_64-softmmu/fumehood.mak" &&
    logged python3 -m venv "$work/python" &&
    logged "$work/python/bin/pip" install --disable-pip-version-check --require-hashes -r "$recipe/requirements.txt"
}
step "fetching QEMU $version" fetch
export PATH=$work/python/bin:$PATH

# Firmware and qemu-img are Debian's. Static, since 50 libraries are half of a start; position-independent, as Debian's is.
configure() (
  mkdir "$work/build" && cd "$work/build" && logged ../source/configure --target-list=x86_64-softmmu --with-pkgversion="fumehood, Debian $version" \
    --firmwarepath=/usr/share/qemu:/usr/share/seabios --disable-download --disable-docs --disable-tools --disable-user \
    --disable-guest-agent --disable-install-blobs --disable-debug-info --without-default-features --without-default-devices \
    --with-devices-x86_64=fumehood --enable-system --enable-tcg --enable-kvm --enable-fdt=system --enable-seccomp \
    --enable-malloc-trim --enable-avx2 --enable-avx512bw --enable-stack-protector --disable-qom-cast-debug \
    --enable-trace-backends=nop --static --enable-pie --extra-cflags="-D_FORTIFY_SOURCE=2 -fprofile-update=prefer-atomic" \
    -Db_pgo=generate
)
compile() { logged ninja -C "$work/build" qemu-system-x86_64; }

pack_guest() {
  mkdir -p "$work"/guest/{bin,dev,proc,sys,tmp}
  cp /bin/busybox "$work/guest/bin/"
  local applet
  for applet in $(busybox --list); do [ "$applet" = busybox ] || ln -s busybox "$work/guest/bin/$applet"; done
  cp "$recipe/init" "$work/guest/init"
  # In whole pages: see docs/decisions/0003.
  (cd "$work/guest" && find . | busybox cpio -o -H newc 2>/dev/null > "$work/initramfs" && truncate -s %4096 "$work/initramfs")
}
# A machine as fumehood makes one, without its disks. In the folder where it was built QEMU looks for its firmware there.
run_guest() {
  local khz
  cp "$work/build/qemu-system-x86_64" "$work/guest-qemu"
  khz=$(awk '/cpu MHz/ { printf "%d", $4 * 1000; exit }' /proc/cpuinfo)
  logged timeout 300 "$work/guest-qemu" -nodefaults -no-user-config -no-reboot -display none \
    -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny \
    -machine microvm,acpi=on,pcie=on,pic=off,pit=off,rtc=on,isa-serial=on -accel tcg,thread=multi,tb-size=256 \
    -cpu max,la57=off,erms=off,fsrm=off,fsrs=off,pku=off -smp 1 -m 512M -device virtio-serial-pci -device pcie-root-port,id=rp0,slot=1 \
    -kernel "$kernel" -initrd "$work/initramfs" -serial stdio \
    -append "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check tsc=reliable tsc_early_khz=$khz"
  grep -q "as it was" "$work/log" || { cat "$work/log" >&2; return 1; }
}
tune() { (cd "$work/build" && logged pyvenv/bin/meson configure -Db_pgo=use -Db_lto=true .) && compile; }
learn() { run_guest && run_guest; }

step "configuring it" configure
step "building it, to learn from" compile
pack_guest
step "running a guest in it, twice" learn
step "building it, for good" tune
step "running a guest in it" run_guest

before=$(readlink "$place/current" || true)
mkdir -p "$place/$key/bin"
strip -o "$place/$key/bin/new" "$work/build/qemu-system-x86_64"
mv "$place/$key/bin/new" "$place/$key/$program"
use
find "$place" -mindepth 1 -maxdepth 1 -type d ! -name "$key" ! -name "${before:-$key}" -exec rm -r {} +
