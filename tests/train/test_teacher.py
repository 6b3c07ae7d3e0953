"""A student and its teacher: the teacher's logits, refused teachers, and resuming without the teacher."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from revgnn.models.config import ModelConfig
from revgnn.train.config import DataConfig, DistillationConfig, EvalConfig, OptimConfig, RunConfig
from revgnn.train.config.errors import ConfigError
from revgnn.train.inference.evaluate import evaluate_run
from revgnn.train.inference.saved_run import load_run
from revgnn.train.inference.views import infer
from revgnn.train.run.events import Event, Stepped
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.loop import Interrupted, train
from revgnn.train.run.session import prepare, training_step
from revgnn.train.run.tensor_file import CheckpointError, read_tensors
from revgnn.train.sweeps import sweep
from revgnn.train.tricks.teacher import attach_teacher, teacher_folder, teacher_logits
from tests.train.test_resume import assert_same_run


@pytest.fixture(scope="module")
def teacher(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher") / "a"
    train(config.override(["epochs=2", "model.depth=2"]), folder)
    return folder


@pytest.fixture
def student(config: RunConfig, teacher: Path) -> RunConfig:
    return config.override([f"distillation.teacher={teacher}", "distillation.alpha=0.9", "epochs=3"])


def test_the_logits_are_those_of_the_best_weights(student: RunConfig, teacher: Path) -> None:
    saved = load_run(teacher).session
    expected = infer(saved.model, saved.batches, saved.config.evaluation, saved.config.seed)
    assert torch.equal(teacher_logits(prepare(student)), expected)


def test_loading_the_teacher_draws_no_random_numbers(student: RunConfig) -> None:
    session = prepare(student)
    before = torch.get_rng_state()
    teacher_logits(session)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_student_with_alpha_0_is_the_run_without_a_teacher(student: RunConfig, tmp_path: Path) -> None:
    train(student.override(["distillation.alpha=0"]), tmp_path / "a")
    train(student.override(["distillation=null"]), tmp_path / "b")
    a, b = (read_tensors(tmp_path / name / "best.safetensors")[0] for name in "ab")
    assert all(torch.equal(a[name], b[name]) for name in b)
    assert not (tmp_path / "b" / RunFolder.TEACHER).exists()


def test_each_part_learns_from_its_own_nodes(student: RunConfig, tmp_path: Path) -> None:
    session = prepare(student)
    attach_teacher(session, RunFolder(tmp_path), resume=False)
    assert session.teacher is not None
    for batch in session.batches.epoch(session.partition, 1):
        assert torch.equal(batch.teacher, session.teacher[batch.nodes])
    session.partition.close()


def test_the_loss_is_the_mixture(student: RunConfig, tmp_path: Path) -> None:
    """The loss at alpha = 0.25, from those at 0 and 1."""
    values = {}
    for alpha in (0.0, 1.0, 0.25):
        session = prepare(student.override([f"distillation.alpha={alpha}"]))
        attach_teacher(session, RunFolder(tmp_path), resume=False)
        session.model.train()
        values[alpha] = training_step(session, session.batches.whole)
    assert values[0.25] == pytest.approx(0.75 * values[0.0] + 0.25 * values[1.0], rel=1e-5)
    assert values[0.0] != pytest.approx(values[1.0], rel=0.05)


def test_a_student_approaches_its_teacher(student: RunConfig, teacher: Path, tmp_path: Path) -> None:
    changes = ["distillation.alpha=1", "epochs=30", "model.dropout=0", "model.norm=layer", "evaluation.every=30"]
    train(student.override(changes), tmp_path / "a")
    losses = [line["loss"] for line in RunFolder(tmp_path / "a").metrics()]
    assert losses[-1] < 0.3 * losses[0]


# --- resuming -----------------------------------------------------------------------------------------------------------


def test_resuming_does_not_need_the_teacher(student: RunConfig, teacher: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(teacher, tmp_path / "teacher"))
    student = student.override([f"distillation.teacher={copy}"])
    train(student, tmp_path / "unbroken")
    steps: list[Event] = []

    def count(event: Event) -> None:
        steps.extend([event] if isinstance(event, Stepped) else [])

    with pytest.raises(Interrupted):
        train(student, tmp_path / "a", hooks=[count], should_stop=lambda: len(steps) == student.parts + 2)
    shutil.rmtree(copy)
    train(student, tmp_path / "a", resume=True)
    assert_same_run(tmp_path / "a", tmp_path / "unbroken")
    scores, result = evaluate_run(tmp_path / "a"), RunFolder(tmp_path / "a").result()
    assert result is not None
    assert scores["test"] == result["test"]


def test_damaged_logits_are_refused(student: RunConfig, tmp_path: Path) -> None:
    train(student.override(["epochs=1"]), tmp_path / "a")
    kept = tmp_path / "a" / RunFolder.TEACHER
    data = bytearray(kept.read_bytes())
    data[-1] ^= 1
    kept.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        train(student, tmp_path / "a", resume=True)


def test_overwriting_computes_the_logits_again(student: RunConfig, teacher: Path, tmp_path: Path) -> None:
    train(student.override(["epochs=1"]), tmp_path / "a")
    kept = read_tensors(tmp_path / "a" / RunFolder.TEACHER)[0]["logits"].clone()  # a copy: the file is mapped
    (tmp_path / "a" / RunFolder.TEACHER).write_bytes(b"no longer its logits")
    train(student.override(["epochs=1"]), tmp_path / "a", overwrite=True)
    assert torch.equal(read_tensors(tmp_path / "a" / RunFolder.TEACHER)[0]["logits"], kept)
    train(student.override(["epochs=1", "distillation=null"]), tmp_path / "a", overwrite=True)
    assert not (tmp_path / "a" / RunFolder.TEACHER).exists()


# --- finding and checking the teacher -----------------------------------------------------------------------------------


def test_a_student_of_each_seed_learns_from_the_teacher_of_that_seed(config: RunConfig, tmp_path: Path) -> None:
    config = config.override(["epochs=1"])
    sweep(config, tmp_path / "teachers", splits=[0], seeds=[0, 1])
    student = config.override([f"distillation.teacher={tmp_path / 'teachers'}"])
    assert [teacher_folder(student.override([f"seed={seed}"])).name for seed in (0, 1)] == ["split-0-seed-0", "split-0-seed-1"]
    sweep(student, tmp_path / "students", splits=[0], seeds=[0, 1])
    kept = [read_tensors(tmp_path / "students" / f"split-0-seed-{seed}" / RunFolder.TEACHER)[0]["logits"] for seed in (0, 1)]
    assert not torch.equal(*kept)
    with pytest.raises(ConfigError, match="no teacher for split 0, seed 2: it holds split-0-seed-0, split-0-seed-1"):
        sweep(student, tmp_path / "others", splits=[0], seeds=[0, 1, 2])
    assert not (tmp_path / "others").exists(), "all teachers are checked before the first run"


def test_a_missing_or_unfinished_teacher_is_refused(config: RunConfig, student: RunConfig, teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"name the folder of a finished run with config.replace\(\{\"distillation.teacher\": ...\}\)"
    ):
        train(config.override(["distillation.alpha=0.5"]), tmp_path / "a")
    with pytest.raises(ConfigError, match="not the folder of a run or of a sweep"):
        train(config.override([f"distillation.teacher={tmp_path / 'nowhere'}"]), tmp_path / "a")
    unfinished = Path(shutil.copytree(teacher, tmp_path / "unfinished"))
    (unfinished / "result.json").unlink()
    with pytest.raises(ConfigError, match="is not finished; finish it first"):
        train(student.override([f"distillation.teacher={unfinished}"]), tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.name=synthetic:nodes=250,degree=8,tasks=3", "trained on other data: .* 240 nodes"),
        ("data.name=synthetic:nodes=240,degree=8,tasks=4", "trained on other data"),
        ("data.name=synthetic:nodes=240,degree=8,tasks=3,seed=1", "trained on other labels"),
    ],
)
def test_a_teacher_of_other_data_is_refused(student: RunConfig, tmp_path: Path, setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train(student.override([setting]), tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_teacher_of_another_split_is_refused(config: RunConfig, tmp_path: Path, real_data: Path) -> None:
    run = config.with_data("cora", str(real_data)).override(["model.conv=gcn", "parts=1", "evaluation.parts=1", "epochs=1"])
    tolokers = run.with_data("tolokers", str(real_data))
    train(tolokers, tmp_path / "teacher")
    student = tolokers.override([f"distillation.teacher={tmp_path / 'teacher'}", "data.split=1"])
    with pytest.raises(ConfigError, match="has other training nodes than this run"):
        train(student, tmp_path / "a")


# --- on a real graph --------------------------------------------------------------------------------------------------------


def test_teacher_then_student_on_cora(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol of RevGAT, small: RMSprop, warm-up, logarithmic loss, label reuse, then self-distillation."""
    model = ModelConfig(conv="gat", heads=2, depth=2, channels=16, groups=2, norm="batch", dropout=0.3, input_dropout=0.3)
    run = RunConfig(
        data=DataConfig(name="cora", root=str(real_data), self_loops=True, features="rows"),
        model=model,
        optim=OptimConfig(name="rmsprop", lr=0.01, clip_norm=None, warmup=2),
        evaluation=EvalConfig(every=2),
        loss="log",
        label_inputs=0.5,
        label_reuse=1,
        epochs=4,
        device="cpu",
    )
    train(run, tmp_path / "teacher")
    how = DistillationConfig(teacher=str(tmp_path / "teacher"), alpha=0.95, temperature=0.7, average="entries")
    student = run.model_copy(update={"distillation": how})
    train(student, tmp_path / "unbroken")
    shutil.rmtree(tmp_path / "teacher")  # a student needs only its logits

    def crash(event: Event) -> None:
        if isinstance(event, Stepped) and event.epoch == 3:
            raise KeyboardInterrupt

    shutil.copytree(tmp_path / "unbroken", tmp_path / "a")
    for name in RunFolder.FILES:
        (tmp_path / "a" / name).unlink()
    (tmp_path / "a" / "config.yaml").write_text(student.to_yaml())
    with pytest.raises(KeyboardInterrupt):
        train(student, tmp_path / "a", resume=True, hooks=[crash])
    torch.manual_seed(1234)
    train(student, tmp_path / "a", resume=True)
    assert_same_run(tmp_path / "a", tmp_path / "unbroken")
