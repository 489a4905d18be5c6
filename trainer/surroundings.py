"""What around a run may end it: a logout, a container that stops, a batch job's time limit, an editor, a notebook.

A run has a session of its own, so a closed terminal never ends it. Some systems end it all the same, and they can be
asked beforehand. Everything here is optional: what can't be asked is unknown, and no question takes longer than a
second. It starts nothing and changes nothing.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Ask = Callable[[Sequence[str]], str | None]
SECONDS = 1.0  # for each question to a system service
LOGIND = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")


@dataclass(frozen=True, slots=True)
class Finding:
    """`ends`: leaving this terminal ends a run, as things stand; None where that can't be told or is another's doing.

    `said` is one sentence, `helps` what to do (or ""), `short` the same for one line of a narrow screen.
    """

    kind: Literal["logout", "container", "slurm", "editor", "notebook", "wsl"]
    ends: bool | None
    said: str
    helps: str = ""
    short: str = ""


@dataclass(frozen=True)
class Place:
    """Where questions are asked; tests give one of their own."""

    environment: Mapping[str, str]
    ask: Ask
    root: Path = Path("/")
    user: int = 0

    def text(self, path: str) -> str:
        """A file's text; "" where there is none to read."""
        try:
            return (self.root / path).read_text("utf-8", "replace")
        except OSError:
            return ""


def here() -> Place:
    """This process's own surroundings."""
    return Place(os.environ, ask, user=os.getuid())


def ask(command: Sequence[str]) -> str | None:
    """What a command prints; None if it isn't there, fails, or takes longer than a second."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False,
                              stdin=subprocess.DEVNULL)  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def findings(place: Place) -> list[Finding]:
    """All that was found, what surely ends a run first; a logout is always among them."""
    looks = (_slurm, _container, _logout, _notebook, _editor, _wsl)
    found = [finding for look in looks if (finding := look(place))]
    return sorted(found, key=lambda finding: finding.ends is not True)


def warning(place: Place) -> str:
    """The short line for the form where leaving would end a run; "" elsewhere."""
    return next((finding.short for finding in findings(place) if finding.ends and finding.short), "")


# --- a logout ----------------------------------------------------------------------------------------------------


def _logout(place: Place) -> Finding:
    """systemd-logind's KillUserProcesses ends what stands in a session's scope; the user's own service manager ends
    at the last logout unless the user lingers. See logind.conf(5) and loginctl(1)."""
    if not (place.root / "run/systemd/system").is_dir():
        return Finding("logout", False, "No systemd here: a logout ends no run.")
    group = place.text("proc/self/cgroup")
    if f"user@{place.user}.service" in group:
        return _in_user_manager(_lingers(place))
    if group and not re.search(r"session-[^/]*\.scope", group):
        return Finding("logout", False, "This shell belongs to no login session: a logout ends no run.")
    match _kills(place):
        case False:
            return Finding("logout", False, "A logout ends no run: logind's KillUserProcesses is off.")
        case True:
            return _killed(_lingers(place))
        case None:
            return Finding(
                "logout",
                None,
                "Whether a logout ends runs can't be told: logind did not answer.",
                "To be sure, look for KillUserProcesses in /etc/systemd/logind.conf.",
            )


def _killed(lingers: bool | None) -> Finding:
    first = "" if lingers else "once `loginctl enable-linger`, then "
    return Finding(
        "logout",
        True,
        "A logout ends every run, and tmux too: logind's KillUserProcesses is on.",
        f"Start it outside the login session: {first}`systemd-run --user --scope finetunegem`.",
        "A logout ends runs here: `finetunegem doctor` says what helps.",
    )


def _in_user_manager(lingers: bool | None) -> Finding:
    if lingers:
        return Finding("logout", False, "A logout ends no run: this shell stands outside the session, and you linger.")
    said = "may end" if lingers is None else "ends"
    return Finding(
        "logout",
        True if lingers is False else None,
        f"Your last logout {said} every run: this shell is your service manager's, which goes with you.",
        "`loginctl enable-linger` lets it stay.",
        "Your last logout ends runs: `loginctl enable-linger` helps.",
    )


def _kills(place: Place) -> bool | None:
    """KillUserProcesses, for this user; None where logind does not say."""
    names = ("KillUserProcesses", "KillOnlyUsers", "KillExcludeUsers")
    answer = place.ask(("busctl", f"--timeout={SECONDS:.0f}", "get-property", *LOGIND, *names))
    lines = (answer or "").splitlines()
    if len(lines) != 3 or not re.fullmatch(r"b (true|false)", lines[0].strip()):
        return None
    me = _user_names(place)
    only, spared = (set(re.findall(r'"([^"]*)"', line)) for line in lines[1:])
    return lines[0].strip() == "b true" and not me & spared and (not only or bool(me & only))


def _user_names(place: Place) -> set[str]:
    names = [line.split(":")[0] for line in place.text("etc/passwd").splitlines() if f":{place.user}:" in line[:80]]
    return {str(place.user), *names[:1], *([place.environment["USER"]] if "USER" in place.environment else [])}


def _lingers(place: Place) -> bool | None:
    answer = place.ask(("loginctl", "show-user", str(place.user), "--property=Linger"))
    return {"Linger=yes": True, "Linger=no": False}.get((answer or "").strip())


# --- containers and jobs -----------------------------------------------------------------------------------------


def _container(place: Place) -> Finding | None:
    """Whether pid 1 is a container's: when it ends, all ends. A container begun with this terminal (docker run -it)
    has its first process there."""
    marks = ("/docker", "/kubepods", "/lxc/", "/libpod", "/containerd")
    by_file = any((place.root / mark).exists() for mark in (".dockerenv", "run/.containerenv"))
    by_name = any(name in place.environment for name in ("container", "KUBERNETES_SERVICE_HOST"))
    if not (by_file or by_name or any(mark in place.text("proc/1/cgroup") for mark in marks)):
        return None
    mine, first = _terminal(place.text("proc/self/stat")), _terminal(place.text("proc/1/stat"))
    if mine and mine == first:
        return Finding(
            "container",
            True,
            "This container lives as long as its first process, which is in this terminal: leaving it ends every run.",
            "Start the container detached (docker run -d IMAGE sleep infinity) and come in by `docker exec -it`; or "
            "leave by ctrl-p ctrl-q.",
            "This container ends with its first shell, and runs with it: see `finetunegem doctor`.",
        )
    return Finding(
        "container",
        None,
        "A run ends when this container stops; closing the terminal ends neither.",
        "Keep runs on a mounted volume (--runs-dir), so that they outlive the container.",
    )


def _terminal(stat: str) -> int:
    """tty_nr of /proc/PID/stat (proc(5)), whose second field may hold spaces and brackets; 0 without a terminal."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[4]) if len(fields) > 4 and fields[4].lstrip("-").isdigit() else 0


def _slurm(place: Place) -> Finding | None:
    job = place.environment.get("SLURM_JOB_ID", "")
    if not job:
        return None
    end = place.environment.get("SLURM_JOB_END_TIME", "")
    until = (
        time.strftime(", at the latest on %Y-%m-%d at %H:%M", time.localtime(int(end)))
        if end.isdigit() and len(end) < 12
        else ""
    )
    return Finding(
        "slurm",
        True,
        f"This is SLURM job {job[:20]}: a run ends with the job{until}.",
        "Start it as a job of its own: `sbatch --time=... --wrap 'finetunegem run ...'`, and watch it from any node.",
        f"Runs end with SLURM job {job[:20]}: `finetunegem doctor` says what helps.",
    )


# --- editors, notebooks, WSL -------------------------------------------------------------------------------------


def _notebook(place: Place) -> Finding | None:
    names = ("JPY_PARENT_PID", "JPY_SESSION_NAME", "JUPYTERHUB_USER", "COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE")
    if not any(name in place.environment for name in names):
        return None
    return Finding(
        "notebook",
        None,
        "This is a notebook's terminal: closing it ends no run, a server that is stopped for idleness does.",
        "Keep runs on a disk that stays (--runs-dir), and ask how long an idle server lives.",
    )


def _editor(place: Place) -> Finding | None:
    if place.environment.get("TERM_PROGRAM") != "vscode" and "VSCODE_IPC_HOOK_CLI" not in place.environment:
        return None
    return Finding(
        "editor",
        None,
        "This is VS Code's terminal: closing it ends no run, a dev container or codespace that stops does.",
        "In a codespace, raise its idle time-out.",
    )


def _wsl(place: Place) -> Finding | None:
    if "microsoft" not in place.text("proc/sys/kernel/osrelease").lower():
        return None
    return Finding(
        "wsl",
        None,
        "This is WSL: Windows may stop it, and a run with it, some time after its last window is closed.",
        "Keep one window open, and keep Windows from sleeping.",
    )
