#!/bin/bash
# The first process of user-mode Linux (test_memory_v2.py): this machine's files, only to be read, a disk of its own at /tmp,
# and control groups of version 2 alone. Variables come from the kernel's command line. What is said goes to the console.
set -u
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/nonexistent LC_ALL=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
ln -s /proc/self/fd /dev/fd
mkdir -p /dev/shm
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount /dev/ubda /tmp
chmod 1777 /tmp
ip link set lo up
cd "$PGWEIR_TESTS" || exit
echo "groups of version 2: $(cat /sys/fs/cgroup/cgroup.controllers), of this one: $(cat /proc/self/cgroup)"
/usr/bin/python3 -B -m pytest -v -rs --color=no -p no:cacheprovider test_memory.py
echo "ended with $?"
echo o >/proc/sysrq-trigger
sleep 60
