"""Where supervisors are born: a process that has imported all they need, and forks one for each job in a few milliseconds.

Supervisors outlive it, and the gateway. It ends with the gateway.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import msgspec

from tesgw_process.machine import Machine


class Nursery:
    """The gateway's side."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._gate: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self, job_id: str, lock: int) -> None:
        """Start the supervisor of a job, to whom the lock goes. Should that fail, the lock is free again."""
        try:
            message = msgspec.json.encode((self._machine, job_id), enc_hook=str)
            socket.send_fds(self._gate or self._open(), [message], [lock])
        except OSError:  # somebody killed it; the next one gets the job, which the yard finds without a supervisor
            self._end()
        finally:
            os.close(lock)

    async def close(self) -> None:
        self._end()

    def _open(self) -> socket.socket:
        self._gate, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = (sys.executable, "-c", "from tesgw_process import nursery; nursery.main()")
            self._process = subprocess.Popen(command, stdin=theirs.fileno(), start_new_session=True)
        return self._gate

    def _end(self) -> None:
        if self._gate and self._process:
            self._gate.close()
            self._process.kill()
            self._process.wait()
        self._gate = None


def main() -> None:
    from tesgw_process import supervisor

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for supervisors: their locks tell that they have ended
    gate = socket.socket(fileno=0)
    while True:
        message, locks, _, _ = socket.recv_fds(gate, 2**20, 1)
        if not message:
            return
        if os.fork() == 0:
            os.setsid()
            os.dup2(os.open("/dev/null", os.O_RDWR), gate.detach())
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            machine, job_id = msgspec.json.decode(
                message, type=tuple[Machine, str], dec_hook=lambda kind, value: kind(value)
            )
            supervisor.main(machine, job_id)
            return
        os.close(locks[0])
