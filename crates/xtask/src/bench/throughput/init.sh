#!/bin/sh
# PID 1 of the guest that moves bytes over its port.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec /program
