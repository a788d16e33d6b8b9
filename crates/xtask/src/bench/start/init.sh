#!/bin/sh
# PID 1 of the guest that is booted for one program.
/program && echo "all went well"
poweroff -f
