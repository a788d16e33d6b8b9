#!/bin/sh
# PID 1 of the guest that moves bytes over its port, and on and off its disk.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
insmod /virtio_blk.ko
mount -t ext4 /dev/vda /disk
exec /program
