"""Run folders from checkpoints of the authors, and checkpoints from run folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from revgnn.files import write_json, write_text
from revgnn.interop.official.file import Checkpoint, OfficialError, read_checkpoint, write_checkpoint
from revgnn.interop.official.layout import Layout, Open, Reading, Settings
from revgnn.interop.official.revgat import RevGATLayout
from revgnn.interop.official.revgnn import RevGNNLayout
from revgnn.models import build_model, num_parameters
from revgnn.train import RunConfig, RunFolder
from revgnn.train.run.environment import describe
from revgnn.train.run.tensor_file import read_tensors, write_tensors

LAYOUTS: tuple[Layout, ...] = (RevGNNLayout(), RevGATLayout())

_EXTRA_STATE = "_extra_state"
"""The end of the name under which a stack saves how coarse its grid is, which the authors' code does not have."""


def import_official(
    file: Path | str,
    out: Path | str,
    *,
    base: RunConfig | None = None,
    data: str | None = None,
    root: Path | str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Make a run folder of a checkpoint of the authors' RevGNN or RevGAT, for `evaluate_run` and `predict_run`.

    Depth, widths, groups, norm and what is learned follow from the names and shapes in the file. What they leave open comes from
    `settings`, from `args` in the file (which the authors' own files do not have), or from `base`, in this order.

    Args:
        file: the .pth file; see `read_checkpoint`.
        out: the folder to write. It must be new or empty.
        base: the run whose other settings are used. Default: the authors' training without a preset.
        data: name or path of the data set. Default: that of `base`, or the authors'.
        root: folder that holds the data.
        settings: settings by their dotted keys, such as `{"model.dropout": 0.1}`.

    Returns:
        The report: `run`, `data`, `epoch`, `parameters`, and the settings that the file determines (`from_file`) and that were
        `given`; ready for JSON.

    Raises:
        OfficialError: if the file is not such a checkpoint, a setting is open or contradicts the file, or `out` is not empty.
        ConfigError: if the settings do not fit together.
        OSError: if a file cannot be read or written.
    """
    file, out = Path(file), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OfficialError(f"{out} is {'not empty' if out.is_dir() else 'a file'}; choose another --out.")
    checkpoint = read_checkpoint(file)
    layout = _layout_of(checkpoint, file)
    reading = layout.read(checkpoint.tensors)
    chosen = _complete(layout, reading, layout.settings_of(checkpoint.args), dict(settings or {}), base)
    run = base or layout.run
    name = data or (run.data.name if run.data else layout.data)
    run = run.with_data(name, None if root is None else str(Path(root).absolute())).replace({**reading.known, **chosen})
    if name == "ogbn-proteins" and not reading.shape.num_species:
        raise OfficialError(
            f"{file} has no node_one_hot_encoder, and the nodes of ogbn-proteins have species, which our networks use; only "
            "checkpoints trained with --use_one_hot_encoding can be used on it. Name another data set, without species."
        )
    model = build_model(
        run.model,
        in_channels=reading.shape.in_channels,
        out_channels=reading.shape.out_channels,
        num_edge_features=reading.shape.num_edge_features,
        num_species=reading.shape.num_species,
    )
    weights = _weights_of(model, reading.tensors, file)
    out.mkdir(parents=True, exist_ok=True)
    folder = RunFolder(out)
    write_tensors(folder.best_file, weights, {"epoch": checkpoint.epoch, "valid": None, "imported_from": file.name})
    parameters = num_parameters(model)
    write_json(folder.environment_file, {**describe(torch.device("cpu")), "imported_from": str(file.absolute())})
    write_text(folder.config_file, run.to_yaml())
    folder.save_result({"imported_from": file.name, "best_epoch": checkpoint.epoch, "parameters": parameters})  # it is finished
    return {
        "run": str(out),
        "data": name,
        "epoch": checkpoint.epoch,
        "parameters": parameters,
        "from_file": reading.known,
        "given": chosen,
    }


def export_official(run: Path | str, out: Path | str) -> dict[str, Any]:
    """Write the best weights of a run as a checkpoint of the authors' code, with the arguments that build its network (`args`).

    Args:
        run: the run's folder.
        out: the .pth file to write.

    Returns:
        The report: `file`, `epoch`, `tensors` (how many) and `args`; ready for JSON.

    Raises:
        OfficialError: if the authors' code has no such network.
        ConfigError, CheckpointError, OSError: if the folder, its weights or the file cannot be used.
    """
    out = Path(out)
    if not out.parent.is_dir():
        raise FileNotFoundError(f"{out.parent} does not exist; create it, or choose another --out.")
    folder = RunFolder(run)
    config = folder.config()
    tensors, note = read_tensors(folder.best_file)
    weights = {name: tensor for name, tensor in tensors.items() if not name.endswith(_EXTRA_STATE)}
    layout: Layout = RevGATLayout() if config.model.family == "revgat" else RevGNNLayout()
    theirs, args = layout.write(config, config.model, weights)
    write_checkpoint(out, theirs, args, note["epoch"])
    return {"file": str(out), "epoch": note["epoch"], "tensors": len(theirs), "args": args}


def _layout_of(checkpoint: Checkpoint, file: Path) -> Layout:
    names = list(checkpoint.tensors)
    for layout in LAYOUTS:
        if layout.fits(names):
            return layout
    raise OfficialError(
        f"{file} is neither the authors' RevGNN (names such as gcns.0._fn.Fms.0.norm.weight) nor their RevGAT "
        f"(convs.1._fn.Fms.0.conv.fc.weight); its first names are {', '.join(names[:3])}."
    )


def _complete(layout: Layout, reading: Reading, of_args: Settings, given: Settings, base: RunConfig | None) -> Settings:
    """Return the settings that the file leaves open, and the other ones that are given.

    Raises:
        OfficialError: naming every setting that is still open, or one that contradicts the file.
    """
    of_base = base.flat() if base is not None else {}
    chosen: Settings = {}
    missing: list[str] = []

    def decide(key: str, setting: Open) -> None:
        for source in (given, of_args):
            if key in source:
                if setting.choices is not None and source[key] not in setting.choices:
                    raise _contradiction(key, source[key], " or ".join(map(str, setting.choices)))
                chosen[key] = source[key]
                return
        if setting.default is not None:
            chosen[key] = setting.default
        elif key in of_base and (setting.choices is None or of_base[key] in setting.choices):
            chosen[key] = of_base[key]
        else:
            missing.append(f"{setting.why}: --set {key}=...")

    for key, setting in reading.open.items():
        decide(key, setting)
    if "model.aggregation" in chosen:
        for key, setting in layout.also_open({**reading.known, **chosen}).items():
            decide(key, setting)
        if "power" not in chosen["model.aggregation"]:
            chosen.pop("model.clamp_power", None)
    if missing:
        raise OfficialError(
            f"the checkpoint leaves settings open, so give them, or a --preset that has them. {'; '.join(missing)}."
        )
    for source in (given, of_args):
        for key, value in source.items():
            if key in reading.known and value != reading.known[key]:
                raise _contradiction(key, value, reading.known[key])
    return {**{key: value for key, value in given.items() if key not in reading.known}, **chosen}


def _contradiction(key: str, value: Any, found: Any) -> OfficialError:
    return OfficialError(f"{key}={value} contradicts the checkpoint, which has {found}.")


def _weights_of(model: nn.Module, tensors: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Return the tensors with those that only our networks save.

    Raises:
        OfficialError: naming the first that is missing, left over or of another shape.
    """
    own = model.state_dict()
    extra = {name: tensor for name, tensor in own.items() if name.endswith(_EXTRA_STATE)}
    expected = own.keys() - extra.keys()
    for name in sorted(expected | tensors.keys()):
        if name not in tensors or name not in expected:
            what = "lacks" if name not in tensors else "has"
            raise OfficialError(f"{file} {what} what is {name} in our network; its layers do not all have the same parts.")
        if own[name].shape != tensors[name].shape:
            raise OfficialError(
                f"what is {name} in our network has shape {tuple(tensors[name].shape)} in {file}, expected "
                f"{tuple(own[name].shape)}."
            )
    return {**tensors, **extra}
