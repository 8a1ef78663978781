"""Machines that stand on this one: each has an address, a host name and process ids of its own, and shares the files.

They are namespaces of Linux, which root makes with `ip`, `unshare` and `nsenter`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from helpers.processes import clean_environment

NEEDED = ("ip", "unshare", "nsenter")


def reason_against(*commands: str) -> str:
    """Why machines with these commands cannot be made here; empty if they can."""
    missing = [command for command in (*NEEDED, *commands) if not shutil.which(command)]
    return f"not on the PATH: {', '.join(missing)}" if missing else "" if os.getuid() == 0 else "only root can"


class Machine:
    """A machine that starts when it is made; its processes see no others."""

    def __init__(self, name: str, address: str, namespace: str, cable: tuple[str, str], hosts: Path):
        self.name, self.address = name, address
        self._namespace, self._cable, self._hosts = namespace, cable, hosts
        self._boot()

    def start(self, *command: object, console: Path, cwd: Path = Path("/"), **variables: str) -> subprocess.Popen:
        """Start a command on the machine; what it prints is added to the file `console`."""
        with console.open("a") as file:
            return subprocess.Popen(
                self._inside(command, cwd), env=clean_environment() | variables, stdin=subprocess.DEVNULL, stdout=file,
                stderr=file, start_new_session=True,
            )  # fmt: skip

    def run(self, *command: object, cwd: Path = Path("/"), **variables: str) -> str:
        """What a command on the machine prints; it has to succeed."""
        done = subprocess.run(
            self._inside(command, cwd), env=clean_environment() | variables, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done
        return done.stdout

    def plug(self, is_in: bool) -> None:
        """Connect the machine to the network, or cut it off."""
        _ip("-n", self._cable[0], "link", "set", self._cable[1], "up" if is_in else "down")

    def fail(self) -> None:
        """End all at once without a word to anybody, as when power fails."""
        self.plug(False)
        self.halt()

    def halt(self) -> None:
        if self._init.poll() is None:
            os.kill(self._first, signal.SIGKILL)
        self._init.wait()

    def restart(self) -> None:
        self._boot()
        self.plug(True)

    def _boot(self) -> None:
        script = f"hostname {self.name} && mount --bind {self._hosts} /etc/hosts && echo $$ && exec sleep infinity"
        self._init = subprocess.Popen(
            ["ip", "netns", "exec", self._namespace, "unshare", "--uts", "--pid", "--mount-proc", "--fork",
             "--kill-child", "sh", "-c", script],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self._init.stdout
        assert self._init.stdout.readline() == "1\n", "the first process of the machine"
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text().split()
        self._first = int(children[0])

    def _inside(self, command: tuple[object, ...], cwd: Path) -> list[str]:
        enter = ["nsenter", "--target", str(self._first), "--net", "--uts", "--pid", "--mount", "--"]
        return [*enter, "env", f"--chdir={cwd}", *map(str, command)]


class Network:
    """Machines of these names that reach each other by name and by address; `network["node1"]`.

    There can be one network at a time.
    """

    def __init__(self, names: list[str], folder: Path):
        self._prefix = prefix = f"cifar{os.getpid()}"
        self._hub = f"{prefix}hub"
        addresses = {name: f"10.77.0.{number}" for number, name in enumerate(names, 1)}
        hosts = folder / "hosts"
        hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{addresses[name]} {name}\n" for name in names))
        _ip("netns", "add", self._hub)
        _ip("-n", self._hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self._hub, "link", "set", "bridge", "up")
        # The tests reach the machines, too.
        _ip("link", "add", prefix, "type", "veth", "peer", "name", "to-tests", "netns", self._hub)
        _ip("-n", self._hub, "link", "set", "to-tests", "master", "bridge", "up")
        _ip("addr", "add", "10.77.0.254/24", "dev", prefix)
        _ip("link", "set", prefix, "up")
        self.machines: Mapping[str, Machine] = {}
        for name, address in addresses.items():
            inside, cable = prefix + name, f"to-{name}"
            _ip("netns", "add", inside)
            _ip("-n", self._hub, "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", inside)
            _ip("-n", self._hub, "link", "set", cable, "master", "bridge", "up")
            _ip("-n", inside, "addr", "add", f"{address}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                _ip("-n", inside, "link", "set", device, "up")
            self.machines[name] = Machine(name, address, inside, (self._hub, cable), hosts)

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    def close(self) -> None:
        _ip("link", "del", self._prefix)
        for machine in self.machines.values():
            machine.halt()
            _ip("netns", "del", self._prefix + machine.name)
        _ip("netns", "del", self._hub)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
