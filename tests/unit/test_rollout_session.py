"""From orders to records, errors played again, films held against the records; with the simulator of one number."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rollout_fakes import build_line, orders, walk

from dtr.errors import BadConfig, BadRecord, DiskFull, UnknownName
from dtr.provenance import cpu_model, digest, write_json
from dtr.report.figures.failures import elsewhere, fill, last_pictures
from dtr.rollout import video
from dtr.rollout.agreement import agreement
from dtr.rollout.engine import Infer
from dtr.rollout.episode import Journal
from dtr.rollout.protocol import Protocol
from dtr.rollout.run import check, film_key, orders_of
from dtr.rollout.session import Part, Session, roll_out
from dtr.rollout.video import write_contact_sheet, write_film
from dtr.sim.perturbations.variant import split
from dtr.sim.suites import Suite, suite

PROTOCOL = Protocol("test", batch=2, chunk=3)


def session(policy: str = "0" * 16) -> Session:
    return Session(walk, PROTOCOL, Suite("fake", (), 20), policy, workers=1, hang_s=60.0, factory=build_line)


def test_errors_are_kept_apart_and_played_again(tmp_path: Path) -> None:
    jobs = orders(tmp_path, ("crash-always",), (0.5, 0.875))
    first = session()
    assert [e.outcome for e in first.roll_out(jobs, tmp_path / "state", tmp_path / "out.jsonl")] == ["error", "success"]
    assert first.played == 2 and list((tmp_path / "state").iterdir())  # the journal stays: not all is done
    # The scene is mended: the same tasks in a folder where crashing is over. Only the error is played again.
    (tmp_path / "misbehaved").touch()
    mended = [replace(job, task=replace(job.task, name="crash-once")) for job in jobs]
    second = session()
    assert [e.outcome for e in second.roll_out(mended, tmp_path / "state", tmp_path / "out.jsonl")] == ["success", "success"]
    assert second.played == 1 and not list((tmp_path / "state").iterdir())


def test_episodes_stay_in_the_journal_until_their_file_is_written(tmp_path: Path) -> None:
    jobs = orders(tmp_path, ("plain",), (0.5, 0.875))
    (tmp_path / "blocked").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="blocked"):
        session().roll_out(jobs, tmp_path / "state", tmp_path / "blocked" / "out.jsonl")
    again = session()
    again.roll_out(jobs, tmp_path / "state", tmp_path / "out.jsonl")
    assert again.played == 0 and len((tmp_path / "out.jsonl").read_text().splitlines()) == 2


def test_a_look_at_a_few_takes_nothing_from_a_longer_run(tmp_path: Path) -> None:
    jobs = orders(tmp_path, ("a", "b"), (0.75, 0.875))
    for kept in session().play(jobs[:3]):  # a run that was killed after three episodes
        with Journal(journal_of(session(), tmp_path)) as journal:
            journal.append(kept)
    look = session()
    look.roll_out(jobs[:1], tmp_path / "state", tmp_path / "look.jsonl")
    longer = session()
    longer.roll_out(jobs, tmp_path / "state", tmp_path / "out.jsonl")
    assert (look.played, longer.played) == (0, 1)
    assert not list((tmp_path / "state").iterdir())


def test_what_stands_in_the_file_is_not_played_again(tmp_path: Path) -> None:
    jobs, out = orders(tmp_path, ("a",), (0.75, 0.875)), tmp_path / "out.jsonl"
    first, again, more, other = session(), session(), session(), session("1" * 16)
    first.roll_out(jobs[:1], tmp_path / "state", out)
    before = out.read_bytes()
    again.roll_out(jobs[:1], tmp_path / "state", out)
    assert (first.played, again.played) == (1, 0) and out.read_bytes() == before
    more.roll_out(jobs, tmp_path / "state", out)
    other.roll_out(jobs, tmp_path / "state", out)  # another policy file
    assert (more.played, other.played) == (1, 2)
    out.write_text("torn")
    last = session()
    last.roll_out(jobs, tmp_path / "state", out)
    assert last.played == 2


def journal_of(of: Session, folder: Path) -> Path:
    return folder / "state" / f"{of.suite}-{digest([of.policy, of.conditions])}.jsonl"


def test_a_journal_belongs_to_one_policy_file(tmp_path: Path) -> None:
    jobs = orders(tmp_path, ("crash-always",), (0.5, 0.875))
    session().roll_out(jobs, tmp_path / "state", tmp_path / "out.jsonl")
    other = session("1" * 16)
    other.roll_out(jobs, tmp_path / "state", tmp_path / "out.jsonl")
    assert other.played == 2


def test_films_agree_with_the_records_or_are_refused(tmp_path: Path) -> None:
    jobs = orders(tmp_path, ("plain",), (-0.5, 0.875))
    episodes = session().roll_out(jobs, tmp_path / "state", tmp_path / "out.jsonl")
    known = {episode.key: episode for episode in episodes}
    session().film(jobs, known, tmp_path / "films")
    names = sorted(path.name for path in (tmp_path / "films").iterdir())
    assert names == ["failures.png", "fake.0.0.failure.mp4", "fake.0.1.success.mp4"]
    wrong = {key: replace(episode, trace="f" * 16) for key, episode in known.items()}
    with pytest.raises(BadRecord, match="ended otherwise"):
        session().film(jobs, wrong, tmp_path / "films")


def test_an_error_that_is_over_when_filmed_is_filmed_and_no_bug(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = orders(tmp_path, ("plain",), (0.5, 0.875))
    episodes = session().roll_out(jobs, tmp_path / "state", tmp_path / "out.jsonl")
    failed = replace(episodes[0], outcome="error", steps=0, inferences=0, trace=None, error="the machine was busy")
    session().film(jobs, {failed.key: failed, episodes[1].key: episodes[1]}, tmp_path / "films")
    assert sorted(path.name for path in (tmp_path / "films").iterdir()) == ["fake.0.0.success.mp4", "fake.0.1.success.mp4"]
    said = capsys.readouterr().err
    assert "fake/0/0: its record is an error, and now it ended as success" in said and "films of 2 episodes" in said


def test_an_error_while_filming_is_said_and_the_others_are_filmed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = orders(tmp_path, ("plain",), (0.5, 0.875))
    known = {episode.key: episode for episode in session().roll_out(jobs, tmp_path / "state", tmp_path / "out.jsonl")}
    crashing = [replace(job, task=replace(job.task, name="crash-always")) for job in jobs]
    known = {key: replace(episode, task="crash-always") for key, episode in known.items()}
    session().film(crashing, known, tmp_path / "films")
    assert [path.name for path in (tmp_path / "films").iterdir()] == ["fake.0.1.success.mp4"]
    said = capsys.readouterr().err
    assert "no film of fake/0/0, which could not be run" in said and "films of 1 episodes" in said


def test_a_film_that_lacks_pictures_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = video.encode
    monkeypatch.setattr(video, "encode", lambda path, pictures: encode(path, pictures[:4]))  # a full disk: OpenCV goes on in silence
    with pytest.raises(DiskFull, match="should have 7 pictures, but 4 were written"):
        write_film(tmp_path / "x.mp4", np.zeros((7, 16, 16, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_a_film_has_a_picture_for_every_step(tmp_path: Path) -> None:
    import cv2

    write_film(tmp_path / "x.mp4", np.zeros((7, 16, 16, 3), np.uint8))
    capture = cv2.VideoCapture(str(tmp_path / "x.mp4"))
    count = 0
    while capture.read()[0]:
        count += 1
    assert count == 7
    assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]


def test_contact_sheet_has_a_place_for_every_failure(tmp_path: Path) -> None:
    from PIL import Image

    pictures = [(f"task/{i}", np.full((64, 64, 3), 40 * i, np.uint8)) for i in range(5)]
    write_contact_sheet(tmp_path / "sheet.png", pictures)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (4 * 256, 2 * (256 + 16))
        assert [sheet.getpixel((i % 4 * 256 + 128, i // 4 * 272 + 128))[0] for i in range(5)] == [0, 40, 80, 120, 160]


def test_agreement_counts_flips_on_common_keys(tmp_path: Path) -> None:
    episodes = session().roll_out(orders(tmp_path, ("plain",), (0.0, 0.5, 0.875)), tmp_path / "state", tmp_path / "out.jsonl")
    flipped = [replace(episodes[0], outcome="failure", trace="f" * 16), episodes[1]]
    found = agreement(flipped, episodes)
    assert (found.pairs, found.identical, found.flipped) == (2, 1, (episodes[0].key,))
    with pytest.raises(BadRecord, match="no initial state in common"):
        agreement(episodes[:1], episodes[1:])


def test_orders_of_a_suite() -> None:
    tasks = suite("embedded_spatial")
    planned = orders_of(Protocol("p", trials=3, tasks=(1, 0), max_steps=33), tasks)
    assert [(o.key.task_index, o.key.init_state) for o in planned] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert {o.max_steps for o in planned} == {33}
    assert not np.array_equal(planned[0].state, planned[1].state)
    with pytest.raises(BadConfig, match="task 9 was asked for"):
        orders_of(Protocol("p", trials=3, tasks=(9,)), tasks)


def test_names_of_episodes_to_film() -> None:
    tasks = suite("embedded_spatial")
    protocol = Protocol("p", trials=3, seed=7)
    key = film_key("1/2", tasks, protocol)
    assert key == film_key(f"{tasks.tasks[1].name}/2", tasks, protocol)
    assert (key.task_index, key.init_state, key.seed) == (1, 2, 7)
    for wrong in ("1/3", "9/0", "1"):
        with pytest.raises(UnknownName):
            film_key(wrong, tasks, protocol)
    with pytest.raises(BadConfig, match=r"1/2 is of task 1, but the protocol p plays only 0, 3"):
        film_key("1/2", tasks, replace(protocol, tasks=(3, 0)))


def varied(folder: Path, label: str, starts: tuple[float, ...], out: str, infer: Infer = walk) -> Part:
    """A part of two tasks under a variant; the simulator of one number takes no notice of perturbations."""
    name, variant = split(label)
    tasks = replace(Suite(name, (), 20), variant=variant)
    jobs = [replace(o, key=replace(o.key, suite=name), task=replace(o.task, suite=name)) for o in orders(folder, ("a", "b"), starts)]
    return Part(Session(infer, PROTOCOL, tasks, "0" * 16, 2, 60.0, build_line), jobs, folder / out)


LABELS = ("fake", "fake+camera-3", "other+robot-1")


def test_played_together_each_file_has_the_bytes_that_it_has_alone(tmp_path: Path) -> None:
    starts = (0.5, -0.5, 0.875)
    alone = [varied(tmp_path, label, starts, f"alone-{label}.jsonl") for label in LABELS]
    for part in alone:
        roll_out([part], tmp_path / "state")
    built = len(list(tmp_path.glob("built-*")))
    parts = [varied(tmp_path, label, starts, f"{label}.jsonl") for label in LABELS]
    found = roll_out(parts, tmp_path / "state")
    assert [part.out.read_bytes() for part in parts] == [part.out.read_bytes() for part in alone]
    assert [len(episodes) for episodes in found] == [part.session.played for part in parts] == [6, 6, 6]
    assert len(list(tmp_path.glob("built-*"))) - built < built, "workers keep a scene from one variant to the next"
    assert not list((tmp_path / "state").iterdir())


def test_what_was_kept_of_some_is_not_played_again_and_stays_until_all_files_stand(tmp_path: Path) -> None:
    first, second = (varied(tmp_path, label, (0.75, 0.875), f"{label}.jsonl") for label in LABELS[:2])
    with first.session.journal(tmp_path / "state") as journal:
        for episode in first.session.play(first.orders[:3]):
            journal.append(episode)
    (tmp_path / "blocked").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="blocked"):
        roll_out(
            [varied(tmp_path, LABELS[0], (0.75, 0.875), "a.jsonl"), replace(second, out=tmp_path / "blocked" / "b.jsonl")],
            tmp_path / "state",
        )
    assert len(list((tmp_path / "state").iterdir())) == 2
    again = [varied(tmp_path, label, (0.75, 0.875), f"{label}.jsonl") for label in LABELS[:2]]
    roll_out(again, tmp_path / "state")
    assert [part.session.played for part in again] == [0, 0] and not list((tmp_path / "state").iterdir())


def test_requests_of_another_shape_are_never_in_one_batch(tmp_path: Path) -> None:
    told: list[set[str]] = []

    def longer(requests):  # type: ignore[no-untyped-def]
        told.append({text for _, text in requests.values()})
        return walk(requests)

    one, other = varied(tmp_path, "fake", (0.5,), "a.jsonl"), varied(tmp_path, "fake+language-2", (0.5,), "b.jsonl", longer)
    other = replace(other, orders=[replace(order, told="please do it") for order in other.orders])
    roll_out([one, other], tmp_path / "state")
    assert told and all(texts == {"please do it"} for texts in told)


@pytest.mark.parametrize(
    ("suites", "outs", "video", "says"),
    [
        (["a", "b"], ["x"], None, "a file in --out for each of 2 different suites, got 1"),
        (["a", "b"], ["x", "x"], None, "a file in --out for each of 2 different suites, got 1"),
        (["a", "a"], ["x", "y"], None, "2 different suites"),
        (["a", "b"], ["x", "y"], "films", "films are of one suite, got 2 with --video"),
    ],
)
def test_every_suite_has_its_own_file(suites: list[str], outs: list[str], video: str | None, says: str) -> None:
    with pytest.raises(BadConfig, match=says):
        check(Namespace(workers=1, suite=suites, out=[Path(out) for out in outs], video=video), len(suites))


def test_a_failure_that_ends_otherwise_is_no_picture(tmp_path: Path) -> None:
    jobs = orders(tmp_path, ("plain",), (-0.5, 0.875))  # the first walks away, the second arrives
    ends = [episode.outcome for episode in session().play(jobs)]
    assert ends == ["failure", "success"], "what the records of another processor hold as two failures"
    assert list(last_pictures(session(), jobs, other=True)) == [jobs[0].key]
    with pytest.raises(BadRecord, match="ended as success, its record says failure: roll out again here"):
        last_pictures(session(), jobs, other=False)
    with pytest.raises(BadRecord, match=r"did not end .* its record says failure"):
        last_pictures(session(), orders(tmp_path, ("crash-always",), (0.5,)), other=True)


def test_other_failures_are_tried_where_one_ends_otherwise(tmp_path: Path) -> None:
    jobs = orders(tmp_path, ("plain",), (0.875, -0.5, -0.25, -0.75))  # the first arrives here
    tried = {most: fill(session(), jobs, True, most, tried=3) for most in (1, 2, 3)}
    assert {most: ([job.key for job in jobs if job.key in found], played) for most, (found, played) in tried.items()} == {
        1: ([jobs[1].key], 2),
        2: ([jobs[1].key, jobs[2].key], 3),
        3: ([jobs[1].key, jobs[2].key], 3),
    }
    assert fill(session(), jobs[1:], False, 2)[1] == 2, "no more than are shown"


def test_the_record_of_a_run_says_whether_the_processor_is_another(tmp_path: Path) -> None:
    episodes = tmp_path / "embedded_goal.jsonl"
    assert not elsewhere(episodes)
    for cpu, other in ((cpu_model(), False), ("Z80", True)):
        write_json(f"{episodes}.run.json", {"cpu": cpu})
        assert elsewhere(episodes) is other
