"""Three commands of SLURM that start real processes on this machine.

A folder, ``FAKE_SLURM``, holds one JSON file a job. A file ``hold`` in it keeps new jobs pending
until it is gone; ``refuse`` makes sbatch fail with its text; ``silent`` makes squeue fail.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

FOLDER = Path(os.environ.get("FAKE_SLURM", "."))


def jobs() -> dict[str, dict[str, object]]:
    found = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}
    return dict(sorted(found.items(), key=lambda item: int(item[0])))


def write(number: str, job: dict[str, object]) -> None:
    partial = FOLDER / f"{number}.partial"
    partial.write_text(json.dumps(job))
    partial.rename(FOLDER / f"{number}.json")


def begin(number: str, job: dict[str, object]) -> None:
    """Start the script of a job as leader of a process group of its own."""
    with Path(str(job["log"])).open("ab") as log:
        process = subprocess.Popen(
            ["bash", str(FOLDER / f"{number}.sh")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "SLURM_JOB_ID": number},
        )
    write(number, {**job, "pid": process.pid})


def is_alive(job: dict[str, object]) -> bool:
    try:
        return psutil.Process(int(str(job["pid"]))).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def sbatch(arguments: list[str]) -> None:
    if (FOLDER / "refuse").exists():
        sys.exit((FOLDER / "refuse").read_text())
    assert arguments == ["--parsable"]
    script = sys.stdin.read()
    lock = FOLDER / "lock"
    while True:
        try:
            lock.mkdir()
            break
        except FileExistsError:
            time.sleep(0.01)
    number = str(1 + max(map(int, jobs()), default=100))
    name = re.search(r"^#SBATCH -J (\S+)$", script, re.MULTILINE)
    log = re.search(r"^#SBATCH -o \"?(.*?)\"?$", script, re.MULTILINE)
    assert name is not None
    assert log is not None
    path = log[1].replace("%x", name[1]).replace("%j", number)
    (FOLDER / f"{number}.sh").write_text(script)
    job: dict[str, object] = {"name": name[1], "log": path, "pid": None}
    write(number, job)
    lock.rmdir()
    if not (FOLDER / "hold").exists():
        begin(number, job)
    sys.stdout.write(f"{number}\n")


def squeue(arguments: list[str]) -> None:
    if (FOLDER / "silent").exists():
        sys.exit("slurm_load_jobs error: Unable to contact slurm controller")
    assert arguments[0] == "--noheader"
    name = arguments[arguments.index("--name") + 1]
    for number, job in jobs().items():
        if job["name"] != name:
            continue
        if job["pid"] is None and not (FOLDER / "hold").exists():
            begin(number, job)
            sys.stdout.write(f"{number} RUNNING\n")
        elif job["pid"] is None:
            sys.stdout.write(f"{number} PENDING\n")
        elif is_alive(job):
            sys.stdout.write(f"{number} RUNNING\n")
        elif (FOLDER / "linger").exists():
            sys.stdout.write(f"{number} COMPLETING\n")


def scancel(arguments: list[str]) -> None:
    named = arguments[1] if arguments[0] == "--name" else None
    for number, job in jobs().items():
        if not (job["name"] == named or number in arguments):
            continue
        if job["pid"] is None:
            write(number, {**job, "pid": -1})
        elif is_alive(job):
            os.killpg(int(str(job["pid"])), signal.SIGTERM)


if __name__ == "__main__":
    {"sbatch": sbatch, "squeue": squeue, "scancel": scancel}[sys.argv[1]](sys.argv[2:])
