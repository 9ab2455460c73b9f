# SPDX-License-Identifier: MIT
"""What the figures were taken on."""
import os
import platform
import time


def first_line(path):
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return None


def field(path, name):
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == name:
                    return value.strip()
    except OSError:
        pass
    return None


def memory_kib(name):
    value = field("/proc/meminfo", name)
    return int(value.split()[0]) if value else 0


def describe():
    flags = (field("/proc/cpuinfo", "flags") or "").split()
    return {
        "processor": field("/proc/cpuinfo", "model name") or platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "virtual": "hypervisor" in flags,
        "memory_mib": memory_kib("MemTotal") // 1024,
        "kernel": platform.release(),
        "libc": os.confstr("CS_GNU_LIBC_VERSION"),
        "huge_pages": first_line("/sys/kernel/mm/transparent_hugepage/enabled"),
        "governor": first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "load_at_start": os.getloadavg()[0],
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def one_line(machine):
    return "%s, %d CPUs%s, %d MiB, Linux %s, %s, load %.2f" % (
        machine["processor"], machine["cpus"], " (virtual)" if machine["virtual"] else "",
        machine["memory_mib"], machine["kernel"], machine["libc"], machine["load_at_start"])
