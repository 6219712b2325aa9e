"""The launcher serves others while a template does not stand still, and hears one word of each."""

import selectors
import socket
from typing import Any

import pytest

from hearth.worker.sandboxes.launcher_births import Born
from hearth.worker.sandboxes.launcher_templates import LOOKS_MAX, Template, Templates
from hearth.worker.sandboxes.messages import StartOrder

TEMPLATE, FIRST, SECOND = 1, 2, 3


def born(box: int, *, fork_of: int | None = None) -> Born:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    order = StartOrder(
        box=box,
        run=1,
        argv=[],
        environment={},
        working_directory="/",
        mounts=[],
        uid=None,
        cgroup_tasks=[],
        cgroup_directory=None,
        rlimits=[],
        own_network=True,
        host_files=[],
        processes_in_namespace=None,
        zygote=None if fork_of is None else -fork_of,
        is_template=fork_of is None,
    )
    return Born(order=order, number=box, status=ours, theirs=theirs)


class Scene:
    """Templates of a launcher, one of them; its looks are this test's."""

    def __init__(self) -> None:
        self.is_still = False
        self.looks = 0
        self.sent: list[dict[str, Any]] = []
        self.started: list[int] = []
        self.failed: list[tuple[int, str]] = []
        self.selector = selectors.DefaultSelector()
        self.templates = Templates(
            self.selector,
            lambda message, _fds: self.sent.append(message),
            lambda _template: None,
            self.started.append,
            self._fail,
            self._look,
        )
        its = born(TEMPLATE)
        its.pid = 1
        self.theirs = socket.socket(fileno=self.templates.add(its))
        self.closing = [self.theirs, its.status, its.theirs]
        found = self.templates.get(TEMPLATE)
        assert found is not None
        self.template: Template = found
        self.template.pid = 1

    def _look(self, init: int, _program: int, known: set[int | None]) -> bool:
        assert init == 1
        assert not known
        self.looks += 1
        return self.is_still

    def _fail(self, failed: Born, why: str) -> None:
        self.failed.append((failed.order.box, why))
        self.templates.nest_is_gone(failed)

    def fork(self, box: int) -> tuple[Born, bool]:
        started = born(box, fork_of=TEMPLATE)
        self.closing += [started.status, started.theirs]
        return started, self.templates.must_wait(self.template, started)

    def hear(self) -> None:
        for key, _ in self.selector.select(0):
            key.data()

    def close(self) -> None:
        self.templates.remove(TEMPLATE)
        self.selector.close()
        for one in self.closing:
            one.close()


def test_a_start_waits_until_its_template_stands_still() -> None:
    scene = Scene()
    first, must_wait = scene.fork(FIRST)
    assert must_wait
    assert scene.fork(SECOND)[1], "one at a time"
    assert scene.looks == 1
    for _ in range(10):
        assert scene.templates.look_again_s is not None
        scene.templates.look_again(in_time=True)
    assert scene.started == []
    scene.is_still = True
    scene.templates.look_again(in_time=True)
    assert scene.started == [FIRST]
    assert not scene.templates.must_wait(scene.template, first)
    assert scene.templates.look_again_s is None
    scene.templates.nest_is_gone(first)
    assert scene.started == [FIRST, SECOND]
    scene.close()


def test_one_that_never_stands_still_is_given_up_and_nobody_waited_for_it() -> None:
    scene = Scene()
    scene.fork(FIRST)
    for _ in range(5 * LOOKS_MAX):
        scene.templates.look_again(in_time=False)
    assert scene.failed == [], "a busy launcher looks often, and that is no time"
    for _ in range(LOOKS_MAX):
        scene.templates.look_again(in_time=True)
    assert scene.failed == [(FIRST, "the template does not stand still")]
    assert scene.templates.look_again_s is None
    scene.close()


def test_a_start_that_is_killed_meanwhile_is_looked_at_no_more() -> None:
    scene = Scene()
    first, _ = scene.fork(FIRST)
    scene.templates.nest_is_gone(first)
    scene.fork(SECOND)
    scene.is_still = True
    scene.templates.look_again(in_time=True)
    assert scene.started == [SECOND]
    scene.close()


def test_a_function_that_floods_its_channel_is_heard_once() -> None:
    scene = Scene()
    scene.theirs.setblocking(False)
    for _ in range(3):
        scene.theirs.send(b"words")
    scene.templates.ask(9, TEMPLATE)
    for _ in range(3):
        scene.hear()
    assert scene.sent == [{"id": 9, "answer": {"why_not": "words"}}]
    assert not scene.selector.get_map(), "nobody listens any more"
    with pytest.raises(ConnectionError):  # and that of a program that cannot be forked is closed
        scene.theirs.send(b"words")
    scene.close()
