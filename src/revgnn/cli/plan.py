"""`revgnn plan`: what a run needs, before anything runs."""

from __future__ import annotations

import inspect
import json
import typing
from typing import TYPE_CHECKING, Any

import typer

from revgnn.cli import options
from revgnn.cli.plan_ranks import ManyProcesses, job_of
from revgnn.cli.progress import progress
from revgnn.cli.text import bytes_text, facts, line_width, parse_bytes, seconds_text, table, wrapped
from revgnn.cli.train import composed, train
from revgnn.cli.waiting import choose_waiting

if TYPE_CHECKING:
    from revgnn.experiments.planner.plan import Limits, Plan, Planner
    from revgnn.experiments.planner.rehearse import Memory
    from revgnn.experiments.planner.search import Inverse

_PARTS = {
    "weights": "weights and buffers of the network",
    "gradients": "gradients of the weights",
    "optimizer": "moments of the optimiser",
    "graph": "the graph of a batch, both ways, with its edge features",
    "inputs": "features of nodes, labels",
    "state": "what the forward pass keeps: state, masks, stored layers",
    "activations": "activations and gradients while a block is differentiated",
    "buffers": "buffers inside kernels",
}
"""What each part of `Memory` is."""


def plan(**given: Any) -> None:
    """Say what a run needs: parameters, memory by part, and time, from a short probe on this device.

    It takes the options of `revgnn train`; those that say where a run is written have no effect.

    Examples: revgnn plan ogbn-proteins --preset revgnn-wide --ranks 8 --link 300GB/s; revgnn plan shop/ --label plan --memory 11GB
    """
    as_json, hours = given["as_json"], given["hours"]
    show = given["context"].with_resource(progress(quiet=given["quiet"], as_json=as_json))
    choose_waiting()
    if hours is not None and given["no_probe"]:
        raise ValueError("--hours needs the probe that --no-probe leaves out; give one of them.")
    memory_bytes = None if given["memory"] is None else parse_bytes(given["memory"])
    job = job_of(given["ranks"], given["link"], given["latency"])
    run = composed(given, show)
    trying = "" if given["no_probe"] else ", trying a few steps"
    show.phase(f"planning {run.data.name if run.data else 'the run'}{trying}")
    from revgnn.experiments.planner.for_run import free_memory, planner_for
    from revgnn.experiments.planner.plan import Limits
    from revgnn.experiments.planner.search import inverse, strategies

    planner = planner_for(run, timed=not given["no_probe"], widths=hours is not None)
    free = free_memory(planner.device)
    limits = Limits(memory_bytes, hours) if memory_bytes is not None or hours is not None else None
    # of what is free if only the time is limited
    answers = None if limits is None else inverse(planner, run, Limits(memory_bytes or free.memory_bytes, hours))
    found = planner.plan(run)
    others = strategies(planner, run)
    many = ManyProcesses(planner, run, job, memory_bytes)
    show.close()
    if as_json:
        record = {
            "data": planner.data.name,
            "preset": run.preset,
            "plan": found.as_dict(),
            "free_bytes": round(free.memory_bytes or 0.0),
            "strategies": {name: each.as_dict() for name, each in others},
            "limits": None if limits is None else limits._asdict(),
            "inverse": None if answers is None else {n: None if p is None else p.as_dict() for n, p in answers._asdict().items()},
            "many_processes": many.as_dict(),
        }
        typer.echo(json.dumps(record))
        return
    typer.echo(_plan_text(planner, found, limits or free))
    typer.echo(f"\n{_strategies_text(others)}")
    if answers is not None:
        typer.echo(f"\n{_inverse_text(answers)}")
    if text := many.text(line_width()):
        typer.echo(f"\n{text}")


_OWN: dict[str, Any] = {
    "memory": options.Memory,
    "hours": options.Hours,
    "ranks": options.PlannedRanks,
    "link": options.Link,
    "latency": options.Latency,
    "no_probe": options.NoProbe,
    "as_json": options.AsJson,
}
"""Options of `plan` beside those of `train`."""


def _take_options_of_train() -> None:
    """Give `plan` the parameters of `train`, from which typer reads its options, and its own."""
    hints = typing.get_type_hints(train, include_extras=True)
    parameters = {
        name: parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])
        for name, parameter in inspect.signature(train).parameters.items()
    }
    for name, annotation in _OWN.items():
        default = False if name in ("no_probe", "as_json") else None
        parameters[name] = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
    plan.__signature__ = inspect.Signature(list(parameters.values()))  # pyright: ignore[reportFunctionMemberAccess]
    plan.__annotations__ = {name: parameter.annotation for name, parameter in parameters.items()}


_take_options_of_train()


# --- text -------------------------------------------------------------------------------------------------------------------------


def _plan_text(planner: Planner, plan: Plan, limits: Limits) -> str:
    data, run, model = planner.data, plan.run, plan.run.model
    parts = f", in {run.parts} parts" if run.parts > 1 else ""
    lines = {
        "data": f"{data.name}: {data.num_nodes:,} nodes, {data.num_edges:,} directed edges{parts}",
        "network": f"{model.family}, {model.depth:,} layers of {model.channels:,} channels, {model.conv}; "
        f"gradient by {model.effective_gradient}; {plan.device}",
        "parameters": f"{plan.parameters:,}",
        "memory": f"{bytes_text(plan.memory.total)} at the peak of a training step",
    }
    text = facts(lines, line_width())
    for name, value in plan.memory._asdict().items():
        text += "\n" + wrapped(f"{'':<12} {bytes_text(value):>9}  {_PARTS[name]}", line_width(), " " * 24)
    parts = f" in {run.evaluation.parts} parts" if run.evaluation.parts > 1 else ""
    rest = {"evaluation": f"{bytes_text(plan.evaluation.total)} at its peak{parts}: {_largest_part(plan.evaluation)}"}
    if plan.waiting_bytes:
        rest["data set"] = f"{bytes_text(plan.waiting_bytes)} in the memory of the host, from which parts are cut"
    rest["in all"] = f"{bytes_text(plan.needed_bytes)} on {plan.device}{_verdict(plan, limits)}"
    if plan.seconds is not None:
        rest["time"] = (
            f"{seconds_text(plan.seconds.step)} a step, {seconds_text(plan.seconds.epoch)} an epoch, "
            f"{seconds_text(plan.seconds.evaluation)} an evaluation; {seconds_text(plan.seconds.total)} for {run.epochs:,} epochs"
        )
        spread = 0.0 if planner.cost is None else planner.cost.spread
        if spread > 0.3:
            rest["note"] = (
                f"equal steps of the probe differed by {100 * spread:.0f} %: other work on this machine, or a device that throttles"
            )
    return f"{text}\n{facts(rest, line_width())}"


def _largest_part(memory: Memory) -> str:
    name, value = max(memory._asdict().items(), key=lambda item: item[1])
    return f"{bytes_text(value)} of it {name}"


def _verdict(plan: Plan, limits: Limits) -> str:
    if limits.memory_bytes is None:
        return ""
    fits = "fits into" if plan.needed_bytes <= limits.memory_bytes else "does not fit into"
    return f", which {fits} {bytes_text(limits.memory_bytes)}"


def _strategies_text(plans: list[tuple[str, Plan]]) -> str:
    header = ("gradient", "training", "state", "activations", "evaluation", "step", "whole run")
    rows = [
        (
            name,
            bytes_text(p.memory.total),
            bytes_text(p.memory.state),
            bytes_text(p.memory.activations),
            bytes_text(p.evaluation.total),
            seconds_text(None if p.seconds is None else p.seconds.step),
            seconds_text(None if p.seconds is None else p.seconds.total),
        )
        for name, p in plans
    ]
    return table(header, rows, line_width())


def _inverse_text(answers: Inverse) -> str:
    header = ("within limits", "layers", "channels", "parts", "evaluation parts", "parameters", "in all", "whole run")
    rows = []
    for name, p in answers._asdict().items():
        title = name.replace("_", " ")
        if p is None:
            rows.append((f"{title}: none fits", None, None, None, None, None, "-", "-"))
            continue
        seconds = None if p.seconds is None else p.seconds.total
        rows.append(
            (
                title,
                p.run.model.depth,
                p.run.model.channels,
                p.run.parts,
                p.run.evaluation.parts,
                p.parameters,
                bytes_text(p.needed_bytes),
                seconds_text(seconds),
            )
        )
    return table(header, rows, line_width())
