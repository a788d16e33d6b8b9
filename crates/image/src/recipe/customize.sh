# Run by mmdebstrap on the host, in the image's namespace, when all packages are installed.
# $1 is the image's root. What is here decides a part of the image's key, so it takes no other input.
set -eu
root=$1

# Commands run as fumehood, with a runtime as vercel-sandbox, which is what scripts for Vercel Sandbox
# call their user. Each is in the other's group.
chroot "$root" useradd --uid 1000 --user-group --create-home --shell /bin/bash fumehood
chroot "$root" useradd --uid 1001 --user-group --create-home --shell /bin/bash \
    --groups fumehood vercel-sandbox
chroot "$root" usermod --append --groups vercel-sandbox fumehood
# With sudo the same runtimes are found as without.
for user in fumehood vercel-sandbox; do
    cat >"$root/etc/sudoers.d/$user" <<END
Defaults:$user !secure_path
$user ALL=(ALL:ALL) NOPASSWD: ALL
END
    chmod 0440 "$root/etc/sudoers.d/$user"
done

# What clients of Vercel Sandbox look for: a folder to work in, and runtimes by their names. They belong
# to the users, so that `npm install --global` and `pip install` need no sudo. Node.js itself is laid
# into its folders afterwards.
mkdir -p "$root/vercel/sandbox"
for runtime in node22 node24 node26; do
    mkdir -p "$root/vercel/runtimes/$runtime/bin" "$root/vercel/runtimes/$runtime/lib/node_modules"
done
chroot "$root" python3 -m venv --system-site-packages /vercel/runtimes/python3.13
chroot "$root" chown -R vercel-sandbox: /vercel
chmod -R g+rwX "$root/vercel"
# What either user adds to a runtime is of the group that both are in.
find "$root/vercel/runtimes" -type d -exec chmod g+s {} +
# There git would refuse to work for all but one of them.
cat >"$root/etc/gitconfig" <<'END'
[safe]
	directory = /vercel/sandbox
END

# The guest agent mounts the kernel's modules below it before anything can be written.
mkdir -p "$root/usr/lib/modules"

# The host's own of these do not belong in the image; the guest agent sets each sandbox's.
rm -f "$root/etc/hostname" "$root/etc/resolv.conf" "$root/etc/machine-id"
echo sandbox >"$root/etc/hostname"
: >"$root/etc/resolv.conf"
: >"$root/etc/machine-id"
chmod 0644 "$root/etc/hostname" "$root/etc/resolv.conf" "$root/etc/machine-id"
cat >"$root/etc/hosts" <<'END'
127.0.0.1	localhost
::1		localhost ip6-localhost ip6-loopback
ff02::1		ip6-allnodes
ff02::2		ip6-allrouters
END
echo 'LANG=C.UTF-8' >"$root/etc/default/locale"

# The image goes on with the mirror that it was made from, unless its address holds a password.
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap"
if grep -qE '://[^/ ]*@' "$root/etc/apt/sources.list"; then
    : >"$root/etc/apt/sources.list"
fi
echo 'Acquire::Languages "none";' >"$root/etc/apt/apt.conf.d/90fumehood"

# What differs from build to build and is of no use. Never what is in $root/tmp: mmdebstrap keeps
# its settings for apt there, and without them its last apt run works on the host's lists. It clears
# that folder, the lists and the packages itself.
find "$root/var/log" "$root/var/cache/ldconfig" "$root/var/cache/debconf" -type f -delete
rm -f "$root"/etc/*- "$root"/var/lib/dpkg/*-old "$root/etc/.pwd.lock"
# The day of the last change of each password.
sed -i -E 's/^([^:]*:[^:]*):[0-9]+:/\1:20000:/' "$root/etc/shadow"
