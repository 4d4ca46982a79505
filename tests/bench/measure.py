"""What a process costs: CPU time, memory, wakeups, bytes handed to the block layer; by /proc and the
kernel's own clocks, so that looking costs the process nothing."""

import ctypes
import mmap
import os
import pathlib
import statistics
import threading
import time

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """CPU time of all threads of a running process, ended ones included; exact to nanoseconds (the
    clock of clock_getcpuclockid())."""
    return time.clock_gettime((~pid << 3) | 2)


def server_cpu_seconds(server):
    """All processes of a server, ended ones included; in steps of a clock tick each."""
    total = sum(_stat(server.process.pid)[11:15])  # utime, stime, and those of ended children
    for pid in children(server.process.pid):
        try:
            total += sum(_stat(pid)[11:13])
        except OSError:
            pass  # it ends just now
    return total / _TICK


def children(pid):
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        found += [int(word) for word in (task / "children").read_text().split()]
    return found


def wakeups(pid):
    """Voluntary context switches of the threads that live."""
    return sum(_status(f"/proc/{pid}/task/{task}/status", "voluntary_ctxt_switches")
               for task in os.listdir(f"/proc/{pid}/task"))


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def memory_kb(pid):
    """PSS: its private memory and its share of what several use; resident, and the peak of that."""
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    pss = int(rollup.split("\nPss:")[1].split()[0])
    status = f"/proc/{pid}/status"
    return {"pss_kb": pss, "rss_kb": _status(status, "VmRSS"), "peak_kb": _status(status, "VmHWM")}


def finish(process):
    """Waits for the end of a subprocess.Popen; what all of its life cost."""
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    ended = time.monotonic()
    written = _io(process.pid).get("write_bytes", 0)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "ended": ended,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "disk_mb": written / 1e6,
        "status": process.returncode,
    }


def written_bytes(pid):
    return _io(pid).get("write_bytes", 0)


def take_memory(megabytes):
    """Has the host of a virtual machine give it so much memory, and leaves it to the kernel. A host that
    takes back what its guest leaves unused for some seconds needs 2 to 5 ms for each 2 MB that are
    touched again: more than a receiver needs for as much WAL, and different in each round."""
    with mmap.mmap(-1, megabytes << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        byte = ctypes.c_char.from_buffer(memory)
        ctypes.memset(ctypes.addressof(byte), 1, len(memory))
        del byte  # it holds the memory


class Peak(threading.Thread):
    """The peak of the resident memory, as the kernel itself keeps it, read until the process ends.
    (What wait4() tells begins with the memory of the process that forked.)"""

    def __init__(self, pid, interval=0.05):
        super().__init__(daemon=True)
        self._pid, self._interval, self._over = pid, interval, threading.Event()
        self._kb = 0
        self.start()

    def run(self):
        while not self._over.wait(self._interval):
            try:
                self._kb = max(self._kb, _status(f"/proc/{self._pid}/status", "VmHWM"))
            except OSError:
                return

    def stop_mb(self):
        self._over.set()
        self.join()
        return self._kb / 1024


class Came(threading.Thread):
    """How many bytes have come through a network device."""

    def __init__(self, device):
        super().__init__(daemon=True)
        self._device, self._over, self._seen = device, threading.Event(), []
        self.start()

    def run(self):
        while not self._over.wait(0.01):
            for line in pathlib.Path("/proc/net/dev").read_text().splitlines():
                name, _, numbers = line.partition(":")
                if name.strip() == self._device:
                    self._seen.append((time.monotonic(), int(numbers.split()[0])))

    def stop(self, count=2, begins=100_000):
        """MB in each of the first seconds behind the first `begins` bytes."""
        self._over.set()
        self.join()
        first = self._seen[0][1]
        begin = next(at for at, bytes_ in self._seen if bytes_ - first >= begins)

        def by(moment):
            return max(bytes_ for at, bytes_ in self._seen if at <= moment)

        return [(by(begin + number + 1) - by(begin + number)) / 1e6 for number in range(count)]


def percentile(sorted_values, share):
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]


def median(values):
    return statistics.median(values)


def _stat(pid):
    """The fields behind the command's name; the first of them, the state, as 0."""
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    return [0, *(int(word) for word in text.rpartition(")")[2].split()[1:])]


def _status(path, name):
    for line in pathlib.Path(path).read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    return 0


def _io(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/io").read_text()
    except OSError:
        return {}
    return {key: int(value) for key, _, value in (line.partition(":") for line in text.splitlines())}
