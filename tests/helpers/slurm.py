"""A SLURM cluster on the machines of a network: its controller and its accounts on one, a node on each other."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from helpers.machines import Network
from helpers.processes import wait_for

NEEDED = ("slurmctld", "slurmdbd", "slurmd", "munged", "mariadbd", "mysql_install_db")
CONTROLLER = "head"
SETTINGS = """
ClusterName=test
SlurmctldHost=head({head})
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdTimeout=10
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost={head}
AccountingStoragePass={folder}/munge.socket
JobAcctGatherType=jobacct_gather/none
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
ACCOUNTS = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=head
DbdAddr={head}
SlurmUser=root
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StorageUser=root
StorageLoc=slurm
"""


class Slurm:
    """The cluster, its files in `folder`; `variables` are those of processes that use it."""

    def __init__(self, network: Network, folder: Path):
        folder.chmod(0o755)
        self._network, self._folder = network, folder
        self.nodes = [name for name in network.machines if name != CONTROLLER]
        self.variables = {"SLURM_CONF": str(folder / "slurm.conf")}
        about = {"folder": folder, "head": network[CONTROLLER].address}
        nodes = [f"NodeName={name} NodeAddr={network[name].address} CPUs=1 State=UNKNOWN" for name in self.nodes]
        (folder / "slurm.conf").write_text(SETTINGS.format(**about, nodes="\n".join(nodes)))
        (folder / "slurmdbd.conf").write_text(ACCOUNTS.format(**about))
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")  # which is not used, but has to load
        (folder / "munge.key").write_bytes(os.urandom(1024))
        for private in ("slurmdbd.conf", "munge.key"):
            (folder / private).chmod(0o600)
        for name in ("state", *(f"spool-{node}" for node in self.nodes)):
            (folder / name).mkdir()
        subprocess.run(
            ["mysql_install_db", f"--datadir={folder}/accounts", "--auth-root-authentication-method=normal",
             "--user=root"], check=True, capture_output=True,
        )  # fmt: skip
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        ready = ["idle", str(len(self.nodes))]
        wait_for(lambda: self.command("sinfo", "--noheader", "--format=%T %D").split() == ready)

    def start_controller(self) -> None:
        folder = self._folder
        self._start(
            CONTROLLER, "mariadbd", f"--datadir={folder}/accounts", f"--socket={folder}/accounts.socket", "--user=root",
            "--bind-address=127.0.0.1",
        )  # fmt: skip
        self._start(
            CONTROLLER, "munged", "-F", "--force", f"--key-file={folder}/munge.key", f"--socket={folder}/munge.socket",
            f"--pid-file={folder}/munge.pid", f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed",
        )  # fmt: skip
        self._start(CONTROLLER, "slurmdbd", "-D")
        # Without accounts from which it learns what it counts, the controller ends at once.
        self._start(CONTROLLER, "sh", "-c", "until sacctmgr -n list tres > /dev/null; do sleep 1; done; slurmctld -D")

    def start_node(self, name: str) -> None:
        self._start(name, "slurmd", "-D", "-N", name)

    def command(self, *command: str) -> str:
        """What one of SLURM's commands prints; nothing while the controller does not answer."""
        try:
            return self._network[CONTROLLER].run(*command, **self.variables)
        except AssertionError:
            return ""

    def _start(self, machine: str, *command: str) -> None:
        self._network[machine].start(*command, console=self._folder / f"{command[0]}.out", **self.variables)
