#!/bin/sh
# PID 1 of the guest that measures: brings the card up, runs what the kernel's command line asks for, and goes.
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in failover net_failover virtio_net; do insmod "/$module.ko"; done
word() { sed -n "s/.*bench\.$1=\([^ ]*\).*/\1/p" /proc/cmdline; }
ip link set lo up
ip link set eth0 mtu "$(word mtu)" up
ip addr add "$(word address)" dev eth0
ip route add default via "$(word gateway)"
[ -z "$(word name)" ] || nslookup "$(word name)" "$(word gateway)"
card=$(word card)
${card:+/card eth0} /program "$(word peer)" "$(word megabytes)"
echo "RESULT end 0"
poweroff -f
