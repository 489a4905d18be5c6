"""What would end a run here, told from files and answers as real machines give them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from trainer import surroundings
from trainer.surroundings import Finding, Place, findings, warning

SESSION = "0::/user.slice/user-1000.slice/session-3.scope\n"
MANAGER = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-r1.scope\n"
SERVICE = "0::/system.slice/cron.service\n"
STAT = "{pid} (a (b) c) S 0 1 1 {terminal} 1 4194560 0 0\n"


class Machine:
    """A machine's files below a folder, and what its commands answer."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment: dict[str, str] = {"USER": "me"}
        self.answers: dict[str, str | None] = {}
        self.asked: list[Sequence[str]] = []
        self.file("etc/passwd", "root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n")

    def file(self, path: str, text: str) -> Machine:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, "utf-8")
        return self

    def systemd(self, group: str = SESSION) -> Machine:
        (self.root / "run/systemd/system").mkdir(parents=True)
        return self.file("proc/self/cgroup", group)

    def logind(
        self, kills: str, lingers: str | None = None, only: str = "as 0", spared: str = 'as 1 "root"'
    ) -> Machine:
        self.answers["busctl"] = f"b {kills}\n{only}\n{spared}\n"
        self.answers["loginctl"] = f"Linger={lingers}\n" if lingers else None
        return self

    def container(self, terminal: int, first: int) -> Machine:
        self.file("proc/self/stat", STAT.format(pid=77, terminal=terminal))
        return self.file(".dockerenv", "").file("proc/1/stat", STAT.format(pid=1, terminal=first))

    def ask(self, command: Sequence[str]) -> str | None:
        self.asked.append(command)
        return self.answers.get(command[0])

    @property
    def place(self) -> Place:
        return Place(self.environment, self.ask, self.root, user=1000)

    def found(self, kind: str) -> Finding:
        (finding,) = (finding for finding in findings(self.place) if finding.kind == kind)
        return finding


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# --- a logout --------------------------------------------------------------------------------------------------------


def test_where_logind_ends_processes_it_is_said_and_what_helps(machine: Machine) -> None:
    machine.systemd().logind("true", "no")
    found = machine.found("logout")
    assert found.ends is True
    assert found.said == "A logout ends every run, and tmux too: logind's KillUserProcesses is on."
    assert "`systemd-run --user --scope finetunegem`" in found.helps
    assert "`loginctl enable-linger`" in found.helps
    assert warning(machine.place) == "A logout ends runs here: `finetunegem doctor` says what helps."


def test_who_lingers_need_not_be_told_to(machine: Machine) -> None:
    machine.systemd().logind("true", "yes")
    assert "enable-linger" not in machine.found("logout").helps


def test_where_logind_leaves_processes_alone_all_is_well(machine: Machine) -> None:
    machine.systemd().logind("false")
    assert machine.found("logout") == Finding(
        "logout", False, "A logout ends no run: logind's KillUserProcesses is off."
    )
    assert warning(machine.place) == ""


@pytest.mark.parametrize("answer", [None, "", "b maybe\nas 0\nas 0", "Failed to get property", "b true"])
def test_where_logind_says_nothing_it_is_unknown(machine: Machine, answer: str | None) -> None:
    machine.systemd().answers["busctl"] = answer
    found = machine.found("logout")
    assert found.ends is None
    assert "can't be told" in found.said
    assert warning(machine.place) == ""


@pytest.mark.parametrize(
    ("only", "spared", "ends"),
    [("as 0", 'as 2 "root" "me"', False), ('as 1 "you"', "as 0", False), ('as 1 "me"', "as 0", True),
     ('as 1 "1000"', "as 0", True)],
)  # fmt: skip
def test_users_who_are_spared_or_not_meant_are_known(machine: Machine, only: str, spared: str, ends: bool) -> None:
    machine.systemd().logind("true", "no", only, spared)
    assert machine.found("logout").ends is ends


@pytest.mark.parametrize(
    ("lingers", "ends", "said"),
    [("yes", False, "A logout ends no run: this shell stands outside the session, and you linger."),
     ("no", True, "Your last logout ends every run: this shell is your service manager's, which goes with you."),
     (None, None, "Your last logout may end every run: this shell is your service manager's, which goes with you.")],
)  # fmt: skip
def test_outside_of_the_session_it_is_lingering_that_counts(
    machine: Machine, lingers: str | None, ends: bool | None, said: str
) -> None:
    machine.systemd(MANAGER).logind("true", lingers)
    found = machine.found("logout")
    assert (found.ends, found.said) == (ends, said)
    assert ("`loginctl enable-linger`" in found.helps) is (ends is not False)


def test_a_service_of_the_system_is_ended_by_no_logout(machine: Machine) -> None:
    machine.systemd(SERVICE).logind("true", "no")
    assert machine.found("logout").ends is False


def test_without_systemd_nobody_is_asked(machine: Machine) -> None:
    assert machine.found("logout") == Finding("logout", False, "No systemd here: a logout ends no run.")
    assert machine.asked == []


# --- containers and jobs ---------------------------------------------------------------------------------------------


def test_a_container_begun_with_this_terminal_ends_with_it(machine: Machine) -> None:
    found = machine.container(terminal=34816, first=34816).found("container")
    assert found.ends is True
    assert "leaving it ends every run" in found.said
    assert "docker exec -it" in found.helps
    assert "finetunegem doctor" in warning(machine.place)


@pytest.mark.parametrize(("terminal", "first"), [(34816, 0), (34817, 34816), (0, 0)])
def test_a_container_come_into_from_outside_goes_on(machine: Machine, terminal: int, first: int) -> None:
    found = machine.container(terminal, first).found("container")
    assert found.ends is None
    assert found.said == "A run ends when this container stops; closing the terminal ends neither."
    assert "--runs-dir" in found.helps
    assert warning(machine.place) == ""


def test_a_container_is_known_by_its_group_or_its_environment_too(machine: Machine) -> None:
    machine.file("proc/1/cgroup", "0::/kubepods/burstable/pod1/abc\n")
    assert machine.found("container").ends is None
    other = Machine(machine.root / "other")
    other.environment["container"] = "podman"
    assert other.found("container").ends is None


def test_a_slurm_job_ends_its_runs_at_the_latest_when_its_time_is_up(machine: Machine) -> None:
    machine.environment |= {"SLURM_JOB_ID": "4711", "SLURM_JOB_END_TIME": "1795000000"}
    found = machine.found("slurm")
    when = time.strftime("%Y-%m-%d at %H:%M", time.localtime(1795000000))
    assert found.said == f"This is SLURM job 4711: a run ends with the job, at the latest on {when}."
    assert "sbatch" in found.helps
    assert findings(machine.place)[0] == found
    assert warning(machine.place) == "Runs end with SLURM job 4711: `finetunegem doctor` says what helps."


@pytest.mark.parametrize("end", ["", "soon", "9" * 30])
def test_a_slurm_job_of_unknown_end_is_said_without(machine: Machine, end: str) -> None:
    machine.environment |= {"SLURM_JOB_ID": "4711", "SLURM_JOB_END_TIME": end}
    assert machine.found("slurm").said == "This is SLURM job 4711: a run ends with the job."


# --- the rest --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "kind"),
    [({"TERM_PROGRAM": "vscode"}, "editor"), ({"VSCODE_IPC_HOOK_CLI": "/x"}, "editor"),
     ({"JPY_PARENT_PID": "7"}, "notebook"), ({"JUPYTERHUB_USER": "me"}, "notebook")],
)  # fmt: skip
def test_terminals_of_editors_and_notebooks_are_named(
    machine: Machine, environment: Mapping[str, str], kind: str
) -> None:
    machine.environment |= environment
    found = machine.found(kind)
    assert found.ends is None
    assert "closing it ends no run" in found.said


def test_wsl_is_named(machine: Machine) -> None:
    machine.file("proc/sys/kernel/osrelease", "5.15.167.4-microsoft-standard-WSL2\n")
    assert machine.found("wsl").ends is None


def test_a_plain_machine_has_one_finding(machine: Machine) -> None:
    assert [finding.kind for finding in findings(machine.place)] == ["logout"]


def test_every_sentence_is_one(machine: Machine) -> None:
    machine.systemd().logind("true", "no").container(1, 1)
    machine.environment |= {"SLURM_JOB_ID": "1", "TERM_PROGRAM": "vscode", "JPY_PARENT_PID": "1"}
    found = findings(machine.place)
    assert [finding.ends for finding in found] == [True, True, True, None, None]
    for finding in found:
        assert finding.said.endswith(".")
        assert finding.helps.endswith(".")
        assert len(finding.short) <= 100


def test_a_command_that_is_not_there_fails_or_hangs_is_no_answer() -> None:
    assert surroundings.ask(["no-such-command-anywhere"]) is None
    assert surroundings.ask(["false"]) is None
    began = time.monotonic()
    assert surroundings.ask(["sleep", "60"]) is None
    assert time.monotonic() - began < 10
    assert surroundings.ask(["echo", "yes"]) == "yes\n"


def test_this_machine_can_be_asked() -> None:
    assert "logout" in [finding.kind for finding in findings(surroundings.here())]
